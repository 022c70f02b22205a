"""Clean and attacked errors beside both baselines, and signs of masking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from analysis.data.frames import load
from analysis.questions import robust_vs_adversarial as robust
from tests.analysis.simulated_studies import SimulatedTrial, record


@pytest.fixture
def values(simulated_study: Callable[[str, bool], Path]) -> dict[bool, pd.DataFrame]:
    """With the effect and without."""
    return {
        planted: robust.errors(load(simulated_study("robust_vs_adversarial", planted))) for planted in (True, False)
    }


def test_differences_are_paired_by_seed(values: dict[bool, pd.DataFrame]) -> None:
    found = robust.compared(values[True])
    assert len(found) == 2 * 5 * 7
    pick = (found["baseline"] == "pgd") & (found["quantity"] == "clean error") & (found["arm"] == "cutmix")
    row = found[pick].iloc[0]
    wide = values[True].pivot(index="replicate", columns="arm", values="clean error")
    expected = stats.ttest_rel(wide["cutmix"], wide["pgd"]).confidence_interval(1 - 0.05 / 7)
    assert [row["low"], row["high"]] == pytest.approx([expected.low, expected.high])
    assert row["n_pairs"] == 5


def test_masks_are_counted_over_measured_trials(values: dict[bool, pd.DataFrame]) -> None:
    some = values[True].copy()
    some.loc[some["replicate"] == 4, list(robust.MASKS.values())] = float("nan")
    signs = robust.masked(some)
    assert signs.loc["fgsm"].tolist() == [4, 4, 0]
    assert signs.loc["pgd"].tolist() == [4, 0, 0]


def test_the_verdict_follows_the_data(values: dict[bool, pd.DataFrame]) -> None:
    planted, null = (" ".join(robust.verdict(robust.compared(own), robust.masked(own))) for own in values.values())
    assert "Error (PGD 2/255), against off: pgd, cutmix_pgd lower than off;" in planted
    assert "Robust to one step alone: fgsm in 5 of 5, cutmix_fgsm in 5 of 5." in planted
    assert "lower than" not in null
    assert "higher than" not in null
    assert "No sign of masked gradients in n = 40 trials." in null


def test_without_evaluation_validation_errors_are_compared(tmp_path: Path) -> None:
    trials = [
        SimulatedTrial(arm, seed, [0.3 + 0.1 * (arm == "pgd") + 0.01 * seed**2 * (arm == "off")])
        for arm in ("off", "pgd")
        for seed in range(3)
    ]
    own = robust.errors(load(record(tmp_path, "s", ["off", "pgd"], trials)))
    found = robust.compared(own)
    assert set(found["quantity"]) == {"validation error"}
    said = robust.verdict(found, robust.masked(own))
    assert said[0].startswith("Validation error, against off: pgd higher than off (n = 3 pairs).")
    assert said[-2] == "Undecided under attack: no trial has been measured on the axis adversarial."


def test_a_study_without_one_of_the_baselines(tmp_path: Path) -> None:
    trials = [SimulatedTrial(arm, seed, [0.3 + 0.01 * seed]) for arm in ("off", "cutmix") for seed in range(2)]
    own = robust.errors(load(record(tmp_path, "s", ["off", "cutmix"], trials)))
    assert set(robust.compared(own)["baseline"]) == {"off"}
    assert robust.compared(own, baselines=("none",)).empty
    assert robust.verdict(robust.compared(own, baselines=("none",)), robust.masked(own))[0].startswith("Undecided")


@pytest.mark.parametrize("given", [{"n_trials": 0}, {"n_trials": 2, "n_running": 2}])
def test_a_sweep_that_has_completed_nothing(given: dict[str, int], simulate: Callable[..., Path]) -> None:
    own = robust.errors(load(simulate(**given)))
    assert robust.measured_errors(own) == []
    said = robust.verdict(robust.compared(own), robust.masked(own))
    assert said == ["Undecided: too few trials have completed for any interval."]
