"""Trials per GPU by measurement, and the memory that is known without it."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from rich.console import Console

from search_spaces.discover import load_study
from search_spaces.study import Study
from sweep.display import SilentDisplay
from sweep.documents import plan_document
from sweep.gpu_room import GpuRoom, describe_rooms, gpu_rooms
from sweep.mps import PIPES, Mps
from sweep.plan import check_price, make_plan
from sweep.planned import planned_trials
from sweep.power import compute_power
from sweep.preparation import _check_gpu_memory
from sweep.probe import ProbeResult, ProbeRow, probe
from sweep.probe_pool import Pool
from sweep.probe_worker import OUT_OF_MEMORY
from sweep.terminal.study import print_plan
from trainables.data.sources.registry import open_source
from trainables.errors import UserError

GB = 10**9
SMALL = ["base.data.train_frac=0.05", "base.data.batch_size=8", "base.model.width=0.25"]


class FakePool:
    """Processes with a speed and a memory that depend on their number and on the network."""

    device = "a GPU"
    speed: Callable[[int], float] = staticmethod(lambda count: 100.0)
    used_bytes: Callable[[int], int] = staticmethod(lambda count: count * GB)
    limit = 100

    def __init__(self, **_: Any) -> None:
        self.count = 0

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def ask(self, count: int, order: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "measure" not in order:
            return [{"n_batches": 2}] * count
        if count > self.limit:
            return [{"images": 1, "seconds": 1.0}] * (count - 1) + [{"error": OUT_OF_MEMORY}]
        speed = type(self).speed(count)
        sizes = {"peak_bytes": GB // 2, "image_bytes": 0, "used_bytes": type(self).used_bytes(count)}
        return [{"images": speed, "seconds": 1.0, "total_bytes": 10 * GB, **sizes}] * count


class Lines(SilentDisplay):
    """Keeps the lines that are shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show_line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[FakePool]:
    class Fake(FakePool): ...

    monkeypatch.setattr("sweep.probe.Pool", Fake)
    monkeypatch.setattr("sweep.probe.usable_cores", lambda: 64)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    return Fake


def study_of(*settings: str, gpus: float = 1.0) -> Study:
    return load_study("quickstart", settings=[*SMALL, f"resources.gpus={gpus}", *settings])


@pytest.mark.parametrize(
    ("speed", "trials_per_gpu"),
    [
        (lambda count: 100 / count, 1),  # no gain
        (lambda count: 100, 8),  # each trial as fast as alone
        (lambda count: {1: 100, 2: 95, 4: 50, 8: 25}[count], 2),  # 190 of 200 together are within 5 %
        (lambda count: {1: 100, 2: 94, 4: 50, 8: 20}[count], 4),
    ],
)
def test_the_smallest_number_near_the_best_is_proposed(
    pool: type[FakePool], speed: Callable[[int], float], trials_per_gpu: int
) -> None:
    pool.speed = staticmethod(speed)
    assert probe(study_of()).trials_per_gpu == trials_per_gpu


def test_hours_are_those_of_all_trials_on_all_gpus(pool: type[FakePool]) -> None:
    study = study_of()
    work = sum(trial.work for trial in planned_trials(study))
    result = probe(study)
    assert (result.n_gpus, result.trials_per_gpu, result.slots) == (2, 8, 16)
    assert result.hours == pytest.approx(work / (2 * 8 * 100.0) / 3600)
    assert result.gpu_hours == 2 * result.hours
    assert result.cost(3.0) == 6 * result.hours
    few = study_of("budget.trials=1", "confirm=null", "budget.early_stopping.rule=none")  # 4 trials, 16 slots
    assert probe(few).hours == pytest.approx(sum(trial.work for trial in planned_trials(few)) / (4 * 100.0) / 3600)


def test_a_number_that_does_not_fit_is_not_proposed(pool: type[FakePool]) -> None:
    pool.limit = 2
    result = probe(study_of())
    assert [(row.n_trials, row.why_not) for row in result.rows if row.arm == "off"] == [
        (1, ""),
        (2, ""),
        (4, OUT_OF_MEMORY),
    ]
    assert result.trials_per_gpu == 2
    pool.limit, pool.used_bytes = 100, staticmethod(lambda count: 3 * count * GB)  # together with CUDA itself
    result = probe(study_of())
    assert result.trials_per_gpu == 2
    assert "they need 12 GB of 10 GB" in {row.why_not for row in result.rows}


def test_one_trial_that_does_not_fit_is_refused(pool: type[FakePool]) -> None:
    pool.limit = 0
    with pytest.raises(UserError, match="arm 'off': its largest trial cannot run on this machine: out of memory"):
        probe(study_of())


def test_cores_bound_the_number_of_trials(pool: type[FakePool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.probe.usable_cores", lambda: 8)
    counts = {row.n_trials for row in probe(study_of("resources.cpus=2")).rows}
    assert counts == {1, 2}  # 4 cores per GPU


def test_a_machine_without_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"this machine has none: run this command on a GPU node"):
        probe(study_of())
    with pytest.raises(UserError, match=r"resources.workers is 2"):
        probe(study_of("resources.workers=2"))


def test_processes_measure_at_the_same_time() -> None:
    """One arm with a small network, as few steps as there can be."""
    study = load_study("quickstart", settings=[*SMALL, "arms.off=null", "arms.cutout=null", "arms.mixup=null"])
    said: list[str] = []
    result = probe(study, counts=(1, 2), seconds=0.0, show=said.append)
    assert result.device == "cpu"
    assert said[0] == f"measuring arm {result.rows[0].arm}, 1 trial at a time"
    assert {row.n_trials for row in result.rows} <= {1, 2}
    assert all(row.images_per_s > 0 and row.peak_bytes > 0 and not row.why_not for row in result.rows)
    assert 0 < result.hours < 100


def test_a_process_that_ends_is_an_error_with_its_last_words() -> None:
    with (
        pytest.raises(UserError, match="has ended: ValueError: invalid literal"),
        Pool(threads="none") as pool,  # type: ignore[arg-type]
    ):
        pool.ask(1, {"release": True})


# ---------------------------------------------------------------- without measuring


def rooms_on(monkeypatch: pytest.MonkeyPatch, gpu_bytes: int | None, *settings: str) -> tuple[GpuRoom, ...]:
    monkeypatch.setattr("sweep.gpu_room.local_gpu_bytes", lambda: gpu_bytes)
    study = study_of("base.model.width=1.0", *settings)
    return gpu_rooms(study, planned_trials(study), open_source("digits").describe(None))


def test_memory_is_known_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, *_ = rooms_on(monkeypatch, 80 * GB)
    average, *_ = rooms_on(monkeypatch, 80 * GB, "base.optimizer.ema_decay=0.99")
    assert average.state_bytes / plain.state_bytes == pytest.approx(4 / 3)
    n_used = round(0.05 * 5752)
    assert plain.image_bytes == pytest.approx(n_used * 40 * 40 * 3, rel=0.1)
    assert not plain.is_streamed
    assert "for images (resident)" in describe_rooms([plain])
    streamed, *_ = rooms_on(monkeypatch, plain.state_bytes + plain.image_bytes)  # half of it for images
    assert streamed.is_streamed
    assert "do not fit: streamed" in describe_rooms([streamed])
    assert rooms_on(monkeypatch, None)[0].is_streamed is None
    with pytest.raises(UserError, match=r"arm 'off': network 'tiny' needs .* raise resources.gpus"):
        rooms_on(monkeypatch, plain.state_bytes, "resources.gpus=0.5")
    assert gpu_rooms(study_of(gpus=0.0), [], open_source("digits").describe(None)) == ()


def test_run_shows_where_the_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.gpu_room.local_gpu_bytes", lambda: 80 * GB)
    display = Lines()
    _check_gpu_memory(study_of(), display)
    assert "for images (resident)" in display.lines[0]
    _check_gpu_memory(study_of(gpus=0.0), display)
    assert len(display.lines) == 1


def test_a_plan_takes_its_time_from_the_measurement(pool: type[FakePool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.gpu_room.local_gpu_bytes", lambda: 80 * GB)
    pool.limit = 4
    study = study_of()
    plan = make_plan(study, measure=True)
    assert isinstance(plan.measured, ProbeResult)
    assert (plan.slots, plan.images_per_s, plan.seconds) == (8, (100.0, 100.0), 3600 * plan.measured.hours)
    power = compute_power(study)
    document = plan_document(study, plan, power, 2.5)
    assert document["measured"]["cost"] == plan.measured.cost(2.5)
    assert document["gpu_memory"][0]["streamed"] is False
    console = Console(file=io.StringIO(), width=120)
    print_plan(study, plan, console, power, 2.5)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"cutmix +4 +400 +\S+ +5\d\d MB +resident", text)
    assert re.search(r"cutmix +8 +- +- +- +out of memory", text)
    assert "Proposal: 4 trials per GPU" in text
    assert f"cost {plan.measured.cost(2.5):,.2f}." in text


def test_trials_that_would_use_mps_are_measured_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mapping[str, str] | None] = []
    is_up: list[bool] = []

    @contextlib.contextmanager
    def running(_: Mps) -> Iterator[None]:
        is_up.append(True)
        yield
        is_up.clear()

    def fake(study: Study, *, environment: Mapping[str, str] | None = None, **_: Any) -> ProbeResult:
        given.append(environment if is_up else None)
        return ProbeResult("a GPU", 1, (ProbeRow("off", 4, 400.0, 1.0, 0, False),), 4, 1.0)

    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("sweep.plan.probe", fake)
    monkeypatch.setattr(Mps, "running", running)
    make_plan(study_of("resources.mps=auto"), measure=True)
    make_plan(study_of(), measure=True)
    assert given[0] is not None
    assert PIPES in given[0]
    assert given[1:] == [None]


def test_a_cost_needs_gpu_hours() -> None:
    check_price(study_of(), 2.5, measure=True)
    check_price(study_of(gpus=0.0), None, measure=False)
    with pytest.raises(UserError, match="--price-per-gpu-hour needs --measure"):
        check_price(study_of(), 2.5, measure=False)
    with pytest.raises(UserError, match="this study uses none: add --gpus 1"):
        check_price(study_of(gpus=0.0), 2.5, measure=True)
