"""Gains turned one way, and which of them move together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import plots
from analysis.data.evaluations import values_of
from analysis.data.frames import load
from analysis.questions import co_movement
from tests.analysis.simulated_studies import SimulatedTrial, record


def gains_of(columns: dict[str, np.ndarray], *, n_arms: int = 4) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    arms = pd.Categorical(np.arange(n) % n_arms)
    return pd.DataFrame({"trial": [f"t{place}" for place in range(n)], "arm": arms, **columns})


@pytest.fixture
def gains(simulated_study: Callable[[str, bool], Path]) -> dict[bool, pd.DataFrame]:
    """With the effect and without."""
    folders = {planted: simulated_study("co_movement", planted) for planted in (True, False)}
    return {is_: co_movement.gains(values_of(load(folder), co_movement.MEASURED)) for is_, folder in folders.items()}


def test_gains_are_better_when_lower_and_only_those_that_were_measured(tmp_path: Path) -> None:
    measured = {("ood", f"{kind} mean / msp", "auroc"): 0.9 for kind in ("natural", "noise")}
    measured |= {("calibration", "raw", name): 0.1 for name in ("ece", "signed_ece")}
    measured |= {("calibration", "temperature scaled", "ece"): 0.05}
    folder = record(tmp_path, "co_movement", ["off"], [SimulatedTrial("off", 0, [0.3], measured=measured)])
    table = co_movement.gains(values_of(load(folder), co_movement.MEASURED))
    assert table.columns.tolist() == ["trial", "arm", "ECE", "natural images missed", "noise missed"]
    assert table.iloc[0, 2:].tolist() == pytest.approx([0.1, 0.1, 0.1])


def test_pooled_relations_are_spearmans(gains: dict[bool, pd.DataFrame]) -> None:
    table = gains[True]
    found = co_movement.relations(table, kind=co_movement.POOLED).set_index(["first", "second"])
    pair = ("ECE", "error under PGD 2/255")
    assert found.loc[pair, "correlation"] == pytest.approx(stats.spearmanr(table[pair[0]], table[pair[1]]).statistic)
    assert (found["n"] == 120).all()
    assert len(found) == 7 * 6 / 2


def test_what_the_error_explains_is_taken_out(rng: np.random.Generator) -> None:
    error, first, second = rng.normal(size=(3, 200))
    table = gains_of({"error": error, "a": 3 * error + first, "b": 3 * error + second})
    within = co_movement.relations(table, kind=co_movement.WITHIN).set_index(["first", "second"])
    given = co_movement.relations(table, kind=co_movement.GIVEN)
    assert within.loc[("a", "b"), "low"] > 0.5
    assert given[["first", "second"]].to_numpy().tolist() == [["a", "b"]]
    assert given["verdict"].tolist() == ["undecided"]


def test_the_verdict_follows_the_data(gains: dict[bool, pd.DataFrame]) -> None:
    planted, null = (" ".join(co_movement.verdict(co_movement.decided(gains[is_]))) for is_ in (True, False))
    assert "Within arms, error and natural images missed are positively correlated (rank correlation +0.8" in planted
    assert "5 of 6 gains are correlated with a lower error" in planted
    assert "Decided: 0 of 21 relations" in null


def test_gains_that_are_traded_are_said_so(rng: np.random.Generator) -> None:
    error, noise = rng.normal(size=(2, 80))
    said = co_movement.verdict(co_movement.decided(gains_of({"error": error, "ECE": noise - 2 * error})))
    assert said[0].startswith(
        "Within arms, error and ECE are negatively correlated: one gain costs the other (rank correlation -0."
    )
    assert "0 of 1 gains are correlated with a lower error. Among the other gains, 0 of 0 pairs" in said[-2]


def test_wrong_decisions_are_as_rare_as_promised() -> None:
    rng, wrong = np.random.default_rng(3), 0
    names = ["error", *"abc"]
    for _ in range(25):
        table = gains_of(dict(zip(names, rng.normal(size=(4, 48)), strict=True)), n_arms=6)
        wrong += co_movement.decided(table)["verdict"].isin(["lower", "higher"]).any()
    assert wrong <= 5  # 1 or 2 are expected


@pytest.mark.parametrize(
    "columns", [{}, {"error": np.zeros(3)}, {"ECE": np.arange(9.0), "noise missed": np.arange(9.0)}]
)
def test_little_or_nothing_measured(columns: dict[str, np.ndarray]) -> None:
    table = gains_of(columns) if columns else gains_of({"error": np.zeros(0)}).drop(columns="error")
    found = co_movement.decided(table)
    assert found.empty
    assert co_movement.verdict(found) == ["Undecided: too few trials have been measured on two axes."]
    for kind in (co_movement.POOLED, co_movement.WITHIN, co_movement.GIVEN):
        plots.correlations(co_movement.relations(table, kind=kind))


def test_the_figure_says_what_is_given(gains: dict[bool, pd.DataFrame]) -> None:
    title = plots.correlations(co_movement.relations(gains[True], kind=co_movement.GIVEN)).get_title()
    assert "controlling for the error" in title.replace("\n", " ")


def test_strengths_are_what_was_drawn(simulated_study: Callable[[str, bool], Path]) -> None:
    trials = load(simulated_study("co_movement", False)).trials
    table = co_movement.strengths(trials)
    drawn = trials.loc[trials["arm"] == "fmix", "params.mix.apply.prob"]
    assert table.loc["fmix"].tolist() == [drawn.min(), drawn.max()]
    assert table.columns.tolist() == ["mix.apply.prob min", "mix.apply.prob max"]
    assert table.loc["off"].isna().all()
