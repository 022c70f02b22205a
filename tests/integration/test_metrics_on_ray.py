"""The metrics of a sweep on a real Ray: read from its port by Prometheus' own parser, equal to the records."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from search_spaces.discover import load_study
from sweep.display import SilentDisplay
from sweep.launch import start_sweep
from sweep.metrics import METRICS
from sweep.ray_job import sweep_id
from sweep.records.reader import read_sweep

pytestmark = pytest.mark.ray

SECRET = "0123456789abcdef" * 4
SETTINGS = [
    "base.data.train_frac=0.05",
    "base.model.width=0.25",
    "budget.trials=1",
    "budget.max_epochs=3",
    "confirm=null",
]
READ_S = 45.0
"""Time after the last trial in which the port must show its end: Ray reports every 10 s, and the metrics are set every
5 s."""


class Held(SilentDisplay):
    """Keeps the sweep at its end until its metrics were read: with the process of the driver they would end.

    Attributes:
        id: label of the sweep.
        samples: what was read last.
        text: text of the page.
        titles: titles of processes that were seen.
        names: names of actors at the end.
    """

    def __init__(self, sweep: str) -> None:
        self.id = sweep
        self.samples: list[Sample] = []
        self.text = ""
        self.titles: set[str] = set()
        self.names: set[str] = set()

    def show_line(self, text: str) -> None:
        if "trials to run" in text:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while ray.is_initialized():
            for process in psutil.process_iter(["cmdline"]):
                self.titles.add(" ".join(process.info["cmdline"] or []))
            time.sleep(0.5)

    def read(self) -> None:
        (node,) = ray.nodes()
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as page:
            self.text = page.read().decode()
        families = text_string_to_metric_families(self.text)
        samples = [s for family in families for s in family.samples if s.name.startswith("ray_cutmix_sweep")]
        self.samples = [s for s in samples if s.labels["id"] == self.id]  # not of earlier sweeps of this process


@pytest.fixture(scope="module")
def held(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Held, Path]:
    """A sweep of four trials, which ends only after its last metrics were read."""
    from sweep import metrics

    out = tmp_path_factory.mktemp("metrics") / "small"
    display = Held(sweep_id(str(out)))
    update = metrics.SweepMetrics.update

    def update_and_read(self: metrics.SweepMetrics) -> None:
        update(self)
        if self._conductor.n_left or display.samples:
            return
        until_s = time.monotonic() + READ_S  # nothing is left: the run ends after this step
        while time.monotonic() < until_s:
            update(self)
            display.read()
            if _n_completed(display.samples) == 4:
                break
            time.sleep(1.0)
        display.names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics.SweepMetrics, "update", update_and_read)
        patch.setenv("WANDB_API_KEY", SECRET)
        start_sweep(load_study("quickstart", scale="smoke", settings=SETTINGS), out=out, display=display)
    return display, out


def _n_completed(samples: list[Sample]) -> float:
    is_completed = {"status": "completed", "phase": "search"}.items()
    return sum(s.value for s in samples if s.name == "ray_cutmix_sweep_trials" and is_completed <= s.labels.items())


def test_equal_the_records(held: tuple[Held, Path]) -> None:
    display, out = held
    records = read_sweep(out)
    last = records.epochs.groupby("trial")["val_top1_error"].last()
    by_name: dict[str, dict[tuple[str, ...], float]] = {metric.exported: {} for metric in METRICS}
    for sample in display.samples:
        metric = next(metric for metric in METRICS if metric.exported == sample.name)
        assert sample.labels["sweep"] == "small"
        by_name[sample.name][tuple(sample.labels[label] for label in metric.labels)] = sample.value
    arms = list(records.manifest["study"]["arms"])
    trials = records.trials.set_index("arm")
    assert {labels: n for labels, n in by_name["ray_cutmix_sweep_trials"].items() if n} == {
        (arm, "search", "completed"): 1 for arm in arms
    }
    errors = {(arm, stat): last[trials.loc[arm, "trial"]] for arm in arms for stat in ("best", "median")}
    assert by_name["ray_cutmix_sweep_val_top1_error_ratio"] == pytest.approx(errors)
    assert by_name["ray_cutmix_sweep_epochs_total"] == {(arm, "search"): 3 for arm in arms}
    assert by_name["ray_cutmix_sweep_epochs_left"] == by_name["ray_cutmix_sweep_time_left_seconds"] == {(): 0}
    assert by_name["ray_cutmix_sweep_slots"][("running",)] == 0
    assert by_name["ray_cutmix_sweep_info"] == {("quickstart", records.manifest["versions"]["cutmix-sweep"]): 1}
    for name in ("driver_lag", "flush", "checkpoint", "record_age"):
        (value,) = by_name[f"ray_cutmix_sweep_{name}_seconds"].values()
        assert 0 <= value < 120


def test_have_no_secret_path_or_trial(held: tuple[Held, Path]) -> None:
    display, out = held
    assert SECRET not in display.text
    ours = json.dumps([sample.labels for sample in display.samples])
    assert str(out) not in ours
    assert not any(trial in ours for trial in read_sweep(out).trials["trial"])
    assert SECRET not in " ".join(display.titles)


def test_names(held: tuple[Held, Path]) -> None:
    display, out = held
    assert all(name.startswith("cutmix-sweep:small:worker-") for name in display.names)
    assert display.names
    titles = {title.split()[1] for title in display.titles if title.startswith("ray::cutmix-sweep ")}
    assert titles & set(read_sweep(out).trials["trial"])
