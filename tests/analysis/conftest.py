"""Recorded sweeps with simulated values, written by the writer that real sweeps use."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis.data.frames import Sweep, load
from sweep.records.schema import DECISIONS, EPOCHS, EVALUATIONS, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from tests.analysis.simulated_studies import STUDIES, searched

mpl.use("Agg")

ARMS = ("off", "cutout", "mixup", "cutmix")
SHAPES = ("off", "cutmix", "box", "ellipse", "fourier")
RUNGS = (3, 6)

Params = Mapping[str, Any]
Gain = Callable[[str, Params], float]
Quantity = tuple[str, str, str]


@dataclass
class Simulation:
    """Simulated trials: curves that fall to a floor. Each rung stops the worst quarter of an arm.

    With ``replicates``, the search is a grid over ``space`` and the space of the arm in ``spaces``. Each arm has as
    many trials as the largest grid needs, and ``gain`` returns by how much the parameters lower the error of an arm.
    With ``confirm_seeds``, the configuration with the lowest error of each arm is confirmed. ``evaluated`` is then
    measured on it: expected values by axis, condition and metric, each a function of the arm.
    """

    sweep_dir: Path
    study: str = "alpha_prob"
    arms: tuple[str, ...] = ARMS
    effect: float = 0.0  # decrease of the error of the cutmix arm at prob 1; torus adds half of it
    gains: Mapping[str, float] = field(default_factory=dict)  # decrease of the error of each arm
    n_trials: int = 24
    n_epochs: int = 12
    stop: bool = True
    n_running: int = 0  # running trials per arm, the last ones
    seed: int = 20
    recorded: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    finals: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    replicates: int = 0
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    spaces: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    gain: Gain | None = None
    confirm_seeds: int = 0
    evaluated: Mapping[Quantity, Callable[[str], float]] = field(default_factory=dict)
    doses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def write(self) -> Path:
        """Write the whole sweep and return its folder."""
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        if self.replicates:
            self.n_trials = self.replicates * max(len(self._grid(arm)) for arm in self.arms)
        write_manifest(self.sweep_dir, self._manifest())
        writer = RecordsWriter(self.sweep_dir)
        rng = np.random.default_rng(self.seed)
        for number in range(self.n_trials):
            for arm in self.arms:
                self._trial(writer, arm, number, rng)
        for seed, arm in itertools.product(range(self.confirm_seeds), self.arms):
            self._confirm(writer, arm, seed, rng)
        writer.flush(force=True)
        return self.sweep_dir

    def _grid(self, arm: str) -> list[Params]:
        space = {**self.space, **self.spaces.get(arm, {})}
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]

    def _params(self, arm: str, number: int, rng: np.random.Generator) -> Params:
        if self.replicates:
            grid = self._grid(arm)
            return grid[number % len(grid)]
        return _params(arm, rng) if self.study == "alpha_prob" else {}

    def _manifest(self) -> dict[str, Any]:
        asha = {"rule": "asha"}
        budget = {"trials": self.n_trials, "max_epochs": self.n_epochs, "early_stopping": asha}
        return {
            "schema_version": 1,
            "sweep": "simulated",
            "study": {
                "name": self.study,
                "question": "simulated",
                "arms": {arm: {"space": _choices(self.spaces.get(arm, {}))} for arm in self.arms},
                "space": _choices(self.space),
                "search": "grid" if self.replicates else "random",
                "budget": budget,
                "metric": "val_top1_error",
                "confirm": {"configs": 1, "searches": 1, "seeds": self.confirm_seeds} if self.confirm_seeds else None,
            },
            "seed": self.seed,
            "data": {},
            "versions": {"python": "3.11"},
            "hardware": {"device": "simulated"},
            "command": "simulated",
            "runs": [],
        }

    def _trial(self, writer: RecordsWriter, arm: str, number: int, rng: np.random.Generator) -> None:
        trial, params = f"{arm}-{number:04d}", self._params(arm, number, rng)
        planned = int(params.get("optimizer.max_epochs", self.n_epochs))
        errors = self._errors(arm, params, planned, rng)
        self.finals.setdefault((arm, number % len(self._grid(arm))), []).append(float(errors[-1]))
        status, done = "completed", planned
        if number >= self.n_trials - self.n_running:
            status, done = "running", 1
        for epoch in range(1, done + 1):
            error = float(errors[epoch - 1])
            writer.add(EPOCHS, _epoch(trial, arm, epoch, error))
            if self.stop and epoch in RUNGS and self._is_stopped(writer, trial, arm, epoch, error):
                status, done = "stopped", epoch
                break
        writer.add(TRIALS, {**self._row(trial, arm, number, params), "status": status, "epochs": done})

    def _errors(self, arm: str, params: Params, planned: int, rng: np.random.Generator) -> np.ndarray:
        floor = 0.3 + rng.normal(0, 0.01) - self._gain(arm, params)
        noise = rng.normal(0, 0.004, planned)
        return np.clip(floor + 0.5 * np.exp(-np.arange(1, planned + 1) / 2) + noise, 0, 1)

    def _gain(self, arm: str, params: Params) -> float:
        if self.gain is not None:
            return self.gain(arm, params)
        if "mix.position.kind" not in params:
            return self.gains.get(arm, 0.0)
        is_torus = params["mix.position.kind"] == "torus"
        return self.effect * (params["mix.apply.prob"] + 0.5 * is_torus)

    def _confirm(self, writer: RecordsWriter, arm: str, seed: int, rng: np.random.Generator) -> None:
        """Train the best configuration of the arm again. Its test error is the validation error of the last epoch."""
        grid = self._grid(arm)
        number = min(range(len(grid)), key=lambda point: float(np.mean(self.finals[arm, point])))
        params = grid[number]
        trial = f"{arm}-{number:04d}-confirm-{seed:02d}"
        errors = self._errors(arm, params, self.n_epochs, rng)
        for epoch, error in enumerate(errors, start=1):
            writer.add(EPOCHS, _epoch(trial, arm, epoch, float(error)))
        row = {**self._row(trial, arm, seed, params), "phase": "confirm", "confirms": f"{arm}-{number:04d}"}
        writer.add(TRIALS, {**row, "replicate": seed, "status": "completed", "epochs": self.n_epochs})
        test = {"top1_error": errors[-1], "nll": 3 * errors[-1], "ece": errors[-1] / 3}
        values = {("classification", "last", metric): value for metric, value in test.items()}
        values |= {quantity: expected(arm) + rng.normal(0, 0.005) for quantity, expected in self.evaluated.items()}
        for (axis, setting, metric), value in values.items():
            row = {"trial": trial, "axis": axis, "split": "test", "setting": setting, "metric": metric, "n": 1000}
            writer.add(EVALUATIONS, {**row, "value": float(value), "seed": 0, "time_s": 0.0})

    def _is_stopped(self, writer: RecordsWriter, trial: str, arm: str, epoch: int, error: float) -> bool:
        values = self.recorded.setdefault((arm, epoch), [])
        values.append(error)
        cutoff = float(np.quantile(values, 0.75)) if len(values) >= 4 else None
        stopped = cutoff is not None and error > cutoff
        row = {"trial": trial, "arm": arm, "rule": "asha", "metric": "val_top1_error", "rung_epochs": epoch}
        row |= {"value": error, "cutoff": cutoff, "n_recorded": len(values), "time_s": 0.0}
        writer.add(DECISIONS, {**row, "verdict": "stop" if stopped else "continue"})
        return stopped

    def _row(self, trial: str, arm: str, number: int, params: Params) -> dict[str, Any]:
        config = {"optimizer": {"max_epochs": params.get("optimizer.max_epochs", self.n_epochs)}, "seed": number}
        replicate = number // len(self._grid(arm)) if self.replicates else number
        row = {"sweep": "simulated", "study": self.study, "phase": "search", "arm": arm, "trial": trial}
        row |= {"number": number, "replicate": replicate, "seed": replicate, "attempts": 1}
        row |= {"n_train": round(1000 * params.get("data.train_frac", 1.0)), **self.doses.get(arm, {})}
        return {**row, "params": json.dumps(params), "config": json.dumps({**config, **self.config})}


def _choices(space: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {path: {"kind": "choice", "values": list(values)} for path, values in space.items()}


def _params(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {}
    if arm in ("mixup", "cutmix"):
        params["mix.size.alpha"] = float(np.exp(rng.uniform(np.log(0.1), np.log(4))))
        params["mix.apply.prob"] = float(rng.uniform())
    if arm == "cutmix":
        params["mix.position.kind"] = str(rng.choice(["clip", "inside", "torus"]))
    return params


def _epoch(trial: str, arm: str, epoch: int, error: float) -> dict[str, Any]:
    row = {"trial": trial, "arm": arm, "epoch": epoch, "attempt": 1, "train_loss": 2 * error}
    row |= {"val_top1_error": error, "val_top5_error": error / 5, "val_nll": 3 * error, "val_ece": error / 3}
    return {**row, "lr": 0.1, "effective_prob": 1.0, "pasted_frac": 0.3, "seconds": 0.5, "images_per_s": 1e4}


@pytest.fixture(scope="session")
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a simulated sweep with these arguments of ``Simulation`` and return its folder."""
    return lambda **given: Simulation(tmp_path_factory.mktemp("sweep"), **given).write()


@pytest.fixture(scope="session")
def planted_dir(simulate: Callable[..., Path]) -> Path:
    """A sweep in which prob and torus clearly lower the error of the cutmix arm."""
    return simulate(effect=0.2)


@pytest.fixture(scope="session")
def null_dir(simulate: Callable[..., Path]) -> Path:
    """A sweep in which no parameter has an effect."""
    return simulate(effect=0.0)


@pytest.fixture(scope="session")
def planted_shapes_dir(simulate: Callable[..., Path]) -> Path:
    """A sweep of shapes without early stopping: one shape is better than the box, one worse."""
    return simulate(study="mask_shape", arms=SHAPES, gains={"off": -0.1, "fourier": 0.1}, stop=False)


@pytest.fixture(scope="session")
def null_shapes_dir(simulate: Callable[..., Path]) -> Path:
    """A sweep of equal shapes without early stopping."""
    return simulate(study="mask_shape", arms=SHAPES, stop=False)


@pytest.fixture(scope="session")
def simulated_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """Write the simulated sweep of a study by name, with or without an effect, and return its folder."""
    made: dict[tuple[str, bool], Path] = {}

    def write(study: str, planted: bool) -> Path:
        if (study, planted) not in made:
            made[study, planted] = STUDIES[study](tmp_path_factory.mktemp(study), planted=planted)
        return made[study, planted]

    return write


@pytest.fixture(scope="session")
def searches_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of five searches per arm, whose winners are confirmed on three seeds each and evaluated."""
    return searched(tmp_path_factory.mktemp("searches"), searches=5, seeds=3, measured=[("sharpness", "", "area")])


@pytest.fixture(scope="session")
def one_search_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of one search per arm, whose winner is confirmed on five seeds."""
    return searched(tmp_path_factory.mktemp("search"), searches=1, seeds=5, n_trials=12)


@pytest.fixture(scope="session")
def planted(planted_dir: Path) -> Sweep:
    """The sweep with an effect, loaded."""
    return load(planted_dir)


@pytest.fixture(scope="session")
def null(null_dir: Path) -> Sweep:
    """The sweep without an effect, loaded."""
    return load(null_dir)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator for bootstrap resamples."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")
