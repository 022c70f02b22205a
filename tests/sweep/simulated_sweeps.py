"""Whole sweeps in which the true error of each arm is known: simulated trials, the real conductor, records and verdict.

Errors are in percentage points here, and fractions in the records.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

from search_spaces.check import check_study
from search_spaces.study import Study
from sweep.conductor import Conductor, Job
from sweep.findings.confirmed import summarise_confirmed, verdict_confirmed
from sweep.findings.student_t import LEVEL
from sweep.manifest import new_manifest, with_study
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from sweep.records.writer import write_manifest
from tests.sweep.conftest import DOSE_COLUMNS
from trainables.seeds import derive_seed, generator
from trainables.strict import parse

ARMS = ("off", "cutout", "mixup", "cutmix")
"""Arms of a simulated sweep, the baseline first."""

LR = "optimizer.lr"
LO, HI = 1e-3, 1.0
MAX_EPOCHS = 4
MEAN_ERROR, SEED_SD = 30.0, 0.5
START, SPEED, SPEED_SD = 20.0, 1.0, 0.3
"""Error above the final value before the first epoch; rate of learning per epoch, and the SD of its logarithm.

At the first rung the rates move an error by about 2 points, so that curves cross as often as they predict their end.
"""

REPORT = {
    **{"train_loss": 1.0, "val_top5_error": 0.1, "val_ece": 0.05, "lr": 0.1, "effective_prob": 0.5},
    **{"pasted_frac": 0.25, "seconds": 2.0, "images_per_s": 1e3, "n_train": 80, "n_val": 20},
    **{"device": "cpu", "precision": "fp32", "step_kind": "eager", "threads": 1, "node": "here"},
    **dict.fromkeys(DOSE_COLUMNS, 0.25),
}
"""Report of an epoch, without the epoch and the validation errors."""


@dataclass(frozen=True)
class Setting:
    """One kind of sweep.

    Attributes:
        spread: SD of the true error over the configurations of an arm, points.
        noise: SD of the validation error of a trial about its true error, points.
        searches: searches per arm.
        trials: trials per search.
        seeds: seeds per winner.
        search: sampler.
        early_stopping: whether ASHA stops trials, at the rungs 1 and 3 of 4 epochs; otherwise trials have 1 epoch.
        own_draws: whether each arm samples its own values; otherwise all arms have equal ones.
        gain: points by which the true errors of ``cutmix`` are lower than those of the other arms.
        handicap: points by which ``cutmix`` is worse at its start; at the end of training nothing is left of them.
    """

    spread: float
    noise: float
    searches: int
    trials: int
    seeds: int
    search: str = "random"
    early_stopping: bool = False
    own_draws: bool = False
    gain: float = 0.0
    handicap: float = 0.0

    @cached_property
    def study(self) -> Study:
        """Study of these sweeps."""
        space = {LR: {"kind": "loguniform", "lo": LO, "hi": HI}}
        arms = {arm: {"mix": arm} | ({"space": space} if self.own_draws else {}) for arm in ARMS}
        values = {
            "name": "simulated",
            "question": "Does an arm differ?",
            "arms": arms,
            "space": {} if self.own_draws else space,
            "search": self.search,
            "metric": "val_top1_error",
            "budget": {
                "trials": self.searches * self.trials,
                "max_epochs": MAX_EPOCHS if self.early_stopping else 1,
                "early_stopping": {"rule": "asha", "grace_period_epochs": 1}
                if self.early_stopping
                else {"rule": "none"},
            },
            "confirm": {"searches": self.searches, "seeds": self.seeds},
        }
        study = parse(Study, values, where="simulated study")
        check_study(study)
        return study

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Manifest of these sweeps."""
        return new_manifest(self.study, Path("simulated"), "simulated", {})

    def run(self, number: int, folder: Path) -> pd.DataFrame:
        """Run one sweep in ``folder``, which is then removed; return its rows of :func:`run_sweeps`."""
        seed = derive_seed("simulated sweep", repr(self), number)
        study = self.study.model_copy(update={"seed": seed})
        folder.mkdir()
        try:
            write_manifest(folder, with_study(self.manifest, study))
            _run(Buffered(study, folder), Curves(self, seed))
            summary = summarise_confirmed(read_sweep(folder), read_sweep(folder, CONFIRM))
        finally:
            shutil.rmtree(folder)
        rows = summary[(summary["rank"] == 1) & (summary["arm"] != ARMS[0])]
        differs = rows["p_holm"] <= 1 - LEVEL
        # the sentence that a researcher reads finds a difference if and only if the table does
        assert differs.any() != ("undecided: no " in verdict_confirmed(summary, self.manifest["study"]))
        values = {"sweep": number, "arm": rows["arm"], "difference": 100 * rows["difference"], "differs": differs}
        return pd.DataFrame(values)


class Buffered(Conductor):
    """A conductor that writes its records at the end: writing each row at once takes most of the time."""

    def flush(self, *, force: bool = False) -> None:
        """Write nothing yet."""

    def write(self) -> None:
        """Write all rows."""
        super().flush(force=True)


class Curves:
    """Errors of the trials of one sweep."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._setting = setting
        self._rng = generator("simulated sweep", seed)
        self._trials: dict[str, tuple[float, float]] = {}

    def true_error(self, job: Job) -> float:
        """Return the true error of a trial's configuration, points: normal over the space of its arm."""
        quantile = math.log(job.config.optimizer.lr / LO) / math.log(HI / LO)
        normal = NormalDist().inv_cdf(min(max(quantile, 1e-12), 1 - 1e-12))
        return MEAN_ERROR - self._setting.gain * (_arm(job) == ARMS[-1]) + self._setting.spread * normal

    def report(self, job: Job, epoch: int) -> dict[str, Any]:
        """Return the report of a trial after an epoch; the validation error falls to its final value."""
        if job.trial not in self._trials:
            final = self.true_error(job) + self._rng.normal(0, self._setting.noise)
            self._trials[job.trial] = final, SPEED * math.exp(self._rng.normal(0, SPEED_SD))
        error, speed = self._trials[job.trial]
        planned = job.config.optimizer.max_epochs
        if epoch < planned:
            last = math.exp(-speed * planned)
            error += START * (math.exp(-speed * epoch) - last) / (1 - last)
            error += self._setting.handicap * (1 - epoch / planned) * (_arm(job) == ARMS[-1])
        report = {"trial": job.trial, "epoch": epoch, "val_top1_error": error / 100, "val_nll": error / 50, **REPORT}
        if job.test and epoch == planned:
            top1_error = (self.true_error(job) + self._rng.normal(0, SEED_SD)) / 100
            metrics = {"top1_error": top1_error, "top5_error": top1_error / 2, "nll": 3 * top1_error, "ece": 0.05}
            test = {"metrics": metrics, "n": 10_000, "weights": "last", "library": "simulated 1"}
            report["test"] = json.dumps(test)
        return report


def _arm(job: Job) -> str:
    return job.trial.partition("-")[0]


def _run(conductor: Buffered, curves: Curves, n_workers: int = 2) -> None:
    """Run all trials, ``n_workers`` at a time."""
    running: deque[tuple[Job, int]] = deque()
    while True:
        while len(running) < n_workers and (begun := conductor.next_job()):
            running.append((begun, begun.recorded_epochs + 1))
        if not running:
            break
        job, epoch = running.popleft()
        if not conductor.on_report(job.trial, curves.report(job, epoch)):
            running.append((job, epoch + 1))
    conductor.write()


def run_sweeps(setting: Setting, numbers: Iterable[int], folder: Path) -> pd.DataFrame:
    """Run independent sweeps of one setting.

    Args:
        setting: kind of the sweeps.
        numbers: numbers of the sweeps; the number and the setting give the seed.
        folder: empty folder for their records.

    Returns:
        One row per sweep and arm other than the baseline: ``sweep``, ``arm``, ``difference`` of the test errors from
        the baseline (points) and ``differs``, whether the verdict finds a difference.
    """
    return pd.concat([setting.run(number, folder / f"{number}") for number in numbers], ignore_index=True)


def differing_frac(sweeps: pd.DataFrame) -> float:
    """Return the fraction of sweeps in which the verdict finds that some arm differs."""
    return float(sweeps.groupby("sweep")["differs"].any().mean())
