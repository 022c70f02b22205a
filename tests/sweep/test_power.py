"""The spread over seeds is measured in the records; the text states the seeds and the difference for a test."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.discover import load_study
from search_spaces.study import Study
from sweep.findings.student_t import detectable_points, seeds_needed
from sweep.power import compute_power, seed_spread, seeds_of
from trainables.errors import UserError

MakeStudy = Callable[..., Study]

BUDGET = {"trials": 12, "max_epochs": 2, "early_stopping": {"rule": "none"}}


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
    """Return a curve with the job's error, in points, after the last epoch; the error before it is the same for all."""

    def curve(job: Any, epoch: int) -> dict[str, Any]:
        return {"val_top1_error": (50.0 if epoch == 1 else points(job)) / 100, "val_nll": 1.0}

    return curve


def number_of(job: Any) -> int:
    return int(job.trial.rpartition("-")[2])


def noisy(job: Any) -> float:
    """Return an error that varies by arm and configuration, by 0.3 points over seeds and 0.2 points over trials."""
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
        """The part of an error that depends on the seed only drops out of the differences of arms."""
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
        control = [points[number] for number in points if study.is_control("off", number)]
        assert seed_spread(tmp_path / "sweep").sd_points == pytest.approx(np.std(control, ddof=1))

    def test_prefers_confirmed_trials(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        tests = (10.0, 11.0, 13.0)
        study = study_of(
            space={},
            arms={"off": {"mix": "off"}},
            budget=BUDGET | {"trials": 4},
            confirm={"searches": 1, "seeds": len(tests)},
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


def describe(study: Study, **options: Any) -> str:
    power = compute_power(study, **options)
    assert power is not None
    return power.describe()


class TestWords:
    def test_of_a_given_sd(self, study_of: MakeStudy) -> None:
        study = study_of(replicates=3, budget=BUDGET)
        words = describe(study, effect_points=0.5, sd_points=0.4, sd_from=None)
        assert "SD over seeds 0.4 points, given by --sd" in words
        assert "difference of 0.5 points needs 12 seeds per arm" in words
        assert "This study has 3 seeds per configuration: they detect 1.23 points" in words
        assert "same seeds" not in words

    def test_of_no_sd_say_that_it_is_assumed(self, study_of: MakeStudy) -> None:
        words = describe(study_of(), effect_points=1.0, sd_points=None, sd_from=None)
        assert "SD over seeds 0.4 points, the usual value on CIFAR-100" in words
        assert "1 seed per configuration, which detects no difference" in words

    def test_of_a_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(replicates=4, budget=BUDGET)
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        words = describe(study, effect_points=0.5, sd_points=None, sd_from=tmp_path / "sweep")
        spread = seed_spread(tmp_path / "sweep")
        assert spread.source in words
        assert spread.paired_sd_points is not None
        for figure in (
            seeds_needed(0.5, sd_points=spread.sd_points),
            f"with the same seeds in both arms: {seeds_needed(0.5, sd_points=spread.paired_sd_points, paired=True)}",
            f"4 seeds per configuration: they detect {detectable_points(4, sd_points=spread.sd_points):.3g} ",
        ):
            assert str(figure) in words

    def test_of_no_effect_are_none(self, study_of: MakeStudy) -> None:
        assert compute_power(study_of(), effect_points=None, sd_points=None, sd_from=None) is None

    def test_points_may_be_small(self, study_of: MakeStudy) -> None:
        assert "0.005 points" in describe(study_of(), effect_points=0.005, sd_points=0.4, sd_from=None)
