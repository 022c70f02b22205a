"""What all figures share: they can be read with few and many arms, and say what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.data import evaluations
from analysis.data.frames import Sweep, load
from analysis.methods.surface import response_surface
from analysis.plots.style import arm_style
from analysis.questions import budget as crossing
from analysis.statistics import Ranks
from sweep.records.writer import write_manifest

PGD = "adversarial robust_error (pgd20 eps=8/255)"
LOG = ("mix.size.alpha", "optimizer.weight_decay")


def ranked(arms: tuple[str, ...], n_blocks: int = 8) -> Ranks:
    """Return ranks of which only those more than 2.5 apart differ."""
    mean_rank = pd.Series(np.arange(1.0, len(arms) + 1), index=list(arms))
    distance = np.abs(np.subtract.outer(mean_rank.to_numpy(), mean_rank.to_numpy()))
    p = pd.DataFrame(np.where(distance > 2.5, 0.01, 1.0), index=list(arms), columns=list(arms))
    return Ranks(mean_rank, 0.01, 2.5, p, n_blocks, 0.95)


def _forest(made: Any) -> pd.DataFrame:
    return plots.forest_info(made.trials, baseline=made.arms[-1], margin=0.01)


def _cells(made: Any) -> pd.DataFrame:
    """Return each arm on two networks: its first two trials."""
    rows = made.trials.groupby("arm", observed=True).head(2).dropna(subset=["final_val_top1_error"])
    error = rows["final_val_top1_error"]
    seconds = 100.0 + 40.0 * np.arange(len(rows))
    return rows[["arm"]].assign(n=3, error=error, low=error - 0.01, high=error + 0.01, seconds=seconds)


def _correlations(made: Any) -> pd.DataFrame:
    """Return a correlation of each pair of quantities."""
    names = evaluations.by_axis(made.evaluations).columns.drop(["trial", "arm"])
    rows = [(*pair, 0.9 - 0.1 * place, -0.25, 0.95, 12) for place, pair in enumerate(combinations(names, 2))]
    columns = ["first", "second", "correlation", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).assign(within_arms=True, confidence=0.95)


def _errors(made: Any) -> pd.DataFrame:
    """Return the errors of each arm in two sweeps."""
    trials = made.trials.dropna(subset=["final_val_top1_error"])
    rows = trials.groupby("arm", observed=True)["final_val_top1_error"].agg(error="mean", n="size").reset_index()
    rows = rows.assign(
        error_low=rows["error"] - 0.01, error_high=rows["error"] + 0.01, images="validation", unit="seed"
    )
    names = ["digits at a tenth of the images", "cifar10"]
    return pd.concat([rows.assign(sweep=name) for name in names], ignore_index=True)


def _winners(made: Any) -> pd.DataFrame:
    """Return the winner of each arm with a trial, by two metrics and from two first rungs."""
    columns = ["metric", "first_rung_epochs", "arm", "n", "stopped_frac", "low", "high", "blind_frac"]
    rows = [
        (metric, first, arm, 16, 0.1 * place % 1, 0.05 * place % 1, 0.1 * place % 1, 0.8)
        for metric in ("val_nll", "val_top1_error")
        for first in (1, 3)
        for place, arm in enumerate(made.trials["arm"].unique())
    ]
    return pd.DataFrame(rows, columns=columns)


def _profile(made: Any) -> pd.DataFrame:
    spaced = made.trials.assign(**{"params.mix.label.exponent": made.trials["replicate"] % 2})
    return plots.profile_info(spaced, x="mix.label.exponent", series="mix.position.kind", panel="arm")


def _crossing(made: Any) -> Figure:
    lengths, shares = made.trials["replicate"] % 2, made.trials["replicate"] // 2 % 2
    spaced = made.trials.assign(
        **{"params.optimizer.max_epochs": 10 + 20 * lengths, "params.data.train_frac": 0.5 + 0.5 * shares},
        **{"replicate": made.trials["replicate"] // 4, "n_train": 100, "final_val_top1_error": 0.3},
    )
    curves = crossing.curves(spaced, baseline=made.arms[0])
    return plots.crossing(curves, crossing.crossings(curves))


def _estimates(made: Any) -> pd.DataFrame:
    found = _forest(made).rename(columns={"n_pairs": "n"})
    return pd.concat([found.assign(series=name) for name in ("own, last epoch", "published, best epoch on test")])


def _best_of(made: Any) -> pd.DataFrame:
    """Return the expected best of one to six trials of each arm."""
    errors = made.trials.dropna(subset=["final_val_top1_error"]).groupby("arm", observed=True)["final_val_top1_error"]
    rows = errors.mean().rename("estimate").reset_index().merge(pd.DataFrame({"n": range(1, 7)}), how="cross")
    rows = rows.assign(estimate=rows["estimate"] / rows["n"] ** 0.1).astype({"arm": made.trials["arm"].dtype})
    return rows.assign(low=rows["estimate"] - 0.01, high=np.nan, n_searches=5, how="subsets", confidence=0.95)


def _winning(made: Any) -> pd.DataFrame:
    """Return the completed trials of each arm as winners of searches."""
    rows = made.trials.dropna(subset=["final_val_top1_error"]).rename(columns={"final_val_top1_error": "error"})
    return rows.assign(validation=rows["error"] - 0.02, unit="search", n_seeds=1)


def _spreads(made: Any) -> pd.DataFrame:
    """Return two seeds of each completed trial, as of a search."""
    rows = _winning(made)[["arm", "replicate", "error"]].rename(columns={"replicate": "search", "error": "top1_error"})
    seeds = [rows.assign(top1_error=rows["top1_error"] + 0.01 * (-1) ** (rows["search"] + seed)) for seed in (0, 1)]
    return plots.spread_info(pd.concat(seeds))


FIGURES: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "learning_curves": lambda made, rng: plots.learning_curves(plots.learning_curves_info(made.epochs)),
    "final_error": lambda made, rng: plots.final_error(plots.final_error_info(made.trials, rng=rng)),
    "errors": lambda made, rng: plots.draw_errors(_errors(made)),
    "forest": lambda made, rng: plots.forest(_forest(made)),
    "winners_strip": lambda made, rng: plots.winners_strip(plots.winners_info(_winning(made))),
    "best_of": lambda made, rng: plots.best_of(_best_of(made)),
    "spreads": lambda made, rng: plots.spreads(_spreads(made)),
    "profile": lambda made, rng: plots.profile(_profile(made)),
    "crossing": lambda made, rng: _crossing(made),
    "estimates": lambda made, rng: plots.estimates(_estimates(made), baseline=made.arms[-1]),
    "response": lambda made, rng: plots.response(plots.response_info(made.trials, arm=made.arms[0])),
    "surface": lambda made, rng: plots.surface(
        response_surface(made.trials.assign(arm="one"), arm="one", rng=rng, y="optimizer.weight_decay", log=LOG)
    ),
    "pareto": lambda made, rng: plots.pareto(
        plots.pareto_info(evaluations.by_axis(made.evaluations), x="classification top1_error", y=PGD)
    ),
    "correlations": lambda made, rng: plots.correlations(_correlations(made)),
    "dose_gain": lambda made, rng: plots.dose_gain(plots.dose_gain_info(made.trials, _forest(made))),
    "slice": lambda made, rng: plots.slice_plot(plots.slice_info(made.trials, path=LOG[0], log=True)),
    "error_over_cost": lambda made, rng: plots.error_over_cost(_cells(made), costs={"seconds": "training seconds"}),
    "stopped_winners": lambda made, rng: plots.stopped_winners(_winners(made)),
    "stopping": lambda made, rng: plots.stopping(plots.stopping_info(made.decisions)),
    "timeline": lambda made, rng: plots.timeline(plots.stopping_info(made.decisions)),
    "rung_to_final": lambda made, rng: plots.rung_to_final(plots.rung_to_final_info(made, rungs=(2, 4), rng=rng)),
    "critical_difference": lambda made, rng: plots.critical_difference(ranked(made.arms)),
}


def figure_of(drawn: Any) -> Figure:
    found = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert isinstance(found, Figure)
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_many_arms_can_be_read(
    name: str, made: Any, rng: np.random.Generator, check_legible: Callable[[Figure], None]
) -> None:
    check_legible(figure_of(FIGURES[name](made(14), rng)))


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "critical_difference"])
@pytest.mark.parametrize("n_rows", [0, 1])
def test_a_figure_of_nothing_or_of_one_row_can_be_read(
    n_rows: int, name: str, made: Any, rng: np.random.Generator, check_legible: Callable[[Figure], None]
) -> None:
    every = made(2)
    few = {table: getattr(every, table).head(n_rows) for table in ("trials", "epochs", "decisions", "evaluations")}
    arms = every.arms[:1] if n_rows else every.arms
    drawn = figure_of(FIGURES[name](replace(every, arms=arms, **few), rng))
    check_legible(drawn)
    if n_rows == 0:
        assert any(ax.texts and not ax.axison for ax in drawn.axes)


def test_ranks_of_one_data_set_say_so(texts_drawn: Callable[[Figure], list[Any]]) -> None:
    (text,) = texts_drawn(figure_of(plots.critical_difference(ranked(("a", "b", "c"), n_blocks=1))))
    assert "1 data sets" in text.get_text().replace("\n", " ")


def test_ranks_join_what_does_not_differ(texts_drawn: Callable[[Figure], list[Any]]) -> None:
    ax = plots.critical_difference(ranked(("a", "b", "c", "d")))
    bars = {tuple(sorted(line.get_xdata())) for line in ax.lines if line.get_linewidth() == 2}
    assert bars == {(1, 2, 3), (2, 3, 4)}
    words = " ".join(text.get_text() for text in texts_drawn(figure_of(ax)))
    assert "a (1.00)" in words
    assert "2.50" in words


@pytest.fixture
def empty(tmp_path: Path) -> Sweep:
    """A sweep of which only the manifest is written."""
    study = {"name": "empty", "question": "?", "arms": {"off": {}, "cutmix": {}}, "metric": "val_nll", "budget": {}}
    empty: dict[str, object] = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
    write_manifest(tmp_path, {"schema_version": 1, "study": study, **empty})
    return load(tmp_path)


def text_of(ax: plt.Axes) -> str:
    return " ".join(text.get_text() for text in ax.texts).replace("\n", " ")


def test_figures_of_a_sweep_not_begun_say_so_in_words(empty: Sweep, rng: np.random.Generator) -> None:
    curves = plots.learning_curves(plots.learning_curves_info(empty.epochs))
    assert text_of(curves) == "no epochs recorded"
    assert not curves.axison
    assert text_of(plots.final_error(plots.final_error_info(empty.trials, rng=rng))) == "no completed trials"
    assert "no pairs" in text_of(plots.forest(plots.forest_info(empty.trials, baseline="off")))
    assert "no completed trials" in text_of(plots.response(plots.response_info(empty.trials)))
    decisions = plots.stopping_info(empty.decisions)
    assert "no decisions" in text_of(plots.stopping(decisions))
    assert "on trials of off" in text_of(plots.timeline(decisions, arm="off"))
    values = evaluations.by_axis(empty.evaluations)
    assert "no trial has both" in text_of(plots.pareto(plots.pareto_info(values, x="a", y="b")))
    assert "fewer than two" in text_of(plots.correlations(_correlations(empty)))


def test_an_arm_keeps_its_look_when_another_is_missing(planted: Sweep) -> None:
    every = plots.learning_curves(plots.learning_curves_info(planted.epochs))
    some = plots.learning_curves(plots.learning_curves_info(planted.epochs.query("arm != 'off'")))
    for what in ("color", "marker", "linestyle"):
        assert plt.getp(every.lines[1], what) == plt.getp(some.lines[0], what)


def test_arms_differ_without_colour_as_well() -> None:
    looks = [arm_style(place) for place in range(14)]
    assert len({found.marker for found in looks}) == 14
    assert len({(found.colour, str(found.line)) for found in looks}) == 14
    assert all(first.line != second.line for first, second in pairwise(looks))


@pytest.mark.parametrize("name", ["learning_curves", "final_error", "forest", "response", "stopping", "timeline"])
def test_a_figure_is_drawn_into_the_axes_it_is_given(name: str, planted: Sweep, rng: np.random.Generator) -> None:
    info = {
        "learning_curves": lambda: plots.learning_curves_info(planted.epochs),
        "final_error": lambda: plots.final_error_info(planted.trials, rng=rng),
        "errors": lambda made, rng: plots.draw_errors(_errors(made)),
        "forest": lambda: plots.forest_info(planted.trials, baseline="off"),
        "response": lambda: plots.response_info(planted.trials),
        "stopping": lambda: plots.stopping_info(planted.decisions),
        "timeline": lambda: plots.stopping_info(planted.decisions),
    }[name]()
    figure = plt.figure(figsize=(9, 3))
    ax = figure.add_subplot()
    assert getattr(plots, name)(info, ax) is ax
    figure.canvas.draw()
    assert tuple(figure.get_size_inches()) == (9, 3)


def test_figures_are_drawn_into_the_figure_they_are_given(made: Any, rng: np.random.Generator) -> None:
    frames, figure = made(2), plt.figure(layout="constrained")
    info = plots.rung_to_final_info(frames, rungs=(2, 4), rng=rng)
    assert plots.rung_to_final(info, figure) is figure
    assert len(figure.axes) == 2


def test_without_ranks_the_diagram_says_so() -> None:
    said = [text.get_text() for text in plots.critical_difference(None).texts]
    assert said == ["no ranks to compare: too few arms or data sets in common"]
