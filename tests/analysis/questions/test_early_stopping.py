"""Replays of ASHA, and ranks at rungs against final ranks, both by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.frames import load
from analysis.questions import early_stopping
from tests.analysis.simulated_studies import SimulatedTrial, record


def test_an_order_takes_the_arms_in_turn() -> None:
    arms = pd.Series([*"aaabbb"], dtype="category")
    orders = [early_stopping._order(arms, pd.Series([0] * 6), np.random.default_rng(seed)) for seed in range(20)]
    for order in orders:
        assert sorted(order) == [0, 1, 2, 3, 4, 5]
        names = arms[order].tolist()
        assert names in ([*"ababab"], [*"bababa"])
    assert len({tuple(order) for order in orders}) > 10


class TestRanks:
    CURVES = {"off": ([0.5, 0.40], [0.6, 0.50]), "cutmix": ([0.7, 0.30], [0.8, 0.20])}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        trials = [
            SimulatedTrial(arm, number, curve) for arm, both in self.CURVES.items() for number, curve in enumerate(both)
        ]
        return record(tmp_path, "early_stopping", ["off", "cutmix"], trials)

    def test_shifts_are_ranks_there_less_ranks_at_the_end(self, folder: Path) -> None:
        shifts = early_stopping.rank_shifts(load(folder), metrics=["val_nll"], rungs=[1, 2, 9])
        assert set(shifts["rung_epochs"]) == {1}  # the others are not before the end
        ranks = dict(zip(shifts["trial"], 3 * shifts["shift"], strict=True))
        assert ranks == pytest.approx(
            {"off-0000": 1 - 3, "off-0001": 2 - 4, "cutmix-0000": 3 - 2, "cutmix-0001": 4 - 1}
        )

    def test_arms_are_compared_over_pairs(self, folder: Path) -> None:
        found = early_stopping.misjudged(early_stopping.rank_shifts(load(folder), rungs=[1]))
        assert found["metric"].tolist() == ["val_nll", "val_top1_error"]
        assert found["estimate"].tolist() == pytest.approx([(3 / 3 + 5 / 3) / 2] * 2)


class TestWinners:
    LAST_AT_A_RUNG = (
        SimulatedTrial("off", 0, [0.9, 0.1]),
        *(SimulatedTrial("off", number, [0.5 + 0.01 * number, 0.4]) for number in range(1, 9)),
    )

    def test_a_winner_that_is_ahead_at_all_rungs_is_never_stopped(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        trials = [SimulatedTrial("off", number, [0.5 - 0.01 * number] * 6) for number in range(9)]
        found = early_stopping.stopped_winners(load(record(tmp_path, "s", ["off"], trials)), rng=rng, n_orders=50)
        assert (found["stopped_frac"] == 0).all()
        assert set(found["arm"]) == {"off", "all arms"}
        assert set(found["first_rung_epochs"]) == {1, 3}
        assert (found["rungs"] == "own").all()

    def test_a_winner_that_is_last_at_a_rung_is_stopped_but_where_it_comes_first(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        """Of nine trials it continues where it is among the first two: two times in nine."""
        trials = self.LAST_AT_A_RUNG
        sweep = load(record(tmp_path, "s", ["off"], trials))
        found = early_stopping.stopped_winners(sweep, rng=rng, first_rungs=[1], n_orders=900).iloc[0]
        assert found["low"] < 7 / 9 < found["high"]
        assert found["stopped_frac"] == pytest.approx(7 / 9, abs=0.05)
        assert 0.4 < found["blind_frac"] < 0.9
        assert found["n"] == 9

    def test_each_search_has_a_winner(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """A second search, with better trials and a winner that is ahead: its winner is never stopped."""
        second = [SimulatedTrial("off", 9 + number, [0.3 - 0.01 * number] * 2, search=1) for number in range(9)]
        sweep = load(record(tmp_path, "s", ["off"], [*self.LAST_AT_A_RUNG, *second]))
        found = early_stopping.stopped_winners(sweep, rng=rng, first_rungs=[1], n_orders=900).iloc[0]
        assert found["stopped_frac"] == pytest.approx(7 / 9 / 2, abs=0.03)
        assert found["n"] == 18

    def test_shared_rungs_stop_the_winner_of_an_arm_that_learns_slowly(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        """It leads its arm from the start, but is behind all trials of the other until it has run to the end."""
        slow = [SimulatedTrial("cutmix", number, [0.8 + 0.01 * number, 0.1 + 0.01 * number]) for number in range(6)]
        fast = [SimulatedTrial("off", number, [0.5 + 0.01 * number, 0.4]) for number in range(6)]
        sweep = load(record(tmp_path, "s", ["off", "cutmix"], [*fast, *slow]))
        found = early_stopping.stopped_winners(sweep, rng=rng, first_rungs=[1], n_orders=100)
        of_all = found[(found["arm"] == "all arms") & (found["metric"] == "val_nll")].set_index("rungs")["stopped_frac"]
        assert of_all["own"] == 0
        assert of_all["shared"] > 0.5


def test_the_verdict_follows_the_data(simulated_study: Callable[[str, bool], Path], rng: np.random.Generator) -> None:
    said = []
    for planted in (True, False):
        sweep = load(simulated_study("early_stopping", planted))
        stopped = early_stopping.stopped_winners(sweep, rng=rng, n_orders=20)
        said.append(
            " ".join(early_stopping.verdict(stopped, early_stopping.misjudged(early_stopping.rank_shifts(sweep))))
        )
    assert "Decided: 6 of 18 comparisons" in said[0]
    assert "Decided: 0 of 18 comparisons" in said[1]


def test_a_sweep_that_a_rule_has_pruned_or_that_has_not_begun(
    simulate: Callable[..., Path], rng: np.random.Generator
) -> None:
    for given in ({"n_trials": 6}, {"n_trials": 0}):
        sweep = load(simulate(**given))  # its rule is ASHA, and no trial is of a control cohort
        compared = early_stopping.misjudged(early_stopping.rank_shifts(sweep))
        stopped = early_stopping.stopped_winners(sweep, rng=rng)
        assert stopped.empty
        assert early_stopping.verdict(stopped, compared)[0].startswith("Undecided: no trial")


def test_an_unknown_metric_is_refused(simulated_study: Callable[[str, bool], Path], rng: np.random.Generator) -> None:
    sweep = load(simulated_study("early_stopping", False))
    with pytest.raises(ValueError, match="unknown metric 'nll'"):
        early_stopping.rank_shifts(sweep, metrics=["nll"])
    with pytest.raises(ValueError, match="unknown metric 'nll'"):
        early_stopping.stopped_winners(sweep, rng=rng, metrics=["nll"])
