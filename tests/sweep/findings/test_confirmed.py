"""Confirmed winners against SciPy's t tests: over seeds of one search, and over independent searches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sweep.findings.confirmed import (
    COLUMNS,
    RankedTrial,
    UnequalTestSets,
    confirmed_ranks,
    confirmed_values,
    ranked,
    search_winners,
    summarise_confirmed,
    unit_values,
    verdict_confirmed,
)
from sweep.findings.student_t import mean_interval
from sweep.records.reader import SweepRecords

ARMS = ["off", "cutmix", "mixup"]
LR = {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}}


def study_of(*, k: int = 1, seeds: int = 3, space: Any = (), arms: Any = ARMS, **own_space: Any) -> dict[str, Any]:
    return {
        "arms": {arm: {"space": own_space.get(arm, {})} for arm in arms},
        "space": dict(space),
        "metric": "val_nll",
        "budget": {"trials": 4 * k},
        "confirm": {"configs": 1, "searches": k, "seeds": seeds},
    }


def records(
    errors: dict[str, list[float]], *, status: str = "completed", study: dict[str, Any] | None = None
) -> tuple[SweepRecords, SweepRecords]:
    """Return a search, and test errors seed by seed of each trial that a key names; the first of a search is its best.

    The name of a trial ends with its number n; it belongs to search n mod k.
    """
    study = study or study_of()
    k = study["confirm"]["searches"]
    rows: dict[str, list[dict[str, Any]]] = {"searched": [], "final": [], "trials": [], "evaluations": []}
    for place, (winner, values) in enumerate(errors.items()):
        arm, _, number = winner.partition("-")
        of_search = {"arm": arm, "search": int(number) % k}
        rows["searched"].append(
            {"trial": winner, **of_search, "number": int(number), "status": "completed", "params.lr": place}
            | {"config.optimizer.max_epochs": 1}
        )
        rows["final"].append({"trial": winner, "arm": arm, "epoch": 1, "val_nll": place, "val_top1_error": 0.5})
        for seed, error in enumerate(values):
            trial = f"{winner}-confirm-{seed:02d}"
            replicate = 1000 * of_search["search"] + seed
            rows["trials"].append(
                {"trial": trial, **of_search, "confirms": winner, "replicate": replicate, "status": status}
            )
            for metric, value in (("top1_error", error), ("nll", 3 * error), ("ece", 0.05)):
                own = {"axis": "classification", "split": "test", "setting": "last", "n": 400}
                rows["evaluations"].append({"trial": trial, **own, "metric": metric, "value": value})
                other = {
                    "axis": "calibration",
                    "split": "test",
                    "setting": "raw",
                    "n": 50,
                }  # measured later, of no concern here
                rows["evaluations"].append({"trial": trial, **other, "metric": metric, "value": 7.0})
    frames = {name: pd.DataFrame(values) for name, values in rows.items()}
    manifest, none = {"study": study}, pd.DataFrame()
    return (
        SweepRecords(manifest, frames["searched"], frames["final"], none, none, none),
        SweepRecords(manifest, frames["trials"], none, none, frames["evaluations"], none),
    )


def summary(errors: dict[str, list[float]], **given: Any) -> pd.DataFrame:
    return summarise_confirmed(*records(errors, **given))


def verdict(errors: dict[str, list[float]], study: dict[str, Any] | None = None) -> str:
    study = study or study_of()
    return verdict_confirmed(summary(errors, study=study), study)


OFF, CUTMIX, MIXUP = [0.30, 0.32, 0.31], [0.25, 0.28, 0.27], [0.31, 0.30, 0.32]


class TestOneSearch:
    def test_means_and_paired_differences(self) -> None:
        rows = summary({"cutmix-0003": CUTMIX, "off-0001": OFF, "mixup-0000": MIXUP})
        assert list(rows.columns) == COLUMNS
        assert rows["arm"].tolist() == ["off", "cutmix", "mixup"]
        off, cutmix, _ = rows.to_dict("records")
        assert (cutmix["winners"], cutmix["unit"]) == ("cutmix-0003", "seed")
        assert (cutmix["n"], cutmix["n_seeds"], cutmix["n_pairs"]) == (3, 3, 3)
        low, high = stats.t.interval(0.95, 2, np.mean(CUTMIX), stats.sem(CUTMIX))
        assert [cutmix[name] for name in ("top1_error", "low", "high")] == pytest.approx([np.mean(CUTMIX), low, high])
        assert cutmix["nll"] == pytest.approx(3 * np.mean(CUTMIX))
        # two comparisons at once: each at 97.5 %
        test = stats.ttest_rel(CUTMIX, OFF).confidence_interval(0.975)
        ends = [cutmix[name] for name in ("difference", "difference_low", "difference_high")]
        assert ends == pytest.approx([np.subtract(CUTMIX, OFF).mean(), test.low, test.high])
        assert math.isnan(off["difference"])

    def test_the_numbers_are_those_of_earlier_versions(self) -> None:
        """Bit by bit, in any order of the trials and with a missing seed."""
        rng = np.random.default_rng(3)
        means = {"off-0001": 0.30, "cutmix-0003": 0.27, "cutmix-0001": 0.28, "mixup-0000": 0.31}
        errors = {
            name: list(mean + 0.01 * rng.standard_normal(5 - (name == "mixup-0000"))) for name, mean in means.items()
        }
        search, confirm = records(errors)
        rows = summarise_confirmed(search, replace(confirm, trials=confirm.trials.sample(frac=1, random_state=1)))
        assert rows[["arm", "rank", "n", "n_pairs"]].to_numpy().tolist() == [
            *(["off", 1, 5, 0], ["cutmix", 1, 5, 5], ["cutmix", 2, 5, 0], ["mixup", 1, 4, 4])
        ]
        expected = {
            "top1_error": ["1.30e98925066aep-2", "1.1475c771e643cp-2", "1.1a5ae3da0053ep-2", "1.3f83b5ed60923p-2"],
            "low": ["1.1baf50eb786b1p-2", "1.f61b5c4d85b83p-3", "1.144e2a3d17f05p-2", "1.353b027140b4fp-2"],
            "high": ["1.4623c15e946abp-2", "1.2ddde0bd09ab6p-2", "1.20679d76e8b77p-2", "1.49cc6969806f7p-2"],
            "nll": ["1.c95e4db789a05p-1", "1.9eb0ab2ad965ap-1", "1.a78855c7007ddp-1", "1.df4590e410db5p-1"],
            "difference": ["nan", "-1.c73c1b3202720p-6", "nan", "1.c07e2b1ab1930p-7"],
            "difference_low": ["nan", "-1.009f6039ebdb6p-4", "nan", "-1.2b565a33efb8ep-5"],
            "difference_high": ["nan", "1.d0152a0eaa258p-8", "nan", "1.05cab7e0a4413p-4"],
            "p": ["nan", "1.95d39371bedcap-5", "nan", "1.59d8580592663p-2"],
            "p_holm": ["nan", "1.95d39371bedcap-4", "nan", "1.59d8580592663p-2"],
        }
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name], [float.fromhex(value) for value in values], err_msg=name)

    def test_only_seeds_that_both_have_are_compared(self) -> None:
        cutmix = summary({"off-0001": OFF[:2], "cutmix-0003": CUTMIX}).set_index("arm").loc["cutmix"]
        assert (cutmix["n"], cutmix["n_pairs"]) == (3, 2)
        assert cutmix["difference"] == pytest.approx(np.subtract(CUTMIX[:2], OFF[:2]).mean())

    def test_the_best_of_each_arm_are_compared(self) -> None:
        """Whatever ended first: rows follow the search's ranks, and former or second winners are no comparison."""
        search, confirm = records({"off-0002": OFF, "off-0001": MIXUP, "cutmix-0003": CUTMIX, "cutmix-0001": OFF})
        for order in (confirm.trials, confirm.trials.iloc[::-1]):
            rows = summarise_confirmed(search, replace(confirm, trials=order))
            assert rows["winners"].tolist() == ["off-0002", "off-0001", "cutmix-0003", "cutmix-0001"]
            assert rows["rank"].tolist() == [1, 2, 1, 2]
            assert rows["n_pairs"].tolist() == [0, 0, 3, 0]
            assert rows["difference"].iloc[2] == pytest.approx(np.subtract(CUTMIX, OFF).mean())

    def test_p_values_are_those_of_paired_tests_read_together(self) -> None:
        rows = summary({"off-0": OFF, "cutmix-0": CUTMIX, "mixup-0": MIXUP}).set_index("arm")
        p = [stats.ttest_rel(values, OFF).pvalue for values in (CUTMIX, MIXUP)]
        assert rows.loc[["cutmix", "mixup"], "p"].tolist() == pytest.approx(p)
        adjusted = multipletests(p, method="holm")[1]
        assert rows.loc[["cutmix", "mixup"], "p_holm"].tolist() == pytest.approx(list(adjusted))
        alone = summary({"off-0": OFF, "cutmix-0": CUTMIX}).set_index("arm")
        assert alone.loc["cutmix", "p_holm"] == pytest.approx(2 * p[0])  # mixup is still to come
        assert math.isnan(rows.loc["off", "p_holm"])

    def test_the_study_names_the_baseline(self) -> None:
        """Whatever the order of the arms: rows keep it, and both others are compared with the named arm."""
        study = study_of() | {"reference": "mixup"}
        rows = summary({"off-0": OFF, "cutmix-0": CUTMIX, "mixup-0": MIXUP}, study=study).set_index("arm")
        assert rows.index.tolist() == ["off", "cutmix", "mixup"]
        assert rows["n_pairs"].tolist() == [3, 3, 0]
        for arm, values in (("off", OFF), ("cutmix", CUTMIX)):
            test = stats.ttest_rel(values, MIXUP)
            assert rows.loc[arm, "difference"] == pytest.approx(np.subtract(values, MIXUP).mean())
            assert rows.loc[arm, "p"] == pytest.approx(test.pvalue)
        assert "from mixup" in verdict_confirmed(rows.reset_index(), study)

    def test_nothing_yet(self) -> None:
        assert summary({"off-0001": OFF}, status="running").empty


class TestSeveralSearches:
    """Three searches per arm with two seeds each: the mean of a search is one value."""

    STUDY = study_of(k=3, seeds=2, space=LR)
    SEEDS = {
        "off": [[0.30, 0.31], [0.33, 0.31], [0.29, 0.33]],
        "cutmix": [[0.25, 0.26], [0.29, 0.30], [0.26, 0.25]],
    }

    def errors(self, *left_out: str) -> dict[str, list[float]]:
        named = {f"{arm}-{search + 3}": seeds for arm, rows in self.SEEDS.items() for search, seeds in enumerate(rows)}
        return {name: seeds for name, seeds in named.items() if name not in left_out}

    def test_the_unit_is_the_search(self) -> None:
        rows = summary(self.errors(), study=self.STUDY)
        off, cutmix = rows.to_dict("records")
        assert (cutmix["winners"], cutmix["unit"]) == ("cutmix-3, cutmix-4, cutmix-5", "search")
        assert (cutmix["n"], cutmix["n_seeds"], cutmix["n_pairs"]) == (3, 6, 3)
        means = {arm: np.mean(rows, axis=1) for arm, rows in self.SEEDS.items()}
        low, high = stats.t.interval(0.95, 2, means["off"].mean(), stats.sem(means["off"]))
        assert [off[name] for name in ("top1_error", "low", "high")] == pytest.approx([means["off"].mean(), low, high])
        test = stats.ttest_rel(means["cutmix"], means["off"])
        interval = test.confidence_interval(0.975)
        assert [cutmix[name] for name in ("difference_low", "difference_high", "p")] == pytest.approx(
            [interval.low, interval.high, test.pvalue]
        )
        assert cutmix["p_holm"] == pytest.approx(2 * test.pvalue)

    def test_a_search_without_a_completed_confirmation_is_left_out(self) -> None:
        """Searches are paired by their index: here the first and the last."""
        cutmix = summary(self.errors("off-4"), study=self.STUDY).set_index("arm").loc["cutmix"]
        assert (cutmix["n"], cutmix["n_pairs"]) == (3, 2)
        assert cutmix["difference"] == pytest.approx(np.mean([0.255 - 0.305, 0.255 - 0.31]))

    def test_each_search_has_ranks_of_its_own(self) -> None:
        """A former winner of one search is no winner of the arm."""
        rows = summary(self.errors() | {"cutmix-0": [0.9]}, study=self.STUDY)
        assert rows["winners"].tolist()[1:] == ["cutmix-3, cutmix-4, cutmix-5", "cutmix-0"]
        assert rows["rank"].tolist() == [1, 1, 2]
        assert rows["n_pairs"].tolist() == [0, 3, 0]

    def test_values_and_units(self) -> None:
        values = confirmed_values(*records(self.errors(), study=self.STUDY))
        assert values[["trial", "search", "rank", "replicate"]].to_numpy().tolist()[:3] == [
            *(["off-3-confirm-00", 0, 1, 0], ["off-3-confirm-01", 0, 1, 1], ["off-4-confirm-00", 1, 1, 1000])
        ]
        searches, seeds = unit_values(values, "search"), unit_values(values, "seed")
        assert searches["unit"].tolist() == [0, 1, 2] * 2
        assert searches["n_seeds"].tolist() == [2] * 6
        assert seeds["unit"].tolist() == [0, 1, 1000, 1001, 2000, 2001] * 2
        assert seeds["top1_error"].tolist() == values["top1_error"].tolist()

    def test_identical_arms_with_lucky_configurations(self) -> None:
        """Winners differ by search as much as by luck: at most 5 % and two standard errors of 80 studies name an arm.

        The spread of winners is ten times the spread of seeds. With one search, most of these studies would.
        """
        rng = np.random.default_rng(0)
        study, named = study_of(k=5, seeds=1, space=LR), 0
        for _ in range(80):
            errors = {f"{arm}-{search}": [0.3 + 0.04 * rng.standard_normal()] for arm in ARMS for search in range(5)}
            named += "undecided: no arm" not in verdict(errors, study)
        assert named / 80 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 80)


class TestRanked:
    def test_replicates_count_together_and_more_of_them_first(self) -> None:
        rows = [
            RankedTrial("a", 0, 1, 0.1),
            RankedTrial("b", 1, 1, 0.9),
            RankedTrial("c", 2, 2, 0.4),
            RankedTrial("d", 3, 2, 0.4),
            RankedTrial("e", 4, 3, 0.0),
        ]
        assert ranked(rows) == ["c", "a", "e"]

    def test_named_after_the_first_whatever_became_of_it(self) -> None:
        assert ranked([RankedTrial("a", 0, 1, None), RankedTrial("b", 1, 1, 0.5)]) == ["a"]

    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    def test_not_what_has_no_value(self, value: float | None) -> None:
        assert ranked([RankedTrial("a", 0, 1, value)]) == []


def test_one_value_has_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.3]))
    assert mean == 0.3
    assert math.isnan(low)
    assert math.isnan(high)


def test_errors_on_different_numbers_of_test_images_are_not_averaged() -> None:
    search, confirm = records({"cutmix-0003": CUTMIX, "off-0001": OFF})
    last = confirm.evaluations["trial"] == "off-0001-confirm-02"
    confirm = replace(confirm, evaluations=confirm.evaluations.assign(n=np.where(last, 15, 30)))
    message = (
        r"numbers of test images, 30 \(cutmix-0003-confirm-00\), 15 \(off-0001-confirm-02\): .* cannot be averaged"
    )
    for average in (summarise_confirmed, search_winners, confirmed_values):
        with pytest.raises(UnequalTestSets, match=message):
            average(search, confirm)
    assert confirmed_ranks(search, confirm).tolist() == [1] * 6  # they can still be measured
