"""The conductor as searcher, scheduler and callback of Ray Tune, which is a stand-in here."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.resources import Resources
from sweep.faults import fault_of_worker
from sweep.losses import Loss
from sweep.nodes import Nodes
from tests.slots import fixed_slots
from trainables.data.entries import blaming
from trainables.errors import UserError
from trainables.faults import fault_of


class _Noted:
    """A conductor, and a watch, that note what they are told of trials without a worker."""

    paused, max_trials, running, nodes = "", None, [1], SimpleNamespace(failing=None, unfit_for=lambda trial: [])

    def __init__(self, silent: Sequence[str] = ()) -> None:
        self.told: list[tuple[str, ...]] = []
        self.without_worker: set[str] = set()
        self._silent = list(silent)

    def on_restart(self, trial: str) -> None:
        self.told.append(("restarted", trial))

    def put_back(self, trial: str) -> None:
        self.told.append(("put back", trial))

    def on_loss(self, trial: str, loss: Loss) -> None:
        self.told.append(("lost", trial, loss.kind, loss.fault, loss.reason))

    def runs(self, trial: str) -> bool:
        return True

    def flush(self, *, force: bool) -> None:
        """Do nothing."""

    def on_report(self, trial: str) -> None:
        """Do nothing."""

    def on_start(self, trial: str) -> None:
        """Do nothing."""

    def on_stop(self, trial: str) -> None:
        """Do nothing."""

    def is_over(self) -> bool:
        return False

    def silent_trials(self) -> list[str]:
        return self._silent


class _Actor:
    """Tune's trial that runs on a worker."""

    status = "RUNNING"

    def __init__(self, name: str, folder: Path) -> None:
        self.config = {"trial": name}
        self.temporary_state = SimpleNamespace(ray_actor=name)
        self.error_file, self.pickled_error_file = folder / f"{name}.txt", None
        self.error_file.write_text("killed")


def _callback(conductor: Any) -> Any:
    from sweep.tune_callback import ConductorCallback

    return ConductorCallback(conductor, lambda: None, conductor, fixed_slots(1))


def test_the_workers_of_silent_trials_are_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killed: list[str] = []
    monkeypatch.setattr("sweep.tune_callback.ray.kill", killed.append)
    conductor: Any = _Noted(silent=["b"])
    callback = _callback(conductor)
    trials = [_Actor("a", tmp_path), _Actor("b", tmp_path)]
    callback.on_step_end(0, trials)
    assert killed == ["b"]
    for trial in trials:
        callback.on_trial_recover(0, trials, trial)
    assert conductor.without_worker == {"a", "b"}
    conductor._silent.clear()
    callback.on_step_end(0, trials)
    reason = "it reported nothing for too long (budget.limits.silent_min)"
    assert conductor.told == [
        *(("restarted", "a"), ("restarted", "b"), ("lost", "a", "crashes", "worker", "killed")),
        ("lost", "b", "crashes", "stalled", reason),
    ]


@pytest.mark.parametrize("is_told_twice", [False, True])
def test_a_trial_that_tune_gives_up_is_proposed_again(is_told_twice: bool, tmp_path: Path) -> None:
    """Tune tells a death between two trials as a recovery and then as an error: it is counted once."""
    conductor: Any = _Noted()
    callback, trial = _callback(conductor), _Actor("off-0000", tmp_path)
    if is_told_twice:
        callback.on_trial_recover(0, [], trial)
    callback.on_trial_error(0, [], trial)
    callback.on_step_end(0, [])
    restarted = [("restarted", "off-0000")] if is_told_twice else []
    lost = ("lost", "off-0000", "crashes", "worker", "killed")
    assert conductor.told == [*restarted, ("put back", "off-0000"), lost]


def test_without_slots_no_trial_is_waited_for_inside_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.tune_callback import Parked

    monkeypatch.setattr("sweep.tune_callback.time.sleep", lambda _: None)
    conductor: Any = _Noted()
    callback = _callback(conductor)
    slots = callback._slots
    slots.update, slots.n_slots = lambda: None, 0
    callback.on_step_end(0, [])  # trials that have no worker any more wait in Tune
    conductor.running = []
    with pytest.raises(Parked):
        callback.on_step_end(0, [])
    looks: list[bool] = []

    def is_over() -> bool:
        looks.append(True)
        slots.n_slots = len(looks) // 3
        return False

    conductor.is_over = is_over
    assert callback.hold()
    assert len(looks) == 3
    slots.n_slots = 0
    conductor.is_over = lambda: True
    conductor.on_over = lambda: None
    assert not callback.hold()


def test_an_ended_trial_of_tune_takes_no_memory_for_its_reports() -> None:
    """Tune keeps minimum, maximum, mean and the last ten values of each number of each trial: 80 KiB per trial."""
    from ray.tune.experiment import Trial

    trial = Trial("CutMixTrainable", config={"trial": "off-0000"}, stub=True)
    trial.update_last_result({f"number_{index}": index for index in range(50)})
    before = len(pickle.dumps(trial.run_metadata))
    _callback(_Noted()).on_trial_complete(0, [trial], trial)
    assert len(pickle.dumps(trial.run_metadata)) < before / 5


def test_tune_prints_nothing_about_a_trial_that_it_is_told_to_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.tune.utils.callback import _create_default_callbacks

    from sweep.tune_adapters import NoTrialLines

    for callback in _create_default_callbacks([NoTrialLines()], air_verbosity=None):
        callback.on_trial_complete(0, [], _Actor("off-0000", tmp_path))
    assert capsys.readouterr().out == ""


def test_a_worker_that_ray_kills_for_lack_of_memory_is_a_lost_worker() -> None:
    """Tune itself would end the whole sweep by a RuntimeError."""
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    from sweep.lost_workers import system_errors_as_lost_workers

    told: list[Exception] = []
    actor = SimpleNamespace(actor_id=0, _on_error=lambda _, error: told.append(error))
    task: Any = SimpleNamespace(_tracked_actor=actor, _on_error=None)
    resources: Any = SimpleNamespace()  # those of Ray would start a Ray
    manager = RayActorManager(resource_manager=resources)
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

    from sweep.lost_workers import last_error, was_preempted

    monkeypatch.setattr(Trial, "local_path", str(tmp_path))
    trial = Trial("CutMixTrainable", config={"trial": "off-0000"}, stub=True)
    assert (last_error(trial), was_preempted(trial)) == ("", False)
    for text, preempted in (("killed", True), ("the node was running low on memory", False)):
        trial.handle_error(RayActorError(error_msg=text, preempted=preempted))
        assert (last_error(trial), was_preempted(trial)) == (text, preempted)


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

    scheduler = ConductorScheduler(_Full(), fixed_slots(1))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left"):
        scheduler.on_trial_result(None, None, {"trial": "off-0000"})
    assert isinstance(scheduler.fault, OSError)
    assert scheduler.fault.filename == "part-0"


@pytest.mark.parametrize(("ended", "has_paused", "asked"), [(False, False, []), (True, False, []), (True, True, ["a"])])
def test_a_trial_that_pauses_is_asked_for_its_state(ended: bool, has_paused: bool, asked: list[str]) -> None:
    from sweep.tune_adapters import ConductorScheduler

    kept: list[str] = []
    conductor: Any = SimpleNamespace(on_report=lambda *_: ended, has_paused=lambda _: has_paused)
    actor = SimpleNamespace(keep_state=SimpleNamespace(remote=lambda: kept.append("a")))
    trial = SimpleNamespace(temporary_state=SimpleNamespace(ray_actor=actor))
    verdict = ConductorScheduler(conductor, fixed_slots(1)).on_trial_result(None, trial, {"trial": "a"})
    assert (verdict, kept) == ("STOP" if ended else "CONTINUE", asked)


class _Controller:
    """Tune's controller with waiting trials; names of trials tell which of them have a worker, and which one."""

    def __init__(self, *names: str) -> None:
        self.trials, self.stopped, self.evicted = [_Waiting(name) for name in names], list[Any](), False
        self._resetting_trials = {trial for trial in self.trials if trial.trial_id == "reset"}
        self._staged_trials = set(self.trials[:1])
        self._trial_to_actor = {trial: trial.trial_id for trial in self.trials if "own" in trial.trial_id}
        self._actor_manager = SimpleNamespace(is_actor_started=lambda actor: "starting" in actor)
        self._actor_cache = SimpleNamespace(has_cached_object=lambda request: request in self.idle)
        self._resources_to_pending_trials = {None: set(self.trials), "other": set()}
        self._running_trials: set[Any] = set()
        self.idle: set[Any] = set()
        self.max_pending = 0

    def get_live_trials(self) -> set[Any]:
        return set(self.trials) - set(self.stopped)

    def get_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial not in self.stopped]

    def stop_trial(self, trial: Any) -> None:
        self.stopped.append(trial)

    def update_max_pending_trials(self, number: int) -> None:
        self.max_pending = number

    def _unstage_trial_with_resources(self, trial: Any) -> None:
        self._staged_trials.remove(trial)

    def _cleanup_cached_actors(self, *, force_all: bool) -> None:
        self.evicted = force_all


class _Waiting:
    """Tune's trial that waits for a worker."""

    status, request, placement_group_factory = "PENDING", None, None

    def __init__(self, trial_id: str) -> None:
        self.trial_id, self.config = trial_id, {"trial": trial_id}

    def update_resources(self, request: Any) -> None:
        self.request = request


class _Conductor:
    """A conductor of which all trials may run, but those that it is told."""

    max_trials, is_full = None, False

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.ended, self.put_back_trials = nodes, set[str](), list[str]()
        self.resources = Resources(cpus=2)

    def may_run(self, trial: str) -> bool:
        return trial not in self.ended

    def put_back(self, trial: str) -> None:
        self.put_back_trials.append(trial)


@pytest.fixture
def conductor() -> Any:
    return _Conductor(Nodes())


def test_a_trial_waits_for_a_node_that_can_run_it(conductor: Any) -> None:
    """A trial that waits for a node that has become unfit is proposed again, with another request."""
    from ray.util.placement_group import validate_placement_group

    from sweep.tune_adapters import ConductorScheduler

    for name in ("aa11", "bb22", "cc33"):
        conductor.nodes.set_checked(name, name)
    scheduler, controller = ConductorScheduler(conductor, fixed_slots(3)), _Controller("first", "reset")
    first, _ = controller.trials
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)
    assert (scheduler.choose_trial_to_run(controller), first.request) == (first, None)
    for name in ("cc33", "aa11"):
        conductor.nodes.set_unfit(name, name, "no storage")
    assert scheduler.choose_trial_to_run(controller) is None
    assert (conductor.put_back_trials, controller.stopped, controller._staged_trials) == (["first"], [first], set())
    controller.trials.append(later := _Waiting("later"))
    scheduler.on_trial_add(controller, later)
    assert later.request is not None
    assert later.request.bundles == [{"CPU": 2.0}]
    selector = later.request._kwargs["bundle_label_selector"]
    assert selector == [{"ray.io/node-id": "!in(aa11,cc33)"}]
    validate_placement_group(later.request.bundles, "PACK", bundle_label_selector=selector)
    assert scheduler.choose_trial_to_run(controller) is later
    assert controller.stopped == [first]


def test_a_starting_worker_keeps_its_trial(conductor: Any) -> None:
    """Tune would give an idle worker to a trial whose own worker starts, and end the latter: it would never train."""
    from sweep.tune_adapters import ConductorScheduler

    scheduler = ConductorScheduler(conductor, fixed_slots(3))
    controller = _Controller("own starting", "own requested", "plain", "with idle")
    starting, requested, plain, with_idle = controller.trials
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)
    assert scheduler.choose_trial_to_run(controller) is requested  # only its resources are asked for yet
    assert controller._resources_to_pending_trials[None] == {requested, plain, with_idle}
    with_idle.placement_group_factory = "other"
    controller.idle = {"other"}
    assert scheduler.choose_trial_to_run(controller) is with_idle
    controller.stopped = [requested, plain, with_idle]
    assert scheduler.choose_trial_to_run(controller) is None
    assert not controller.evicted
    conductor.is_full = True
    scheduler.choose_trial_to_run(controller)
    assert controller.evicted
    assert starting in controller.get_live_trials()


def test_trials_that_may_not_run_do_not_wait_for_a_worker(conductor: Any) -> None:
    from sweep.tune_adapters import ConductorScheduler

    scheduler = ConductorScheduler(conductor, fixed_slots(3))
    controller = _Controller("ended", "other", "own starting, ended")
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)
    conductor.ended.update({"ended", "own starting, ended"})
    assert scheduler.choose_trial_to_run(controller) is controller.trials[1]
    assert {trial.trial_id for trial in controller.stopped} == conductor.ended
    assert controller.max_pending == 3
    controller._running_trials = {1, 2, 3, 4}
    scheduler.choose_trial_to_run(controller)
    assert controller.max_pending == 1


def test_a_trial_is_handed_out_for_a_free_slot_only(
    simulate: Any, study_of: Callable[..., Any], tmp_path: Path
) -> None:
    """A cancelled trial keeps its slot until Tune has ended it."""
    from sweep.tune_adapters import ConductorSearcher

    conductor = simulate(study_of(), tmp_path).conductor
    searcher, given = ConductorSearcher(conductor, tmp_path, fixed_slots(3), {}), {}
    for number in range(3):
        given[number] = searcher.suggest(str(number))
    assert searcher.suggest("3") is None
    assert conductor.without_worker == {config["trial"] for config in given.values()}
    conductor.cancel_trial(given[0]["trial"], "by kim")
    assert searcher.suggest("3") is None
    searcher.on_trial_complete("0")
    assert isinstance(searcher.suggest("3"), dict)
    conductor.max_trials = 2
    searcher.on_trial_complete("1")
    assert searcher.suggest("4") is None
