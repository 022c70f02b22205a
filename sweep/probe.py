"""Measure how many trials of a study a GPU runs best at the same time, before any of them runs.

The largest trial of each arm is run by 1, 2, 4 and 8 processes at once, on random images. Ray is not needed. On a
machine whose study uses no GPU, the same is done on the CPU cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.study import Study
from sweep.gpu_room import image_bytes_of, image_room, share_of_gpu
from sweep.largest import largest_config, state_bytes
from sweep.planned import PlannedTrial, first_config, planned_trials
from sweep.probe_pool import Pool
from sweep.random_trial import ImageFacts
from trainables.config import TrialConfig
from trainables.cores import usable_cores
from trainables.data.places import place_of
from trainables.data.sources.base import Description
from trainables.data.sources.registry import open_source
from trainables.errors import UserError
from trainables.units import format_bytes

COUNTS = (1, 2, 4, 8)
"""Numbers of trials at the same time that are measured."""

NEAR_BEST = 0.95
"""Fraction of the best speed, all trials together, that the proposed number of trials reaches."""


@dataclass(frozen=True)
class ProbeRow:
    """Largest trial of an arm, measured with several trials at the same time.

    Attributes:
        arm: name of the arm.
        n_trials: number of trials at the same time, on one GPU or on the cores of this machine.
        images_per_s: training images per second of all of them together; the time of the validation counts.
        epochs_per_s: epochs per second of all of them together.
        peak_bytes: memory of one trial with its images: on a GPU the largest so far, on a CPU that of the process.
        is_streamed: whether the images of the arm do not fit in the memory of the GPU, and are streamed.
        why_not: why so many trials do not run at the same time; "" if they do.
    """

    arm: str
    n_trials: int
    images_per_s: float
    epochs_per_s: float
    peak_bytes: int
    is_streamed: bool
    why_not: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """What was measured, and what follows for the sweep.

    Attributes:
        device: name of the GPU, or ``cpu``.
        n_gpus: number of GPUs of this machine; 0: trials use the CPU.
        rows: one row per arm and number of trials.
        trials_per_gpu: smallest number of trials per GPU within 5 % of the best speed; on a CPU, trials at a time.
        hours: duration of the whole sweep on this machine if no trial stops early.
    """

    device: str
    n_gpus: int
    rows: tuple[ProbeRow, ...]
    trials_per_gpu: int
    hours: float

    @property
    def slots(self) -> int:
        """Number of trials at the same time on this machine, as proposed."""
        return self.trials_per_gpu * max(1, self.n_gpus)

    @property
    def speeds(self) -> list[float]:
        """Training images per second of one trial of each arm, with the proposed number at the same time."""
        return [row.images_per_s / row.n_trials for row in self.rows if row.n_trials == self.trials_per_gpu]

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs together; 0 on a CPU."""
        return self.hours * self.n_gpus

    def cost(self, price_per_gpu_hour: float) -> float:
        """Return the price of the sweep, in the currency of the price per hour of a GPU.

        Examples:
            >>> ProbeResult("NVIDIA H100", 2, (), trials_per_gpu=4, hours=3.0).cost(2.5)
            15.0
        """
        return self.gpu_hours * price_per_gpu_hour


def probe(
    study: Study,
    *,
    counts: Sequence[int] = COUNTS,
    seconds: float = 2.0,
    environment: Mapping[str, str] | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> ProbeResult:
    """Measure the largest trial of each arm with several trials at the same time on this machine.

    Args:
        study: the study; its data source must be usable. No data are decoded.
        counts: numbers of trials at the same time, rising. Numbers for which there are too few cores are left out.
        seconds: shortest time of each measurement.
        environment: variables that the processes get beside the present ones, for example those of a running MPS.
        show: is called with what is measured next.

    Raises:
        UserError: trials need a GPU and this machine has none, a trial has several workers, or a single trial does not
            fit or fails.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> probe(load_study("quickstart", scale="smoke")).trials_per_gpu  # doctest: +SKIP
        2
    """
    n_gpus = _count_gpus(study)
    trials = planned_trials(study)
    data = first_config(study).data
    described = open_source(place_of(data.source).source).describe(data.image_size_px)
    facts = ImageFacts(described.n_classes, described.height_px, described.width_px)
    possible = _possible(study, counts, n_gpus)
    rows: list[ProbeRow] = []
    with Pool(threads=study.resources.cpus, environment=environment or {}) as pool:
        for arm in study.arms:
            own = [trial for trial in trials if trial.arm == arm]
            measured = _Measured(arm, largest_config(study, arm, facts), facts, own, described, bool(n_gpus))
            rows += measured.rows(pool, possible, seconds, show)
        device = pool.device
    best = _proposal(rows, trials)
    slots = best[0] * max(1, n_gpus)
    in_use = min(slots, sum(trial.weight for trial in trials))
    return ProbeResult(device, n_gpus, tuple(rows), best[0], best[1] / 3600 / max(1, n_gpus) * slots / in_use)


def _count_gpus(study: Study) -> int:
    """Return the number of GPUs that trials can use here; 0 if they need none.

    Raises:
        UserError: a trial has several workers, or needs a GPU and there is none.
    """
    if study.resources.workers > 1:
        raise UserError(
            f"resources.workers is {study.resources.workers}: the number of trials per GPU can be measured only for "
            "trials with 1 worker"
        )
    if not study.resources.gpus:
        return 0
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "trials need a GPU to be measured, and this machine has none: run this command on a GPU node, or measure "
            "on the CPU with --gpus 0"
        )
    return torch.cuda.device_count()


def _possible(study: Study, counts: Sequence[int], n_gpus: int) -> list[int]:
    cores = usable_cores() // max(1, n_gpus)
    return [count for count in counts if count == 1 or count * study.resources.cpus <= cores]


@dataclass(frozen=True)
class _Measured:
    """Largest trial of an arm, to be measured."""

    arm: str
    config: TrialConfig
    facts: ImageFacts
    trials: Sequence[PlannedTrial]
    described: Description
    on_gpu: bool

    def rows(
        self, pool: Pool, counts: Sequence[int], seconds: float, show: Callable[[str], None]
    ) -> Iterator[ProbeRow]:
        """Yield a row per number of trials, until so many do not fit."""
        n_batches = None
        for count in counts:
            show(f"measuring arm {self.arm}, {count} trial{'' if count == 1 else 's'} at a time")
            order = {
                "config": self.config.model_dump_json(),
                **vars(self.facts),
                "val_frac": max(trial.n_val / trial.n_train for trial in self.trials),
                "n_batches": n_batches,
                "device": "cuda" if self.on_gpu else "cpu",
                "share": 1 / count,
                "seconds": seconds,
            }
            built = pool.ask(count, {"build": order})
            answers = built if _failure(built) else pool.ask(count, {"measure": seconds})
            pool.ask(count, {"release": True})
            row = self._row(count, answers)
            if row.why_not and count == 1:
                raise UserError(f"arm '{self.arm}': its largest trial cannot run on this machine: {row.why_not}")
            yield row
            if row.why_not:
                return
            n_batches = built[0]["n_batches"]

    def _row(self, count: int, answers: Sequence[Mapping[str, Any]]) -> ProbeRow:
        if failure := _failure(answers):
            return ProbeRow(self.arm, count, 0.0, 0.0, 0, False, failure)
        per_s = sum(answer["images"] / answer["seconds"] for answer in answers)
        peak_bytes = max(answer["peak_bytes"] for answer in answers)
        is_streamed, why_not = False, ""
        if self.on_gpu:
            first = answers[0]
            images = max(image_bytes_of(self.described, trial) for trial in self.trials)
            state = state_bytes(self.config, self.facts)
            is_streamed = not images or images > image_room(share_of_gpu(1 / count, first["total_bytes"]), state)
            peak_bytes += 0 if is_streamed else images
            used = max(answer["used_bytes"] for answer in answers)
            used += count * ((0 if is_streamed else images) - first["image_bytes"])
            if used > first["total_bytes"]:
                why_not = f"they need {format_bytes(used)} of {format_bytes(first['total_bytes'])}"
        epochs_per_s = per_s / max(trial.n_train for trial in self.trials)
        return ProbeRow(self.arm, count, per_s, epochs_per_s, peak_bytes, is_streamed, why_not)


def _failure(answers: Sequence[Mapping[str, Any]]) -> str:
    return next((str(answer["error"]) for answer in answers if "error" in answer), "")


def _proposal(rows: Sequence[ProbeRow], trials: Sequence[PlannedTrial]) -> tuple[int, float]:
    """Return the smallest number of trials near the best speed, and the seconds of all trials on one GPU with it.

    Examples:
        >>> trial = PlannedTrial("off", TrialConfig(), 1.0, 100, 10)
        >>> rows = [ProbeRow("off", k, speed, 1.0, 0, False) for k, speed in ((1, 50.0), (2, 96.0), (4, 100.0))]
        >>> _proposal(rows, [trial])
        (2, 20.833333333333332)
    """
    work: dict[str, float] = {}
    for trial in trials:
        work[trial.arm] = work.get(trial.arm, 0.0) + trial.work
    seconds: dict[int, float] = {}
    for count in dict.fromkeys(row.n_trials for row in rows):
        speeds = {row.arm: row.images_per_s for row in rows if row.n_trials == count and not row.why_not}
        if speeds.keys() == work.keys():
            seconds[count] = math.fsum(amount / speeds[arm] for arm, amount in work.items())
    shortest = min(seconds.values())
    return next((count, each) for count, each in sorted(seconds.items()) if NEAR_BEST * each <= shortest)
