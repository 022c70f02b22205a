"""Scales: the same question with less or more data, epochs and trials.

A study's file declares what is run without a scale. A scale overrides the file, and values set on the command line
override the scale. Most of a scale is common to all studies; a study's own ``scales`` hold its exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.budget import MAX_EPOCHS
from search_spaces.resources import without_other_share
from trainables.errors import UserError, did_you_mean, format_value
from trainables.merging import at_path, flattened, merged

SCALES: dict[str, dict[str, Any]] = {
    # seconds: a test of the whole pipeline
    "smoke": {
        "replicates": 1,
        "budget": {"trials": 2, "max_epochs": 2, "early_stopping": {"rule": "none"}},
        "confirm": {"configs": 1, "searches": 2, "seeds": 1},
        "base": {"data": {"train_frac": 0.05, "batch_size": 64}, "model": {"width": 0.25}},
    },
    # about an hour on two cores with a fifth of CIFAR-10 or similar images, given by --data
    "laptop": {
        "budget": {"max_epochs": 25},
        "base": {"data": {"train_frac": 0.2, "batch_size": 128}, "model": {"name": "tiny"}, "optimizer": {"lr": 0.2}},
    },
    # usual for ResNet-18 (DeVries and Taylor, 2017: 200 epochs, batch 128, weight decay 5e-4), with a cosine schedule
    "gpu": {
        "budget": {"max_epochs": 200},
        "base": {
            "data": {"source": "cifar100", "train_frac": 1.0, "val_frac": 0.1, "batch_size": 128},
            "model": {"name": "resnet18"},
            "optimizer": {"lr": 0.1, "weight_decay": 5e-4},
        },
        "resources": {"cpus": 2, "gpus": 1.0},
    },
    # CIFAR-100 as in Yun et al., ICCV 2019, and their code: 300 epochs, batch 64, decay 1e-4, rate x0.1 at half and at
    # three quarters. ResNet-110 is the smallest network of the paper; its rate is 0.1, that of PyramidNet 0.25.
    # The authors mixed at probability 1 and took the best epoch by test error; neither is done here.
    "paper": {
        "budget": {"max_epochs": 300, "early_stopping": {"rule": "none"}},
        "base": {
            "data": {"source": "cifar100", "train_frac": 1.0, "val_frac": 0.1, "batch_size": 64},
            "model": {"name": "cifar_resnet110", "precision": "fp32"},
            "optimizer": {"lr": 0.1, "weight_decay": 1e-4, "schedule": {"kind": "step"}},
        },
        "resources": {"cpus": 2, "gpus": 1.0},
    },
}
"""Values by the scale's name, for every study."""

SIZES = (MAX_EPOCHS, "data.train_frac", "model.name")
"""Paths of run length, amount of data and network; a study that varies them may set their values in its scales."""

MAY_CHANGE = ("budget", "replicates", "base.data", "base.model", "base.optimizer", "resources", "confirm")
"""Paths of a study that a scale may change; all other paths define the question."""


def scaled(values: Mapping[str, Any], scale: str | None, *, where: str) -> dict[str, Any]:
    """Return the values of a study's file at a scale, without the key ``scales``; at no scale as they are.

    Raises:
        UserError: no such scale, or the study's own scales change its meaning.
    """
    study = {key: value for key, value in values.items() if key != "scales"}
    exceptions = values.get("scales", {})
    _check_same_meaning(study, exceptions, where)
    if scale is None:
        return study
    if scale not in SCALES:
        raise UserError(f"--scale '{scale}' is unknown{did_you_mean(scale, SCALES)}")
    for changes in (_applicable(study, SCALES[scale]), exceptions.get(scale, {})):
        study = merged(without_other_share(study, changes), changes)
    return study


def _applicable(study: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a common scale that apply to a study.

    These do not apply: values of varied paths, the number of trials of a grid, replicates of a random search, and the
    confirmation if the study confirms nothing. A study with one search is confirmed on as many seeds as the scale has
    searches.
    """
    excluded = {f"base.{path}" for path in _space_of(study)}
    excluded.add("budget.trials" if study.get("search") == "grid" else "replicates")
    values = dict(common)
    if "confirm" in values:
        values["confirm"] = _confirmation(study, values["confirm"])
    kept: dict[str, Any] = {}
    for path, value in flattened(values).items():
        kept = kept if path in excluded else merged(kept, at_path(path, value))
    return kept


def _confirmation(study: Mapping[str, Any], common: Mapping[str, int]) -> Mapping[str, int]:
    """Return the values of a common scale for ``confirm``."""
    confirm = study.get("confirm")
    if confirm is None:
        return {}
    seeds = {"configs": common["configs"], "seeds": common["searches"]}
    if isinstance(confirm, Mapping) and confirm.get("searches") == 1:
        return seeds
    arms = study.get("arms")
    spaces = [_space_of(study), *(map(_space_of, arms.values()) if isinstance(arms, Mapping) else ())]
    if not any(_varies(domain) for space in spaces for domain in space.values()):
        return seeds
    # a search needs a whole round of the grid, or all replicates of a configuration: too many trials for two searches
    in_rounds = study.get("search") == "grid" or study.get("replicates", 1) != 1
    return {"searches": 1, **seeds} if in_rounds else common


def _check_same_meaning(study: Mapping[str, Any], exceptions: Any, where: str) -> None:
    if not isinstance(exceptions, Mapping):
        raise UserError(
            f"{where}: 'scales' must hold values by scale, for example smoke: {{replicates: 1}}, got "
            f"{format_value(exceptions)}"
        )
    may_change = [*MAY_CHANGE, *(f"space.{path}" for path in SIZES if path in _space_of(study))]
    for scale, changes in exceptions.items():
        if scale not in SCALES:
            raise UserError(f"{where}: 'scales.{scale}' is unknown{did_you_mean(str(scale), SCALES)}")
        if not isinstance(changes, Mapping):
            raise UserError(f"{where}: 'scales.{scale}' must be a mapping, got {format_value(changes)}")
        for path in flattened(changes) or changes:
            if not any(f"{path}.".startswith(f"{allowed}.") for allowed in may_change):
                raise UserError(
                    f"{where}: 'scales.{scale}' sets '{path}', but a scale may change the budget and not the question; "
                    f"valid: {', '.join(may_change)}"
                )


def _space_of(study_or_arm: Any) -> Mapping[str, Any]:
    """Return the space of a study or of an arm, as its file has it."""
    space = study_or_arm.get("space") if isinstance(study_or_arm, Mapping) else None
    return space if isinstance(space, Mapping) else {}


def _varies(domain: Any) -> bool:
    """Return whether a domain, as a file has it, has several values."""
    if not isinstance(domain, Mapping):
        return True
    values = domain.get("values")
    return domain.get("kind") != "fixed" and not (isinstance(values, list) and len(values) == 1)
