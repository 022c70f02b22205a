"""Means over seeds of what evaluation measured, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweep.findings.evaluated import COLUMNS, summarise_evaluations

TRIALS = pd.DataFrame({"trial": ["o0", "o1", "o2", "c0", "c1"], "arm": ["off", "off", "off", "cutmix", "cutmix"]})


def row(trial: str, value: float, *, metric: str = "ece", setting: str = "", n: int = 50) -> dict[str, object]:
    return {"trial": trial, "axis": "a", "split": "test", "setting": setting, "metric": metric, "value": value, "n": n}


def test_means_and_t_intervals() -> None:
    values = [0.1, 0.3, 0.2]
    off = [row(f"o{i}", value, n=50 + i) for i, value in enumerate(values)]
    rows = [row("c0", 0.5, n=40), row("c1", math.nan), *off]
    summary = summarise_evaluations(TRIALS, pd.DataFrame(rows))
    assert list(summary.columns) == COLUMNS
    assert summary["arm"].tolist() == ["off", "cutmix"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    first, cutmix = summary.to_dict("records")
    assert [first[name] for name in ("seeds", "n", "mean", "low", "high")] == pytest.approx([3, 50, 0.2, low, high])
    assert (cutmix["seeds"], cutmix["n"], cutmix["mean"]) == (1, 40, 0.5)
    assert math.isnan(cutmix["low"])


def test_quantities_are_kept_apart_in_their_order() -> None:
    rows = [row("o0", 1.0, setting="b"), row("o0", 2.0, setting="a"), row("o0", 3.0, metric="nll", setting="b")]
    summary = summarise_evaluations(TRIALS, pd.DataFrame(rows))
    assert summary[["setting", "metric", "mean"]].to_numpy().tolist() == [
        ["b", "ece", 1],
        ["a", "ece", 2],
        ["b", "nll", 3],
    ]


def test_nothing_yet() -> None:
    assert summarise_evaluations(TRIALS, pd.DataFrame([row("x", 1.0)])).empty
