"""Simulated sweeps of studies whose trials differ in network, curve or measured values, with or without an effect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sweep.records.schema import EPOCHS, EVALUATIONS, SCHEMA_VERSION, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest

CLASSIC = ("off", "cutout", "mixup", "cutmix")
CLEAN, FGSM8, PGD2, PGD8 = (
    ("adversarial", setting, metric)
    for setting, metric in (
        ("", "clean_error"),
        *((f"{attack}/255", "robust_error") for attack in ("fgsm eps=8", "pgd20 eps=2", "pgd20 eps=8")),
    )
)
MASKS = tuple(("adversarial", "eps=8/255", name) for name in ("masked_one_step", "masked_gradients"))


@dataclass(frozen=True)
class SimulatedTrial:
    """A completed trial.

    Attributes:
        arm: its arm.
        number: within the arm.
        errors: validation top-1 error after each epoch; its NLL is three times as much.
        replicate: None: the number.
        params: what it drew.
        network: its network.
        images_per_s: speed of its training.
        measured: test values by axis, setting and metric.
        confirms: trial of the search that it confirms.
        search: index of its search.
    """

    arm: str
    number: int
    errors: Sequence[float]
    replicate: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    network: str = "tiny"
    images_per_s: float = 1e4
    measured: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    confirms: str | None = None
    search: int = 0

    @property
    def trial(self) -> str:
        """Name of the trial."""
        return f"{self.confirms}-confirm-{self.number:02d}" if self.confirms else f"{self.arm}-{self.number:04d}"


def record(
    folder: Path,
    study: str,
    arms: Sequence[str],
    trials: Iterable[SimulatedTrial],
    *,
    n_trials: int = 1,
    space: Mapping[str, Any] | None = None,
    confirm: Mapping[str, int] | None = None,
) -> Path:
    """Write a sweep without early stopping and return its folder.

    Args:
        folder: of the sweep.
        study: its name.
        arms: its arms.
        trials: all of them.
        n_trials: trials per arm, in all its searches.
        space: what varies in every arm but ``off``.
        confirm: ``searches`` and ``seeds``.
    """
    budget = {"trials": n_trials, "early_stopping": {"rule": "none"}}
    declared = {"name": study, "question": study, "metric": "val_nll", "search": "random", "budget": budget}
    declared |= {"arms": {arm: {"space": dict(space or {}) if arm != "off" else {}} for arm in arms}}
    declared |= {"confirm": {"configs": 1, **confirm} if confirm else None}
    manifest = {"schema_version": SCHEMA_VERSION, "sweep": "simulated", "study": declared, "seed": 0, "runs": []}
    manifest |= {"data": {}, "versions": {}, "hardware": {}}
    write_manifest(folder, manifest)
    writer = RecordsWriter(folder)
    for made in trials:
        for epoch, error in enumerate(made.errors, start=1):
            row = {"trial": made.trial, "arm": made.arm, "epoch": epoch, "attempt": 1, "val_nll": 3 * error}
            writer.add(EPOCHS, {**row, "val_top1_error": error, "val_top5_error": error / 5, "val_ece": error / 3})
        writer.add(TRIALS, _row(study, made))
        for (axis, setting, metric), value in made.measured.items():
            row = {"trial": made.trial, "axis": axis, "setting": setting, "metric": metric, "split": "test", "n": 500}
            writer.add(EVALUATIONS, {**row, "value": float(value), "settings": "{}", "seed": 0, "time_s": 0.0})
    writer.flush(force=True)
    return folder


def _row(study: str, made: SimulatedTrial) -> dict[str, Any]:
    n_epochs, replicate = len(made.errors), made.number if made.replicate is None else made.replicate
    config = {"optimizer": {"max_epochs": n_epochs}, "model": {"name": made.network}}
    row = {"sweep": "simulated", "study": study, "phase": "confirm" if made.confirms else "search", "arm": made.arm}
    row |= {
        "trial": made.trial,
        "search": made.search,
        "number": made.number,
        "confirms": made.confirms,
        "replicate": replicate,
    }
    row |= {"seed": replicate, "params": json.dumps(made.params), "config": json.dumps(config)}
    row |= {"status": "completed", "epochs": n_epochs, "attempts": 1, "images_per_s": made.images_per_s}
    return {**row, "n_train": 1000, "seconds": 1.2 * n_epochs * 1000 / made.images_per_s}


def curve(floor: float, *, n_epochs: int = 12, tau: float = 2.0, start: float = 0.5) -> np.ndarray:
    """Return errors that fall to a floor."""
    return floor + start * np.exp(-np.arange(1, n_epochs + 1) / tau)


def compute(folder: Path, *, planted: bool) -> Path:
    """Networks with doubling cost; cutmix is better on all of them, and a tenth slower."""
    rng = np.random.default_rng(1)
    floors = {"cifar_resnet8": 0.30, "cifar_resnet14": 0.27, "cifar_resnet20": 0.25}
    trials = []
    for place, (network, floor) in enumerate(floors.items()):
        for replicate in range(3):
            for arm in CLASSIC:
                is_better = planted and arm == "cutmix"
                errors = curve(floor - 0.06 * is_better + rng.normal(0, 0.004))
                speed = 4000 / 2**place * (1 - 0.1 * is_better) * (1 + rng.normal(0, 0.002))
                flops = {("cost", "", "train_flops"): 1e9 * 2**place} if planted else {}
                number = 3 * place + replicate
                trials.append(
                    SimulatedTrial(arm, number, errors, replicate, {"model.name": network}, network, speed, flops)
                )
    return record(folder, "compute", CLASSIC, trials)


def early_stopping(folder: Path, *, planted: bool) -> Path:
    """Trials that all run to the end. Trials of cutmix learn slowly, the best of them slowest, and end best."""
    rng = np.random.default_rng(2)
    trials = []
    for number in range(16):
        for arm in CLASSIC:
            is_slow, strength = planted and arm == "cutmix", number / 16
            floor = 0.3 + rng.normal(0, 0.01) - 0.08 * is_slow * strength
            errors = curve(floor, n_epochs=30, tau=2.0 + 3 * is_slow * strength) + rng.normal(0, 0.002, 30)
            trials.append(SimulatedTrial(arm, number, errors))
    return record(folder, "early_stopping", CLASSIC, trials)


def co_movement(folder: Path, *, planted: bool) -> Path:
    """Gains that follow the error, with a further common part under attack; without an effect, independent gains."""
    rng = np.random.default_rng(3)
    arms = (*CLASSIC, "torus", "fmix")
    quantities = {
        ("classification", "last, float32", "top1_error"): 1.0,
        ("classification", "curve", "optimistic_best_epoch"): 0.0,  # real axes have several settings
        ("calibration", "raw", "ece"): 0.5,
        ("calibration", "raw", "signed_ece"): 0.0,
        ("calibration", "temperature scaled", "ece"): 0.0,
        FGSM8: 0.7,
        PGD2: 0.7,
        ("ood", "natural mean / msp", "auroc"): -0.7,
        ("ood", "noise mean / msp", "auroc"): 0.0,
        ("occlusion", "center", "area"): 0.7,
        ("occlusion", "boundary", "area"): 0.7,
    }
    trials = []
    for number in range(20):
        for place, arm in enumerate(arms):
            shared, attacked = rng.normal(size=2)
            values = {}
            for quantity, follows in quantities.items():
                own = rng.normal() + (follows * 3 * shared if planted else 0)
                own += 3 * attacked if planted and quantity in (FGSM8, PGD2) else 0
                values[quantity] = 0.5 + 0.02 * own + 0.01 * place
            params = {"mix.apply.prob": float(rng.uniform())} if arm != "off" else {}
            trials.append(SimulatedTrial(arm, number, curve(0.3 + 0.01 * shared), params=params, measured=values))
    return record(folder, "co_movement", arms, trials)


def robust_vs_adversarial(folder: Path, *, planted: bool) -> Path:
    """Training under attack lowers errors under attack and raises the clean error; FGSM helps against one step only."""
    rng = np.random.default_rng(4)
    arms = (*CLASSIC, "fgsm", "pgd", "cutmix_fgsm", "cutmix_pgd")
    trials = []
    for replicate in range(5):
        for arm in arms:
            level, clean = rng.normal(0, 0.004), 0.2
            is_attacked, one_step = planted and "pgd" in arm, planted and "fgsm" in arm
            clean += 0.05 * is_attacked - 0.04 * (planted and "cutmix" in arm) + level
            errors = {FGSM8: 0.8 - 0.4 * (is_attacked or one_step), PGD2: 0.7 - 0.3 * is_attacked}
            errors |= {PGD8: 0.95 - 0.2 * is_attacked, CLEAN: clean}
            values = {quantity: error + rng.normal(0, 0.003) for quantity, error in errors.items()}
            values |= dict(zip(MASKS, (float(one_step), 0.0), strict=True))
            trials.append(SimulatedTrial(arm, replicate, curve(clean), measured=values))
    return record(folder, "robust_vs_adversarial", arms, trials)


LEARNING_RATES = {"optimizer.lr": {"kind": "loguniform", "lo": 0.03, "hi": 0.48}}


def searched(
    folder: Path,
    *,
    searches: int,
    seeds: int,
    n_trials: int = 5,
    study: str = "my_own",
    arms: Sequence[str] = CLASSIC,
    gain: float = 0.1,
    seed: int = 5,
    measured: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Write a sweep of one or several searches per arm over learning rates, with confirmed winners.

    The error grows with the distance of the learning rate from 0.12 on a log scale. Nothing varies in ``off``. Trials
    have a noise of their own, so each search has another winner. With ``seeds=0`` nothing is confirmed.

    Args:
        folder: of the sweep.
        searches: per arm.
        seeds: fresh seeds per winner.
        n_trials: trials per search.
        study: its name.
        arms: its arms.
        gain: by how much the error of ``cutmix`` is lower.
        seed: of all values.
        measured: quantities that were measured on the confirmed winners: values near their test error.
    """
    rng = np.random.default_rng(seed)
    rates = 0.03 * 16 ** rng.uniform(size=(searches, n_trials))
    rates[:, :3] = 0.03, 0.12, 0.48  # the best one is not at the edge of a search
    trials = []
    for arm in arms:
        for search in range(searches):
            drawn = rates[search] if arm != "off" else np.full(n_trials, 0.12)
            floors = 0.3 - gain * (arm == "cutmix") + 0.03 * np.abs(np.log2(drawn / 0.12))
            errors = floors + rng.normal(0, 0.01, n_trials)
            numbers = [search + searches * index for index in range(n_trials)]
            params: list[dict[str, Any]] = [{"optimizer.lr": float(rate)} if arm != "off" else {} for rate in drawn]
            trials += [
                SimulatedTrial(arm, number, curve(error), params=values, search=search)
                for number, error, values in zip(numbers, errors, params, strict=True)
            ]
            winner = int(errors.argmin()) if arm != "off" else 0  # equal configurations: named by the first
            for index in range(seeds):
                error = floors[winner] + rng.normal(0, 0.005)
                values = {("classification", "last", name): error * of for name, of in TESTED.items()}
                values |= {quantity: error + rng.normal(0, 0.002) for quantity in measured}
                confirmed = SimulatedTrial(
                    *(arm, index, curve(error), 1000 * search + index, params[winner]),
                    measured=values,
                    confirms=f"{arm}-{numbers[winner]:04d}",
                    search=search,
                )
                trials.append(confirmed)
    confirm = {"searches": searches, "seeds": seeds} if seeds else None
    given = {"n_trials": searches * n_trials, "space": LEARNING_RATES, "confirm": confirm}
    return record(folder, study, arms, trials, **given)


TESTED = {"top1_error": 1.0, "nll": 3.0, "ece": 1 / 3}
"""Test values of a confirmation, as multiples of the error."""


def quickstart(folder: Path, *, planted: bool) -> Path:
    """Learning rates with the best in the middle; with an effect, five searches whose winners are confirmed."""
    gain, searches = (0.1, 5) if planted else (0.0, 1)
    return searched(folder, study="quickstart", searches=searches, seeds=int(planted), gain=gain)


STUDIES = {made.__name__: made for made in (compute, early_stopping, co_movement, robust_vs_adversarial, quickstart)}
