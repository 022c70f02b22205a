"""Means over seeds or searches of what evaluation measured, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweep.findings.evaluated import COLUMNS, summarise_evaluations

TRIALS = pd.DataFrame(
    {"trial": ["o0", "o1", "o2", "c0", "c1"], "arm": ["off", "off", "off", "cutmix", "cutmix"]}
    | {"phase": "confirm", "search": 0}
)


def row(trial: str, value: float, *, metric: str = "train_s", setting: str = "", n: int = 50) -> dict[str, object]:
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


def test_the_seeds_of_a_search_are_one_value() -> None:
    trials = TRIALS.assign(search=[0, 0, 1, 0, 1])
    values = [row("o0", 0.1), row("o1", 0.3), row("o2", 0.4)]
    (off,) = summarise_evaluations(trials, pd.DataFrame(values)).to_dict("records")
    low, high = stats.t.interval(0.95, 1, 0.3, stats.sem([0.2, 0.4]))
    assert [off[name] for name in ("unit", "n_units", "seeds")] == ["search", 2, 3]
    assert [off[name] for name in ("mean", "low", "high")] == pytest.approx([0.3, low, high])
    searched = summarise_evaluations(trials.assign(phase="search"), pd.DataFrame(values))
    assert (searched["unit"].item(), searched["n_units"].item()) == ("seed", 3)


def test_only_the_winner_of_a_search_is_a_value_of_its_arm() -> None:
    values = pd.DataFrame([row("o0", 0.1), row("o1", 0.3), row("o2", 0.4)])
    (off,) = summarise_evaluations(TRIALS.assign(rank=[1, 2, 1, 1, 1]), values).to_dict("records")
    assert (off["n_units"], off["mean"]) == (2, pytest.approx(0.25))


@pytest.mark.parametrize(
    ("metric", "low", "high"), [("robust_error", 0, 1), ("auroc", 0, 1), ("nll", 0, 2.24), ("train_s", -1.57, 2.24)]
)
def test_intervals_are_cut_at_the_bounds_of_their_metric(metric: str, low: float, high: float) -> None:
    values = pd.DataFrame([row("c0", 0.18, metric=metric), row("c1", 0.48, metric=metric)])
    (cutmix,) = summarise_evaluations(TRIALS, values).to_dict("records")
    assert [cutmix["low"], cutmix["high"]] == pytest.approx([low, high], abs=0.01)


def test_quantities_are_kept_apart_in_their_order() -> None:
    rows = [row("o0", 1.0, setting="b"), row("o0", 2.0, setting="a"), row("o0", 3.0, metric="nll", setting="b")]
    summary = summarise_evaluations(TRIALS, pd.DataFrame(rows))
    assert summary[["setting", "metric", "mean"]].to_numpy().tolist() == [
        ["b", "train_s", 1],
        ["a", "train_s", 2],
        ["b", "nll", 3],
    ]


def test_nothing_yet() -> None:
    assert summarise_evaluations(TRIALS, pd.DataFrame([row("x", 1.0)])).empty
