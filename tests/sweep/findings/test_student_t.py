"""What a power analysis promises is held by tests on made-up errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweep.findings.student_t import ALPHA, POWER, ci_half_width, detectable_points, power, seeds_needed


def found_frac(effect: float, sd: float, n_seeds: int, *, paired: bool, alpha: float = ALPHA) -> float:
    """Share of made-up sweeps whose t-test, by SciPy, finds the difference."""
    rng = np.random.default_rng(n_seeds)
    first, second = rng.normal([[[0.0]], [[effect]]], sd, (2, 20_000, n_seeds))
    test = stats.ttest_1samp(second, 0.0, axis=1) if paired else stats.ttest_ind(first, second, axis=1)
    return float(np.mean(test.pvalue < alpha))


class TestSeedsNeeded:
    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize(("effect", "sd"), [(0.25, 0.4), (0.5, 0.4), (1.0, 0.4), (2.0, 0.9)])
    def test_find_the_difference_as_often_as_promised(self, effect: float, sd: float, paired: bool) -> None:
        """Enough, and one fewer is not; within four standard errors of 20,000 sweeps."""
        needed = seeds_needed(effect, sd_points=sd, paired=paired)
        margin = 4 * math.sqrt(POWER * (1 - POWER) / 20_000)
        assert found_frac(effect, sd, needed, paired=paired) > POWER - margin
        assert found_frac(effect, sd, needed - 1, paired=paired) < POWER + margin

    @pytest.mark.parametrize(("effect", "needed"), [(0.25, 42), (0.5, 12), (1.0, 4)])
    def test_on_cifar_100(self, effect: float, needed: int) -> None:
        """About 40, 10 and 4 by the normal approximation, (1.96 + 0.84)^2 2 sd^2 / effect^2; few seeds take more."""
        assert seeds_needed(effect, sd_points=0.4) == needed
        assert needed >= 2 * (1.96 + 0.84) ** 2 * 0.4**2 / effect**2 > needed - 3

    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize(("effect", "sd"), [(100.0, 0.001), (5.0, 0.4)])
    def test_are_two_where_the_difference_is_plain(self, effect: float, sd: float, paired: bool) -> None:
        assert seeds_needed(effect, sd_points=sd, paired=paired) == 2

    @pytest.mark.parametrize("paired", [False, True])
    def test_exist_for_every_difference(self, paired: bool) -> None:
        """The larger it is, the fewer: the solver neither fails nor jumps."""
        needed = [seeds_needed(effect, sd_points=1.0, paired=paired) for effect in np.geomspace(0.05, 20, 60)]
        assert needed == sorted(needed, reverse=True)

    def test_of_a_tiny_difference(self) -> None:
        assert seeds_needed(0.001, sd_points=100.0) == pytest.approx(2 * (1.96 + 0.8416) ** 2 * 1e10, rel=1e-3)


class TestDetectablePoints:
    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize("n_seeds", [2, 3, 10])
    def test_are_found_as_often_as_promised(self, n_seeds: int, paired: bool) -> None:
        effect = detectable_points(n_seeds, sd_points=0.4, paired=paired)
        margin = 4 * math.sqrt(POWER * (1 - POWER) / 20_000)
        assert found_frac(effect, 0.4, n_seeds, paired=paired) == pytest.approx(POWER, abs=margin)

    def test_of_one_seed_are_unknown(self) -> None:
        assert math.isnan(detectable_points(1, sd_points=0.4))


class TestPower:
    @pytest.mark.parametrize("paired", [False, True])
    def test_is_the_share_of_sweeps_that_find_the_difference(self, paired: bool) -> None:
        promised = power(-0.5, n_seeds=6, sd=0.4, paired=paired)
        margin = 4 * math.sqrt(promised * (1 - promised) / 20_000)
        assert found_frac(0.5, 0.4, 6, paired=paired) == pytest.approx(promised, abs=margin)

    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize("n_seeds", [2, 3, 8])
    def test_is_that_which_detectable_differences_have(self, n_seeds: int, paired: bool) -> None:
        effect = detectable_points(n_seeds, sd_points=0.4, paired=paired, alpha=0.01)
        assert power(effect, n_seeds=n_seeds, sd=0.4, paired=paired, alpha=0.01) == pytest.approx(POWER, abs=1e-6)

    @pytest.mark.parametrize("paired", [False, True])
    def test_of_few_seeds_at_the_level_of_many_comparisons(self, paired: bool) -> None:
        """Where a t-test of few degrees of freedom needs many SD."""
        effect = detectable_points(2, sd_points=0.4, paired=paired, alpha=ALPHA / 13)
        margin = 4 * math.sqrt(POWER * (1 - POWER) / 20_000)
        found = found_frac(effect, 0.4, 2, paired=paired, alpha=ALPHA / 13)
        assert found == pytest.approx(POWER, abs=margin)

    def test_rises_to_1(self) -> None:
        rising = [power(effect, n_seeds=8, sd=1.0, paired=True, alpha=0.01) for effect in np.geomspace(0.01, 100, 40)]
        assert rising == sorted(rising)
        assert rising[0] == pytest.approx(0.01, abs=1e-3)
        assert rising[-1] == pytest.approx(1.0)

    def test_of_one_seed_is_unknown(self) -> None:
        assert math.isnan(power(1.0, n_seeds=1, sd=0.4))


class TestHalfWidth:
    def test_is_that_of_scipys_interval(self) -> None:
        values = np.random.default_rng(0).normal(size=(3, 7))
        low, high = stats.ttest_1samp(values, 0.0, axis=1).confidence_interval(0.9)
        assert ci_half_width(values.std(axis=1, ddof=1), 7, level=0.9) == pytest.approx((high - low) / 2)

    def test_of_fewer_than_two_is_unknown(self) -> None:
        assert np.isfinite(ci_half_width(1.0, [0, 1, 2], level=0.95)).tolist() == [False, False, True]

    @pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
    def test_a_level_outside_0_and_1_is_refused(self, level: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            ci_half_width(1.0, 3, level=level)
