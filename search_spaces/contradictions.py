"""Checks for values that are given twice: one of the two would silently have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.budget import MAX_EPOCHS
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.merging import flattened, merged
from trainables.mixing.presets import expand_preset

RESERVED = {"seed": "seed", MAX_EPOCHS: "budget.max_epochs"}
"""Paths of a trial that follow from the study, with the study's key."""


def check_contradictions(study: Study) -> None:
    """Check that a study gives no value in two places.

    Raises:
        UserError: names the arm, the path and both places.
    """
    _check_varied_epochs(study)
    for path in study.space:
        if _has(study.base, path):
            raise UserError(f"study '{study.name}': base sets '{path}', but the space varies it: drop one of them")
    for arm in study.arms:
        where = f"study '{study.name}', arm '{arm}'"
        _check_reserved(study, arm, where)
        _check_fixed_and_varied(study, arm, where)
        _check_hidden_by_preset(study, arm, where)


def _check_reserved(study: Study, arm: str, where: str) -> None:
    base = merged(study.base, study.arms[arm].base)
    if MAX_EPOCHS in study.arms[arm].space:
        raise UserError(
            f"{where}: only this arm varies '{MAX_EPOCHS}', but all arms have the same budget: vary it in all arms"
        )
    varied = study.space_of(arm).keys() - {MAX_EPOCHS}
    for path, key in RESERVED.items():
        if any(_covers(other, path) for other in varied) or _has(base, path):
            raise UserError(f"{where}: '{path}' follows from '{key}': set '{key}' instead")
    if "mix.preset" in study.space_of(arm):
        raise UserError(f"{where}: 'mix.preset' cannot vary, 'mix' can: {{kind: choice, values: [cutmix, mixup]}}")


def _check_varied_epochs(study: Study) -> None:
    """Check that trials of different length are neither stopped by comparison nor selected by their result."""
    if MAX_EPOCHS not in study.space:
        return
    where = f"study '{study.name}': the space varies '{MAX_EPOCHS}'"
    stopping = study.budget.early_stopping
    if stopping.build(study.budget.max_epochs) is not None:
        raise UserError(
            f"{where}, but budget.early_stopping.rule is '{stopping.rule}', which compares trials with equal planned "
            "epochs: set it to none"
        )
    if study.search == "tpe":
        raise UserError(
            f"{where}, but search 'tpe' would spend more epochs in one arm than in another: choose random, "
            "quasi_random or grid"
        )
    if study.confirm is not None:
        raise UserError(f"{where}, but confirm would select and compare trials of different length: set it to null")
    values = study.space[MAX_EPOCHS].corners()
    if any(not isinstance(value, int) for value in values) or max(values) != study.budget.max_epochs:
        raise UserError(
            f"{where} over {values}, but these must be whole numbers, and the largest one must be budget.max_epochs, "
            f"which is {study.budget.max_epochs}"
        )


def _check_fixed_and_varied(study: Study, arm: str, where: str) -> None:
    parts = study.arms[arm]
    for path in study.space_of(arm):
        if _has(parts.base, path):
            raise UserError(
                f"{where}: base sets '{path}', but the space varies it: drop one of them, or fix it in the arm's "
                "space: {kind: fixed, value: ...}"
            )


def _check_hidden_by_preset(study: Study, arm: str, where: str) -> None:
    """Check that an arm's own policy does not hide what the study gives to all arms."""
    mix = study.arms[arm].mix
    if mix is None:
        return
    policy = {"mix": expand_preset(mix)}
    for path in study.space:
        if path not in study.arms[arm].space and (path == "mix" or _has(policy, path)):
            raise UserError(
                f"{where}: its mix sets '{path}', but the study's space varies it: move it to the space of the arms "
                "that should vary it"
            )
    common = study.base.get("mix")
    if isinstance(common, Mapping) and "preset" not in common:
        for path in flattened({"mix": common}):
            if _has(policy, path):
                raise UserError(
                    f"{where}: its mix sets '{path}', so the study's base would have no effect: set it in the arms"
                )


def _covers(path: str, other: str) -> bool:
    return other == path or other.startswith(f"{path}.")


def _has(values: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
