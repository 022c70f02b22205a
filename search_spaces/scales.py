"""Scales: the same question asked of less or more data, longer or shorter; what is asked stays as it is.

A study's file says what is run without a scale. A scale lies over the file and below what is set on the command
line. Most of it is common to all studies; a study's own ``scales`` say where it needs something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.budget import MAX_EPOCHS
from trainables.errors import UserError, did_you_mean
from trainables.merging import at_path, flattened, merged

SCALES: dict[str, dict[str, Any]] = {
    # seconds: to see that all holds together
    "smoke": {
        "replicates": 1,
        "budget": {"trials": 2, "max_epochs": 2, "early_stopping": {"rule": "none"}},
        "confirm": {"seeds": 2},
        "base": {"data": {"train_frac": 0.05, "batch_size": 64}, "model": {"width": 0.25}},
    },
    # about an hour on two cores with images such as CIFAR-10's, given by --data: a fifth of them
    "laptop": {
        "budget": {"max_epochs": 25},
        "base": {"data": {"train_frac": 0.2, "batch_size": 128}, "model": {"name": "tiny"}, "optimizer": {"lr": 0.2}},
    },
    # the habit of the field for ResNet-18 (as DeVries and Taylor, 2017: 200 epochs, batch 128, decay 5e-4), by cosine
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
    # three quarters. Of the networks that they report, ResNet-110 is the one that we have; 0.1 is its rate, 0.25 that
    # of PyramidNet. They mixed it at probability 1 and took the best epoch by test error: neither is taken over.
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
"""How long, how much, how large: where a study varies these, its own scales may replace their values."""

MAY_CHANGE = ("budget", "replicates", "base.data", "base.model", "base.optimizer", "resources", "confirm")
"""Paths of a study that a scale may change; the rest is what the study means."""


def scaled(values: Mapping[str, Any], scale: str | None, *, where: str) -> dict[str, Any]:
    """Return the values of a study's file at a scale, or as they stand, without the key ``scales``.

    Raises:
        UserError: no such scale, or the study's own scales change what it means.
    """
    study = {key: value for key, value in values.items() if key != "scales"}
    own = values.get("scales", {})
    _check_same_meaning(study, own, where)
    if scale is None:
        return study
    if scale not in SCALES:
        raise UserError(f"--scale '{scale}' is unknown{did_you_mean(scale, SCALES)}")
    return merged(merged(study, _concerning(study, SCALES[scale])), own.get(scale, {}))


def _concerning(study: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what has no place in a study: what it varies, trials of a grid, replicates of a search that draws.

    Seeds of a confirmation have none where nothing is confirmed.
    """
    absent = {f"base.{path}" for path in _space_of(study)}
    if study.get("confirm") is None:
        absent.add("confirm.seeds")
    absent.add("budget.trials" if study.get("search") == "grid" else "replicates")
    kept: dict[str, Any] = {}
    for path, value in flattened(common).items():
        kept = kept if path in absent else merged(kept, at_path(path, value))
    return kept


def _check_same_meaning(study: Mapping[str, Any], own: Any, where: str) -> None:
    if not isinstance(own, Mapping):
        raise UserError(f"{where}: 'scales' must hold values by scale, as in smoke: {{replicates: 1}}, got {own!r}")
    may_change = [*MAY_CHANGE, *(f"space.{path}" for path in SIZES if path in _space_of(study))]
    for scale, changes in own.items():
        if scale not in SCALES:
            raise UserError(f"{where}: 'scales.{scale}' is unknown{did_you_mean(str(scale), SCALES)}")
        if not isinstance(changes, Mapping):
            raise UserError(f"{where}: 'scales.{scale}' must be a mapping, got {changes!r}")
        for path in flattened(changes):
            if not any(f"{path}.".startswith(f"{allowed}.") for allowed in may_change):
                raise UserError(
                    f"{where}: 'scales.{scale}' sets '{path}', but a scale changes the budget and not the meaning: "
                    f"valid are {', '.join(may_change)}"
                )


def _space_of(study: Mapping[str, Any]) -> Mapping[str, Any]:
    space = study.get("space")
    return space if isinstance(space, Mapping) else {}
