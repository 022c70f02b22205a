"""Whose fault a failed trial is: the node's, the trial's or the study's; which nodes get trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.node_record import follow_nodes
from sweep.nodes import FIT, MAX_IN_A_ROW, UNCHECKED, UNFIT, Nodes
from sweep.records.reader import read_manifest
from sweep.watch import Watch

MISSING = "Traceback:\nFileNotFoundError: [Errno 2] No such file: '/images'"


@pytest.fixture
def nodes() -> Nodes:
    """Two nodes that have passed their check."""
    return checked("a", "b")


def checked(*names: str, **options: Any) -> Nodes:
    nodes = Nodes(**options)
    nodes.set_alive({name: f"host-{name}" for name in names})
    for name in names:
        nodes.set_checked(name, f"host-{name}")
    return nodes


def fails(nodes: Nodes, trial: str, node: str, why: str = MISSING, fault: str = "trial") -> bool:
    """Let a trial begin and fail; return whether that is its end."""
    nodes.on_start(trial)
    return nodes.on_failure(trial, node, f"host-{node}", fault=fault, why=why)


def reports(nodes: Nodes, trial: str, node: str) -> None:
    nodes.on_start(trial)
    nodes.on_report(trial, node, f"host-{node}")


class TestWhoseFaultItIs:
    def test_two_failures_in_a_row_are_the_node_s(self, nodes: Nodes) -> None:
        changed: list[str] = []
        nodes.on_change.append(changed.append)
        assert not fails(nodes, "t1", "a")
        assert (nodes.state_of("a"), nodes.unfit_for("t1"), nodes.unfit_for("t2")) == (FIT, ["a"], [])
        assert not fails(nodes, "t2", "a", MISSING.replace("2", "20"))
        assert (nodes.state_of("a"), nodes.unfit, nodes.fit, changed) == (UNFIT, ["a"], ["b"], ["a"])
        assert nodes.why_of("a").startswith("2 trials in a row failed there: FileNotFoundError")
        assert nodes.record() == [{"node": "host-a", "node_id": "a", "why": nodes.why_of("a")}]
        assert not fails(nodes, "t3", "a", "another error")  # it was on its way there
        assert nodes.why_of("a").startswith("2 trials in a row failed there: FileNotFoundError")
        for trial in ("t1", "t2", "t3"):
            reports(nodes, trial, "b")
            assert nodes.unfit_for(trial) == ["a"]
        assert nodes.failing is None

    def test_a_success_in_between_clears_the_node(self, nodes: Nodes) -> None:
        for number in range(5):
            assert not fails(nodes, f"t{number}", "a", f"ValueError: {'abcde'[number]}")
            reports(nodes, f"u{number}", "a")
        assert nodes.unfit == []

    def test_an_error_that_comes_again_elsewhere_is_the_trial_s(self, nodes: Nodes) -> None:
        assert not fails(nodes, "t1", "a", "ValueError: bad")
        reports(nodes, "t2", "a")
        assert fails(nodes, "t1", "b", "ValueError: bad")
        for number in range(9):
            reports(nodes, f"u{number}", "b")
            assert fails(nodes, f"v{number}", "a", "ValueError: bad")  # at once: both nodes had it
        assert (nodes.unfit, nodes.failing) == ([], None)

    def test_an_error_of_the_study_ends_the_sweep_and_clears_the_nodes(self, nodes: Nodes) -> None:
        assert [fails(nodes, "t1", "a"), fails(nodes, "t2", "a")] == [False, False]
        assert nodes.unfit == ["a"]
        for number in range(MAX_IN_A_ROW):
            assert nodes.failing is None
            assert fails(nodes, f"t{number}", "b")
            assert nodes.unfit == []
        assert nodes.failing is not None
        assert nodes.failing.retry_failed
        assert nodes.failing.message.startswith("3 trials in a row failed with one error on several nodes: FileNotFou")

    def test_after_its_first_epoch_a_trial_is_at_fault_itself_unless_a_disk_is(self, nodes: Nodes) -> None:
        for fault, ends in (("trial", True), ("memory", True), ("disk", False)):
            reports(nodes, "t1", "a")
            assert nodes.on_failure("t1", "a", "host-a", fault=fault, why="x") == ends

    def test_on_the_only_node_a_failure_is_the_trial_s(self) -> None:
        nodes = Nodes()
        assert [fails(nodes, f"t{number}", "a") for number in range(9)] == [True] * 9
        assert (nodes.unfit, nodes.failing) == ([], None)
        assert [fails(nodes, f"u{number}", "a", "full", "disk") for number in range(2)] == [True, True]
        assert nodes.failing is not None  # with the failures before

    def test_a_dead_node_is_no_other_one(self, nodes: Nodes) -> None:
        assert not fails(nodes, "t1", "a")
        nodes.set_alive({"a": "host-a"})
        assert nodes.unfit_for("t1") == []
        assert fails(nodes, "t1", "a")
        assert nodes.unfit == []

    def test_names_and_numbers_make_no_other_error(self, nodes: Nodes) -> None:
        assert not fails(nodes, "t1", "a", "OSError: host-a has no image 17")
        assert fails(nodes, "t1", "b", "OSError: host-b has no image 18")


class TestWhichNodesGetTrials:
    def test_those_that_are_not_checked_yet_are_told(self, nodes: Nodes) -> None:
        assert nodes.set_alive({"b": "host-b", "c": "host-c"}) == ["c"]
        assert (nodes.state_of("c"), nodes.state_of("never seen"), nodes.fit) == (UNCHECKED, UNCHECKED, ["b"])
        nodes.set_checked("c", "host-c", "torch differs")
        assert (nodes.unfit, nodes.why_of("c")) == (["c"], "torch differs")
        assert nodes.set_alive({"a": "host-a", "b": "host-b", "c": "host-c"}) == []
        nodes.set_checked("c", "host-c")  # a late answer
        assert nodes.unfit == []

    def test_no_fit_node_ends_the_sweep(self, nodes: Nodes) -> None:
        nodes.set_unfit("a", "host-a", "no storage")
        assert nodes.failing is None
        nodes.set_unfit("b", "host-b", "no images")
        assert nodes.failing is not None
        assert nodes.failing.message == "no node can run trials: 'host-a' (no storage), 'host-b' (no images)"
        assert not nodes.failing.retry_failed

    def test_strict_nodes_ends_it_at_the_first(self) -> None:
        nodes = checked("a", "b", strict=True)
        nodes.set_unfit("a", "host-a", "no storage")
        assert nodes.failing is not None
        assert "'host-a' cannot run trials (no storage), and --strict-nodes is set" in nodes.failing.message


class TestInASweep:
    """Two workers, the first on node a."""

    def run(self, simulate: Any, study: Study, folder: Path, bad: dict[str, Any], **options: Any) -> Any:
        places: dict[str, str] = {}

        def values(job: Any, epoch: int) -> dict[str, Any]:
            left_out = session.conductor.nodes.unfit_for(job.trial)
            running = [places.get(entry.trial) for entry in session.conductor.running if entry.trial != job.trial]
            if epoch == job.recorded_epochs + 1:
                places[job.trial] = "b" if "a" in left_out or "a" in running else "a"
            node = {"node": f"host-{places[job.trial]}", "node_id": places[job.trial]}
            return {**node, **(bad if places[job.trial] == "a" else {})}

        session = simulate(study, folder, curve=values, **options)
        session.conductor.nodes = checked("a", "b")
        return session.run()

    @pytest.mark.parametrize("bad", [{"failed": MISSING}, {"unfit": "it does not see '/sweeps'"}])
    def test_one_bad_node_costs_no_trial(
        self, simulate: Any, study_of: Callable[..., Study], tmp_path: Path, bad: dict[str, Any]
    ) -> None:
        lines: list[str] = []
        session = self.run(simulate, study_of(), tmp_path / "box", bad, warn=lines.append)
        conductor = session.conductor
        assert conductor.nodes.unfit == ["a"]
        assert {entry.status for entry in conductor.entries.values()} <= {"completed", "stopped"}
        assert {entry.about["node"] for entry in conductor.entries.values()} == {"host-b"}
        again = [entry.trial for entry in conductor.entries.values() if entry.attempts > 1]
        assert len(again) == len(lines) == (2 if "failed" in bad else 1)
        assert all("host-a" in line for line in lines)

    def test_a_folder_that_the_driver_does_not_see_either_is_no_fault_of_a_node(
        self, simulate: Any, study_of: Callable[..., Study], tmp_path: Path
    ) -> None:
        session = simulate(study_of(), tmp_path / "box")
        job = session.conductor.next_job()
        (tmp_path / "box").rename(tmp_path / "other")
        with pytest.raises(FileNotFoundError, match="box"):
            session.conductor.on_report(job.trial, {"trial": job.trial, "unfit": "gone", "node": "a"})

    def test_the_watch_ends_it_with_exit_code_2(
        self, simulate: Any, study_of: Callable[..., Study], tmp_path: Path
    ) -> None:
        session = simulate(study_of(), tmp_path / "box")
        watch = Watch(session.conductor, tmp_path / "box")
        job = session.conductor.next_job()
        watch.on_start(job.trial)
        session.conductor.on_report(job.trial, {"trial": job.trial, "unfit": "no storage", "node": "a"})
        watch.on_report(job.trial)
        assert watch._heard_at_s == {}  # no worker has it
        assert watch.is_over()
        ending = watch.ending()
        assert ending is not None
        assert ending.exit_code == 2
        assert str(ending).startswith("no node can run trials: 'a' (no storage); fix the cause first; resume with: ")
        assert "--retry-failed" not in str(ending)

    def test_status_names_the_nodes_of_the_last_run(
        self, simulate: Any, study_of: Callable[..., Study], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        session, shown = simulate(study_of(), tmp_path / "box"), list[str]()
        nodes = checked("a", "b", "c")
        follow_nodes(nodes, tmp_path / "box", shown.append)
        nodes.set_unfit("a", "host-a", "torch is 2.10.0 there")
        nodes.set_unfit("b", "host-b", "no storage")
        nodes.set_checked("b", "host-b")
        session.run()
        assert shown == [
            "node 'host-a' gets no trials: torch is 2.10.0 there",
            "node 'host-b' gets no trials: no storage",
            "node 'host-b' gets trials again",
        ]
        left_out = [{"node": "host-a", "node_id": "a", "why": "torch is 2.10.0 there"}]
        assert read_manifest(tmp_path / "box")["runs"][-1]["nodes"] == left_out
        assert "left out: node 'host-a': torch is 2.10.0 there\n" in run("status", tmp_path / "box")[1]
        assert json.loads(run("status", tmp_path / "box", "--json")[1])["left_out_nodes"] == left_out


def test_a_trial_that_returns_to_its_node_has_failed() -> None:
    """Otherwise it would run there without an end: a resource request that Ray does not keep to."""
    nodes = Nodes()
    for name in ("a", "b"):
        nodes.set_checked(name, name)
    for expected in (False, True):
        nodes.on_start("off-0000")
        assert nodes.on_failure("off-0000", "a", "a", fault="trial", why="no images") is expected
    nodes.set_unfit("a", "a", "its disk is full")
    for expected in (False, True):
        nodes.on_start("off-0001")
        assert nodes.on_failure("off-0001", "a", "a", fault="trial", why="no labels") is expected
