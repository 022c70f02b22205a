"""The spread over seeds and over searches is measured in the records of an earlier sweep."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.study import Study
from sweep.findings.spread import search_spread, seed_spread
from sweep.records.reader import read_sweep
from trainables.errors import UserError

MakeStudy = Callable[..., Study]

VARIED = {
    mix: {"mix": mix, "space": {"mix.apply.prob": {"kind": "uniform", "lo": 0.0, "hi": 1.0}}}
    for mix in ("mixup", "cutmix")
}
"""Two arms in which something varies."""

BUDGET = {"trials": 12, "max_epochs": 2, "early_stopping": {"rule": "none"}}


def planted(points: Callable[[Any], float]) -> Callable[[Any, int], dict[str, Any]]:
    """Return a curve with the job's error, in points, after the last epoch; the error before it is the same for all."""

    def curve(job: Any, epoch: int) -> dict[str, Any]:
        error = 50.0 if epoch == 1 else points(job)
        return {"val_top1_error": error / 100, "val_nll": error}

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
        assert spread.difference_sd_points == pytest.approx(math.sqrt((differences**2).mean() / 2))

    def test_finds_what_was_planted(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """The part of an error that depends on the seed only drops out of the differences of arms."""
        study = study_of(replicates=20, budget=BUDGET | {"trials": 40})
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        spread = seed_spread(tmp_path / "sweep")
        assert spread.sd_points == pytest.approx(math.hypot(0.3, 0.2), rel=0.2)
        assert spread.difference_sd_points == pytest.approx(0.2 * math.sqrt(2), rel=0.2)

    def test_of_one_arm_has_no_pairs(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(replicates=4, arms={"off": {"mix": "off"}}, budget=BUDGET)
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        spread = seed_spread(tmp_path / "sweep")
        assert spread.difference_sd_points is None
        assert spread.paired_sd_points == math.sqrt(2) * spread.sd_points

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


def confirmed_points(sweep_dir: Path, arms: list[str], n_searches: int) -> np.ndarray:
    """Test errors in points, [arms, searches, seeds]."""
    records = read_sweep(sweep_dir, "confirm")
    tests = records.evaluations[records.evaluations["metric"] == "top1_error"].set_index("trial")["value"]
    rows = records.trials.assign(points=100 * records.trials["trial"].map(tests)).sort_values(["search", "replicate"])
    return np.array([rows[rows["arm"] == arm]["points"].to_numpy().reshape(n_searches, -1) for arm in arms])


class TestSearchSpread:
    @pytest.mark.parametrize("n_seeds", [1, 2])
    def test_is_that_of_the_means_of_searches(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, n_seeds: int
    ) -> None:
        study = study_of(budget=BUDGET, confirm={"searches": 4, "seeds": n_seeds})
        simulate(study, tmp_path / "sweep", curve=planted(noisy)).run()
        spread = search_spread(tmp_path / "sweep", configurations=3, seeds=n_seeds, metric="val_nll")
        means = confirmed_points(tmp_path / "sweep", list(study.arms), 4).mean(axis=2)
        assert spread.sd_points == pytest.approx(math.sqrt(means.var(axis=1, ddof=1).mean()))
        differences = np.array([means[i] - means[j] for i, j in ((0, 1), (0, 2), (1, 2))])
        assert spread.difference_sd_points == pytest.approx(math.sqrt(differences.var(axis=1, ddof=1).mean()))
        assert "(4 searches of 3 trials per arm)" in spread.source

    def test_is_converted_to_the_planned_number_of_seeds(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """Winners that are equally good differ by the noise of their seeds only, which a mean reduces."""
        study = study_of(budget=BUDGET | {"trials": 16}, confirm={"searches": 16, "seeds": 3}, space={}, arms=VARIED)
        simulate(study, tmp_path / "sweep", curve=planted(lambda job: random.Random(job.trial).gauss(10, 1.0))).run()
        sds = {
            seeds: search_spread(tmp_path / "sweep", configurations=1, seeds=seeds, metric="val_nll").sd_points
            for seeds in (1, 3, 9)
        }
        assert sds == {seeds: pytest.approx(seeds**-0.5, rel=0.3) for seeds in sds}
        assert sds[1] > sds[3] > sds[9]

    @pytest.mark.parametrize("n_drawn", [1, 3])
    def test_of_one_search_is_that_of_winners_of_resampled_trials(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, n_drawn: int
    ) -> None:
        """Against 20,000 searches drawn at random: picked by NLL, equal numbers in both arms."""
        rng = np.random.default_rng(3)
        errors, losses = rng.normal(20, 2, (2, 12)), rng.normal(1, 0.2, (2, 12))
        losses += 0.1 * errors

        def curve(job: Any, epoch: int) -> dict[str, Any]:
            place = (list(VARIED).index(job.trial.partition("-")[0]), number_of(job))
            return {"val_top1_error": errors[place] / 100, "val_nll": losses[place]}

        simulate(study_of(budget=BUDGET, space={}, arms=VARIED), tmp_path / "sweep", curve=curve).run()
        spread = search_spread(tmp_path / "sweep", configurations=n_drawn, seeds=1, metric="val_nll")
        drawn = rng.integers(12, size=(20_000, n_drawn))
        winners = np.take_along_axis(drawn, losses[:, drawn].argmin(axis=2)[..., None].transpose(1, 2, 0)[:, 0], 1)
        points = np.array([errors[arm, winners[:, arm]] for arm in (0, 1)])
        correction = math.sqrt(12 / 11)
        assert spread.sd_points == pytest.approx(correction * math.sqrt(points.var(axis=1).mean()), rel=0.03)
        difference_sd = correction * (points[0] - points[1]).std()
        assert spread.difference_sd_points == pytest.approx(difference_sd, rel=0.03)
        assert "without the spread over fresh seeds" in spread.source

    def test_adds_the_spread_over_fresh_seeds(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """Where all configurations are equally good, it is the spread over seeds alone."""
        study = study_of(budget=BUDGET, space={}, arms=VARIED, confirm={"searches": 1, "seeds": 4})
        curve = planted(lambda job: 10 + number_of(job) if job.test else 10.0)
        simulate(study, tmp_path / "sweep", curve=curve).run()
        spread = search_spread(tmp_path / "sweep", configurations=4, seeds=2, metric="val_nll")
        assert spread.sd_points == pytest.approx(np.std(range(4), ddof=1) / math.sqrt(2))
        assert spread.difference_sd_points is None  # the errors of equal seeds are equal

    def test_of_searches_that_are_not_confirmed_is_refused(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(budget=BUDGET, confirm={"searches": 4}), tmp_path / "sweep").run(3).conductor.flush(
            force=True
        )
        with pytest.raises(UserError, match="no arm has two searches with a confirmed winner"):
            search_spread(tmp_path / "sweep", configurations=3, seeds=1, metric="val_nll")

    def test_of_too_few_trials_is_refused(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(budget=BUDGET), tmp_path / "sweep", curve=planted(noisy)).run()
        with pytest.raises(UserError, match="more than 12 completed configurations"):
            search_spread(tmp_path / "sweep", configurations=12, seeds=1, metric="val_nll")
