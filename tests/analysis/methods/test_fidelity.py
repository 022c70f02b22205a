"""Rungs, regret and best epochs of made-up sweeps, against figures by hand and SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.frames import Sweep, load
from analysis.methods.fidelity import rung_fidelity, stopping_regret
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.schema import SPARED

METRIC = "val_top1_error"


def sweep_of(
    curves: Sequence[Sequence[float]],
    *,
    rule: str = "none",
    control: Sequence[bool] | None = None,
    decisions: Sequence[tuple[int, int, str]] = (),
    arms: Sequence[str] = (),
    status: Sequence[str] = (),
    search: Sequence[int] = (),
) -> Sweep:
    """A row a trial; ``decisions`` are trial, rung and verdict."""
    names = [f"t{number}" for number in range(len(curves))]
    arm = pd.Categorical(arms or ["a"] * len(curves))
    trials = pd.DataFrame(
        {
            **{
                "trial": names,
                "arm": arm,
                "search": search or 0,
                "replicate": range(len(curves)),
                "status": status or "completed",
            },
            **{"control": control if control is not None else True, PLANNED_EPOCHS: [len(curve) for curve in curves]},
            f"final_{METRIC}": [curve[-1] for curve in curves],
        }
    )
    rows = [
        (name, epoch, value)
        for name, curve in zip(names, curves, strict=True)
        for epoch, value in enumerate(curve, start=1)
    ]
    judged = [(names[trial], arm[trial], rung, verdict) for trial, rung, verdict in decisions]
    return Sweep(
        manifest={"study": {"budget": {"early_stopping": {"rule": rule}}}},
        trials=trials,
        epochs=pd.DataFrame(rows, columns=["trial", "epoch", METRIC]),
        decisions=pd.DataFrame(judged, columns=["trial", "arm", "rung_epochs", "verdict"]),
        evaluations=pd.DataFrame(),
    )


class TestRungFidelity:
    def test_correlation_is_spearmans_of_rung_and_final_value(self, rng: np.random.Generator) -> None:
        curves = np.random.default_rng(1).normal(size=(20, 4)).cumsum(axis=1)
        found = rung_fidelity(sweep_of(curves.tolist()), rungs=[1, 2, 3], rng=rng)
        expected = [stats.spearmanr(curves[:, rung], curves[:, -1]).statistic for rung in range(3)]
        assert found["correlation"].tolist() == pytest.approx(expected)
        assert found["rung_epochs"].tolist() == [1, 2, 3]
        assert (found["n"] == 20).all()
        assert (found["low"] < found["correlation"]).all()
        assert (found["correlation"] < found["high"]).all()

    def test_regret_is_that_of_the_best_that_was_kept(self, rng: np.random.Generator) -> None:
        """At epoch 1 the later winner is third of six, and the best of the two ahead comes to 0.30."""
        curves = [[0.5, 0.30], [0.4, 0.35], [0.6, 0.20], [0.7, 0.5], [0.8, 0.5], [0.9, 0.5]]
        assert rung_fidelity(sweep_of(curves), rungs=[1], rng=rng)["regret"].item() == pytest.approx(0.10)

    def test_regret_is_a_mean_over_searches(self, rng: np.random.Generator) -> None:
        curves = [[0.5, 0.30], [0.4, 0.35], [0.6, 0.20], [0.5, 0.1], [0.4, 0.3], [0.2, 0.2]]
        sweep = sweep_of(curves, search=[0, 0, 0, 1, 1, 1])
        regret = rung_fidelity(sweep, rungs=[1], rng=rng)["regret"].item()
        assert regret == pytest.approx(((0.35 - 0.20) + (0.2 - 0.1)) / 2)

    def test_two_trials_are_too_few_for_the_rule_to_stop_one(self, rng: np.random.Generator) -> None:
        assert rung_fidelity(sweep_of([[0.5, 0.3], [0.6, 0.2]]), rungs=[1], rng=rng)["regret"].item() == 0

    def test_looks_at_the_control_cohort_alone(self, rng: np.random.Generator) -> None:
        curves = np.random.default_rng(2).normal(size=(30, 3)).cumsum(axis=1)
        control = [number % 3 == 0 for number in range(30)]
        decisions = [(number, 2, "continue") for number in range(30)]
        found = rung_fidelity(sweep_of(curves.tolist(), rule="asha", control=control, decisions=decisions), rng=rng)
        assert found["rung_epochs"].tolist() == [2]
        assert found["n"].tolist() == [10]
        assert found["correlation"].item() == pytest.approx(stats.spearmanr(curves[::3, 1], curves[::3, 2]).statistic)

    @pytest.mark.parametrize(("n_epochs", "rungs"), [(1, []), (3, [1]), (9, [1, 3]), (10, [1, 3, 9])])
    def test_without_decisions_rungs_are_powers_of_three_below_the_end(
        self, n_epochs: int, rungs: list[int], rng: np.random.Generator
    ) -> None:
        assert rung_fidelity(sweep_of([[0.5] * n_epochs] * 2), rng=rng)["rung_epochs"].tolist() == rungs

    def test_trials_that_end_at_a_rung_say_nothing_there(self, rng: np.random.Generator) -> None:
        curves = [[0.5, 0.4], [0.6, 0.5], [0.5, 0.4, 0.3, 0.2]]
        assert rung_fidelity(sweep_of(curves), rungs=[1, 2, 4], rng=rng)["n"].tolist() == [3, 1, 0]

    def test_few_have_no_interval(self, rng: np.random.Generator) -> None:
        found = rung_fidelity(sweep_of([[0.5, 0.4], [0.6, 0.5], [0.7, 0.3]]), rungs=[1], rng=rng)
        assert np.isfinite(found["correlation"]).all()
        assert found[["low", "high"]].isna().all(axis=None)


class TestStoppingRegret:
    CURVES = ([0.5, 0.30], [0.4, 0.35], [0.6, 0.20], [0.7, 0.40])

    def test_is_what_spared_trials_came_to(self) -> None:
        decisions = [(0, 1, "continue"), (1, 1, "continue"), (2, 1, SPARED), (3, 1, SPARED)]
        sweep = sweep_of(self.CURVES, rule="asha", control=[True] * 4, decisions=decisions)
        (row,) = stopping_regret(sweep).to_dict("records")
        assert (row["n"], row["n_spared"], row["winner_stopped_frac"]) == (4, 2, 1)
        assert (row["best"], row["best_kept"]) == (0.20, 0.30)
        assert row["regret"] == pytest.approx(0.10)
        welch = stats.ttest_ind([0.20, 0.40], [0.30, 0.35], equal_var=False).confidence_interval()
        assert [row["gap"], row["low"], row["high"]] == pytest.approx([-0.025, *welch])

    def test_is_a_mean_over_searches(self) -> None:
        """In the first search the better trial is stopped, in the second the worse, in the third the only one."""
        curves, search = [*self.CURVES, [0.9, 0.1]], [0, 1, 0, 1, 2]
        decisions = [(0, 1, "continue"), (1, 1, "continue"), (2, 1, SPARED), (3, 1, SPARED), (4, 1, SPARED)]
        sweep = sweep_of(curves, rule="asha", control=[True] * 5, decisions=decisions, search=search)
        (row,) = stopping_regret(sweep).to_dict("records")
        assert row["winner_stopped_frac"] == pytest.approx(2 / 3)
        assert row["best"] == pytest.approx((0.20 + 0.35 + 0.1) / 3)
        assert row["best_kept"] == pytest.approx((0.30 + 0.35) / 2)
        assert row["regret"] == pytest.approx(0.10 / 2)

    def test_is_nothing_where_the_winner_was_kept(self) -> None:
        decisions = [(0, 1, SPARED), (2, 1, "continue")]
        sweep = sweep_of(self.CURVES, rule="asha", control=[True, True, True, False], decisions=decisions)
        (row,) = stopping_regret(sweep).to_dict("records")
        assert (row["n"], row["n_spared"], row["regret"], row["winner_stopped_frac"]) == (3, 1, 0, 0)
        assert np.isnan([row["low"], row["high"]]).all()

    def test_is_unknown_where_none_would_have_been_kept(self) -> None:
        decisions = [(number, 1, SPARED) for number in range(4)]
        sweep = sweep_of(self.CURVES, rule="asha", control=[True] * 4, decisions=decisions)
        (row,) = stopping_regret(sweep).to_dict("records")
        assert np.isnan(row["regret"])
        assert row["winner_stopped_frac"] == 1

    def test_needs_a_rule_and_a_cohort(self) -> None:
        assert stopping_regret(sweep_of(self.CURVES)).empty
        assert stopping_regret(sweep_of(self.CURVES, rule="asha", control=[False] * 4)).empty


def test_recorded_sweeps(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    """Ranks at the last rung are nearly final."""
    sweep = load(simulate(study="mask_shape", arms=("box", "grid"), stop=False))
    sweep.manifest["study"]["budget"]["early_stopping"]["rule"] = "none"
    found = rung_fidelity(sweep, rungs=[3, 11], rng=rng)
    assert found["arm"].tolist() == ["box", "box", "grid", "grid"]
    assert (found["low"] > 0.3).all()


def test_a_sweep_without_a_trial(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    sweep = load(simulate(n_trials=2, n_running=2))
    assert rung_fidelity(sweep, rng=rng).empty
    assert stopping_regret(sweep).empty


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'val_top1_eror'"):
        stopping_regret(sweep_of([[0.5]]), metric="val_top1_eror")
