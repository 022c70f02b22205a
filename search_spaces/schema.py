"""JSON Schema of a study file, for editors that check and complete YAML."""

from __future__ import annotations

from typing import Any

from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.mixing.presets import PRESETS


def study_schema() -> dict[str, Any]:
    """Return the schema of a study file: that of :class:`Study`, with the overrides spelled out."""
    schema = Study.model_json_schema()
    trial = TrialConfig.model_json_schema()
    definitions = schema["$defs"] = {**trial.pop("$defs"), **schema["$defs"]}
    preset = {"enum": sorted(PRESETS), "description": "a policy by name"}
    definitions["Mix"]["properties"]["preset"] = preset
    mix = {"anyOf": [preset, {"$ref": "#/$defs/Mix"}]}
    definitions["Other"]["properties"]["mix"] = mix
    for name in ("seed", "mix"):
        trial["properties"].pop(name)
    trial["properties"]["mix"] = mix
    definitions["Overrides"] = trial | {"title": "Overrides"}
    for holder in (schema["properties"], definitions["Arm"]["properties"]):
        holder["base"] = {"$ref": "#/$defs/Overrides"}
    definitions["Arm"]["properties"]["mix"] = mix
    schema["properties"]["match"]["anyOf"].insert(0, {"const": "exposure", "description": "with every default"})
    schema["required"] = [name for name in schema["required"] if name != "name"]  # the file's name serves
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
