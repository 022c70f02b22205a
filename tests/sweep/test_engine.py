from __future__ import annotations

import errno
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.study import Resources
from sweep.engine import _slots
from sweep.faults import fault_of_worker
from sweep.nodes import Nodes
from trainables.data.entries import blaming
from trainables.errors import UserError
from trainables.faults import fault_of


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "slots"),
    [
        ([{"CPU": 4}], 1, 0.0, 4),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0.0, 2),  # six cores, but each trial lies on one node
        ([{"CPU": 8, "GPU": 1}], 1, 0.5, 2),
        ([{"CPU": 8, "GPU": 1}], 1, 0.4, 2),  # a trial lies on one GPU: 0.2 of each stay idle
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8}], 1, 1.0, 2),
        ([{"CPU": 1, "GPU": 4}], 1, 0.5, 1),
    ],
)
def test_trials_fit_on_nodes_not_on_sums(nodes: list[dict[str, float]], cpus: int, gpus: float, slots: int) -> None:
    assert _slots(nodes, Resources(cpus=cpus, gpus=gpus)) == slots


def test_a_trial_larger_than_any_node_is_refused() -> None:
    with pytest.raises(UserError, match="each trial needs 8 CPUs and 0 GPUs, the nodes have: 2 x 4 CPUs and 0 GPUs"):
        _slots([{"CPU": 4}, {"CPU": 4}], Resources(cpus=8))
    with pytest.raises(UserError) as refused:  # on a large cluster the message stays short
        _slots([{"CPU": 1 + number % 7} for number in range(500)], Resources(cpus=8))
    assert len(str(refused.value)) <= 500


class _Noted:
    """A conductor, and a watch, that note what they are told of trials without a worker."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def on_left(self, trial: str) -> None:
        self.told.append(("left", trial))

    def on_lost(self, trial: str, why: str, *, fault: str, node: str) -> None:
        self.told.append(("lost", trial, why, fault, *([node] if node else [])))

    def on_report(self, trial: str) -> None:
        self.told.append(("watched", trial))

    def on_stop(self, trial: str) -> None:
        self.told.append(("stopped", trial))


class _Ended:
    """Tune's trial that has ended in an error."""

    config = {"trial": "off-0000"}

    def __init__(self, num_failures: int, folder: Path) -> None:
        self.num_failures, self.error_file = num_failures, folder / "error.txt"
        low = "\tip: 10.77.0.2\nTask was killed due to the node running low on memory.\nSee the log."
        self.error_file.write_text(f"Failure # 1 (occurred at 07:00)\nkilled\nFailure # 2 (occurred at 07:10)\n{low}")


class _Actor:
    """Tune's trial that runs on a worker."""

    status = "RUNNING"
    num_failures = 1

    def __init__(self, name: str, folder: Path) -> None:
        self.config = {"trial": name}
        self.temporary_state = SimpleNamespace(ray_actor=name)
        self.error_file = folder / f"{name}.txt"
        self.error_file.write_text("killed")


def test_the_workers_of_silent_trials_are_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sweep import tune_adapters

    killed: list[str] = []
    monkeypatch.setattr(tune_adapters.ray, "kill", killed.append)
    conductor: Any = _Noted()
    conductor.flush, conductor.paused = lambda force: None, ""
    conductor.is_over, conductor.silent_trials, conductor.on_start = lambda: False, lambda: ["b"], lambda trial: None
    callback = tune_adapters.ConductorCallback(conductor, lambda: None, conductor)
    trials = [_Actor("a", tmp_path), _Actor("b", tmp_path)]
    callback.on_step_end(0, trials)
    assert killed == ["b"]
    for trial in trials:
        trial.num_failures = 4
        callback.on_trial_error(0, trials, trial)
    lost = [told for told in conductor.told if told[0] == "lost"]
    assert lost == [
        ("lost", "a", "its worker died 4 times: killed", "worker"),
        ("lost", "b", "it reported nothing for too long, 4 times (budget.limits.silent_min)", "stalled"),
    ]


def test_tune_prints_nothing_about_a_trial_that_it_is_told_to_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.tune.utils.callback import _create_default_callbacks

    from sweep.tune_adapters import NoTrialLines

    for callback in _create_default_callbacks([NoTrialLines()], air_verbosity=None):
        callback.on_trial_complete(0, [], _Actor("off-0000", tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("num_failures", "told"),
    [
        (0, [("left", "off-0000")]),
        (4, [("lost", "off-0000", "its worker died 4 times: See the log.", "memory", "a100-1")]),
    ],
)
def test_a_trial_that_tune_gives_up_is_not_waited_for(
    num_failures: int, told: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep import tune_adapters
    from sweep.tune_adapters import ConductorCallback

    node = {"NodeManagerAddress": "10.77.0.2", "NodeManagerHostname": "a100-1"}
    monkeypatch.setattr(tune_adapters.ray, "nodes", lambda: [node])
    conductor = _Noted()
    callback = ConductorCallback(conductor, lambda: None, conductor)  # type: ignore[arg-type]
    callback.on_trial_error(0, [], _Ended(num_failures, tmp_path))
    assert conductor.told == [*told, ("watched", "off-0000"), ("stopped", "off-0000")]


def test_an_ended_trial_of_tune_takes_no_memory_for_its_reports() -> None:
    """Tune keeps minimum, maximum, mean and the last ten values of each number of each trial: 80 KiB per trial."""
    from ray.tune.experiment import Trial

    from sweep.tune_adapters import ConductorCallback

    trial = Trial("CutMixTrainable", config={"trial": "off-0000"}, stub=True)
    trial.update_last_result({f"number_{index}": index for index in range(50)})
    before = len(pickle.dumps(trial.run_metadata))
    conductor: Any = _Noted()
    ConductorCallback(conductor, lambda: None, conductor).on_trial_complete(0, [trial], trial)
    assert len(pickle.dumps(trial.run_metadata)) < before / 5


def test_a_worker_that_ray_kills_for_lack_of_memory_is_a_lost_worker() -> None:
    """Tune itself would end the whole sweep by a RuntimeError."""
    from ray.air.execution import FixedResourceManager
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    from sweep.tune_adapters import system_errors_as_lost_workers

    told: list[Exception] = []
    actor = SimpleNamespace(actor_id=0, _on_error=lambda _, error: told.append(error))
    task: Any = SimpleNamespace(_tracked_actor=actor, _on_error=None)
    manager = RayActorManager(resource_manager=FixedResourceManager())
    manager._cleanup_actor = lambda tracked_actor: None
    with system_errors_as_lost_workers():
        manager._actor_task_failed(task, OutOfMemoryError("the node was running low on memory"))
    (error,) = told
    assert isinstance(error, RayActorError)
    assert fault_of_worker(str(error)) == "memory"
    with pytest.raises(RuntimeError, match="unexpected exception"):  # outside, Tune is as it was
        manager._actor_task_failed(task, OutOfMemoryError("the node was running low on memory"))


def test_the_last_error_of_a_real_trial_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above has stand-ins: here the file is where Tune writes it."""
    from ray.exceptions import RayActorError
    from ray.tune.experiment import Trial

    from sweep.tune_adapters import _last_error

    monkeypatch.setattr(Trial, "local_path", str(tmp_path))
    trial = Trial("CutMixTrainable", config={"trial": "off-0000"}, stub=True)
    assert _last_error(trial) == ""
    for text in ("killed", "the node was running low on memory"):
        trial.handle_error(RayActorError(error_msg=text))
    assert _last_error(trial) == "the node was running low on memory"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("The actor died because its node has died. Node Id: 5f3c", "node"),
        ("Task was killed due to the node running low on memory.", "memory"),
        ("Local disk is full: the object cannot be created", "disk"),
        # Ray names the kernel's OOM killer as a possible cause of every lost process
        (
            "The actor is dead because its worker process has died. (1) The process is killed by the OOM killer",
            "worker",
        ),
        ("", "worker"),
    ],
)
def test_failures_of_ray_are_told_apart(error: str, fault: str) -> None:
    assert fault_of_worker(error) == fault


def test_failures_of_a_trial_are_told_apart() -> None:
    import torch

    assert fault_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")) == "memory"
    assert fault_of(RuntimeError("DefaultCPUAllocator: can't allocate memory")) == "memory"
    assert fault_of(OSError(errno.ENOMEM, "Cannot allocate memory")) == "memory"
    assert fault_of(OSError(errno.ESTALE, "Stale file handle")) == "disk"
    assert fault_of(FileNotFoundError(errno.ENOENT, "No such file")) == "trial"
    with pytest.raises(UserError) as full, blaming(Path("cache")):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (fault_of(full.value), fault_of(UserError("no such class"))) == ("disk", "trial")
    assert fault_of(RuntimeError("shapes differ")) == "trial"


class _Full:
    """A conductor whose records cannot be written."""

    def on_report(self, trial: str, report: dict[str, Any]) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", "part-0")


def test_the_scheduler_keeps_what_tune_would_turn_into_text() -> None:
    from sweep.tune_adapters import ConductorScheduler

    scheduler = ConductorScheduler(_Full())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left"):
        scheduler.on_trial_result(None, None, {"trial": "off-0000"})
    assert isinstance(scheduler.fault, OSError)
    assert scheduler.fault.filename == "part-0"


class _Controller:
    """Tune's controller with waiting trials, of which one is being given a worker."""

    def __init__(self, *trials: Any) -> None:
        self.trials, self.stopped = list(trials), list[Any]()
        self._resetting_trials = {trial for trial in trials if trial.trial_id == "reset"}
        self._staged_trials = {trials[0]}

    def get_live_trials(self) -> set[Any]:
        return set(self.trials) - set(self.stopped)

    def get_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial not in self.stopped]

    def stop_trial(self, trial: Any) -> None:
        self.stopped.append(trial)

    def _unstage_trial_with_resources(self, trial: Any) -> None:
        self._staged_trials.remove(trial)


class _Waiting:
    """Tune's trial that waits for a worker."""

    status, request = "PENDING", None

    def __init__(self, trial_id: str) -> None:
        self.trial_id, self.config = trial_id, {"trial": trial_id}

    def update_resources(self, request: Any) -> None:
        self.request = request


def test_a_trial_waits_for_a_node_that_can_run_it() -> None:
    """A trial that waits for a node that has become unfit is proposed again, with another request."""
    from ray.util.placement_group import validate_placement_group

    from sweep.tune_adapters import ConductorScheduler

    nodes, put_back = Nodes(), list[str]()
    for name in ("aa11", "bb22", "cc33"):
        nodes.set_checked(name, name)
    study = SimpleNamespace(resources=Resources(cpus=2))
    conductor: Any = SimpleNamespace(nodes=nodes, put_back=put_back.append, study=study)
    scheduler = ConductorScheduler(conductor)
    first, reset, later = _Waiting("first"), _Waiting("reset"), _Waiting("later")
    controller = _Controller(first, reset)
    for trial in (first, reset):
        scheduler.on_trial_add(controller, trial)
    assert (scheduler.choose_trial_to_run(controller), first.request) == (first, None)
    for name in ("cc33", "aa11"):
        nodes.set_unfit(name, name, "no storage")
    assert scheduler.choose_trial_to_run(controller) is reset
    assert (put_back, controller.stopped, controller._staged_trials) == (["first"], [first], set())
    controller.trials.append(later)
    scheduler.on_trial_add(controller, later)
    assert later.request.bundles == [{"CPU": 2.0}]
    selector = later.request._kwargs["bundle_label_selector"]
    assert selector == [{"ray.io/node-id": "!in(aa11,cc33)"}]
    validate_placement_group(later.request.bundles, "PACK", bundle_label_selector=selector)
    scheduler.choose_trial_to_run(controller)
    assert controller.stopped == [first]
