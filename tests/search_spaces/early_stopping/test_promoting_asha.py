"""Promotion against algorithm 2 of Li et al., written down once more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from search_spaces.early_stopping.asha import PromotingAsha
from search_spaces.early_stopping.base import CONTINUE, PAUSE

RUNGS = [1, 2, 4]


def rule(*, eta: int = 2, min_recorded: int = 1) -> PromotingAsha:
    return PromotingAsha(RUNGS, reduction_factor=eta, min_recorded=min_recorded)


def asynchronous_halving(curves: list[list[float]], eta: int) -> list[tuple[int, int]]:
    """Algorithm 2 with one worker: what it runs, as trial and place of the rung to which it runs it."""
    came: list[dict[int, float]] = [{} for _ in RUNGS]
    promoted: list[set[int]] = [set() for _ in RUNGS]
    jobs = []

    def get_job() -> tuple[int, int] | None:
        for k in reversed(range(len(RUNGS))):
            best = sorted(came[k], key=lambda trial: came[k][trial])[: max(1, len(came[k]) // eta)]
            for trial in best:
                if trial not in promoted[k]:
                    promoted[k].add(trial)
                    return trial, k + 1
        new = len(came[0])
        return (new, 0) if new < len(curves) else None

    while job := get_job():
        jobs.append(job)
        trial, k = job
        if k < len(RUNGS):
            came[k][trial] = curves[trial][k]
    return jobs


def played(curves: list[list[float]], eta: int) -> list[tuple[int, int]]:
    """The rule with one worker that goes on where it may, and else takes the promotable before the new."""
    asha, paused, jobs, begun = rule(eta=eta), dict[int, int](), [], 0
    while True:
        trial = asha.promotable(paused)
        if trial is None:
            if begun == len(curves):
                return jobs
            trial, begun, k = begun, begun + 1, 0
        else:
            k = paused.pop(trial) + 1
        while True:
            jobs.append((trial, k))
            if k == len(RUNGS):
                break
            judgement = asha.observe(trial, RUNGS[k], curves[trial][k])
            assert judgement
            if judgement.verdict == PAUSE:
                paused[trial] = k
                break
            k += 1


@given(st.permutations(range(12)), st.permutations(range(12)), st.permutations(range(12)), st.integers(2, 4))
def test_runs_what_algorithm_2_runs(first: list[int], second: list[int], third: list[int], eta: int) -> None:
    """Without ties, where the paper leaves open who is better."""
    curves = [list(map(float, curve)) for curve in zip(first, second, third, strict=True)]
    assert played(curves, eta) == asynchronous_halving(curves, eta)


def test_goes_on_with_the_best_of_the_highest_rung() -> None:
    asha = rule(eta=2)
    for trial, value in enumerate([0.1, 0.2, 0.3, 0.4]):
        asha.observe(trial, 1, value)
    for trial, value in ((0, 0.5), (1, 0.6), (2, 0.7)):
        asha.observe(trial, 2, value)
    assert asha.promotable([1, 2, 3]) is None
    asha.observe(4, 2, 0.9)  # the second of four at rung 2 is among the best now
    assert asha.promotable([1, 2, 3]) == 1
    assert asha.promotable([2, 3]) is None
    asha.observe(5, 1, 0.5)
    asha.observe(6, 1, 0.05)
    asha.observe(7, 1, 0.6)
    asha.observe(8, 1, 0.35)
    assert asha.promotable([3, 5]) is None


def test_the_first_are_not_paused() -> None:
    asha = rule(min_recorded=3)
    judged = [asha.observe(trial, 1, value) for trial, value in enumerate([0.1, 0.9, 0.8])]
    assert [judgement.verdict for judgement in judged if judgement] == [CONTINUE, CONTINUE, PAUSE]


def test_ties_are_promoted_lowest_number_first() -> None:
    asha = rule()
    for trial, value in ((5, 0.1), (7, 0.3), (6, 0.3), (8, 0.9), (9, 0.9)):
        asha.observe(trial, 1, value)
    assert asha.promotable([7, 6]) == 6
    assert asha.promotable([7]) == 7
