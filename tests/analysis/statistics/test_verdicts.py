"""Sentences follow the table, and its figures are in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.frames import load
from analysis.statistics import HIGHER, LOWER, UNDECIDED, paired_differences, summary_line, verdict
from sweep.findings.summary import Metric

NOISE = 0.001 * np.array([-1.0, 1.0, -0.5, 0.5, 0.0])


def compared(shift: float, *, noise: float = 1.0, n_seeds: int = 5, **given: Any) -> pd.DataFrame:
    levels = np.linspace(0.2, 0.3, 5)
    errors = {"box": levels[:n_seeds], "grid": (levels + shift + noise * NOISE)[:n_seeds]}
    rows = [(arm, seed, error) for arm, values in errors.items() for seed, error in enumerate(values)]
    table = pd.DataFrame(rows, columns=["arm", "replicate", "error"]).assign(data="digits")
    return paired_differences(table, value="error", baseline="box", **given)


@pytest.mark.parametrize(
    ("differences", "claim"),
    [
        (compared(-0.02), "grid has a lower validation top-1 error than box (difference in points -2.00, "),
        (compared(0.02), "grid has a higher validation top-1 error than box (difference in points +2.00, "),
        (compared(0.0005), "Whether grid and box differ in validation top-1 error is undecided (difference in points"),
        (compared(0.0005, margin=0.005), "grid and box show no difference in validation top-1 error larger than 0.5 "),
        (compared(-0.002, margin=0.005), "error than box, though by less than 0.5 points (difference in points -0.20"),
        (compared(-0.02, by=["data"]), "data digits: grid has a lower"),
    ],
)
def test_the_sentence_follows_the_data(differences: pd.DataFrame, claim: str) -> None:
    sentence, summary = verdict(differences, metric="val_top1_error")
    assert claim in sentence
    assert "n = 5 pairs, p " in sentence
    decided = 0 if "undecided" in sentence else 1
    assert summary.startswith(f"Decided: {decided} of 1 comparisons")
    assert ("per data" in summary) == ("data digits" in sentence)


def test_figures_are_those_of_the_table() -> None:
    differences = compared(-0.02)
    low, high = 100 * differences[["low", "high"]].iloc[0]
    sentence, _ = verdict(differences, metric="val_top1_error")
    assert f"interval {low:+.2f} to {high:+.2f}" in sentence
    assert "p < 0.001" in sentence


def test_few_or_no_pairs_decide_nothing() -> None:
    too_few = ["Undecided: too few pairs of trials have completed for any interval."]
    assert verdict(compared(0.1, n_seeds=1), metric="val_nll") == too_few
    assert verdict(compared(0.1).iloc[:0], metric="val_nll") == too_few


def test_values_that_are_no_metric_of_an_epoch_bring_their_words() -> None:
    sentence, _ = verdict(compared(-0.02), metric=Metric("test score", 1.0, ""))
    assert "grid has a lower test score than box (difference -0.02, interval" in sentence


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="val_top1_eror"):
        verdict(compared(-0.02), metric="val_top1_eror")


def test_planted_differences_of_a_sweep_are_found(planted_shapes_dir: Path) -> None:
    found = paired_differences(load(planted_shapes_dir).trials, value="final_val_top1_error", baseline="box")
    assert dict(zip(found["arm"], found["verdict"], strict=True)) == {
        "off": HIGHER, "cutmix": UNDECIDED, "ellipse": UNDECIDED, "fourier": LOWER,
    }  # fmt: skip
    assert (found["n_pairs"] == 24).all()


def test_a_clause_groups_arms_by_how_they_ended() -> None:
    arms = {"off": [0.3, 0.31, 0.32], "a": [0.1, 0.11, 0.121], "b": [0.5, 0.51, 0.521], "c": [0.2, 0.4, 0.3]}
    rows = [(arm, seed, value) for arm, values in arms.items() for seed, value in enumerate(values)]
    table = pd.DataFrame([*rows, ("d", 0, 0.1)], columns=["arm", "replicate", "error"])
    found = paired_differences(table, value="error", baseline="off")
    assert summary_line(found) == "a lower than off; b higher than off; c undecided; too few pairs for d"
    within = paired_differences(table, value="error", baseline="off", margin=0.5)
    assert "c within the margin of off" in summary_line(within)
    assert summary_line(found.iloc[:0]) == "nothing to compare"
