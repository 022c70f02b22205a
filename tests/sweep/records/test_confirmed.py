"""Confirmed winners against SciPy's t tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweep.records.confirmed import COLUMNS, interval, summarise_confirmed, verdict_confirmed
from sweep.records.reader import SweepRecords

ARMS = ["off", "cutmix", "mixup"]


def records(errors: dict[str, list[float]], *, status: str = "completed") -> SweepRecords:
    """Test errors seed by seed, of the trial of the search that the key names."""
    trials, evaluations = [], []
    for winner, values in errors.items():
        for seed, error in enumerate(values):
            trial = f"{winner}-confirm-{seed:02d}"
            arm = winner.split("-")[0]
            trials.append({"trial": trial, "arm": arm, "confirms": winner, "replicate": seed, "status": status})
            for metric, value in (("top1_error", error), ("nll", 3 * error), ("ece", 0.05)):
                evaluations.append({"trial": trial, "split": "test", "metric": metric, "value": value})
    none = pd.DataFrame()
    return SweepRecords({}, pd.DataFrame(trials), none, none, pd.DataFrame(evaluations))


def summary(errors: dict[str, list[float]], **given: Any) -> pd.DataFrame:
    return summarise_confirmed(records(errors, **given), arms=ARMS)


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


def test_several_winners_of_an_arm() -> None:
    rows = summary({"off-0001": OFF, "off-0002": MIXUP, "cutmix-0003": CUTMIX})
    assert rows["confirms"].tolist() == ["off-0001", "off-0002", "cutmix-0003"]
    assert rows["n_pairs"].tolist() == [0, 3, 3]


def test_nothing_yet() -> None:
    assert summary({"off-0001": OFF}, status="running").empty


def test_without_the_first_arm_nothing_is_compared() -> None:
    rows = summary({"cutmix-0003": CUTMIX})
    assert rows["difference"].isna().all()
    assert "nothing to compare" in verdict_confirmed(rows)


def test_one_value_has_no_interval() -> None:
    mean, low, high = interval(np.array([0.3]))
    assert mean == 0.3
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"cutmix-0": [0.20, 0.22, 0.21]}, "cutmix has a lower test error than off"),
        ({"cutmix-0": [0.40, 0.42, 0.41]}, "cutmix has a higher test error than off"),
        ({"cutmix-0": [0.30, 0.33, 0.30]}, "undecided: no arm can be told from off"),
        (
            {"cutmix-0": [0.20, 0.221, 0.21], "mixup-0": [0.40, 0.421, 0.41]},
            "cutmix has a lower test error than off and mixup has a higher test error than off",
        ),
    ],
)
def test_verdict_follows_the_data(errors: dict[str, list[float]], words: str) -> None:
    said = verdict_confirmed(summary({"off-0": [0.30, 0.321, 0.31], **errors}))
    assert words in said
    assert "n = 3" in said


def test_a_null_study_seldom_names_a_winner() -> None:
    """Of 300 confirmations of three equal arms at most 5 % and two standard errors."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(300):
        errors = {f"{arm}-0": list(0.3 + 0.004 * rng.standard_normal(5)) for arm in ARMS}
        named += "undecided" not in verdict_confirmed(summary(errors))
    assert named / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
