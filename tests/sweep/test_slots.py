from __future__ import annotations

from typing import Any

import pytest

from search_spaces.resources import Resources
from sweep import live_nodes
from sweep.nodes import Nodes
from sweep.slots import IN_JOB, LiveNode, Slots, describe_no_room, start_patience_s, workers_on
from trainables.errors import UserError


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "slots"),
    [
        ([{"CPU": 4}], 1, 0.0, 4),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0.0, 2),  # six cores, but each trial is on one node
        ([{"CPU": 8, "GPU": 1}], 1, 0.5, 2),
        ([{"CPU": 8, "GPU": 1}], 1, 0.4, 2),  # a trial is on one GPU: 0.2 of each stay idle
        ([{"CPU": 8, "GPU": 1}], 1, 0.1, 8),
        ([{"CPU": 16, "GPU": 1}], 1, 0.1, 10),  # 1 / 0.1 is a little less than ten parts of 0.1
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8}], 1, 1.0, 2),
        ([{"CPU": 1, "GPU": 4}], 1, 0.5, 1),
    ],
)
def test_trials_fit_on_nodes_not_on_sums(nodes: list[dict[str, float]], cpus: int, gpus: float, slots: int) -> None:
    assert sum(workers_on(node, Resources(cpus=cpus, gpus=gpus)) for node in nodes) == slots


def test_workers_of_a_trial_may_be_on_several_nodes() -> None:
    nodes = [LiveNode("a", "a", {"CPU": 3.0}), LiveNode("b", "b", {"CPU": 5.0})]
    assert Slots(Resources(cpus=2, workers=3), lambda: nodes).n_slots == 1
    with pytest.raises(UserError, match=r"needs 4 workers with 2 CPUs and 0 GPUs each, 3 workers fit, the nodes have"):
        Slots(Resources(cpus=2, workers=4), lambda: nodes).check_any()


def test_a_large_cluster_without_room_is_described_briefly() -> None:
    assert len(describe_no_room([{"CPU": 1 + number % 7} for number in range(500)], Resources(cpus=8))) <= 500


class Cluster:
    """Nodes that join and leave, and a clock."""

    def __init__(self) -> None:
        self.nodes: dict[str, LiveNode] = {}
        self.now_s = 0.0

    def add(self, name: str, cpus: int, *, is_draining: bool = False) -> None:
        self.nodes[name] = LiveNode(name, name, {"CPU": float(cpus)}, is_draining)

    def slots(self, **options: Any) -> Slots:
        return Slots(Resources(cpus=2), lambda: list(self.nodes.values()), clock=lambda: self.now_s, **options)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class TestSlots:
    def test_follow_the_nodes(self, cluster: Cluster) -> None:
        cluster.add("a", 4)
        slots = cluster.slots(is_elastic=True)
        cluster.add("b", 7)
        cluster.add("c", 1)
        assert (slots.n_slots, slots.n_nodes) == (2, 1)
        cluster.now_s = 1.9  # not yet
        slots.update()
        assert slots.n_slots == 2
        cluster.now_s = 2.0
        slots.update()
        assert (slots.n_slots, slots.n_nodes) == (5, 2)
        del cluster.nodes["a"]
        cluster.add("b", 7, is_draining=True)
        slots.update(now=True)
        assert (slots.n_slots, slots.n_nodes) == (0, 0)

    def test_are_on_nodes_that_were_checked(self, cluster: Cluster) -> None:
        for name in ("a", "b", "c"):
            cluster.add(name, 2)
        slots = cluster.slots(is_elastic=True)
        slots.nodes = Nodes()
        slots.nodes.set_alive({"a": "a", "b": "b", "c": "c"})
        slots.nodes.set_checked("a", "a")
        slots.nodes.set_unfit("b", "b", "its disk is full")
        slots.update(now=True)
        assert slots.n_slots == 1
        slots.nodes.set_checked("c", "c")
        slots.update(now=True)
        assert slots.n_slots == 2

    @pytest.mark.parametrize(
        ("is_elastic", "grows", "max_trials", "limit"),
        [
            (False, False, None, 4),
            (False, False, 3, 3),
            (False, False, 9, 4),  # this machine does not grow
            (True, False, None, 4),
            (True, True, None, 5),  # one more shows a cluster that trials wait
            (True, True, 9, 9),  # all that may be needed is asked for at once
            (True, False, 9, 9),
            (True, True, 3, 3),
        ],
    )
    def test_limit_the_trials(
        self, cluster: Cluster, is_elastic: bool, grows: bool, max_trials: int | None, limit: int
    ) -> None:
        cluster.add("a", 8)
        assert cluster.slots(is_elastic=is_elastic, grows=grows).limit(max_trials) == limit

    def test_a_cluster_without_nodes_is_asked_for_some(self, cluster: Cluster) -> None:
        assert [cluster.slots(is_elastic=True, grows=grows).limit() for grows in (False, True)] == [0, 1]

    def test_a_machine_without_room_is_refused_at_once(self, cluster: Cluster) -> None:
        cluster.add("a", 1)
        message = "each trial needs 2 CPUs and 0 GPUs, the nodes have: 1 x 1 CPUs and 0 GPUs"
        for slots in (cluster.slots(), cluster.slots(is_elastic=True, start_timeout_s=0.0)):
            with pytest.raises(UserError, match=message):
                slots.check_any()
        cluster.slots(is_elastic=True, start_timeout_s=1.0).check_any()

    def test_are_waited_for_in_words(self, cluster: Cluster) -> None:
        slots = cluster.slots(is_elastic=True, start_timeout_s=100.0)
        said = []
        for now_s in range(200):
            cluster.now_s = now_s
            said += [(now_s, line)] if (line := slots.waiting_line()) else []
            if (failing := slots.timeout()) is not None:
                break
        assert [at_s for at_s, _ in said] == [2, 62]
        assert said[1][1].startswith("waiting for nodes, 1 min 2 s: no trial fits on a node: ")
        assert now_s == 100
        assert failing is not None
        assert failing.message.startswith("no node came within 1 min 40 s (--start-timeout): ")

    def test_whose_nodes_are_checked_are_waited_for_in_other_words(self, cluster: Cluster) -> None:
        cluster.add("a", 2)
        slots = cluster.slots(is_elastic=True)
        slots.nodes = Nodes()
        slots.update(now=True)
        cluster.now_s = 5.0
        assert slots.waiting_line() == (
            "waiting for nodes, 5 s: the only node with room for a trial cannot run one yet: checked now, left out, or "
            "about to leave"
        )

    def test_are_told_at_the_start(self, cluster: Cluster) -> None:
        cluster.add("a", 8)
        cluster.add("b", 4)
        said = [cluster.slots(is_elastic=True).describe(number) for number in (None, 2, 16)]
        assert said == ["6 at a time on 2 nodes", "2 at a time on 2 nodes", "6 at a time on 2 nodes, at most 16"]
        assert cluster.slots().describe(16) == "6 at a time on 2 nodes"

    def test_that_were_there_may_be_gone_for_long(self, cluster: Cluster) -> None:
        cluster.add("a", 2)
        slots = cluster.slots(is_elastic=True, start_timeout_s=10.0)
        assert slots.waiting_line() == ""
        cluster.nodes.clear()
        slots.update(now=True)
        cluster.now_s = 1000.0
        assert slots.timeout() is None
        assert slots.waiting_line()


def test_a_job_waits_for_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_JOB, raising=False)
    assert start_patience_s(None) == 600
    monkeypatch.setenv(IN_JOB, "{}")
    assert (start_patience_s(None), start_patience_s(0.0)) == (float("inf"), 0.0)


@pytest.mark.parametrize(
    ("status", "grows"),
    [
        (None, True),  # another autoscaler than Ray's, or none: nobody can tell
        (b"{}", True),
        (b'{"autoscaler_report": {"active_nodes": {"node_0123456789abcdef": 1}}}', False),
        (b'{"autoscaler_report": {"active_nodes": {"ray.head.default": 1, "worker": 2}}}', True),
    ],
)
def test_a_cluster_that_people_start_by_hand_does_not_grow(
    monkeypatch: pytest.MonkeyPatch, status: bytes | None, grows: bool
) -> None:
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", lambda key: status)
    assert live_nodes.grows() is grows
