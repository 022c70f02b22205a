"""What a study detects is promised for its own tests: searches where something varies, otherwise seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from sweep.findings.student_t import seeds_needed
from sweep.power import comparisons, compute_power, unit_of

MakeStudy = Callable[..., Study]

BUDGET = {"trials": 12, "max_epochs": 2, "early_stopping": {"rule": "none"}}
FIXED = {"off": {"mix": "off"}, "cutout": {"mix": "cutout"}}
SEARCHES = {"searches": 6, "seeds": 2}


class TestComparisons:
    def test_of_a_grid_are_means_over_settings_of_common_seeds(self) -> None:
        study = load_study("position")
        compared = {each.arm: each for each in comparisons(study, unit_of(study))}
        assert unit_of(study) == "seed"
        assert {arm: each.n for arm, each in compared.items()} == {
            **{"cutout": 36, "mixup": 12, "cutmix": 6},
            **{"spill": 6, "inside": 12, "torus": 12},
        }
        assert compared["cutout"].sd_factor == 1
        assert compared["cutmix"].sd_factor == pytest.approx(math.sqrt((1 + 1 / 6) / 2))

    def test_without_a_space_are_over_all_trials_or_the_confirmed_seeds(self, study_of: MakeStudy) -> None:
        search = study_of(space={}, arms=FIXED)
        confirmed = study_of(space={}, arms=FIXED, confirm={"seeds": 7})
        assert [unit_of(study) for study in (search, confirmed)] == ["seed", "seed"]
        assert comparisons(search, "seed") == [("cutout", 4, 1.0)]
        assert comparisons(confirmed, "seed") == [("cutout", 7, 1.0)]

    def test_of_searches(self, study_of: MakeStudy) -> None:
        study = study_of(budget=BUDGET, confirm=SEARCHES)
        assert unit_of(study) == "search"
        assert comparisons(study, "search") == [("cutout", 6, 1.0), ("cutmix", 6, 1.0)]


class TestPromise:
    def test_of_searches_is_kept_by_the_paired_test(self, study_of: MakeStudy) -> None:
        """5,000 sweeps of two seeds per search: winners differ by 0.8 points, seeds by 1 point, shared by the arms."""
        study = study_of(budget=BUDGET, confirm=SEARCHES)
        of_means = math.hypot(0.8, 1 / math.sqrt(2))
        power = compute_power(study, effect_points=2.0, sd_points=of_means)
        rng = np.random.default_rng(0)
        seeds = rng.normal(0, 1, (2, 5000, 6, 2))
        values = rng.normal(0, 0.8, (2, 5000, 6)) + seeds.mean(axis=3)
        p = stats.ttest_1samp(values[1] - values[0] + 2.0, 0.0, axis=1).pvalue
        assert power.power is not None
        assert np.mean(p < 0.05 / 2) == pytest.approx(power.power, abs=0.03)
        assert (power.n_comparisons, power.units_needed) == (
            2,
            seeds_needed(2.0, sd_points=math.sqrt(2) * of_means, paired=True, alpha=0.05 / 2),
        )

    def test_of_a_grid_is_kept_by_the_means_over_settings(self) -> None:
        """Independent trials with an SD of 1 point: 6 pairs of one trial and a mean over six."""
        power = compute_power(load_study("position"), sd_points=1.0)
        assert power.detectable_points is not None
        rng = np.random.default_rng(1)
        values = rng.normal(0, 1, (5000, 6, 6)).mean(axis=2) - rng.normal(power.detectable_points[1], 1, (5000, 6))
        assert np.mean(stats.ttest_1samp(values, 0.0, axis=1).pvalue < 0.05 / 6) == pytest.approx(0.8, abs=0.03)

    def test_needed_units_find_the_effect(self, study_of: MakeStudy) -> None:
        needed = compute_power(study_of(budget=BUDGET, confirm=SEARCHES), effect_points=1.5, sd_points=1.0).units_needed
        assert needed is not None
        enough, too_few = (
            compute_power(
                study_of(budget=BUDGET | {"trials": n}, confirm={"searches": n}), effect_points=1.5, sd_points=1.0
            ).power
            for n in (needed, needed - 1)
        )
        assert enough is not None
        assert too_few is not None
        assert enough >= 0.8 > too_few


class TestWords:
    def test_of_searches(self, study_of: MakeStudy) -> None:
        power = compute_power(study_of(budget=BUDGET, confirm=SEARCHES), effect_points=1.0, sd_points=0.5)
        assert power.describe() == (
            "Detects a difference of 1.2 points to off with probability 80 % (paired t-test at 5 % for 2 comparisons "
            "together; 6 searches per arm; SD over searches 0.5 points, given by --sd)."
        )
        assert power.describe_effect() == (
            "A difference of 1 point needs 8 searches per arm (power 80 %). "
            "This study has 6 and finds it with probability 63 %."
        )

    def test_of_a_grid(self) -> None:
        words = compute_power(load_study("position")).describe()
        assert "Detects a difference of 0.86 to 2.4 points to off with" in words
        assert "6 seeds per arm, means over the settings of an arm" in words
        assert "SD over seeds 1 point, assumed: typical of short runs" in words

    def test_a_long_run_differs_less(self) -> None:
        assert "SD over seeds 0.4 points" in compute_power(load_study("position", scale="gpu")).describe()

    def test_of_one_search_name_the_remedy(self, study_of: MakeStudy) -> None:
        power = compute_power(study_of(confirm={"searches": 1, "seeds": 5}), effect_points=1.0)
        assert power.describe() == (
            "Detects no difference. "
            "1 search per arm: no number of seeds shows a difference between the arms; raise confirm.searches."
        )
        assert "needs " in power.describe_effect()
        assert "searches per arm" in power.describe_effect()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({}, "not confirmed: set confirm.searches"),
            ({"space": {}, "arms": {"off": {"mix": "off"}}}, "1 arm: there is nothing to compare"),
            ({"space": {}, "arms": FIXED, "budget": BUDGET | {"trials": 1}}, "1 seed per configuration"),
            ({"budget": BUDGET, "confirm": {"searches": 2}, "replicates": 1}, "2 searches per arm are too few"),
        ],
    )
    def test_of_nothing_say_why(self, study_of: MakeStudy, changes: dict[str, Any], reason: str) -> None:
        power = compute_power(study_of(**changes), effect_points=1.0, sd_points=10.0)
        assert reason in power.describe()
        assert (power.detectable_points, power.power) == (None, None)

    def test_of_an_earlier_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=BUDGET, confirm=SEARCHES)
        simulate(study, tmp_path / "sweep").run()
        power = compute_power(study, sd_from=tmp_path / "sweep")
        assert f"measured in '{tmp_path / 'sweep'}' (6 searches of 2 trials per arm)" in power.describe()
        assert power.spread.difference_sd_points == power.spread.paired_sd_points


@pytest.mark.parametrize("scale", [None, "laptop", "gpu", "paper"])
@pytest.mark.parametrize("name", sorted(set(built_in_studies()) - {"co_movement", "early_stopping", "quickstart"}))
def test_built_in_studies_can_be_decided(name: str, scale: str | None) -> None:
    """Of the others, one compares no arms, one replays rules, and one is a demonstration."""
    power = compute_power(load_study(name, scale=scale))
    largest = 2.5 if scale == "laptop" else 4.0
    assert power.detectable_points is not None
    assert power.detectable_points[1] < largest
