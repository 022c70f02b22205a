"""Metrics of a running sweep for Prometheus: computed from the counts that ``status`` and the live table use.

The driver sets them through ``ray.util.metrics``, and each node of Ray serves what its processes have set. Ray puts
``ray_`` before each name, and ``_total`` behind the name of a counter.
"""

from __future__ import annotations

import importlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

from sweep.conductor import Conductor
from sweep.endings import reason_of
from sweep.progress import ProgressTracker, SweepProgress
from sweep.ray_job import sweep_id
from sweep.records.schema import CONFIRM, FAILED, PAUSED, RUNNING, SEARCH

SET_EVERY_S = 5.0
"""Time between two updates: Ray 2.60 drops a gauge that was not set for 20 s."""

MAX_VALUES = 64
"""Largest number of values of the labels ``arm`` and ``node``; further ones are counted as ``other``."""

OTHER = "other"
"""Label of all arms or nodes beyond ``MAX_VALUES``."""

SWEEP_LABELS = ("sweep", "id")
"""Labels of all metrics: name of the sweep, and what tells sweeps of one name apart."""

WAITING = "waiting"
"""Status of a trial that has not begun."""


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: name without the prefix ``ray_``.
        kind: ``gauge`` or ``counter``.
        labels: names of its labels, beside those in ``SWEEP_LABELS``.
        meaning: help text, with the unit.
    """

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    meaning: str

    @property
    def exported(self) -> str:
        """Name under which Prometheus reads it."""
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"


INFO = Metric("cutmix_sweep_info", "gauge", ("study", "version"), "Always 1; study and version of a running sweep.")
TRIALS = Metric("cutmix_sweep_trials", "gauge", ("arm", "phase", "status"), "Number of trials.")
VAL_ERROR = Metric(
    "cutmix_sweep_val_top1_error_ratio",
    "gauge",
    ("arm", "stat"),
    "Best and median final validation top-1 error of the completed search trials, a fraction.",
)
VAL_NLL = Metric(
    "cutmix_sweep_val_nll_nats",
    "gauge",
    ("arm", "stat"),
    "Lowest and median final validation NLL of the completed search trials, nats.",
)
TEST_ERROR = Metric(
    "cutmix_sweep_test_top1_error_ratio",
    "gauge",
    ("arm",),
    "Mean test top-1 error of the completed confirmation trials, a fraction.",
)
EPOCHS = Metric("cutmix_sweep_epochs", "counter", ("arm", "phase"), "Recorded epochs since the driver started.")
EPOCHS_LEFT = Metric("cutmix_sweep_epochs_left", "gauge", (), "Epochs left if no further trial stops early.")
TIME_LEFT = Metric("cutmix_sweep_time_left_seconds", "gauge", (), "Time left if no further trial stops early, seconds.")
PACE = Metric(
    "cutmix_sweep_images_per_second",
    "gauge",
    ("arm",),
    "Training images per second, sum over the running trials, each in its last epoch.",
)
SLOTS = Metric("cutmix_sweep_slots", "gauge", ("state",), "Trials that run or wait for a worker, and free slots.")
NODES = Metric("cutmix_sweep_nodes", "gauge", ("state",), "Nodes that can run trials, and nodes that were left out.")
LOSSES = Metric(
    "cutmix_sweep_losses",
    "counter",
    ("cause",),
    "Times that trials have lost their worker, or ran out of GPU memory, since the driver started.",
)
FAILURES = Metric("cutmix_sweep_failures", "counter", ("node",), "Failed trials since the driver started.")
GPU_MEMORY = Metric(
    "cutmix_sweep_gpu_memory_bytes",
    "gauge",
    ("arm",),
    "Largest GPU memory that PyTorch allocated for one trial since the driver started, bytes.",
)
LAG = Metric(
    "cutmix_sweep_driver_lag_seconds",
    "gauge",
    (),
    "Longest time between two steps of the driver in the last 5 seconds: a report waits at most so long.",
)
FLUSH = Metric("cutmix_sweep_flush_seconds", "gauge", (), "Duration of the last write of the records, seconds.")
CHECKPOINT = Metric(
    "cutmix_sweep_checkpoint_seconds",
    "gauge",
    (),
    "Longest write of a trial's state that was reported in the last 5 seconds, or before, seconds.",
)
RECORD_AGE = Metric("cutmix_sweep_record_age_seconds", "gauge", (), "Time since the last recorded epoch, seconds.")

METRICS = (
    *(INFO, TRIALS, VAL_ERROR, VAL_NLL, TEST_ERROR, EPOCHS, EPOCHS_LEFT, TIME_LEFT, PACE, SLOTS, NODES, LOSSES),
    *(FAILURES, GPU_MEMORY, LAG, FLUSH, CHECKPOINT, RECORD_AGE),
)
"""All metrics, in the order of the documentation."""

Value = tuple[Metric, tuple[str, ...], float]
"""A metric, the values of its labels, and its value; that of a counter is the sum since the driver started."""


class SweepMetrics:
    """Metrics of one run of a sweep.

    An error, for example of Ray, is said in one line. The metrics stop then, and the sweep continues.
    """

    def __init__(
        self,
        conductor: Conductor,
        *,
        storage: str,
        warn: Callable[[str], None] = lambda text: None,
        ray_metrics: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a run.

        Args:
            conductor: conductor of the run.
            storage: folder or address of the sweep, the last part of which is its name.
            warn: shows one line that needs attention.
            ray_metrics: module or object with the classes ``Gauge`` and ``Counter``; None: ``ray.util.metrics``.
            clock: monotonic clock, seconds.
        """
        self._conductor = conductor
        self._tracker = ProgressTracker(conductor)
        self._warn, self._clock = warn, clock
        name = storage.rstrip("/").rpartition("/")[2]
        self._sweep = dict(zip(SWEEP_LABELS, (label_value(name), sweep_id(storage)), strict=True))
        self._info = label_value(conductor.study.name), label_value(version("cutmix-sweep"))
        self._ray_metrics = ray_metrics
        self._of_ray: dict[str, Any] | None = None
        self._is_broken = False
        self._sent: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._seen: set[tuple[str, ...]] = set()  # labels of numbers of trials that were not 0
        self._paced: set[str] = set()  # arms that have had running trials: without them Ray shows the last value on
        self._epochs_before = dict(conductor.tally.n_epochs_of)
        self._n_epochs, self._recorded_at_s = conductor.tally.n_epochs, clock()
        self._set_at_s = -float("inf")
        self._stepped_at_s, self._lag_s = clock(), 0.0
        self._checkpoint_s: float | None = None
        self._checkpoints_s: list[float] = []  # since the last update
        self._gpu_bytes: dict[str, float] = {}
        self._n_failures: Counter[str] = Counter()
        self._lost_before = Counter(conductor.tally.losses)

    def on_result(self, result: Mapping[str, Any]) -> None:
        """Receive the report of a trial: how long its last state took to write, and the memory that it used."""
        entry = self._conductor.entries.get(str(result.get("trial")))
        if seconds := result.get("checkpoint_s"):
            self._checkpoints_s.append(float(seconds))
        if entry is not None and (size := result.get("gpu_memory_bytes")):
            self._gpu_bytes[entry.arm] = max(self._gpu_bytes.get(entry.arm, 0.0), float(size))

    def update(self) -> None:
        """Set all metrics if 5 s have passed; call it after each step of the driver, also while the sweep is paused."""
        now_s = self._clock()
        self._lag_s, self._stepped_at_s = max(self._lag_s, now_s - self._stepped_at_s), now_s
        if self._is_broken or now_s - self._set_at_s < SET_EVERY_S:
            return
        try:
            self._set()
        except Exception as error:  # no error of the metrics may end a sweep
            self._is_broken = True
            self._warn(f"metrics are not exported any more, the sweep continues: {reason_of(error)}")
        self._set_at_s, self._lag_s = now_s, 0.0

    def _set(self) -> None:
        of_ray = self._of_ray = self._of_ray or self._new_metrics()
        for metric, values, value in self.values():
            tags = dict(zip(metric.labels, values, strict=True))
            if metric.kind == "gauge":
                of_ray[metric.name].set(value, tags)
            elif (added := value - self._sent[metric.name, values]) > 0:
                of_ray[metric.name].inc(added, tags)
                self._sent[metric.name, values] += added  # type: ignore[assignment]  # whole numbers

    def _new_metrics(self) -> dict[str, Any]:
        module = self._ray_metrics or importlib.import_module("ray.util.metrics")
        kinds = {"gauge": module.Gauge, "counter": module.Counter}
        return {
            metric.name: kinds[metric.kind](
                metric.name, description=metric.meaning, tag_keys=(*SWEEP_LABELS, *metric.labels)
            ).set_default_tags(self._sweep)
            for metric in METRICS
        }

    def values(self) -> list[Value]:
        """Return the present value of each metric that has one."""
        progress = self._tracker.snapshot()
        values: list[Value] = [(INFO, self._info, 1)]
        values += self._trial_counts(progress)
        values += self._errors(progress)
        values += self._work(progress)
        values += self._cluster(progress)
        values += self._durations()
        return values

    def _arm(self, arm: str) -> str:
        """Return the label of an arm; the study may get more arms while it runs."""
        arms = list(self._conductor.study.arms)
        return arm if len(arms) <= MAX_VALUES or arms.index(arm) < MAX_VALUES - 1 else OTHER

    def _trial_counts(self, progress: SweepProgress) -> Iterator[Value]:
        conductor, counts = self._conductor, Counter[tuple[str, ...]]()
        confirming = Counter(entry.arm for entry in conductor.running if entry.phase == CONFIRM)
        to_confirm, trials_per_arm = conductor.by_search.to_confirm, conductor.study.trials_per_arm
        for arm in progress.arms:
            label = self._arm(arm.arm)
            confirm_counts = dict(conductor.tally.confirm_counts[arm.arm])
            confirm_counts[PAUSED] += confirm_counts[RUNNING] - confirming[arm.arm]  # interrupted, not yet resumed
            confirm_counts[RUNNING] = confirming[arm.arm]
            n_unbegun = trials_per_arm - sum(arm.counts.values())
            for phase, of_phase, n_waiting in (
                (SEARCH, arm.counts, n_unbegun),
                (CONFIRM, confirm_counts, to_confirm[arm.arm]),
            ):
                counts[label, phase, WAITING] += max(0, n_waiting)
                for status, number in of_phase.items():
                    counts[label, phase, status] += number
        self._seen.update(labels for labels, number in counts.items() if number)
        return ((TRIALS, labels, counts[labels]) for labels in sorted(self._seen))

    def _errors(self, progress: SweepProgress) -> Iterator[Value]:
        for arm in progress.arms:
            label = self._arm(arm.arm)
            if label == OTHER:
                continue
            nlls = self._conductor.tally.nlls[arm.arm]
            for metric, best, median in ((VAL_ERROR, arm.best, arm.median), (VAL_NLL, nlls.best, nlls.median)):
                if best is not None and median is not None:
                    yield metric, (label, "best"), best
                    yield metric, (label, "median"), median
            if errors := self._conductor.tally.test_errors[arm.arm].values():
                yield TEST_ERROR, (label,), sum(errors) / len(errors)

    def _work(self, progress: SweepProgress) -> Iterator[Value]:
        epochs, paces = Counter[tuple[str, ...]](), dict.fromkeys(self._paced, 0.0)
        for (arm, phase), number in self._conductor.tally.n_epochs_of.items():
            epochs[self._arm(arm), phase] += number - self._epochs_before.get((arm, phase), 0)
        for trial in progress.running:
            label = self._arm(trial.arm)
            paces[label] = paces.get(label, 0.0) + (trial.images_per_s or 0.0)
        self._paced.update(paces)
        yield from ((EPOCHS, labels, number) for labels, number in epochs.items())
        yield EPOCHS_LEFT, (), self._conductor.epochs_left
        if progress.left_s is not None:
            yield TIME_LEFT, (), progress.left_s
        yield from ((PACE, (label,), pace) for label, pace in paces.items())
        peaks: dict[str, float] = {}
        for arm, size in self._gpu_bytes.items():
            peaks[self._arm(arm)] = max(peaks.get(self._arm(arm), 0.0), size)
        yield from ((GPU_MEMORY, (label,), size) for label, size in peaks.items())

    def _cluster(self, progress: SweepProgress) -> Iterator[Value]:
        n_waiting, n_slots = slots_of(self._conductor)
        n_running = len(progress.running) - n_waiting
        yield SLOTS, ("running",), n_running
        yield SLOTS, ("waiting",), n_waiting
        if n_slots is not None:
            yield SLOTS, ("free",), max(0, n_slots - n_running)
        yield NODES, ("fit",), len(self._conductor.nodes.fit)
        yield NODES, ("unfit",), len(self._conductor.nodes.unfit)
        for event in self._tracker.new_events():
            if event.kind == FAILED:
                node = label_value(event.node or "unknown")
                full = len(self._n_failures) >= MAX_VALUES - 1 and node not in self._n_failures
                self._n_failures[OTHER if full else node] += 1
        yield from ((FAILURES, (node,), number) for node, number in self._n_failures.items())
        causes = self._conductor.tally.losses - self._lost_before
        yield from ((LOSSES, (label_value(cause),), number) for cause, number in causes.items())

    def _durations(self) -> Iterator[Value]:
        now_s, n_epochs = self._clock(), self._conductor.tally.n_epochs
        if n_epochs != self._n_epochs:
            self._n_epochs, self._recorded_at_s = n_epochs, now_s
        if self._checkpoints_s:
            self._checkpoint_s = max(self._checkpoints_s)
            self._checkpoints_s.clear()
        yield LAG, (), self._lag_s
        yield FLUSH, (), self._conductor.flush_s
        if self._checkpoint_s is not None:
            yield CHECKPOINT, (), self._checkpoint_s
        yield RECORD_AGE, (), now_s - self._recorded_at_s


def slots_of(conductor: Conductor) -> tuple[int, int | None]:
    """Return the number of trials that wait for a worker, and the number of slots; None if it is not known yet."""
    n_waiting = sum(entry.trial in conductor.without_worker for entry in conductor.running)
    return n_waiting, conductor.capacity[0] if conductor.capacity else None


def label_value(text: str) -> str:
    """Return a text as the value of a label: at most 64 letters, digits, ``_``, ``.`` and ``-``.

    Examples:
        >>> label_value("box v2/ünder 100 %")
        'box_v2__nder_100__'
    """
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:64]
