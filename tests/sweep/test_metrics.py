"""The metrics of a sweep: equal to the records, few, without secrets, and never the end of a sweep. No Ray."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from search_spaces.study import Study
from sweep.conductor import Job
from sweep.losses import Loss
from sweep.metrics import MAX_VALUES, METRICS, SET_EVERY_S, SweepMetrics
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from tests.sweep.conftest import falling
from tests.sweep.fake_ray_metrics import RayMetrics

MakeStudy = Callable[..., Study]
ROOT = Path(__file__).parents[2]

FOURTEEN = {f"cutmix_with_a_long_name_{number:02}": {"mix": "cutmix"} for number in range(14)}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Watched:
    """A simulated sweep with metrics."""

    def __init__(self, simulation: Any, **options: Any) -> None:
        self.simulation, self.ray, self.clock = simulation, RayMetrics(), Clock()
        self.warnings: list[str] = []
        simulation.conductor.capacity = 3, 1
        options = {"storage": str(simulation.sweep_dir), "warn": self.warnings.append} | options
        given = {"ray_metrics": self.ray, "clock": self.clock}
        self.metrics = SweepMetrics(simulation.conductor, **(given | options))
        on_report = simulation.conductor.on_report

        def reported(trial: str, report: Mapping[str, Any]) -> bool:
            ended: bool = on_report(trial, report)
            self.metrics.on_result(report)
            return ended

        simulation.conductor.on_report = reported

    def run(self, n_reports: int | None = None) -> Watched:
        self.simulation.run(n_reports)
        return self.update()

    def update(self) -> Watched:
        self.clock.now_s += SET_EVERY_S
        self.metrics.update()
        return self

    def read(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by these labels, read by Prometheus' own parser."""
        samples = [
            sample
            for family in text_string_to_metric_families(self.ray.text())
            for sample in family.samples
            if sample.name == f"ray_cutmix_sweep_{name}"
        ]
        return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}


@pytest.fixture
def watched(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., Watched]:
    def begin(changes: dict[str, Any] | None = None, options: dict[str, Any] | None = None, **given: Any) -> Watched:
        return Watched(simulate(study_of(**changes or {}), tmp_path / "mine", **given), **options or {})

    return begin


def with_faults(job: Job, epoch: int) -> dict[str, Any]:
    luck = random.Random(f"{job.trial} {epoch}").random()
    if luck < 0.1 and epoch > 1:  # before its first epoch it would be tried on another node
        return {"failed": "it broke", "node": "node-b"}
    return falling(job, epoch)


@pytest.mark.parametrize("n_reports", [0, 1, 17, None])
def test_values_equal_the_records(watched: Callable[..., Watched], n_reports: int | None, tmp_path: Path) -> None:
    changes = {"confirm": {"searches": 2, "seeds": 2}}
    sweep = watched(changes, curve=with_faults).run(n_reports)
    conductor = sweep.simulation.conductor
    conductor.flush(force=True)
    records, confirming = read_sweep(tmp_path / "mine"), read_sweep(tmp_path / "mine", CONFIRM)
    counts = sweep.read("trials", "arm", "phase", "status")
    for phase, trials in (("search", records.trials), ("confirm", confirming.trials)):
        recorded = trials.groupby(["arm", "status"]).size().to_dict()
        seen = {(arm, status): n for (arm, of, status), n in counts.items() if of == phase and status != "waiting"}
        assert {key: n for key, n in seen.items() if n} == recorded
    assert sum(counts.values()) == conductor.n_trials
    ended = {"completed", "stopped", "failed", "diverged", "cancelled"}
    assert sum(n for (_, _, status), n in counts.items() if status not in ended) == conductor.n_left
    for name, column in (("val_top1_error_ratio", "val_top1_error"), ("val_nll_nats", "val_nll")):
        last = records.epochs.groupby("trial")[column].last()
        completed = records.trials.loc[records.trials["status"] == "completed", ["arm", "trial"]]
        errors = last[completed["trial"]].groupby(completed["arm"].to_list()).agg(["min", "median"])
        expected = errors.rename(columns={"min": "best"}).stack().to_dict()
        assert sweep.read(name, "arm", "stat") == pytest.approx(expected)
    tests = confirming.evaluations.query("metric == 'top1_error'").merge(confirming.trials[["trial", "arm"]])
    assert sweep.read("test_top1_error_ratio", "arm") == pytest.approx(
        {(arm,): error for arm, error in tests.groupby("arm")["value"].mean().items()}
    )
    epochs = pd.concat([records.epochs, confirming.epochs])
    assert sum(sweep.read("epochs_total", "arm", "phase").values()) == len(epochs)
    failed = int((records.trials["status"] == "failed").sum() + (confirming.trials["status"] == "failed").sum())
    assert sum(sweep.read("failures_total", "node").values()) == failed
    assert sweep.read("epochs_left") == {(): conductor.epochs_left}
    slots = {state: n for (state,), n in sweep.read("slots", "state").items()}
    assert slots == {"running": len(conductor.running), "waiting": 0, "free": 3 - len(conductor.running)}
    assert sum(sweep.read("images_per_second", "arm").values()) == 1000 * sum(bool(e.curve) for e in conductor.running)
    if n_reports is None:
        assert failed
        assert len(tests)
        assert set(sweep.read("failures_total", "node")) == {("node-b",)}


def test_what_a_trial_costs(watched: Callable[..., Watched]) -> None:
    def curve(job: Job, epoch: int) -> dict[str, Any]:
        return falling(job, epoch) | {"checkpoint_s": epoch / 100, "gpu_memory_bytes": 1e9 * epoch}

    sweep = watched(curve=curve).run(7)
    assert sweep.read("gpu_memory_bytes", "arm") == {("off",): 4e9, ("cutout",): 3e9}
    assert sweep.read("checkpoint_seconds") == {(): 0.04}
    sweep.update()
    assert sweep.read("checkpoint_seconds") == {(): 0.04}


def test_durations_of_the_driver(watched: Callable[..., Watched]) -> None:
    sweep = watched().run(4)
    sweep.clock.now_s += 1.5
    sweep.metrics.update()
    sweep.clock.now_s += 4.0
    sweep.metrics.update()
    assert sweep.read("driver_lag_seconds") == {(): 4.0}
    assert sweep.read("record_age_seconds") == {(): 5.5}
    assert 0 < sweep.read("flush_seconds")[()] < 60


def test_every_gauge_is_set_again_every_five_seconds(watched: Callable[..., Watched]) -> None:
    sweep = watched().run(9)
    gauges = {place for place in sweep.ray.values if not place[0].endswith("_total")}
    for _ in range(3):
        sweep.ray.values.clear()
        for _ in range(49):  # 4.9 s
            sweep.clock.now_s += 0.1
            sweep.metrics.update()
        assert not sweep.ray.values
        sweep.clock.now_s += 0.2
        sweep.metrics.update()
        assert set(sweep.ray.values) == gauges


def test_a_resumed_sweep_counts_its_own_epochs(watched: Callable[..., Watched]) -> None:
    watched().run(7)
    after = watched()
    tally = after.simulation.conductor.tally
    n_before = tally.n_epochs
    assert n_before
    after.run()
    assert sum(after.read("epochs_total", "arm", "phase").values()) == tally.n_epochs - n_before


def test_an_error_is_said_once_and_ends_nothing(watched: Callable[..., Watched]) -> None:
    class Broken(RayMetrics):
        def __init__(self) -> None:
            super().__init__()
            self.Gauge = lambda *_, **__: 1 / 0

    sweep = watched(options={"ray_metrics": Broken()}).run(3).update().update().run()
    assert sweep.warnings == ["metrics are not exported any more, the sweep continues: division by zero"]
    assert not sweep.simulation.conductor.n_left


def test_what_the_cluster_has_lost(watched: Callable[..., Watched]) -> None:
    """The losses of former runs are not counted; a conductor that follows the nodes knows the slots."""
    sweep = watched().run(3)
    sweep.simulation.conductor.on_loss(sweep.simulation.conductor.running[0].trial, Loss("crashes", "worker"))
    sweep.simulation.conductor.flush(force=True)
    sweep = watched().run(3)
    conductor = sweep.simulation.conductor
    conductor.capacity, conductor.without_worker = (5, 2), {conductor.running[0].trial}
    for kind in ("crashes", "crashes", "preemptions"):
        conductor.on_loss(conductor.running[0].trial, Loss(kind, "worker"))
    sweep.update()
    assert sweep.read("slots", "state") == {("running",): 1, ("waiting",): 1, ("free",): 4}
    assert sweep.read("losses_total", "cause") == {("crashes",): 2, ("preemptions",): 1}


class TestSeries:
    @pytest.fixture
    def largest(self, watched: Callable[..., Watched]) -> Watched:
        """All statuses in all of 14 arms, and failures on more nodes than are told apart."""

        def curve(job: Job, epoch: int) -> dict[str, Any]:
            values = falling(job, epoch) | {"checkpoint_s": 0.1, "gpu_memory_bytes": 1e9}
            kind = int(job.trial.rpartition("-")[2]) % 4
            if kind % 2 and epoch == 2 and "confirm" not in job.trial:
                return {"failed": "it broke", "node": f"node-{job.trial}.cluster"}
            return values | ({"train_loss": float("nan")} if kind == 2 else {})

        budget = {"trials": 10, "max_epochs": 3, "early_stopping": {"rule": "median", "grace_period_epochs": 2}}
        changes = {"arms": FOURTEEN, "budget": budget, "confirm": {"searches": 2, "seeds": 1}}
        sweep = watched(changes, curve=curve)
        for _ in range(6):
            sweep.run(50)
        return sweep.run()

    def test_are_few_at_fourteen_arms(self, largest: Watched) -> None:
        samples = [s for family in text_string_to_metric_families(largest.ray.text()) for s in family.samples]
        assert 250 < len(samples) < 1000
        nodes = largest.read("failures_total", "node")
        assert len(nodes) == MAX_VALUES
        assert sum(nodes.values()) == 14 * 5

    def test_are_computed_in_a_millisecond_or_so(self, largest: Watched) -> None:
        seconds = []
        for _ in range(20):
            began_s = time.perf_counter()
            largest.metrics.values()
            seconds.append(time.perf_counter() - began_s)
        assert min(seconds) < 3e-3, seconds  # the machine may be busy; the benchmark measures the time to set them

    def test_labels_have_no_trials_paths_or_secrets(
        self, watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "a-secret-token")
        sweep = watched(options={"storage": "s3://me-geheim/über 9"}).run()
        text = sweep.ray.text()
        trials = list(sweep.simulation.conductor.entries)
        assert not any(trial in text for trial in trials)
        assert "a-secret-token" not in text
        assert "geheim" not in text
        labels = {value for _, pairs in sweep.ray.values for _, value in pairs}
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) for value in labels)

    def test_many_arms_share_a_label(self, watched: Callable[..., Watched]) -> None:
        arms = {f"arm_{number:03}": {"mix": "off"} for number in range(100)}
        budget = {"trials": 1, "max_epochs": 1, "early_stopping": {"rule": "none"}}
        sweep = watched({"arms": arms, "budget": budget, "confirm": None}).run()
        completed = sweep.read("trials", "arm", "status")
        assert completed["other", "completed"] == 100 - (MAX_VALUES - 1)
        assert len({arm for arm, _ in completed}) == MAX_VALUES


def test_each_is_documented_with_its_unit_and_labels() -> None:
    readme = (ROOT / "sweep" / "README.md").read_text()
    section = readme.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(ray_\w+)` \| (.*) \|$", section, re.MULTILINE))
    assert list(rows) == [metric.exported for metric in METRICS]
    for metric in METRICS:
        kind, labels, _ = (cell.strip() for cell in rows[metric.exported].split("|", 2))
        assert kind == metric.kind
        assert re.findall(r"`(\w+)`", labels) == list(metric.labels)
