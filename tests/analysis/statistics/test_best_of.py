"""The expected best of n trials, against all subsets, and how often its interval covers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.statistics import best_of_n


def test_is_the_mean_over_all_subsets_with_a_selected_trial() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=7)
    ranked_by = np.array([0.3, 0.1, np.nan, 0.3, 0.2, np.nan, 0.9])  # a tie, and two trials without a value

    def selected(subset: tuple[int, ...]) -> int | None:
        ended = [trial for trial in subset if np.isfinite(ranked_by[trial])]
        return min(ended, key=lambda trial: ranked_by[trial]) if ended else None

    sizes = range(1, 8)
    expected, *_ = best_of_n(values, ranked_by, sizes)
    for n, estimate in zip(sizes, expected, strict=True):
        best = [winner for subset in combinations(range(7), n) if (winner := selected(subset)) is not None]
        assert estimate == pytest.approx(values[best].mean())


def test_the_interval_is_that_of_the_jackknife_and_ends_where_few_disjoint_groups_are_left() -> None:
    values = np.random.default_rng(1).normal(size=9)
    expected, low, high = best_of_n(values, values, [1, 2, 3, 4])
    assert np.isnan(low).tolist() == [False, False, False, True]
    left_out = np.array([best_of_n(*[np.delete(values, place)] * 2, [2])[0][0] for place in range(9)])
    error = np.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
    assert (high - expected)[1] == pytest.approx(3.182 * error, rel=1e-3)  # Student's t of four disjoint pairs


def test_the_interval_covers_what_a_search_finds_on_average() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(20_000, 4)).min(axis=1).mean()
    ends = [best_of_n(*[rng.normal(size=16)] * 2, [4])[1:] for _ in range(400)]
    covers = np.mean([low[0] <= truth <= high[0] for low, high in ends])
    assert 0.92 < covers <= 1.0


def test_without_a_ranked_trial_is_unknown() -> None:
    expected, low, _ = best_of_n([0.5, 0.4], [np.nan, np.nan], [1, 2])
    assert np.isnan([*expected, *low]).all()
