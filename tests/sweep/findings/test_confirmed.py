"""Confirmed winners against SciPy's t tests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sweep.findings.confirmed import COLUMNS, RankedTrial, ranked, summarise_confirmed, verdict_confirmed
from sweep.findings.student_t import mean_interval
from sweep.findings.summary import baseline_arm
from sweep.records.reader import SweepRecords

ARMS = ["off", "cutmix", "mixup"]


def records(errors: dict[str, list[float]], *, status: str = "completed") -> tuple[SweepRecords, SweepRecords]:
    """A search, and test errors seed by seed of its trial that the key names; of an arm's trials the first is best."""
    found: dict[str, list[dict[str, Any]]] = {"searched": [], "final": [], "trials": [], "evaluations": []}
    for place, (winner, values) in enumerate(errors.items()):
        arm, _, number = winner.partition("-")
        found["searched"].append(
            {"trial": winner, "arm": arm, "number": int(number), "status": "completed", "params.lr": place}
            | {"config.optimizer.max_epochs": 1}
        )
        found["final"].append({"trial": winner, "arm": arm, "epoch": 1, "val_nll": place})
        for seed, error in enumerate(values):
            trial = f"{winner}-confirm-{seed:02d}"
            found["trials"].append(
                {"trial": trial, "arm": arm, "confirms": winner, "replicate": seed, "status": status}
            )
            for metric, value in (("top1_error", error), ("nll", 3 * error), ("ece", 0.05)):
                own = {"axis": "classification", "split": "test", "setting": "last"}
                found["evaluations"].append({"trial": trial, **own, "metric": metric, "value": value})
                other = {"axis": "calibration", "split": "test", "setting": "raw"}  # measured later, of no concern here
                found["evaluations"].append({"trial": trial, **other, "metric": metric, "value": 7.0})
    frames = {name: pd.DataFrame(rows) for name, rows in found.items()}
    manifest, none = {"study": {"arms": ARMS, "metric": "val_nll"}}, pd.DataFrame()
    return (
        SweepRecords(manifest, frames["searched"], frames["final"], none, none, none),
        SweepRecords(manifest, frames["trials"], none, none, frames["evaluations"], none),
    )


def summary(errors: dict[str, list[float]], **given: Any) -> pd.DataFrame:
    return summarise_confirmed(*records(errors, **given))


OFF, CUTMIX, MIXUP = [0.30, 0.32, 0.31], [0.25, 0.28, 0.27], [0.31, 0.30, 0.32]


def test_means_and_paired_differences() -> None:
    rows = summary({"cutmix-0003": CUTMIX, "off-0001": OFF, "mixup-0000": MIXUP})
    assert list(rows.columns) == COLUMNS
    assert rows["arm"].tolist() == ["off", "cutmix", "mixup"]
    off, cutmix, _ = rows.to_dict("records")
    assert (cutmix["confirms"], cutmix["n"], cutmix["n_pairs"]) == ("cutmix-0003", 3, 3)
    low, high = stats.t.interval(0.95, 2, np.mean(CUTMIX), stats.sem(CUTMIX))
    assert [cutmix[name] for name in ("top1_error", "low", "high")] == pytest.approx([np.mean(CUTMIX), low, high])
    assert cutmix["nll"] == pytest.approx(3 * np.mean(CUTMIX))
    # two comparisons at once: each at 97.5 %
    test = stats.ttest_rel(CUTMIX, OFF).confidence_interval(0.975)
    ends = [cutmix[name] for name in ("difference", "difference_low", "difference_high")]
    assert ends == pytest.approx([np.subtract(CUTMIX, OFF).mean(), test.low, test.high])
    assert math.isnan(off["difference"])


def test_only_seeds_that_both_have_are_compared() -> None:
    rows = summary({"off-0001": OFF[:2], "cutmix-0003": CUTMIX})
    cutmix = rows.set_index("arm").loc["cutmix"]
    assert (cutmix["n"], cutmix["n_pairs"]) == (3, 2)
    assert cutmix["difference"] == pytest.approx(np.subtract(CUTMIX[:2], OFF[:2]).mean())


def test_the_best_of_each_arm_are_compared() -> None:
    """Whatever ended first: rows follow the search's ranks, and former or second winners are no comparison."""
    search, confirm = records({"off-0002": OFF, "off-0001": MIXUP, "cutmix-0003": CUTMIX, "cutmix-0001": OFF})
    for order in (confirm.trials, confirm.trials.iloc[::-1]):
        rows = summarise_confirmed(search, replace(confirm, trials=order))
        assert rows["confirms"].tolist() == ["off-0002", "off-0001", "cutmix-0003", "cutmix-0001"]
        assert rows["rank"].tolist() == [1, 2, 1, 2]
        assert rows["n_pairs"].tolist() == [0, 0, 3, 0]
        assert rows["difference"].iloc[2] == pytest.approx(np.subtract(CUTMIX, OFF).mean())


def test_what_is_not_compared_is_named() -> None:
    assert "not compared: mixup" in verdict_confirmed(
        summary({"off-0": OFF, "cutmix-0": CUTMIX, "mixup-0": [0.3]}), baseline="off"
    )


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


def test_p_values_are_those_of_paired_tests_read_together() -> None:
    rows = summary({"off-0": OFF, "cutmix-0": CUTMIX, "mixup-0": MIXUP}).set_index("arm")
    p = [stats.ttest_rel(values, OFF).pvalue for values in (CUTMIX, MIXUP)]
    assert rows.loc[["cutmix", "mixup"], "p"].tolist() == pytest.approx(p)
    adjusted = multipletests(p, method="holm")[1]
    assert rows.loc[["cutmix", "mixup"], "p_holm"].tolist() == pytest.approx(list(adjusted))
    alone = summary({"off-0": OFF, "cutmix-0": CUTMIX}).set_index("arm")
    assert alone.loc["cutmix", "p_holm"] == pytest.approx(2 * p[0])  # mixup is still to come
    assert math.isnan(rows.loc["off", "p_holm"])


def test_nothing_yet() -> None:
    assert summary({"off-0001": OFF}, status="running").empty


def test_without_the_first_arm_nothing_is_compared() -> None:
    rows = summary({"cutmix-0003": CUTMIX})
    assert rows["difference"].isna().all()
    assert "no arm can be compared with off" in verdict_confirmed(rows, baseline="off")


def test_the_study_names_the_baseline() -> None:
    """Whatever the order of the arms: rows keep it, and both others are compared with the named arm."""
    search, confirm = records({"off-0": OFF, "cutmix-0": CUTMIX, "mixup-0": MIXUP})
    search.manifest["study"]["reference"] = "mixup"
    rows = summarise_confirmed(search, confirm).set_index("arm")
    assert rows.index.tolist() == ["off", "cutmix", "mixup"]
    assert rows["n_pairs"].tolist() == [3, 3, 0]
    for arm, values in (("off", OFF), ("cutmix", CUTMIX)):
        test = stats.ttest_rel(values, MIXUP)
        assert rows.loc[arm, "difference"] == pytest.approx(np.subtract(values, MIXUP).mean())
        assert rows.loc[arm, "p"] == pytest.approx(test.pvalue)
    assert "from mixup" in verdict_confirmed(rows.reset_index(), baseline=baseline_arm(search.manifest["study"]))


def test_one_value_has_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.3]))
    assert mean == 0.3
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"cutmix-0": [0.20, 0.22, 0.21]}, "cutmix has a lower test error than off"),
        ({"cutmix-0": [0.40, 0.42, 0.41]}, "cutmix has a higher test error than off"),
        ({"cutmix-0": [0.30, 0.33, 0.30]}, "undecided: no arm differs significantly from off"),
        (
            {"cutmix-0": [0.20, 0.221, 0.21], "mixup-0": [0.40, 0.421, 0.41]},
            "cutmix has a lower test error than off and mixup has a higher test error than off",
        ),
    ],
)
def test_verdict_follows_the_data(errors: dict[str, list[float]], words: str) -> None:
    sentence = verdict_confirmed(summary({"off-0": [0.30, 0.321, 0.31], **errors}), baseline="off")
    assert words in sentence
    assert "n = 3" in sentence


def test_a_null_study_seldom_names_a_winner() -> None:
    """Of 300 confirmations of three equal arms at most 5 % and two standard errors."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(300):
        errors = {f"{arm}-0": list(0.3 + 0.004 * rng.standard_normal(5)) for arm in ARMS}
        named += "undecided" not in verdict_confirmed(summary(errors), baseline="off")
    assert named / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
