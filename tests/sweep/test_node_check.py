"""What a node must have, and how the checks of all nodes come together; Ray itself is a stand-in."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep import node_check, node_checker
from sweep.display import SilentDisplay
from sweep.endings import HERE, Joined
from sweep.node_check import (
    SIGN,
    Answer,
    FolderStorage,
    Request,
    judge,
    look_around,
    open_images,
    versions_here,
)
from sweep.node_checker import NodeChecker, checked_nodes, remove_signs
from sweep.nodes import FIT, UNCHECKED, UNFIT, Nodes
from trainables.data.config import Data
from trainables.data.contents import Contents
from trainables.data.places import Place, format_places
from trainables.errors import UserError

VERSIONS = {"Python": "3.11.7", "torch": "2.14.1", "cutmix-sweep": "0.1.0", "code of cutmix-sweep": "12ab"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_check, "_PAUSE_S", 0.0)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """A request of a driver that has written its sign."""
    storage = FolderStorage(str(tmp_path))
    storage.write(f"{SIGN}77", "77")
    return Request("77", storage, VERSIONS)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def change(request: Request, **changes: Any) -> Request:
    return Request(**{**vars(request), **changes})


class TestStorage:
    def test_is_seen_both_ways(self, request_: Request) -> None:
        answer = look_around(change(request_, versions=versions_here()), "5f")
        assert answer.storage == ""
        assert judge(change(request_, versions=versions_here()), answer, "5f") == ""
        assert judge(request_, answer, "6a").startswith("this machine does not see what it writes to '")

    def test_that_a_node_does_not_see(self, request_: Request, tmp_path: Path) -> None:
        for folder, reason in (("gone", "No such file or directory"), ("empty", "No such file or directory")):
            storage = FolderStorage(str(tmp_path / folder))
            if folder == "empty":
                (tmp_path / folder).mkdir()
            answer = look_around(change(request_, storage=storage), "5f")
            assert answer.storage == (
                f"it does not see '{tmp_path / folder}' ({reason}): the folder of the sweep must be at the same place "
                "on every node"
            )
        assert not (tmp_path / "gone").exists()
        assert list((tmp_path / "empty").iterdir()) == []

    def test_that_is_another_folder_or_read_only(
        self, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FolderStorage(str(tmp_path)).write(f"{SIGN}78", "77")
        assert "is another folder than the driver's" in look_around(change(request_, nonce="78"), "5f").storage

        def fails(*_: Any, **__: Any) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(node_check, "write_whole", fails)
        assert look_around(request_, "5f").storage == f"it cannot write to '{tmp_path}' (Read-only file system)"

    def test_signs_are_removed_and_nothing_else(self, request_: Request, tmp_path: Path) -> None:
        (tmp_path / "sweep.json").touch()
        remove_signs(tmp_path)
        assert names(tmp_path) == ["sweep.json"]


class TestJudgement:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({}, ""),
            ({"torch": "2.10.0", "code of cutmix-sweep": "34cd"}, "torch is 2.10.0 there and 2.14.1 here"),
            ({"cutmix-sweep": ""}, "cutmix-sweep is not installed there"),
            ({"code of cutmix-sweep": "34cd"}, "code of cutmix-sweep is 34cd there and 12ab here"),
        ],
    )
    def test_of_versions(self, request_: Request, changes: dict[str, str], reason: str) -> None:
        request_.storage.write(f"{SIGN}77-5f", "5f")
        assert judge(request_, Answer("a", versions=VERSIONS | changes), "5f") == reason

    def test_of_gpus(self, request_: Request) -> None:
        request_.storage.write(f"{SIGN}77-5f", "5f")
        request = change(request_, needs_gpu=True)
        reasons = [judge(request, Answer("a", versions=VERSIONS, gpus=n), "5f") for n in (0, 1)]
        assert reasons == ["torch finds no GPU there", ""]

    def test_gpus_are_counted_in_a_process_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(node_check, "_COUNT_GPUS", "import os; print(2 + ('CUDA_VISIBLE_DEVICES' in os.environ))")
        assert node_check._count_gpus() == 2
        monkeypatch.setattr(node_check, "_COUNT_GPUS", "raise ImportError('libcuda')")
        assert node_check._count_gpus() == 0


class TestImages:
    def test_are_opened(self, request_: Request) -> None:
        data = [Data(source="digits", train_frac=0.1).model_dump_json()]
        assert open_images(change(request_, data=data, reads_test=True)) == ""

    def test_that_are_missing_or_different(self, request_: Request, tmp_path: Path) -> None:
        missing = [Data(source=f"imagefolder:{tmp_path / 'photos'}").model_dump_json()]
        assert str(tmp_path / "photos") in open_images(change(request_, data=missing))
        data = [Data(source="digits").model_dump_json()]
        places = format_places({"digits": Place("digits", Contents(train="0" * 64))})
        assert "differ from the images that the sweep was started with" in open_images(
            change(request_, data=data, places=places)
        )


class FakeRay(types.ModuleType):
    """Ray whose nodes answer at once, or as they are told; a task is a number."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.members: dict[str, dict[str, float]] = {}
        self.answers: dict[str, Any] = {}  # by name of the node: an answer, an error, or None for none
        self.images: dict[str, str] = {}
        self.tasks: list[tuple[str, Any]] = []
        self.exceptions = types.SimpleNamespace(NodeDiedError=ConnectionError, TaskUnschedulableError=LookupError)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": f"id-{name}", "NodeManagerHostname": name, "Alive": True, "Resources": resources}
            for name, resources in self.members.items()
        ]

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert (options["num_cpus"], options["max_retries"]) == (0, 0)
        name = options["scheduling_strategy"].removeprefix("id-")

        def task(function: Any) -> Any:
            def submit(request: Request, *_: Any) -> int:
                if function is open_images:
                    outcome: Any = self.images.get(name, "")
                else:
                    outcome = self.answers.get(name, Answer(name, versions=VERSIONS))
                    if isinstance(outcome, Answer) and not outcome.storage:
                        request.storage.write(f"{SIGN}{request.nonce}-id-{name}", f"id-{name}")
                self.tasks.append((name, outcome))
                return len(self.tasks) - 1

            return types.SimpleNamespace(remote=submit)

        return task

    def wait(self, tasks: list[int], *, num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        ready = [task for task in tasks if self.tasks[task][1] is not None]
        return ready[:1], []

    def get(self, task: int) -> Any:
        if isinstance(self.tasks[task][1], Exception):
            raise self.tasks[task][1]
        return self.tasks[task][1]


class Shown(SilentDisplay):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def show_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: node_id  # type: ignore[attr-defined]
    modules = {"ray": fake, "ray.util": types.ModuleType("ray.util"), "ray.util.scheduling_strategies": strategies}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(node_checker, "versions_here", lambda: VERSIONS)
    return fake


@pytest.fixture
def checker(ray: FakeRay, request_: Request) -> NodeChecker:
    return NodeChecker(Nodes(), request_, Resources(), Shown())


class TestAllNodes:
    def test_are_checked_before_the_first_trial(self, ray: FakeRay, checker: NodeChecker) -> None:
        ray.members = {"head": {"CPU": 0.0}, "a": {"CPU": 2.0}, "b": {"CPU": 1.0}, "c": {"CPU": 1.0}, "d": {"CPU": 1.0}}
        ray.answers = {
            "b": Answer("b", storage="it does not see '/sweeps'", versions=VERSIONS),
            "c": RuntimeError("task failed\nModuleNotFoundError: No module named 'sweep'"),
        }
        ray.images = {"d": "cannot read '/images'"}
        checker.check_all()
        nodes = checker.nodes
        assert (nodes.fit, nodes.unfit) == (["id-a"], ["id-b", "id-c", "id-d"])
        assert [nodes.why_of(f"id-{name}") for name in "bcd"] == [
            "it does not see '/sweeps'",
            "its check failed: cutmix-sweep cannot be imported there (ModuleNotFoundError: No module named 'sweep')",
            "cannot read '/images'",
        ]
        (warning,) = checker._display.warnings  # type: ignore[attr-defined]
        assert warning.startswith("3 nodes left out: 'b' (it does not see '/sweeps'), 'c' (its check failed")
        assert "head" not in [name for name, _ in ray.tasks]

    def test_if_none_can_run_trials_nothing_is_started(self, ray: FakeRay, checker: NodeChecker) -> None:
        ray.members, ray.images = {"a": {"CPU": 1.0}}, {"a": "no images"}
        with pytest.raises(UserError, match=r"no node can run trials: 'a' \(no images\); nothing was started"):
            checker.check_all()
        ray.members = {"head": {"CPU": 0.0}}
        without_room = NodeChecker(Nodes(), checker._request, Resources())
        without_room.check_all()  # nodes may still join
        assert without_room.nodes.fit == []

    def test_a_silent_node_is_left_out_until_it_answers(
        self, ray: FakeRay, checker: NodeChecker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_checker, "LIMIT_S", 0.05)
        ray.members, ray.answers = {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}}, {"b": None}
        checker.check_all()
        assert checker.nodes.why_of("id-b") == "its check has not answered within 0.05 s"
        request = checker._request
        request.storage.write(f"{SIGN}{request.nonce}-id-b", "id-b")
        ray.tasks = [(name, outcome or Answer(name, versions=VERSIONS)) for name, outcome in ray.tasks]
        for _ in range(2):
            checker.poll()
        assert checker.nodes.unfit == []

    def test_nodes_that_join_are_checked(
        self, ray: FakeRay, checker: NodeChecker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ray.members = {"a": {"CPU": 1.0}}
        checker.check_all()
        ray.members |= {"b": {"CPU": 1.0}, "c": {"CPU": 1.0}}
        ray.images, ray.answers = {"b": "no images"}, {"c": ConnectionError("it has left")}
        checker.poll()
        assert checker.nodes.state_of("id-b") == UNCHECKED  # it was looked at just now
        monkeypatch.setattr(node_checker, "LOOK_S", 0.0)
        for _ in range(6):
            checker.poll()
        ray.members["d"], ray.answers["d"] = {"CPU": 1.0}, None
        for _ in range(3):
            checker.poll()
        assert [name for name, _ in ray.tasks].count("d") == 1
        states = [checker.nodes.state_of(f"id-{name}") for name in "abc"]
        assert states == [FIT, UNFIT, UNCHECKED]

    def test_that_join_and_leave_are_named(
        self, ray: FakeRay, checker: NodeChecker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_checker, "LOOK_S", 0.0)
        ray.members = {"a": {"CPU": 1.0}}
        checker.check_all()
        ray.members = {"b": {"CPU": 1.0}}
        for _ in range(4):
            checker.poll()
        warnings = checker._display.warnings  # type: ignore[attr-defined]
        assert warnings == ["node 'a' has left the cluster", "node 'b' has joined the cluster and can run trials"]


def test_the_checks_of_a_run_leave_nothing_behind(ray: FakeRay, study_of: Callable[..., Study], tmp_path: Path) -> None:
    ray.members = {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}}
    manifest: dict[str, Any] = {"runs": [{}], "data": {}}
    with checked_nodes(study_of(), tmp_path, manifest, joined=Joined("auto")) as checker:
        assert checker is not None
        assert len(names(tmp_path)) == 3
        assert checker.nodes.fit == ["id-a", "id-b"]
    assert names(tmp_path) == []
    ray.images = {"a": "no images"}
    refused = pytest.raises(UserError, match=r"node 'a' cannot run trials \(no images\), and --strict-nodes is set")
    with refused, checked_nodes(study_of(), tmp_path, manifest, joined=Joined("auto", strict_nodes=True)):
        pass
    assert names(tmp_path) == []
    with checked_nodes(study_of(), tmp_path, manifest, joined=HERE) as checker:
        assert checker is None
