"""The table of arms and its sentence, for whole, partial and empty sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.findings.summary import PLANNED_EPOCHS, final_epochs, metric_label, summarise_arms, verdict
from sweep.records.schema import EPOCHS, TRIALS

PLANNED = 3


def sweep_of(*trials: tuple[str, str, list[float]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Frames of trials given as (arm, status, validation error at each epoch)."""
    trial_rows, epoch_rows = [], []
    for number, (arm, status, errors) in enumerate(trials):
        trial = f"{arm}-{number:04d}"
        trial_rows.append({"arm": arm, "trial": trial, "status": status, "seed": number % 2})
        epoch_rows += [
            {"arm": arm, "trial": trial, "epoch": epoch, "val_top1_error": error, "seconds": 2.0}
            | {"val_nll": error * 3, "val_ece": error / 2}
            for epoch, error in enumerate(errors, start=1)
        ]
    planned = dict.fromkeys([PLANNED_EPOCHS], PLANNED)
    return (
        pd.DataFrame(trial_rows, columns=TRIALS.columns.names).assign(**planned),
        pd.DataFrame(epoch_rows, columns=EPOCHS.columns.names),
    )


def summary_of(*trials: tuple[str, str, list[float]]) -> pd.DataFrame:
    return summarise_arms(*sweep_of(*trials))


def completed(arm: str, *finals: float) -> list[tuple[str, str, list[float]]]:
    return [(arm, "completed", [0.9, 0.5, final]) for final in finals]


def row_of(summary: pd.DataFrame, arm: str) -> dict[str, Any]:
    return summary.set_index("arm").loc[arm].to_dict()


def test_an_arm_in_numbers() -> None:
    arm = row_of(
        summary_of(
            *completed("cutmix", 0.3, 0.2, 0.25),
            ("cutmix", "stopped", [0.9]),
            ("cutmix", "running", [0.9, 0.01]),
            ("cutmix", "diverged", [np.nan]),
            ("cutmix", "failed", []),
        ),
        "cutmix",
    )
    assert {name: arm[name] for name in arm if name.startswith("n_")} == {
        "n_trials": 7,
        "n_running": 1,
        "n_paused": 0,
        "n_completed": 3,
        "n_stopped": 1,
        "n_diverged": 1,
        "n_failed": 1,
        "n_cancelled": 0,
        "n_seeds": 2,
    }
    assert (arm["epochs"], arm["seconds"]) == (13, 26.0)
    assert (arm["best"], arm["best_trial"], arm["median"]) == (0.2, "cutmix-0001", 0.25)
    assert (arm["val_nll"], arm["val_ece"]) == pytest.approx((0.6, 0.1))


def test_the_last_planned_epoch_counts_and_not_the_best_one() -> None:
    assert row_of(summary_of(("off", "completed", [0.1, 0.05, 0.4])), "off")["best"] == 0.4


def test_arms_keep_the_order_of_their_first_appearance() -> None:
    summary = summary_of(*completed("off", 0.1), *completed("cutmix", 0.2), *completed("off", 0.3))
    assert summary["arm"].tolist() == ["off", "cutmix"]


def test_another_metric_ranks_otherwise() -> None:
    trials, epochs = sweep_of(*completed("off", 0.1, 0.2))
    epochs["val_ece"] = -epochs["val_ece"]
    assert row_of(summarise_arms(trials, epochs, metric="val_ece"), "off")["best_trial"] == "off-0001"


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'accuracy', choose one of val_top1_error"):
        summarise_arms(*sweep_of(), metric="accuracy")


def test_an_empty_sweep_has_no_rows() -> None:
    trials, epochs = sweep_of()
    summary = summarise_arms(trials.drop(columns=PLANNED_EPOCHS), epochs)
    assert summary.empty
    assert list(summary) == list(summary_of(*completed("off", 0.1)))
    assert "No trial has completed yet" in verdict(summary)


def test_final_epochs_are_those_of_completed_trials() -> None:
    final = final_epochs(*sweep_of(*completed("off", 0.1), ("off", "running", [0.9, 0.8, 0.7])))
    assert final["val_top1_error"].to_dict() == {"off-0000": 0.1}


def test_verdict_without_a_completed_trial() -> None:
    assert verdict(summary_of(("off", "running", [0.9]))).startswith("No trial has completed yet")


@pytest.mark.parametrize(
    ("statuses", "beginning"),
    [
        (["diverged"] * 4, "All 4 trials diverged;"),
        (["diverged"], "The only trial diverged;"),
        (["failed", "diverged", "diverged"], "None of the 3 trials completed (2 diverged, 1 failed);"),
        (["diverged", "paused"], "No trial has completed yet;"),
    ],
)
def test_verdict_where_no_trial_completed(statuses: list[str], beginning: str) -> None:
    sentence = verdict(summary_of(*(("off", status, [np.nan]) for status in statuses)))
    assert sentence == f"{beginning} there is no result to compare."


def test_verdict_of_one_arm() -> None:
    sentence = verdict(summary_of(*completed("off", 0.1, 0.2)))
    assert "Arm off is the only arm (n = 2, median validation top-1 error 15 %, lowest 10 %)" in sentence
    assert "nothing to compare it with" in sentence
    assert "not a confirmed result" in sentence


def test_verdict_of_the_only_arm_with_completed_trials() -> None:
    sentence = verdict(summary_of(*completed("off", 0.1), ("cutmix", "running", [0.9])))
    assert "off is the only arm with completed trials" in sentence


def test_verdict_names_the_arm_that_leads_in_both() -> None:
    sentence = verdict(summary_of(*completed("off", 0.3, 0.3, 0.4), *completed("cutmix", 0.1, 0.2, 0.25)))
    assert sentence == (
        "Among completed trials, the trials of cutmix (n = 3) have the lowest median validation top-1 error (20 %) and "
        "also the lowest single value (10 %). This is validation data after selection, not a confirmed result."
    )


def test_verdict_names_both_arms_where_they_differ() -> None:
    sentence = verdict(summary_of(*completed("off", 0.3, 0.3, 0.05), *completed("cutmix", 0.2, 0.2, 0.2)))
    assert "the trials of cutmix (n = 3) have the lowest median" in sentence
    assert "the trials of off (n = 3) have the lowest single value (5 %)" in sentence


def test_verdict_names_all_arms_of_a_tie() -> None:
    tied = summary_of(*completed("off", 0.2, 0.2, 0.2), *completed("cutmix", 0.2, 0.2, 0.2))
    assert "the trials of off (n = 3) and cutmix (n = 3) share the lowest median" in verdict(tied)


def test_a_tie_survives_rounding() -> None:
    half = (0.1 + 0.2) / 2  # 0.15000000000000002
    tied = summary_of(*completed("off", 0.1, half, 0.3), *completed("cutmix", 0.1, 0.15, 0.3))
    assert "the trials of off (n = 3) and cutmix (n = 3) share the lowest median" in verdict(tied)


def test_verdict_of_too_few_trials_names_the_arms() -> None:
    few = summary_of(*completed("off", 0.3, 0.2), *completed("cutmix", 0.1, 0.1, 0.1), ("mixup", "running", []))
    sentence = verdict(few)
    assert sentence.startswith("So far, ")
    assert "off and mixup have fewer than 3 completed trials: too few to compare" in sentence


def test_a_metric_in_words() -> None:
    words = metric_label("val_top1_error")
    assert (words.label(), words.text(0.1234)) == ("validation top-1 error (%)", "12.3 %")
    assert metric_label("val_nll").text(1.5) == "1.5 nats"
    assert (words.difference_unit, metric_label("val_nll").difference_unit) == ("points", "nats")
