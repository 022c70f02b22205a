"""Whether the head of a cluster still answers; the head is a stand-in."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from sweep.gcs import NoAnswer, NotRay, Unauthenticated, UnknownAnswer
from sweep.head_watch import HEAD_LOOK_S, LOST_AFTER_S, HeadWatch

Answer = str | Exception


def looks(*answers: Answer) -> list[str]:
    """Return what a watch says at each look, in which the head gives these answers."""
    left, now_s = list(answers), 0.0

    def ask(target: str, token: str | None, *, timeout_s: float) -> str:
        assert (target, token) == ("10.0.0.5:6379", "secret")
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch, said = HeadWatch("10.0.0.5:6379", "secret", ask=ask, clock=lambda: now_s), []
    for _ in answers:
        said.append(watch.find_loss())
        now_s += HEAD_LOOK_S
    return said


def test_a_head_that_is_silent_for_some_looks_is_lost() -> None:
    assert HEAD_LOOK_S < LOST_AFTER_S <= 2 * HEAD_LOOK_S  # one answer may be late
    gone = "the head of the Ray cluster at 10.0.0.5:6379 does not answer any more"
    assert looks("5f", NoAnswer(), NotRay(), NoAnswer()) == ["", "", "", gone]
    assert looks("5f", NoAnswer(), NoAnswer(), "5f", NoAnswer(), NoAnswer(), "5f") == [""] * 7


def test_another_cluster_at_the_address_is_a_loss() -> None:
    assert looks("5f", "6a") == ["", "the Ray cluster at 10.0.0.5:6379 has been started anew"]


def test_the_head_is_not_asked_at_each_look() -> None:
    asked: list[str] = []

    def ask(target: str, token: str | None, *, timeout_s: float) -> str:
        asked.append(target)
        return "5f"

    watch = HeadWatch("10.0.0.5:6379", None, ask=ask, clock=iter(map(float, range(12))).__next__)
    assert [watch.find_loss() for _ in range(12)] == [""] * 12
    assert len(asked) == 3


def test_a_lost_raylet_is_seen_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watch = HeadWatch("10.0.0.5:6379", None, raylet=psutil.Process(process.pid), ask=lambda *_, **__: "5f")
        assert watch.find_loss() == ""
        process.kill()
        process.wait()
        assert watch.find_loss() == "Ray has lost its process raylet on this machine"


@pytest.mark.parametrize("answer", [Unauthenticated(), UnknownAnswer()])
def test_a_head_that_refuses_is_there(answer: Exception) -> None:
    assert looks("5f", NoAnswer(), NoAnswer(), answer, NoAnswer(), NoAnswer()) == [""] * 6


def test_a_head_that_only_ray_can_talk_to_is_not_watched() -> None:
    assert looks(NotRay(), NotRay(), NotRay(), NotRay()) == [""] * 4
