"""Adding to a study that has been run: more trials, more seeds, more arms; what was run keeps its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.budget import Confirm
from search_spaces.discover import parse_value
from search_spaces.matching import match_target
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.merging import merged
from trainables.strict import parse


def extended(study: Study, *, trials: int = 0, seeds: int = 0, arms: Mapping[str, Any] | None = None) -> Study:
    """Return the study with more in it; each of its trials so far is a trial of the new one too.

    Args:
        study: what was run.
        trials: more trials of each arm's search.
        seeds: more seeds of each configuration that is confirmed.
        arms: more arms, as in a study file. Their searches get as many trials as those of the others.

    Raises:
        UserError: nothing is added, an arm exists already, or what follows is no valid study.
    """
    where = f"study '{study.name}'"
    if not (trials or seeds or arms):
        raise UserError("nothing to add: give --add-trials, --add-seeds or --add-arms")
    values = study.model_dump(mode="json")
    if arms:
        values = merged(values, {"arms": _new_arms(study, arms), **_same_match(study)})
    if trials:
        if study.budget.trials is None:
            raise UserError(
                f"{where}: its grid sets the number of trials, so --add-trials cannot add any: run the study again "
                "with more replicates"
            )
        values = merged(values, {"budget": {"trials": study.budget.trials + trials}})
    if seeds:
        before = study.confirm
        if before is None:
            raise UserError(f"{where} confirms nothing, so that there are no seeds to add to: use cutmix-sweep confirm")
        values = merged(values, {"confirm": {"configs": before.configs, "seeds": before.seeds + seeds}})
    return _checked(values, where)


def confirmed(study: Study, *, seeds: int, configs: int | None = None) -> Study:
    """Return the study with ``configs`` winners of each arm confirmed on ``seeds`` seeds in all.

    Without ``configs`` they are as many as the study has, or one.

    Raises:
        UserError: the study has confirmed more than that.
    """
    if configs is None:
        configs = 1 if study.confirm is None else study.confirm.configs
    if study.confirm is not None and (seeds < study.confirm.seeds or configs < study.confirm.configs):
        raise UserError(
            f"study '{study.name}' confirms {study.confirm.configs} configurations an arm on {study.confirm.seeds} "
            f"seeds already, {configs} and {seeds} are fewer"
        )
    values = study.model_dump(mode="json")
    confirm = parse(Confirm, {"configs": configs, "seeds": seeds}, where=f"study '{study.name}', confirm")
    return _checked(values | {"confirm": confirm.model_dump()}, f"study '{study.name}'")


def parse_arms(text: str) -> dict[str, Any]:
    """Read ``--add-arms``: presets by name, ``fmix,gridmix``, or arms as in a study file, ``{soft: {mix: {...}}}``.

    Raises:
        UserError: the text is neither.
    """
    value = parse_value(text, where="--add-arms") if text.lstrip().startswith("{") else text
    if isinstance(value, str):
        return {name.strip(): {"mix": name.strip()} for name in value.split(",")}
    if not isinstance(value, dict):
        raise UserError(f"--add-arms takes presets, for example fmix,gridmix, or {{name: {{mix: ...}}}}, got '{text}'")
    return value


def _new_arms(study: Study, arms: Mapping[str, Any]) -> dict[str, Any]:
    for name in arms:
        if name in study.arms:
            raise UserError(f"study '{study.name}' has an arm '{name}' already")
    return dict(arms)


def _same_match(study: Study) -> dict[str, Any]:
    """Fix the exposure that arms were given: without a target it would follow the new arms, and the old ones too."""
    if study.match is None or study.match.target is not None:
        return {}
    return {"match": {"target": match_target(study), "target_from_arms": True}}


def _checked(values: dict[str, Any], where: str) -> Study:
    study = parse(Study, values, where=where)
    study.check()
    return study
