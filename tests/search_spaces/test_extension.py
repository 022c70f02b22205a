"""What may be added to a study that has been run."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.budget import Limits
from search_spaces.discover import load_study
from search_spaces.extension import confirmed, extended, limited, parse_arms
from search_spaces.study import Study
from trainables.errors import UserError


@pytest.fixture
def study() -> Study:
    return load_study("quickstart", settings=["confirm={configs: 1, searches: 1, seeds: 3}"])


class TestExtended:
    def test_trials_and_seeds_add_up(self, study: Study) -> None:
        more = extended(study, trials=3, seeds=2)
        assert more.budget.trials == study.budget.trials + 3
        assert more.confirm
        assert (more.confirm.configs, more.confirm.seeds) == (1, 5)
        assert more.arms == study.arms

    def test_earlier_trials_stay_what_they_were(self, study: Study) -> None:
        more = extended(study, trials=3, arms={"fmix": {"mix": "fmix"}})
        for arm in study.arms:
            for number in range(5):
                params = study.draw(arm, number)
                assert more.draw(arm, number) == params
                assert more.trial_config(arm, params, replicate=number) == study.trial_config(
                    arm, params, replicate=number
                )
        assert list(more.arms) == [*study.arms, "fmix"]
        # parameters of every arm take the values that the others had
        assert more.draw("fmix", 2) == study.draw("off", 2)

    def test_a_matched_study_keeps_its_exposure(self) -> None:
        study = load_study("mask_shape")
        weak = {"weak": {"mix": {"preset": "cutmix_torus", "size": {"kind": "fixed", "frac": 0.05}}}}
        more = extended(study, arms=weak)
        assert more.match
        assert more.match.target is not None
        assert more.trial_config("ellipse", {}, replicate=0) == study.trial_config("ellipse", {}, replicate=0)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({}, "--add-trials, --add-searches, --add-seeds or --add-arms"),
            ({"arms": {"cutmix": {"mix": "cutmix"}}}, "has an arm 'cutmix' already"),
            ({"arms": {"mine": {"mix": "cutmx"}}}, "did you mean 'cutmix'"),
            ({"arms": {"Mine": {"mix": "cutmix"}}}, "small letters"),
        ],
        ids=str,
    )
    def test_refuses(self, study: Study, change: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError, match=words):
            extended(study, **change)

    def test_seeds_of_a_study_that_confirms_nothing(self) -> None:
        with pytest.raises(UserError, match="use cutmix-sweep confirm"):
            extended(load_study("quickstart", settings=["confirm=null"]), seeds=2)

    def test_trials_of_a_grid(self) -> None:
        with pytest.raises(UserError, match="its grid sets the number of trials"):
            extended(load_study("position"), trials=2)


class TestConfirmed:
    def test_seeds_in_all(self, study: Study) -> None:
        more = confirmed(study, seeds=4, configs=2).confirm
        assert more
        assert (more.configs, more.seeds) == (2, 4)

    @pytest.mark.parametrize(("seeds", "configs"), [(2, 1), (2, 5)])
    def test_never_fewer(self, study: Study, seeds: int, configs: int) -> None:
        with pytest.raises(UserError, match=r"1 configuration per search on 3 seeds already; \d configurations? on 2"):
            confirmed(study, seeds=seeds, configs=configs)


class TestParseArms:
    def test_presets(self) -> None:
        assert parse_arms("fmix, gridmix") == {"fmix": {"mix": "fmix"}, "gridmix": {"mix": "gridmix"}}

    def test_arms_as_in_a_file(self) -> None:
        text = "{soft: {mix: {preset: cutmix, mask: {edge_px: 4}}}}"
        assert parse_arms(text) == {"soft": {"mix": {"preset": "cutmix", "mask": {"edge_px": 4}}}}

    def test_refuses_what_is_no_yaml(self) -> None:
        with pytest.raises(UserError, match="--add-arms: cannot read"):
            parse_arms("{soft: {mix: ")


def test_what_was_given_in_a_matched_study_stays_given() -> None:
    """The exposure is fixed as arms are added; the probability that an arm was given still says what it began from."""
    study = load_study("mask_shape", settings=["arms.cutmix.mix={preset: cutmix, apply: {prob: 0.3}}"])
    more = extended(study, arms={"fmix": {"mix": "fmix"}})
    for arm in ("cutmix", "grid"):
        assert more.trial_config(arm, {}, replicate=0) == study.trial_config(arm, {}, replicate=0)


def test_trials_of_unequal_length_are_not_confirmed() -> None:
    with pytest.raises(UserError, match="of different length"):
        confirmed(load_study("budget"), seeds=3)


def test_a_limit_can_be_changed_and_nothing_else() -> None:
    study = load_study("quickstart", settings=["budget.limits.gpu_hours=2", "budget.limits.wall_clock_h=1"])
    changed = limited(study, ["budget.limits.gpu_hours=4", "budget.limits.wall_clock_h=null"])
    assert changed.budget.limits == Limits(gpu_hours=4)
    assert study == limited(changed, ["budget.limits.gpu_hours=2", "budget.limits.wall_clock_h=1"])
    for setting in ("budget.trials=9", "budget.limits_=1", "seed=1"):
        with pytest.raises(UserError, match="only a limit of a sweep can be changed"):
            limited(study, [setting])
