"""Early-stopping rules replayed on recorded full curves: epochs saved and regret.

As in a sweep, each search of an arm has its own rungs, and its own winner. Nothing is trained. The orders of arrival
are random and the curves stay the same. So the intervals show how much the order matters, not how much another sweep
would differ.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from search_spaces.budget import Budget
from search_spaces.early_stopping.asha import AshaStopping
from search_spaces.early_stopping.base import CONTINUE, PAUSE, Stopping
from search_spaces.early_stopping.parse import format_rule, parse_rule
from sweep.findings.bounds import RATE, UNBOUNDED, cut
from sweep.findings.searches import n_searches
from sweep.findings.student_t import LEVEL, ci_half_width
from sweep.findings.summary import METRICS, PLANNED_EPOCHS, uncensored_trials
from sweep.records.reader import SweepRecords, read_sweep
from sweep.records.schema import CANCELLED, COMPLETED
from trainables.errors import UserError, did_you_mean
from trainables.seeds import generator
from trainables.strict import parse

MIN_CURVES = 4
"""Full curves that each arm needs per search (median): with fewer, a rule judges hardly any trial."""

ALL_ARMS = "all arms"
"""Name of the group of all trials."""

MEASURES = ("kept_frac", "saved_frac", "regret", "regret_top1_error", "winner_stopped_frac")
"""Measures of one replay; see :func:`measure_replay`."""


@dataclass(frozen=True)
class Curves:
    """Curves of N trials that ran to the end.

    Attributes:
        arms: names of the arms.
        arm: index of each trial's arm, int [N].
        search: index of each trial's search within its arm, int [N]; 0 if each arm has one search.
        values: metric after each epoch, lower is better, [N, planned epochs].
        top1_error: validation top-1 error after each epoch, fractions [N, planned epochs].
    """

    arms: tuple[str, ...]
    arm: np.ndarray
    search: np.ndarray
    values: np.ndarray
    top1_error: np.ndarray

    @property
    def max_epochs(self) -> int:
        """Planned epochs."""
        return int(self.values.shape[1])

    @property
    def n_searches(self) -> int:
        """Searches per arm."""
        return int(self.search.max(initial=0)) + 1

    @property
    def group(self) -> np.ndarray:
        """Index of each trial's search among the searches of all arms, arm by arm, int [N]."""
        return np.asarray(self.arm * self.n_searches + self.search)


def full_curves(records: SweepRecords, *, metric: str) -> Curves:
    """Return the curves of the completed trials that no rule could stop.

    In a sweep with early stopping these are the control trials. The rule selected the other completed trials, so they
    make the rule look better than it is.

    Raises:
        UserError: ``metric`` is not recorded, an arm has too few curves (see ``MIN_CURVES``), or planned epochs differ.
    """
    if metric not in METRICS:
        raise UserError(f"--metric '{metric}' is not recorded{did_you_mean(metric, METRICS)}")
    study = records.manifest["study"]
    trials = uncensored_trials(records.manifest, records.trials)
    trials = trials[trials["status"] == COMPLETED]
    _check_enough(trials, study)
    if trials[PLANNED_EPOCHS].nunique() > 1:
        raise UserError(
            f"'{study['name']}': trials have different planned epochs; early stopping cannot be replayed across them"
        )
    epochs = list(range(1, int(trials[PLANNED_EPOCHS].iloc[0]) + 1))
    table = records.epochs.pivot(index="trial", columns="epoch").loc[trials["trial"]]
    return Curves(
        arms=tuple(study["arms"]),
        arm=trials["arm"].map({arm: index for index, arm in enumerate(study["arms"])}).to_numpy(int),
        search=trials["search"].to_numpy(int),
        values=table[metric][epochs].to_numpy(float),
        top1_error=table["val_top1_error"][epochs].to_numpy(float),
    )


def _check_enough(trials: pd.DataFrame, study: Mapping[str, Any]) -> None:
    """Check that each arm has ``MIN_CURVES`` curves in at least half of its searches.

    Not in all of them: one diverged trial would otherwise forbid the replay.
    """
    searches = n_searches(study)
    for arm in study["arms"]:
        counts = np.bincount(trials["search"][trials["arm"] == arm].to_numpy(int), minlength=searches)
        if (count := float(np.median(counts))) < MIN_CURVES:
            per_search = " per search (median)" if searches > 1 else ""
            raise UserError(
                f"arm '{arm}' has {count:g} completed trials that no rule could stop{per_search}; a replay needs "
                f"{MIN_CURVES}: run the study with --set budget.early_stopping.rule=none, or with a control cohort, "
                "for example --set budget.control_frac=0.25"
            )


def asha(grace_period_epochs: int) -> AshaStopping:
    """Return ASHA with this first rung (epochs) and its default values otherwise."""
    return AshaStopping(grace_period_epochs=grace_period_epochs)


def rungs_of(stopping: Stopping, max_epochs: int) -> list[int]:
    """Return the epochs at which the first trial of a rule is judged; empty if the rule stops no trial."""
    rule = stopping.build(max_epochs)
    return rule.rungs(0) if rule else []


def kept_at_first_rung(stopping: AshaStopping, values: Sequence[float]) -> np.ndarray:
    """Return the trials that ASHA would keep if all of them had reached its first rung, bool [N].

    Args:
        stopping: ASHA.
        values: metric of each trial at that rung, lower is better, finite [N].
    """
    rung = stopping.grace_period_epochs
    rule = stopping.build(rung + 1)
    assert rule is not None
    judged = [rule.observe(number, rung, value) for number, value in enumerate(values)]
    cutoff = judged[-1].cutoff if judged and judged[-1] else None
    return np.asarray(values) <= (math.inf if cutoff is None else cutoff)


def random_order(curves: Curves, *, rng: np.random.Generator) -> np.ndarray:
    """Draw an order in which trials begin, int [N].

    It is random within each search. The searches of an arm take turns, and so do the arms, in a random sequence: a
    fixed sequence of arms would favour the first arm if all arms share their rungs.
    """
    turn, sequence, group = np.empty(len(curves.arm), int), rng.permutation(len(curves.arms)), curves.group
    for index in np.unique(group):
        trials = np.flatnonzero(group == index)
        turn[trials] = rng.permutation(len(trials)) * curves.n_searches + curves.search[trials]
    return np.lexsort((sequence[curves.arm], turn))


def replay_order(
    curves: Curves, order: Sequence[int], stopping: Stopping, *, n_workers: int, shared: bool = False
) -> np.ndarray:
    """Replay a rule on trials that begin in one order; return the epochs that each trial runs, int [N].

    The rule is the one that sweeps use: a separate rule for each search of an arm, or, if ``shared``, one rule for
    equal searches of all arms. The clock is virtual: an epoch of any trial takes one unit. A free worker continues a
    promotable trial, otherwise it begins the next trial.

    Examples:
        >>> from search_spaces.early_stopping.asha import AshaStopping
        >>> values = np.array([[0.3, 0.2], [0.5, 0.1], [0.2, 0.1]])
        >>> zeros = np.zeros(3, int)
        >>> curves = Curves(arms=("cutmix",), arm=zeros, search=zeros, values=values, top1_error=values)
        >>> stopping = AshaStopping(grace_period_epochs=1, min_recorded=1)
        >>> replay_order(curves, [0, 1, 2], stopping, n_workers=1).tolist()
        [2, 1, 2]
    """
    groups = (curves.search if shared else curves.group).tolist()
    rules = [stopping.build(curves.max_epochs) for _ in range(max(groups) + 1)]
    paused: list[dict[int, int]] = [{} for _ in rules]
    counts = [itertools.count() for _ in rules]
    # a rule knows trials by their number within its group, as the rule of a sweep's search does
    numbers = {trial: next(counts[groups[trial]]) for trial in order}
    # lists: indexing an array element by element took most of the time
    values, epochs = curves.values.tolist(), [0] * len(curves.arm)
    waiting, running = deque(order), deque[int]()

    def next_trial() -> int | None:
        for rule, paused_trials in zip(rules, paused, strict=True):
            number = rule.promotable(paused_trials) if rule and paused_trials else None
            if number is not None:
                return paused_trials.pop(number)
        return waiting.popleft() if waiting else None

    while True:
        while len(running) < n_workers and (begun := next_trial()) is not None:
            running.append(begun)
        if not running:
            return np.array(epochs)
        trial = running.popleft()
        rule, number = rules[groups[trial]], numbers[trial]
        epochs[trial] += 1
        judgement = rule.observe(number, epochs[trial], values[trial][epochs[trial] - 1]) if rule else None
        if epochs[trial] == curves.max_epochs:
            continue
        if judgement is None or judgement.verdict == CONTINUE:
            running.append(trial)
        elif judgement.verdict == PAUSE:
            paused[groups[trial]][number] = trial


def measure_replay(curves: Curves, epochs: np.ndarray, among: np.ndarray) -> dict[str, float]:
    """Measure the epochs saved and the regret of one replay.

    Args:
        curves: all trials.
        epochs: epochs that each trial ran, int [N], from :func:`replay_order`.
        among: trials that count, bool [N].

    Returns:
        ``kept_frac``: fraction of trials that ran to the end. ``saved_frac``: fraction of all epochs that were not run.
        The others are measured in each search, which has its own winner, and averaged. ``regret``: final metric of the
        best trial that was kept, minus that of the eventual winner, the trial with the best final value; if no trial
        was kept, the first is the metric at the last epoch run of the best trial among those that ran longest, because
        no better value is known. ``regret_top1_error``: the same difference of the top-1 errors of the two trials; it
        may be negative. ``winner_stopped_frac``: 1 if the eventual winner was not kept.
    """
    searches = curves.search[among]
    parts = [_measure_winner(curves, epochs, among & (curves.search == search)) for search in np.unique(searches)]
    return {
        "kept_frac": float(np.mean(epochs[among] == curves.max_epochs)),
        "saved_frac": float(1 - epochs[among].mean() / curves.max_epochs),
        **{name: float(np.mean([part[name] for part in parts])) for name in parts[0]},
    }


def _measure_winner(curves: Curves, epochs: np.ndarray, among: np.ndarray) -> dict[str, float]:
    """Measure what became of the eventual winner of one search."""
    epochs, values, errors = epochs[among], curves.values[among], curves.top1_error[among]
    last = epochs.max() - 1
    longest = np.flatnonzero(epochs == epochs.max())
    chosen = longest[np.argmin(values[longest, last])]
    winner = np.argmin(values[:, -1])
    return {
        "regret": float(values[chosen, last] - values[winner, -1]),
        "regret_top1_error": float(errors[chosen, last] - errors[winner, -1]),
        "winner_stopped_frac": float(epochs[winner] < curves.max_epochs),
    }


def replay_sweep(
    sweep_dir: Path, *, rules: Sequence[str] = (), metric: str | None, n_orders: int, n_workers: int, seed: int
) -> pd.DataFrame:
    """Replay rules on a sweep's full curves.

    Args:
        sweep_dir: folder of the sweep.
        rules: rules as typed, for example ``asha,grace_period_epochs=2``; by default the sweep's own rule, or ASHA with
            its defaults if the sweep had none.
        metric: metric that trials are compared by; None: the metric that ranked the sweep's trials.
        n_orders: random orders of arrival.
        n_workers: simulated trials at a time.
        seed: seed of the orders.

    Returns:
        The rows of :func:`replay` for each rule, with ``rule`` (all its parameters) and ``metric`` before them, and
        ``n_cancelled`` after them: search trials of the sweep that a person stopped, which are left out.

    Raises:
        RecordsError: there is no sweep.
        UserError: an unknown metric, rule or parameter, or too few full curves.
    """
    records = read_sweep(sweep_dir)
    study = records.manifest["study"]
    metric = metric or study.get("metric", "val_nll")
    curves = full_curves(records, metric=metric)
    chosen = [_parse_stopping(parse_rule(text), curves, where=f"--rule '{text}'") for text in rules]
    if not chosen:
        recorded = _parse_stopping(study["budget"]["early_stopping"], curves, where="the sweep's rule")
        stops = recorded.build(curves.max_epochs) is not None
        chosen = [recorded if stops else _parse_stopping({"rule": "asha"}, curves, where="default rule")]
    frames = []
    for stopping in chosen:
        frame = replay(curves, stopping, n_orders=n_orders, n_workers=n_workers, seed=seed)
        frames.append(frame.assign(rule=format_rule(stopping), metric=metric))
    n_cancelled = int((records.trials["status"] == CANCELLED).sum())
    whole = pd.concat(frames, ignore_index=True).assign(n_cancelled=n_cancelled)
    return whole[["rule", "metric", *whole.columns.drop(["rule", "metric"])]]


def _parse_stopping(values: Mapping[str, Any], curves: Curves, *, where: str) -> Stopping:
    """Return the configuration of a rule that can stop trials of these curves."""
    per_search = np.bincount(curves.group, minlength=len(curves.arms) * curves.n_searches)
    smallest_arm = int(per_search.reshape(-1, curves.n_searches).max(axis=1).min())  # one search may lack a trial
    budget = {"trials": smallest_arm, "max_epochs": curves.max_epochs, "early_stopping": values}
    return parse(Budget, budget, where=where).early_stopping


def replay(curves: Curves, stopping: Stopping, *, n_orders: int, n_workers: int, seed: int) -> pd.DataFrame:
    """Replay one rule in many orders, with separate rungs per search and, for several arms, with shared rungs.

    The orders depend on ``seed`` alone, so two rules are compared on the same orders.

    Returns:
        One row per kind of ``rungs`` (``own``, ``shared``) and ``arm`` (all arms last): ``n_curves``, ``n_searches``
        (winners that are averaged in each order), and for each of ``MEASURES`` the mean over the orders with the ends
        of its 95 % interval, ``_lo`` and ``_hi``.
    """
    orders = [random_order(curves, rng=generator(seed, "replay", place)).tolist() for place in range(n_orders)]
    groups = {arm: curves.arm == index for index, arm in enumerate(curves.arms)}
    if len(curves.arms) > 1:
        groups[ALL_ARMS] = np.ones(len(curves.arm), bool)
    rows: list[dict[str, Any]] = []
    for rungs in ("own", "shared") if len(curves.arms) > 1 else ("own",):
        runs = [
            replay_order(curves, order, stopping, n_workers=n_workers, shared=rungs == "shared") for order in orders
        ]
        for arm, among in groups.items():
            measured = pd.DataFrame([measure_replay(curves, epochs, among) for epochs in runs])
            n_winners = len(np.unique(curves.search[among]))
            row = {"rungs": rungs, "arm": arm, "n_curves": int(among.sum()), "n_searches": n_winners}
            means = [_with_interval(name, measured[name], n_winners=n_winners) for name in MEASURES]
            rows.append(row | {key: value for mean in means for key, value in mean.items()})
    return pd.DataFrame(rows)


def _with_interval(name: str, values: pd.Series[float], *, n_winners: int) -> dict[str, float]:
    """Return the mean over the orders with its 95 % interval: Wilson's for a frequency, otherwise Student's.

    A frequency counts ``n_winners`` winners per order. They are stopped with different probabilities, for which
    Wilson's interval is wide enough.
    """
    mean, count = float(values.mean()), len(values)
    if name == "winner_stopped_frac":
        stopped = round(values.sum() * n_winners)
        lo, hi = stats.binomtest(stopped, count * n_winners).proportion_ci(method="wilson")
    else:
        half = float(ci_half_width(values.std(), count, level=LEVEL))
        bounds = RATE if name.endswith("_frac") else UNBOUNDED
        lo, hi = cut(mean - half, mean + half, bounds)
    return {name: mean, f"{name}_lo": float(lo), f"{name}_hi": float(hi)}
