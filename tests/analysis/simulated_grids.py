"""Simulated sweeps of studies with a grid: arguments of ``Simulation``, with and without an effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Params = Mapping[str, Any]
Given = dict[str, Any]

CLASSIC = ("off", "cutout", "mixup", "cutmix")
ALPHA = {"mix.size.alpha": [0.3, 1.0, 3.0]}
LAM = {"mix.label.lam": ["realised", "nominal"]}
EXPONENT = {"mix.label.exponent": [0.0, 0.5, 1.0, 2.0, "inf"]}
SHARED = {"mix.granularity": ["sample", "batch"], "mix.apply.gate": ["sample", "batch"]}
CIFAR = {"data": {"source": "cifar100", "train_frac": 1.0, "val_frac": 0.1}, "model": {"name": "tiny", "width": 1.0}}


def none(arm: str, params: Params) -> float:
    return 0.0


def grid(study: str, arms: tuple[str, ...], gain: Callable[[str, Params], float], planted: bool, **more: Any) -> Given:
    """Return the arguments for a grid, with its confirmation and measurements, with or without an effect."""
    given = {"study": study, "arms": arms, "stop": False, "n_epochs": 8, "gain": gain if planted else none}
    return {**given, "replicates": 5, "confirm_seeds": 5 if planted else 0, **more}


def paper_ablation(planted: bool) -> Given:
    gains = {"cutout": 0.02, "mixup": 0.05, "cutmix": 0.1, "scheduled": 0.1, "fixed_size": 0.1, "complete_label": 0.07}
    sigmas = {0.1: 0.02, 0.25: 0.08, 0.5: 0.16}

    def gain(arm: str, params: Params) -> float:
        if arm == "center_gaussian":
            return sigmas[params["mix.position.sigma_frac"]]
        return 0.02 * params["mix.layer"] if arm == "feature" else gains.get(arm, 0.0)

    arms = (*CLASSIC, "scheduled", "fixed_size", "complete_label", "one_hot", "center_gaussian", "feature")
    spaces = {"center_gaussian": {"mix.position.sigma_frac": list(sigmas)}, "feature": {"mix.layer": [1, 2, 3]}}
    return grid("paper_ablation", arms, gain, planted, spaces=spaces, config={**CIFAR, "optimizer": {"max_epochs": 8}})


def position(planted: bool) -> Given:
    def gain(arm: str, params: Params) -> float:
        return {"torus": 0.08, "off": -0.05}.get(arm, 0.0) - 0.08 * (params.get("mix.label.lam") == "nominal")

    corners = {"cutmix": 0.13, "spill": 0.25, "inside": 0.03, "torus": 0.3}
    return grid(
        "position",
        (*CLASSIC, "spill", "inside", "torus"),
        gain,
        planted,
        spaces={"mixup": ALPHA, "inside": ALPHA, "torus": ALPHA, "cutmix": ALPHA | LAM, "spill": ALPHA | LAM},
        doses={
            arm: {"dose_exposure": 0.12, "dose_coverage_centre": 0.5 - corner, "dose_coverage_corner": corner}
            | {"dose_coverage_edge": 0.2 + corner / 4, "dose_pasted_frac": 0.15}
            for arm, corner in corners.items()
        },
        evaluated={
            ("classification", "last, float32", "worst_class_top1_error"): lambda arm: 0.5 - 0.1 * (arm == "torus"),
            ("localization", "cam threshold=0.15", "top1_loc_error"): lambda arm: 0.6,
        },
    )


def label_rule(planted: bool) -> Given:
    losses = {0.0: 0.04, 0.5: 0.0, 1.0: 0.0, 2.0: 0.0, "inf": 0.12}

    def gain(arm: str, params: Params) -> float:
        exponent = params.get("mix.label.exponent", 1.0)
        # smoothing restores the loss by hard labels
        rescued = 0.1 if exponent == "inf" and params["mix.label.smoothing"] else 0.0
        return rescued - losses[exponent] if arm == "cutmix" else 0.0

    spaces = {"mixup": EXPONENT, "cutmix": EXPONENT}
    space = {"mix.label.smoothing": [0.0, 0.1]}
    return grid("label_rule", CLASSIC, gain, planted, space=space, spaces=spaces, seed=21)


def pairing(planted: bool) -> Given:
    def gain(arm: str, params: Params) -> float:
        return -0.1 * (arm == "same_class") - 0.05 * (params.get("mix.granularity") == "batch")

    arms = (*CLASSIC, "derange", "cross_class", "same_class")
    worst = {("classification", "last, float32", "worst_class_top1_error"): lambda arm: 0.5 + 0.1 * (arm == "off")}
    return grid("pairing", arms, gain, planted, spaces=dict.fromkeys(arms[2:], SHARED), evaluated=worst)


def schedule(planted: bool) -> Given:
    def gain(arm: str, params: Params) -> float:
        return {"ramp_up": -0.05, "cool_down": 0.05, "off": -0.1}.get(arm, 0.0)

    arms = (*CLASSIC, "ramp_up", "ramp_down", "first_half", "second_half", "middle", "cool_down")
    return grid(
        "schedule",
        arms,
        gain,
        planted,
        replicates=10,
        doses={arm: {"dose_mean_prob": 0.5 * (arm != "off"), "dose_exposure": 0.1} for arm in arms},
        evaluated={("calibration", "raw", "signed_ece"): lambda arm: -0.1 if arm == "ramp_up" else 0.0},
    )


def budget(planted: bool) -> Given:
    def gain(arm: str, params: Params) -> float:
        images = params["optimizer.max_epochs"] * params["data.train_frac"]
        return 0.1 * float(np.log2(images / 6)) if arm == "cutmix" else 0.0

    space = {"optimizer.max_epochs": [4, 8, 16, 32], "data.train_frac": [0.25, 0.5, 1.0]}
    return grid("budget", CLASSIC, gain, planted, space=space, replicates=6, confirm_seeds=0)


GRIDS: dict[str, Callable[[bool], Given]] = {
    made.__name__: made for made in (paper_ablation, position, label_rule, pairing, schedule, budget)
}
"""By study: arguments of a simulation, with an effect and without."""
