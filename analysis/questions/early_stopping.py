"""Answers of the study ``early_stopping``: how often successive halving stops the eventual winner.

Complete curves are replayed, one trial at a time, by the rule that ``cutmix-sweep replay`` uses. The ranks of trials at
a rung are also compared with their final ranks: they show the arms that a rung underrates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import statistics
from analysis.data.frames import Sweep
from analysis.statistics import HIGHER, LOWER, TOO_FEW
from sweep.findings.replay import ALL_ARMS, Curves, asha, replay_order
from sweep.findings.summary import PLANNED_EPOCHS, baseline_arm, metric_label, uncensored_trials
from sweep.records.schema import COMPLETED

MEASURES = ("val_nll", "val_top1_error")
"""Metrics that rank trials, the default of studies first."""

FIRST_RUNGS = (1, 3, 9)
"""First rungs that are replayed, and epochs at which ranks are compared."""

USUAL_FIRST_RUNG = 3
"""Default first rung of a study: the sentences refer to it."""

OWN, SHARED = "own", "shared"
"""Rungs: each search of an arm has its own (the rule in sweeps), or equal searches of all arms share them."""


def full_trials(sweep: Sweep) -> pd.DataFrame:
    """Return the completed trials that no rule could stop and that have the largest number of planned epochs."""
    trials = uncensored_trials(sweep.manifest, sweep.trials)
    done = trials.loc[trials["status"] == COMPLETED]
    planned = done.reindex(columns=[PLANNED_EPOCHS])[PLANNED_EPOCHS]  # the column is missing before the first trial
    full: pd.DataFrame = done.loc[planned == planned.max()].reset_index(drop=True)
    return full


def rank_shifts(sweep: Sweep, *, metrics: Sequence[str] = MEASURES, rungs: Sequence[int] = FIRST_RUNGS) -> pd.DataFrame:
    """Return how much worse each trial ranks at a rung than at the end, among the trials of all arms.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        metrics: metrics that rank trials, lower is better.
        rungs: epochs.

    Returns:
        One row per metric, rung and trial: ``metric``, ``rung_epochs``, ``arm``, ``replicate``, ``trial``, ``shift``
        and ``baseline`` (the study's baseline arm). ``shift`` is the rank at the rung minus the final rank, as a
        fraction of the number of trials: +0.1 means that the trial will pass a tenth of all trials.

    Raises:
        ValueError: an unknown metric.
    """
    trials = full_trials(sweep)
    columns = ["metric", "rung_epochs", "arm", "replicate", "trial", "shift"]
    parts = [trials[["arm", "replicate", "trial"]].iloc[:0].reindex(columns=columns)]
    for metric in metrics:
        metric_label(metric)
        values = sweep.epochs.set_index(["trial", "epoch"])[metric]
        final = trials[f"final_{metric}"].rank()
        for rung in _within(rungs, trials):
            early = pd.Series(values.reindex([(trial, rung) for trial in trials["trial"]]).to_numpy()).rank()
            shift = (early - final) / max(len(trials) - 1, 1)
            parts.append(trials[["arm", "replicate", "trial"]].assign(metric=metric, rung_epochs=rung, shift=shift))
    joined = pd.concat(parts[1:] or parts, ignore_index=True)[columns]
    return joined.assign(baseline=baseline_arm(sweep.manifest["study"]))


def _within(rungs: Sequence[int], trials: pd.DataFrame) -> list[int]:
    """Return the rungs before the planned epochs; none without a trial."""
    return [rung for rung in rungs if len(trials) and rung < trials[PLANNED_EPOCHS].max()]


def misjudged(shifts: pd.DataFrame) -> pd.DataFrame:
    """Compare the mean shift of each arm with that of the baseline: paired differences by metric and rung.

    Args:
        shifts: from :func:`rank_shifts`.
    """
    baseline = str(shifts["baseline"].iloc[0]) if len(shifts) else ""
    return statistics.paired_differences(shifts, value="shift", baseline=baseline, by=("metric", "rung_epochs"))


def stopped_winners(
    sweep: Sweep,
    *,
    rng: np.random.Generator,
    metrics: Sequence[str] = MEASURES,
    first_rungs: Sequence[int] = FIRST_RUNGS,
    n_orders: int = 200,
) -> pd.DataFrame:
    """Replay ASHA in many orders of arrival, and count how often it stops the trial of lowest final value.

    The rule is the one that sweeps use, with the default parameters of a study. One worker runs one trial after
    another, and the arms take turns. Each search has a winner: with several searches, frequencies are means over them.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        rng: source of the orders, the same ones for all rules.
        metrics: metrics that rank trials, lower is better.
        first_rungs: epochs of the first rung.
        n_orders: number of orders.

    Returns:
        One row per metric, first rung, kind of rungs and arm, the winner of ``ALL_ARMS`` last: ``metric``,
        ``first_rung_epochs``, ``rungs``, ``arm``, ``n`` (curves), ``stopped_frac`` with ``low`` and ``high`` (95 %,
        Wilson; over orders, with these curves), ``blind_frac`` (how often a rule that keeps as many trials by chance
        would stop it) and ``n_orders``. Empty before any trial has completed.
    """
    trials = full_trials(sweep)
    orders = [_order(trials["arm"], trials["search"], rng).tolist() for _ in range(n_orders)]
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        curves = _curves(sweep, trials, metric)
        for first in _within(first_rungs, trials):
            kinds = (OWN, SHARED) if trials["arm"].nunique() > 1 else (OWN,)
            for rungs in kinds:
                rule, shared = asha(first), rungs == SHARED
                epochs = [replay_order(curves, order, rule, n_workers=1, shared=shared) for order in orders]
                kept = np.array(epochs) == curves.max_epochs
                key = {"metric": metric, "first_rung_epochs": first, "rungs": rungs}
                rows += [key | row for row in _counted(trials, curves.values, kept, rungs)]
    columns = ["metric", "first_rung_epochs", "rungs", "arm", "n", "stopped_frac", "low", "high", "blind_frac"]
    return pd.DataFrame(rows, columns=columns).assign(n_orders=n_orders)


def _curves(sweep: Sweep, trials: pd.DataFrame, metric: str) -> Curves:
    """Return the curves of ``trials``; a value that is not a number becomes infinite."""
    arms, names = pd.factorize(trials["arm"].astype(str))
    values, errors = (_after_each_epoch(sweep, trials, name) for name in (metric, "val_top1_error"))
    searches = trials["search"].to_numpy(int)
    return Curves(arms=tuple(names), arm=arms, search=searches, values=values, top1_error=errors)


def _after_each_epoch(sweep: Sweep, trials: pd.DataFrame, metric: str) -> np.ndarray:
    """Return the metric after each epoch, [N, planned epochs]."""
    metric_label(metric)
    recorded = sweep.epochs[sweep.epochs["trial"].isin(trials["trial"])]
    wide = recorded.pivot(index="trial", columns="epoch", values=metric).reindex(trials["trial"])
    values = wide.to_numpy(float)
    return np.where(np.isnan(values), math.inf, values)


def _order(arms: pd.Series[Any], searches: pd.Series[int], rng: np.random.Generator) -> np.ndarray:
    """Sample an order of arrival: the trials of each search at random, the searches in turn, and the arms in turn."""
    turn, sequence = np.empty(len(arms), int), np.empty(len(arms))
    for places in arms.groupby(arms, observed=True).indices.values():
        search = searches.to_numpy()[places]
        for index in np.unique(search):
            of_search = places[search == index]
            turn[of_search] = rng.permutation(len(of_search)) * (searches.max() + 1) + index
        sequence[places] = rng.random()
    return np.lexsort((sequence, turn))


def _counted(trials: pd.DataFrame, curves: np.ndarray, kept: np.ndarray, rungs: str) -> list[dict[str, Any]]:
    """Count how often the winners of each arm, if arms have their own rungs, and those of all arms are stopped.

    The counts are over orders and searches.
    """
    names = trials["arm"].astype(str).to_numpy()
    arms = list(trials["arm"].cat.categories) if rungs == OWN else []
    groups = {str(arm): np.flatnonzero(names == arm) for arm in arms if arm in names}
    rows = []
    searches = trials["search"].to_numpy()
    for arm, places in (*groups.items(), (ALL_ARMS, np.arange(len(trials)))):
        by_search = [places[searches[places] == search] for search in np.unique(searches[places])]
        winners = [int(trials_of[curves[trials_of, -1].argmin()]) for trials_of in by_search]
        stopped = ~kept[:, winners]
        low, high = stats.binomtest(int(stopped.sum()), stopped.size).proportion_ci(method="wilson")
        frequency = {"stopped_frac": stopped.mean(), "low": float(low), "high": float(high)}
        rows.append({"arm": arm, "n": len(places), **frequency, "blind_frac": float(1 - kept[:, places].mean())})
    return rows


def verdict(stopped: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return the sentences that answer the study's question.

    Args:
        stopped: from :func:`stopped_winners`.
        compared: from :func:`misjudged`.
    """
    if stopped.empty:
        return ["Undecided: no trial that no rule could stop has completed yet."]
    own_rungs = stopped[stopped["rungs"] == OWN]
    sentences = [
        f"By {metric_label(str(metric)).name} from epoch {first}, with rungs of each search, ASHA stops the winner of "
        f"{_frequencies(rows)}, of {rows['n_orders'].iloc[0]} orders of n = {rows['n'].iloc[-1]} curves."
        for (metric, first), rows in own_rungs.groupby(["metric", "first_rung_epochs"], sort=False)
        if first == USUAL_FIRST_RUNG
    ]
    sentences += [
        f"Ranks lost at epoch {rung} by {metric_label(str(metric)).name}, compared with the final ranks: "
        f"{statistics.summary_line(rows)}."
        for (metric, rung), rows in compared.groupby(["metric", "rung_epochs"], sort=False)
    ]
    decided = int(compared["verdict"].isin([LOWER, HIGHER]).sum())
    if compared["verdict"].isin([TOO_FEW]).all():
        return [*sentences, "Undecided: too few pairs of trials for any interval."]
    end = (
        f"Decided: {decided} of {len(compared)} comparisons of ranks, at a joint level of "
        f"{100 * compared['confidence'].iloc[0]:.0f} % per metric and rung."
    )
    return [*sentences, end]


def _frequencies(rows: pd.DataFrame) -> str:
    parts = [
        f"{row['arm']} in {100 * row['stopped_frac']:.0f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f} %; "
        f"by chance {100 * row['blind_frac']:.0f} %)"
        for _, row in rows.iterrows()
    ]
    return ", ".join(parts)
