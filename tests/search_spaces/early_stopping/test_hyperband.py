"""Hyperband: proportions of the brackets, their even spread, their separate rungs."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from search_spaces.early_stopping.hyperband import Hyperband, HyperbandStopping


def rule(max_epochs: int = 81, *, eta: int = 3, grace: int = 1, brackets: int | None = None) -> Hyperband:
    stopping = HyperbandStopping(grace_period_epochs=grace, reduction_factor=eta, min_recorded=1, brackets=brackets)
    return stopping.build(max_epochs)


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_brackets_have_the_published_proportions(eta: int) -> None:
    """Table 1 of the paper for eta 3 and R 81: n = 81, 34, 15, 8 (and 5 without halving, which has no bracket here)."""
    s_max = 4
    published = [math.ceil((s_max + 1) / (s + 1) * eta**s) for s in range(s_max, 0, -1)]
    if eta == 3:
        assert published == [81, 34, 15, 8]
    hyperband = rule(eta**4, eta=eta)
    counts = Counter(hyperband.bracket(trial) for trial in range(sum(published)))
    assert [counts[bracket] for bracket in range(4)] == published


def test_are_spread_evenly() -> None:
    """After any number of trials each bracket is within one trial of its proportion."""
    hyperband, counts, proportions = rule(), Counter[int](), [81, 34, 15, 8]
    for trial in range(300):
        counts[hyperband.bracket(trial)] += 1
        for bracket, proportion in enumerate(proportions):
            assert abs(counts[bracket] - (trial + 1) * proportion / sum(proportions)) < 1.01


def test_a_bracket_depends_on_the_number_alone() -> None:
    forwards, backwards = rule(), rule()
    numbers = range(50)
    assert [forwards.bracket(trial) for trial in numbers] == [backwards.bracket(trial) for trial in reversed(numbers)][
        ::-1
    ]


def test_each_bracket_has_a_later_first_rung() -> None:
    hyperband = rule(30, eta=2, grace=3)
    rungs = {hyperband.bracket(trial): hyperband.rungs(trial) for trial in range(60)}
    assert rungs == {0: [3, 6, 12, 24], 1: [6, 12, 24], 2: [12, 24], 3: [24]}


def test_fewer_brackets_are_the_earliest() -> None:
    hyperband = rule(brackets=2)
    assert {tuple(hyperband.rungs(trial)) for trial in range(60)} == {(1, 3, 9, 27), (3, 9, 27)}


def test_brackets_do_not_see_each_other() -> None:
    hyperband = rule(eta=2)
    early = [trial for trial in range(40) if hyperband.bracket(trial) == 0]
    late = next(trial for trial in range(40) if hyperband.bracket(trial) == 1)
    for trial in early:
        hyperband.observe(trial, 1, 0.1)
        hyperband.observe(trial, 2, 0.1)
    judgement = hyperband.observe(late, 2, 0.9)
    assert judgement
    assert (judgement.verdict, judgement.n_recorded) == ("continue", 1)
    assert hyperband.observe(late, 1, 0.9) is None
