"""What a power analysis promises is held by tests on made-up errors; the spread over seeds is that of the records."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search_spaces.discover import load_study
from search_spaces.study import Study
from sweep.power import ALPHA, POWER, detectable_points, power_words, seed_spread, seeds_needed, seeds_of
from trainables.errors import UserError
from trainables.seeds import generator

MakeStudy = Callable[..., Study]

BUDGET = {"trials": 12, "max_epochs": 2, "early_stopping": {"rule": "none"}}


def found_frac(effect: float, sd: float, n_seeds: int, *, paired: bool, n_sweeps: int = 20_000) -> float:
    """Share of made-up sweeps whose t-test, by SciPy, finds the difference."""
    rng = generator(0, "power", n_seeds)
    first, second = rng.normal([[[0.0]], [[effect]]], sd, (2, n_sweeps, n_seeds))
    test = stats.ttest_1samp(second, 0.0, axis=1) if paired else stats.ttest_ind(first, second, axis=1)
    return float(np.mean(test.pvalue < ALPHA))


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


class TestSeedsOf:
    def test_a_search_trains_each_configuration_once(self, study_of: MakeStudy) -> None:
        assert seeds_of(study_of()) == 1

    @pytest.mark.parametrize("search", ["random", "quasi_random", "tpe"])
    def test_replicates(self, study_of: MakeStudy, search: str) -> None:
        assert seeds_of(study_of(search=search, replicates=4, budget=BUDGET)) == 4

    def test_a_configuration_that_is_cut_short_counts(self, study_of: MakeStudy) -> None:
        assert seeds_of(study_of(replicates=5, budget=BUDGET)) == 2

    def test_without_a_space_every_trial_is_one(self, study_of: MakeStudy) -> None:
        assert seeds_of(study_of(space={}, arms={"off": {"mix": "off"}, "cutout": {"mix": "cutout"}})) == 4

    def test_of_a_grid(self) -> None:
        assert seeds_of(load_study("position")) == 3


def planted(points: Callable[[Any], float]) -> Callable[[Any, int], dict[str, Any]]:
    """A curve whose last error, in points, is that of the job; the error before it says nothing."""

    def curve(job: Any, epoch: int) -> dict[str, Any]:
        return {"val_top1_error": (50.0 if epoch == 1 else points(job)) / 100, "val_nll": 1.0}

    return curve


def number_of(job: Any) -> int:
    return int(job.trial.rpartition("-")[2])


def noisy(job: Any) -> float:
    """Errors that differ by arm and configuration, by 0.3 points over seeds and by 0.2 points more over trials."""
    configuration = job.config.model_copy(update={"seed": 0}).model_dump_json()
    level = 10 + 5 * random.Random(configuration).random()
    return level + random.Random(job.config.seed).gauss(0, 0.3) + random.Random(job.trial).gauss(0, 0.2)


class TestSeedSpread:
    def test_is_that_of_trials_that_differ_in_their_seed_only(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """Two seeds each: a pair that differs by d has variance d^2 / 2; configurations far apart do not count."""
        errors = {"off": (10.0, 10.4, 30.0, 30.0), "cutout": (20.0, 20.0, 50.0, 50.8), "cutmix": (5.0, 5.2, 6.0, 6.0)}
        study = study_of(replicates=2, budget=BUDGET | {"trials": 4})
        simulate(
            study, tmp_path / "sweep", curve=planted(lambda job: errors[job.trial.partition("-")[0]][number_of(job)])
        ).run()
        spread = seed_spread(tmp_path / "sweep")
        assert spread.sd_points == pytest.approx(math.sqrt((0.4**2 + 0.8**2 + 0.2**2) / 2 / 6))
        changes = np.array([[0.4, 0.0, 0.2], [0.0, 0.8, 0.0]])  # from the first seed to the second, by configuration
        differences = np.array([changes[:, i] - changes[:, j] for i, j in ((0, 1), (0, 2), (1, 2))])
        assert spread.paired_sd_points == pytest.approx(math.sqrt((differences**2).mean() / 2))

    def test_finds_what_was_planted(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """What arms share with a seed drops out of their differences."""
        study = study_of(replicates=20, budget=BUDGET | {"trials": 40})
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        spread = seed_spread(tmp_path / "sweep")
        assert spread.sd_points == pytest.approx(math.hypot(0.3, 0.2), rel=0.2)
        assert spread.paired_sd_points == pytest.approx(0.2 * math.sqrt(2), rel=0.2)

    def test_of_one_arm_has_no_pairs(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(replicates=4, arms={"off": {"mix": "off"}}, budget=BUDGET)
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        assert seed_spread(tmp_path / "sweep").paired_sd_points is None

    def test_leaves_out_trials_that_early_stopping_chose(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
        budget = BUDGET | {"trials": 16, "control_frac": 0.5, "early_stopping": stopping}
        study = study_of(space={}, arms={"off": {"mix": "off"}}, budget=budget)
        points = {number: 10.0 + number**2 for number in range(16)}
        simulate(study, tmp_path / "sweep", curve=planted(lambda job: points[number_of(job)])).run()
        control = [points[number] for number in points if study.is_control(number)]
        assert seed_spread(tmp_path / "sweep").sd_points == pytest.approx(np.std(control, ddof=1))

    def test_prefers_confirmed_trials(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        tests = (10.0, 11.0, 13.0)
        study = study_of(
            space={}, arms={"off": {"mix": "off"}}, budget=BUDGET | {"trials": 4}, confirm={"seeds": len(tests)}
        )
        curve = planted(lambda job: tests[number_of(job)] if job.test else 20.0 * number_of(job))
        simulate(study, tmp_path / "sweep", curve=curve).run()
        assert seed_spread(tmp_path / "sweep").sd_points == pytest.approx(np.std(tests, ddof=1))

    @pytest.mark.parametrize("n_reports", [0, 1, None])
    def test_without_replicates_is_refused(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, n_reports: int | None
    ) -> None:
        simulate(study_of(budget=BUDGET), tmp_path / "sweep", curve=planted(noisy)).run(n_reports).conductor.flush(
            force=True
        )
        with pytest.raises(UserError, match=r"no two completed trials .* differ in their seed only"):
            seed_spread(tmp_path / "sweep")

    def test_without_spread_is_refused(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(replicates=2, budget=BUDGET)
        simulate(study, tmp_path / "sweep", curve=planted(lambda job: 10.0)).run()
        with pytest.raises(UserError, match=r"the SD over seeds must be .* got 0"):
            seed_spread(tmp_path / "sweep")


class TestWords:
    def test_of_a_given_sd(self, study_of: MakeStudy) -> None:
        study = study_of(replicates=3, budget=BUDGET)
        words = power_words(study, effect_points=0.5, sd_points=0.4, sd_from=None)
        assert "SD over seeds 0.4 points, as given" in words
        assert "a difference of 0.5 points needs 12 seeds an arm" in words
        assert "here a configuration has 3 seeds, which show 1.23 points" in words
        assert "share" not in words

    def test_of_no_sd_say_that_it_is_assumed(self, study_of: MakeStudy) -> None:
        words = power_words(study_of(), effect_points=1.0, sd_points=None, sd_from=None)
        assert "SD over seeds 0.4 points, as is usual on CIFAR-100" in words
        assert "one seed, which shows none" in words

    def test_of_a_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(replicates=4, budget=BUDGET)
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        words = power_words(study, effect_points=0.5, sd_points=None, sd_from=tmp_path / "sweep")
        spread = seed_spread(tmp_path / "sweep")
        assert spread.source in words
        assert spread.paired_sd_points is not None
        for figure in (
            seeds_needed(0.5, sd_points=spread.sd_points),
            f"if arms share them {seeds_needed(0.5, sd_points=spread.paired_sd_points, paired=True)}",
            f"4 seeds, which show {detectable_points(4, sd_points=spread.sd_points):.3g} ",
        ):
            assert str(figure) in words

    def test_of_no_effect_are_none(self, study_of: MakeStudy) -> None:
        assert power_words(study_of(), effect_points=None, sd_points=None, sd_from=None) == ""

    def test_points_may_be_small(self, study_of: MakeStudy) -> None:
        assert "0.005 points" in power_words(study_of(), effect_points=0.005, sd_points=0.4, sd_from=None)
