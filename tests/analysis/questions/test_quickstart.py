"""Each arm's best learning rate, and whether it lies at the edge of what was tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import plots
from analysis.data.frames import load
from analysis.questions import quickstart
from tests.analysis.simulated_studies import SimulatedTrial, record


def made(arm: str, *errors: float) -> list[SimulatedTrial]:
    rates = [0.1 * (number + 1) for number in range(len(errors))]
    return [
        SimulatedTrial(arm, number, [error], params={"optimizer.lr": rate})
        for number, (rate, error) in enumerate(zip(rates, errors, strict=True))
    ]


def test_the_best_is_the_one_that_ranks_first(tmp_path: Path) -> None:
    trials = [*made("off", 0.4, 0.3, 0.5), *made("cutmix", 0.2, 0.3, 0.4)]
    best = quickstart.best_values(load(record(tmp_path, "quickstart", ["off", "cutmix"], trials))).set_index("arm")
    assert best["best"].tolist() == pytest.approx([0.2, 0.1])
    table = quickstart.best_table(best.reset_index())
    assert table[["arm", "searches", "best", "at_edge"]].to_numpy().tolist() == [
        ["off", 1, "0.2", 0],
        ["cutmix", 1, "0.1", 1],
    ]
    assert best["best_trial"].tolist() == ["off-0001", "cutmix-0000"]
    assert best["at_edge"].tolist() == [False, True]
    assert best["error"].tolist() == pytest.approx([0.3, 0.2])
    assert quickstart.verdict(best.reset_index()).startswith("The best learning rate of cutmix is the lowest or the ")


def test_without_drawn_rates_or_trials_nothing_is_best(simulate: Callable[..., Path]) -> None:
    for given in ({"n_trials": 0}, {"n_trials": 3}):
        best = quickstart.best_values(load(simulate(**given)))
        assert best.empty
        assert quickstart.verdict(best).startswith("No completed trial has varied the learning rate")


def test_the_figure_has_a_point_a_completed_trial(tmp_path: Path) -> None:
    sweep = load(record(tmp_path, "quickstart", ["off"], made("off", 0.4, 0.3)))
    info = plots.slice_info(sweep.trials.assign(final_val_top1_error=[0.4, None]), path="optimizer.lr", log=True)
    assert info["x"].tolist() == pytest.approx([0.1, 0.2])
    ax = plots.slice_plot(info)
    assert [len(line.get_xdata()) for line in ax.lines] == [1, 1]  # one completed, one tick
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([40])
    assert ax.get_xscale() == "log"
