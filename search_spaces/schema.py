"""JSON Schema of a study file, for editors that check and complete YAML."""

from __future__ import annotations

from typing import Any

from search_spaces.scales import MAY_CHANGE, SCALES
from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.mixing.presets import PRESETS


def study_schema() -> dict[str, Any]:
    """Return the schema of a study file: that of :class:`Study`, with overrides and scales spelled out."""
    schema = Study.model_json_schema()
    trial = TrialConfig.model_json_schema()
    definitions = schema["$defs"] = {**trial.pop("$defs"), **schema["$defs"]}
    preset = {"enum": sorted(PRESETS), "description": "a policy by name"}
    definitions["Mix"]["properties"]["preset"] = preset
    mix = {"anyOf": [preset, {"$ref": "#/$defs/Mix"}]}
    definitions["Alternate"]["properties"]["mix"] = mix
    for name in ("seed", "mix"):
        trial["properties"].pop(name)
    trial["properties"]["mix"] = mix
    definitions["Overrides"] = trial | {"title": "Overrides"}
    for holder in (schema["properties"], definitions["Arm"]["properties"]):
        holder["base"] = {"$ref": "#/$defs/Overrides"}
    definitions["Arm"]["properties"]["mix"] = mix
    schema["properties"]["match"]["anyOf"].insert(0, {"const": "exposure", "description": "with every default"})
    schema["properties"]["scales"] = {
        "type": "object",
        "description": "values that lie over the study at a scale",
        "properties": {scale: {"$ref": "#/$defs/Scale"} for scale in SCALES},
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
    schema["required"] = [name for name in schema["required"] if name != "name"]  # the file's name serves
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _part_of_budget(budget: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of some of a budget's values: an early-stopping rule may be changed without being named."""
    part = {key: value for key, value in budget.items() if key != "required"}
    rules = {"anyOf": budget["properties"]["early_stopping"]["oneOf"]}
    return part | {"properties": budget["properties"] | {"early_stopping": rules}}
