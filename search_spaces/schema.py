"""JSON Schema of a study file, for editors that check and complete YAML."""

from __future__ import annotations

from typing import Any

from search_spaces.scales import MAY_CHANGE, OWN_SCALES
from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.mixing.presets import PRESETS


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of a study file: the schema of :class:`Study`, with all keys of overrides and scales."""
    schema = Study.model_json_schema()
    trial = TrialConfig.model_json_schema()
    definitions = schema["$defs"] = {**trial.pop("$defs"), **schema["$defs"]}
    preset = {"enum": sorted(PRESETS), "description": "name of a mixing policy"}
    definitions["Mix"]["properties"]["preset"] = preset
    mix = {"anyOf": [preset, {"$ref": "#/$defs/Mix"}]}
    definitions["Alternate"]["properties"]["mix"] = mix
    for name in ("seed", "mix"):
        trial["properties"].pop(name)
    trial["properties"]["mix"] = mix
    definitions["Overrides"] = trial | {"title": "Overrides"}
    for properties in (schema["properties"], definitions["Arm"]["properties"]):
        properties["base"] = {"$ref": "#/$defs/Overrides"}
    definitions["Arm"]["properties"]["mix"] = mix
    schema["properties"]["match"]["anyOf"].insert(0, {"const": "exposure", "description": "with all defaults"})
    schema["properties"]["scales"] = {
        "type": "object",
        "description": "values that override the study at a scale",
        "properties": {scale: {"$ref": "#/$defs/Scale"} for scale in OWN_SCALES},
        "additionalProperties": False,
    }
    changed = {path.partition(".")[0] for path in MAY_CHANGE} & schema["properties"].keys() | {"space"}
    definitions["Scale"] = {
        "type": "object",
        "properties": {name: schema["properties"][name] for name in sorted(changed)}
        | {"budget": {"$ref": "#/$defs/PartOfBudget"}},
        "additionalProperties": False,
    }
    definitions["PartOfBudget"] = _part_of_budget(definitions["Budget"])
    for definition in (schema, *definitions.values()):
        if "description" in definition:  # a docstring: an editor would show its examples of Python as well
            definition["description"] = definition["description"].partition("\n\nExamples:")[0]
    required = [name for name in schema.pop("required") if name != "name"]  # the default is the name of the file
    about: dict[str, Any] = {key: schema.pop(key) for key in ("$defs", "title", "description") if key in schema}
    definitions["Study"] = {**schema, "required": required}
    definitions["Extension"] = _extension(schema, definitions)
    kinds = {"then": {"$ref": "#/$defs/Extension"}, "else": {"$ref": "#/$defs/Study"}}
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **about, "type": "object", "if": {"required": ["extends"]}, **kinds}


def _extension(study: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a study that extends another one: parts of its values, and ``null`` for what is dropped.

    Parts of arms and domains are not described: they are complete only together with the study that is extended.
    """
    null = {"type": "null", "description": "drops it"}
    part = {"type": "object", "description": "values that override those of the extended study"}
    space = {"type": "object", "additionalProperties": {"anyOf": [part, null]}}
    arm = definitions["Arm"]["properties"] | {"space": space}
    properties = study["properties"] | {
        "extends": {
            "type": "string",
            "description": "name of a built-in study, or path of a study file relative to this file; all values that "
            "this file does not give are taken from it, except name, question and why_open",
        },
        "arms": {
            "type": "object",
            "additionalProperties": {
                "anyOf": [{"type": "object", "properties": arm, "additionalProperties": False}, null]
            },
        },
        "space": space,
        "budget": {"$ref": "#/$defs/PartOfBudget"},
    }
    return {**study, "properties": properties, "required": ["extends", "question"]}


def _part_of_budget(budget: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a part of a budget: parameters of an early-stopping rule may change without its name."""
    part = {key: value for key, value in budget.items() if key != "required"}
    rules = {"anyOf": budget["properties"]["early_stopping"]["oneOf"]}
    return part | {"properties": budget["properties"] | {"early_stopping": rules}}
