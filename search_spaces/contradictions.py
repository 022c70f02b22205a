"""Refusing values that are given twice: one of the two would silently have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.errors import UserError
from trainables.merging import flattened, merged
from trainables.mixing.presets import expand_preset

if TYPE_CHECKING:
    from search_spaces.study import Study

MAX_EPOCHS = "optimizer.max_epochs"
"""Planned epochs: the budget's, unless the study's own space varies them."""

RESERVED = {"seed": "seed", MAX_EPOCHS: "budget.max_epochs"}
"""Paths of a trial that follow from the study, and from what."""


def check_contradictions(study: Study) -> None:
    """Refuse a study that gives a value in two places.

    Raises:
        UserError: naming the arm, the path and both places.
    """
    _check_varied_epochs(study)
    for path in study.space:
        if _holds(study.base, path):
            raise UserError(f"study '{study.name}': base sets '{path}', but the space varies it: drop one of them")
    for arm in study.arms:
        where = f"study '{study.name}', arm '{arm}'"
        _check_reserved(study, arm, where)
        _check_fixed_and_varied(study, arm, where)
        _check_hidden_by_preset(study, arm, where)


def _check_reserved(study: Study, arm: str, where: str) -> None:
    given = merged(study.base, study.arms[arm].base)
    if MAX_EPOCHS in study.arms[arm].space:
        raise UserError(f"{where}: '{MAX_EPOCHS}' varies in this arm alone, but budgets are equal: vary it in all")
    varied = study.space_of(arm).keys() - {MAX_EPOCHS}
    for path, instead in RESERVED.items():
        if any(_covers(other, path) for other in varied) or _holds(given, path):
            raise UserError(f"{where}: '{path}' follows from '{instead}': set that")
    if "mix.preset" in study.space_of(arm):
        raise UserError(f"{where}: 'mix.preset' cannot vary, 'mix' can: {{kind: choice, values: [cutmix, mixup]}}")


def _check_varied_epochs(study: Study) -> None:
    """Trials of unequal length must be neither stopped by comparison nor chosen by result."""
    if MAX_EPOCHS not in study.space:
        return
    where = f"study '{study.name}': the space varies '{MAX_EPOCHS}'"
    rule = study.budget.early_stopping.rule
    if rule != "none":
        raise UserError(
            f"{where}, but budget.early_stopping.rule is '{rule}', which compares trials planned alike: set it to none"
        )
    if study.search == "tpe":
        raise UserError(
            f"{where}, but search 'tpe' would spend more epochs in one arm than in another: choose random, "
            "quasi_random or grid"
        )
    if study.confirm is not None:
        raise UserError(f"{where}, but confirm would choose and compare trials of unequal length: set it to null")
    values = study.space[MAX_EPOCHS].corners()
    if any(not isinstance(value, int) for value in values) or max(values) != study.budget.max_epochs:
        raise UserError(
            f"{where} over {values}, but these must be whole numbers, the largest one budget.max_epochs, which is "
            f"{study.budget.max_epochs}"
        )


def _check_fixed_and_varied(study: Study, arm: str, where: str) -> None:
    parts = study.arms[arm]
    for path in study.space_of(arm):
        if _holds(parts.base, path):
            raise UserError(
                f"{where}: base sets '{path}', but the space varies it: drop one of them, or fix it in the arm's "
                "space: {kind: fixed, value: ...}"
            )


def _check_hidden_by_preset(study: Study, arm: str, where: str) -> None:
    """What all arms are given must not meet an arm whose own policy says otherwise."""
    mix = study.arms[arm].mix
    if mix is None:
        return
    own = {"mix": expand_preset(mix)}
    for path in study.space:
        if path not in study.arms[arm].space and (path == "mix" or _holds(own, path)):
            raise UserError(
                f"{where}: its mix sets '{path}', but the study's space varies it: vary it in the space of the arms "
                "that it is meant for"
            )
    shared = study.base.get("mix")
    if isinstance(shared, Mapping) and "preset" not in shared:
        for path in flattened({"mix": shared}):
            if _holds(own, path):
                raise UserError(
                    f"{where}: its mix sets '{path}', so that the study's base would have no effect: set it in the arms"
                )


def _covers(path: str, other: str) -> bool:
    return other == path or other.startswith(f"{path}.")


def _holds(values: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
