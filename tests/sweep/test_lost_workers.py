"""Why a worker was lost: Ray's error, and what becomes of its node."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.resources import Resources
from sweep.conductor import Conductor
from sweep.followed import FollowedSweep
from sweep.losses import MAX_LOSSES, MAX_LOST_WORKERS, Loss, classify
from sweep.lost_workers import PATIENCE_S, LostWorkers
from sweep.progress import ProgressTracker
from sweep.records.reader import read_table
from sweep.records.schema import (
    CRASHES,
    LOSSES,
    LOST_NODES,
    NEIGHBOUR_FAULTS,
    OUT_OF_MEMORY,
    PREEMPTIONS,
    TRIALS,
)
from sweep.slots import LiveNode, Slots
from tests.sweep.conftest import lose_worker

DIED = "The actor died unexpectedly before finishing this task.\n\tip: 10.77.0.2\nits worker process has died."
GPU_FAULT = (
    "ray::CutMixTrainable.train() (pid=77, ip=10.77.0.2, actor_id=5f)\n"
    "torch.AcceleratorError: CUDA error: unspecified launch failure"
)
LOW = "Task was killed due to the node running low on memory."


class Cluster:
    """Two nodes and a clock."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            LiveNode("aa", "a100-1", {"CPU": 1.0}, address="10.77.0.2"),
            LiveNode("bb", "a100-2", {"CPU": 1.0}),
        ]
        self.now_s, self.told = 0.0, list[tuple[str, Loss]]()
        self.folder = folder
        self.slots = Slots(Resources(), lambda: self.nodes, is_elastic=True)
        self.lost = LostWorkers(self.slots, clock=lambda: self.now_s)

    def lose(self, trial: str, error: str = DIED, *, node_id: str = "aa", preempted: bool = False) -> None:
        self.told += self.lost.settled()
        if node_id:
            self.lost.on_report(trial, {"node": {"aa": "a100-1", "bb": "a100-2"}[node_id], "node_id": node_id})
        text, pickled = self.folder / "error.txt", self.folder / "error.pkl"
        text.write_text(f"Failure # 1 (at 07:00)\nnothing\nFailure # 2 (at 07:10)\n{error}\n")
        pickled.write_bytes(pickle.dumps(SimpleNamespace(preempted=preempted)))
        self.lost.add(trial, SimpleNamespace(error_file=str(text), pickled_error_file=str(pickled)))

    def settled(self, *, all_of_them: bool = False) -> list[tuple[str, Loss]]:
        told, self.told = [*self.told, *self.lost.settled(all_of_them=all_of_them)], []
        return told

    def kinds(self, *, all_of_them: bool = False) -> list[tuple[str, str]]:
        return [(trial, loss.kind) for trial, loss in self.settled(all_of_them=all_of_them)]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


class TestKinds:
    @pytest.mark.parametrize(
        ("error", "preempted", "kind"),
        [
            ("The actor died because its node has died. Node Id: 5f", False, LOST_NODES),
            (DIED, True, PREEMPTIONS),
            (LOW, False, OUT_OF_MEMORY),
            ("Local disk is full", False, CRASHES),
        ],
    )
    def test_that_ray_tells_are_known_at_once(self, cluster: Cluster, error: str, preempted: bool, kind: str) -> None:
        cluster.lose("off-0000", error, preempted=preempted)
        assert cluster.kinds() == [("off-0000", kind)]
        assert cluster.kinds() == []

    def test_a_node_may_turn_out_to_be_gone(self, cluster: Cluster) -> None:
        cluster.lose("off-0000")
        cluster.now_s = PATIENCE_S - 0.1
        assert cluster.kinds() == []
        del cluster.nodes[0]
        ((trial, loss),) = cluster.settled()
        assert (trial, loss.describe_restart(7)) == ("off-0000", "lost node a100-1, continues after epoch 7")

    def test_a_node_that_stays_had_a_crash(self, cluster: Cluster) -> None:
        cluster.lose("off-0000")
        cluster.now_s = PATIENCE_S
        ((_, loss),) = cluster.settled()
        assert (loss.kind, loss.fault, loss.node, loss.reason) == (
            *(CRASHES, "worker", "a100-1"),
            "its worker process has died.",
        )

    def test_a_node_that_was_drained_is_a_preemption(self, cluster: Cluster) -> None:
        cluster.nodes[0] = LiveNode("aa", "a100-1", {"CPU": 1.0}, is_draining=True)
        cluster.lose("off-0000")
        assert cluster.kinds() == [("off-0000", PREEMPTIONS)]

    def test_a_trial_that_crashes_again_and_again_is_not_waited_for(self, cluster: Cluster) -> None:
        for number in range(4):
            cluster.lose("off-0000")
            assert len(cluster.kinds()) == (number > 0)
        assert cluster.kinds(all_of_them=True) == [("off-0000", CRASHES)]

    def test_a_trial_that_never_reported_is_placed_by_the_address(self, cluster: Cluster) -> None:
        cluster.lose("off-0000", node_id="")
        del cluster.nodes[0]
        ((_, loss),) = cluster.settled()
        assert (loss.kind, loss.node) == (LOST_NODES, "a100-1")

    def test_a_silent_worker_counts_as_a_crash(self, cluster: Cluster) -> None:
        cluster.lost.add_silent(["off-0000"])
        cluster.lose("off-0000")
        cluster.lose("off-0001")
        ((_, silent),) = cluster.settled()
        assert (silent.kind, silent.fault) == (CRASHES, "stalled")

    @pytest.mark.parametrize(("shares_gpus", "kind"), [(True, NEIGHBOUR_FAULTS), (False, CRASHES)])
    def test_errors_of_a_shared_gpu_that_come_together_are_nobodys(
        self, cluster: Cluster, shares_gpus: bool, kind: str
    ) -> None:
        cluster.slots.is_elastic = False
        cluster.lost = LostWorkers(cluster.slots, clock=lambda: cluster.now_s, shares_gpus=lambda: shares_gpus)
        cluster.lose("off-0000", GPU_FAULT)
        assert cluster.kinds() == ([] if shares_gpus else [("off-0000", CRASHES)])
        cluster.lose("off-0001")  # this process has died: it may be at fault
        cluster.lose("off-0002", GPU_FAULT, node_id="bb")  # alone on its node
        cluster.lose("off-0003", GPU_FAULT, node_id="")
        cluster.now_s = PATIENCE_S
        kinds = {"off-0001": CRASHES, "off-0002": CRASHES, "off-0003": kind}
        assert dict(cluster.kinds()) == kinds | ({"off-0000": kind} if shares_gpus else {})

    def test_on_one_machine_nothing_is_waited_for(self, cluster: Cluster) -> None:
        cluster.slots.is_elastic = False
        cluster.lose("off-0000")
        assert cluster.kinds() == [("off-0000", CRASHES)]

    def test_an_error_that_cannot_be_read_says_nothing(self, cluster: Cluster) -> None:
        cluster.lost.add("off-0000", SimpleNamespace(error_file=None, pickled_error_file=None))
        ((_, loss),) = cluster.settled()
        assert (loss.kind, loss.reason) == (CRASHES, "no reason given")


@pytest.fixture
def conductor(simulate: Any, study_of: Callable[..., Any], tmp_path: Path) -> Conductor:
    conductor: Conductor = simulate(study_of(), tmp_path).conductor
    for _ in range(3):
        conductor.next_job()
    return conductor


class TestCounts:
    def row(self, conductor: Conductor, folder: Path, trial: str) -> dict[str, Any]:
        conductor.flush(force=True)
        return read_table(folder, TRIALS).set_index("trial").loc[trial].to_dict()

    def test_are_recorded_apart_and_kept(
        self, conductor: Conductor, simulate: Any, study_of: Callable[..., Any], tmp_path: Path
    ) -> None:
        for kind in (LOST_NODES, LOST_NODES, PREEMPTIONS, CRASHES, OUT_OF_MEMORY, NEIGHBOUR_FAULTS):
            conductor.on_restart("off-0000")
            conductor.on_loss("off-0000", Loss(kind, "worker", "a100-1"))
        row = self.row(conductor, tmp_path, "off-0000")
        assert [row[name] for name in LOSSES] == [2, 1, 1, 1, 0, 1]
        assert (row["status"], row["attempts"]) == ("running", 7)
        assert row["why"] == "lost its worker on a100-1 by an error of another trial on the same GPU, begins again"
        simulate(study_of(), tmp_path).run()
        row = self.row(conductor, tmp_path, "off-0000")
        assert ([row[name] for name in LOSSES], row["status"], row["why"]) == ([2, 1, 1, 1, 0, 1], "completed", "")
        assert self.row(conductor, tmp_path, "cutmix-0000")[CRASHES] == 0

    def test_of_lost_nodes_cost_no_trial_its_life(self, conductor: Conductor) -> None:
        for kind in (LOST_NODES, PREEMPTIONS) * (MAX_LOSSES // 2):
            conductor.on_loss("off-0000", Loss(kind, "node"))
        assert conductor.runs("off-0000")
        conductor.on_loss("off-0000", Loss(LOST_NODES, "node", reason="its node died"))
        assert conductor.entries["off-0000"].why == "its worker was lost 101 times: its node died"

    def test_of_crashes_and_memory_end_a_trial_together(self, conductor: Conductor, tmp_path: Path) -> None:
        for kind in (CRASHES, OUT_OF_MEMORY) * (MAX_LOST_WORKERS // 2) + (CRASHES,) * (MAX_LOST_WORKERS % 2):
            conductor.on_loss("off-0000", Loss(kind, "worker"))
        assert conductor.may_run("off-0000")
        conductor.on_loss("off-0000", classify(LOW, node="a100-1"))
        assert not conductor.may_run("off-0000")
        row = self.row(conductor, tmp_path, "off-0000")
        assert (row["status"], row["fault"], row["node"]) == ("failed", "memory", "a100-1")

    def test_begin_anew_when_a_failed_trial_is_restarted(
        self, conductor: Conductor, simulate: Any, study_of: Callable[..., Any], tmp_path: Path
    ) -> None:
        lose_worker(conductor, "off-0000")
        conductor.flush(force=True)
        again = simulate(study_of(), tmp_path, retry_failed=True).conductor
        assert "off-0000" in {again.next_job().trial for _ in range(3)}
        again.on_loss("off-0000", classify("killed"))
        assert again.runs("off-0000")
        assert self.row(again, tmp_path, "off-0000")[CRASHES] == MAX_LOST_WORKERS + 2

    def test_are_news_here_and_to_who_follows(self, conductor: Conductor, tmp_path: Path) -> None:
        conductor.flush(force=True)
        tracker, followed = ProgressTracker(conductor), FollowedSweep(tmp_path)
        theirs = followed.tracker()
        conductor.on_loss("off-0000", Loss(LOST_NODES, "node", "a100-1"))
        assert tracker.new_losses() == ["off-0000 lost node a100-1, begins again"]
        assert tracker.new_losses() == []
        conductor.flush(force=True)
        followed.update()
        assert theirs.new_losses() == ["off-0000 lost node a100-1, begins again"]
