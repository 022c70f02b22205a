"""What figures compute, and that drawing them says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.frames import Sweep, load
from sweep.records.writer import write_manifest


@pytest.fixture
def empty(tmp_path: Path) -> Sweep:
    """A sweep of which only the manifest is written."""
    write_manifest(tmp_path, {"schema_version": 1, "study": {"arms": {"off": {}, "cutmix": {}}}})
    return load(tmp_path)


def words_of(ax: plt.Axes) -> str:
    return " ".join(text.get_text() for text in ax.texts)


def test_learning_curves_hold_the_quartiles_of_the_trials_alive() -> None:
    epochs = pd.DataFrame(
        {"arm": "off", "epoch": [1, 1, 1, 2], "val_top1_error": [0.1, 0.2, 0.6, 0.05], "trial": list("abca")}
    )
    info = plots.learning_curves_info(epochs)
    assert info["median"].tolist() == pytest.approx([0.2, 0.05])
    assert info["low"].tolist() == pytest.approx([0.15, 0.05])
    assert info["high"].tolist() == pytest.approx([0.4, 0.05])
    assert info["n"].tolist() == [3, 1]


def test_learning_curves_lose_the_stopped_trials(planted: Sweep) -> None:
    info = plots.learning_curves_info(planted.epochs)
    alive = info[info["arm"] == "cutmix"].set_index("epoch")["n"]
    assert alive[1] == 24
    assert alive[12] == (planted.trials.query("arm == 'cutmix'")["status"] == "completed").sum()
    assert alive.is_monotonic_decreasing


def test_learning_curves_are_labelled(planted: Sweep) -> None:
    ax = plots.learning_curves(plots.learning_curves_info(planted.epochs))
    assert ax.get_ylabel() == "validation top-1 error (%)"
    labels = ax.get_legend_handles_labels()[1]
    assert len(labels) == 4
    assert labels[0].startswith("off (n = 24 → ")
    assert ax.lines[0].get_ydata()[0] > 1  # percent, where the frame holds fractions


def test_final_error_holds_every_trial_and_the_arms_median(planted: Sweep, rng: np.random.Generator) -> None:
    info = plots.final_error_info(planted.trials, rng=rng)
    assert len(info) == len(planted.trials)
    for _, arm in info.groupby("arm", observed=True):
        first = arm.iloc[0]
        assert first["median"] == pytest.approx(arm["value"].median())
        assert first["low"] <= first["median"] <= first["high"]
        assert first["n"] == arm["value"].notna().sum()
        assert (arm[["n", "median", "low", "high"]].nunique() == 1).all()


def test_final_error_names_n(planted: Sweep, rng: np.random.Generator) -> None:
    info = plots.final_error_info(planted.trials, rng=rng)
    ax = plots.final_error(info)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[0] == f"off\nn = {info['value'][info['arm'] == 'off'].notna().sum()} of 24"
    assert "(%)" in ax.get_ylabel()
    assert "95%" in ax.get_title()


def test_response_holds_every_trial_of_the_arm(planted: Sweep) -> None:
    info = plots.response_info(planted.trials)
    assert len(info) == 24
    assert info["x"].between(0.1, 4).all()
    assert info["y"].between(0, 1).all()
    assert set(info["marker"]) == {"clip", "inside", "torus"}
    assert (info["value"].notna() == (info["status"] == "completed")).all()


def test_response_is_labelled(planted: Sweep) -> None:
    info = plots.response_info(planted.trials)
    ax = plots.response(info)
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "mix.apply.prob")
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text.split()[0] for text in texts] == ["clip", "inside", "torus", "not"]
    assert texts[-1] == f"not completed (n = {info['value'].isna().sum()})"


def test_response_of_an_arm_without_the_choice(planted: Sweep) -> None:
    info = plots.response_info(planted.trials, arm="mixup")
    assert set(info["marker"]) == {""}
    legend = plots.response(info).get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"completed (n = {info['value'].notna().sum()})"


def test_response_of_an_arm_that_draws_nothing_says_so(planted: Sweep) -> None:
    assert "no completed trials with drawn" in words_of(plots.response(plots.response_info(planted.trials, arm="off")))


def test_stopping_orders_the_decisions_of_a_rung(planted: Sweep) -> None:
    info = plots.stopping_info(planted.decisions)
    assert len(info) == len(planted.decisions)
    slot = info[(info["arm"] == "off") & (info["rung_epochs"] == 3)]
    assert slot["n_recorded"].tolist() == list(range(1, 25))
    assert slot["order"].is_monotonic_increasing
    assert info["order"].between(0, 1).all()
    assert info["stopped"].sum() == (planted.trials["status"] == "stopped").sum()
    judged = info.dropna(subset=["cutoff"])
    assert (judged["stopped"] == (judged["value"] > judged["cutoff"])).all()


def test_stopping_is_labelled(planted: Sweep) -> None:
    ax = plots.stopping(plots.stopping_info(planted.decisions))
    assert [label.get_text().split("\n")[0] for label in ax.get_xticklabels()] == ["3", "6"]
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0].startswith("off: ")
    assert texts[-3:] == ["continued", "stopped", "cutoff"]


def test_figures_without_data_say_so_in_words(empty: Sweep, rng: np.random.Generator) -> None:
    curves = plots.learning_curves(plots.learning_curves_info(empty.epochs))
    assert words_of(curves) == "no epochs recorded"
    assert words_of(plots.final_error(plots.final_error_info(empty.trials, rng=rng))) == "no completed trials"
    assert "no completed trials" in words_of(plots.response(plots.response_info(empty.trials)))
    assert "no decisions" in words_of(plots.stopping(plots.stopping_info(empty.decisions)))
    assert not curves.axison


def test_a_sweep_under_way_has_curves_but_no_final_error(
    simulate: Callable[..., Path], rng: np.random.Generator
) -> None:
    sweep = load(simulate(n_trials=2, n_running=2))
    assert plots.learning_curves(plots.learning_curves_info(sweep.epochs)).lines
    assert words_of(plots.final_error(plots.final_error_info(sweep.trials, rng=rng))) == "no completed trials"


def test_an_arm_with_few_completed_trials_has_a_median_and_no_interval(
    simulate: Callable[..., Path], rng: np.random.Generator
) -> None:
    info = plots.final_error_info(load(simulate(n_trials=2, stop=False)).trials, rng=rng)
    assert info["median"].notna().all()
    assert info["low"].isna().all()
    plots.final_error(info).figure.canvas.draw()


def test_an_arm_keeps_its_colour_when_another_is_missing(planted: Sweep) -> None:
    every = plots.learning_curves(plots.learning_curves_info(planted.epochs))
    some = plots.learning_curves(plots.learning_curves_info(planted.epochs.query("arm != 'off'")))
    assert every.lines[1].get_color() == some.lines[0].get_color()


@pytest.mark.parametrize("name", ["learning_curves", "final_error", "response", "stopping"])
def test_a_figure_is_drawn_into_the_axes_it_is_given(name: str, planted: Sweep, rng: np.random.Generator) -> None:
    info = {
        "learning_curves": lambda: plots.learning_curves_info(planted.epochs),
        "final_error": lambda: plots.final_error_info(planted.trials, rng=rng),
        "response": lambda: plots.response_info(planted.trials),
        "stopping": lambda: plots.stopping_info(planted.decisions),
    }[name]()
    ax = plt.figure().add_subplot()
    assert getattr(plots, name)(info, ax) is ax
    ax.figure.canvas.draw()
