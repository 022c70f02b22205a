"""Early stopping replayed over recorded full curves: what a rule would have saved, and what it would have cost.

Nothing is trained. The orders of arrival are drawn; the curves stay the same, so the intervals say how far the order
matters, not how far another sweep would differ.
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

from search_spaces.budget import AshaStopping, Budget, EarlyStopping
from search_spaces.early_stopping.base import CONTINUE, PAUSE
from search_spaces.early_stopping.build import new_rule
from search_spaces.early_stopping.parse import rule_text, rule_values
from sweep.findings.summary import METRICS, PLANNED_EPOCHS, uncensored_trials
from sweep.records.reader import SweepRecords, read_sweep
from sweep.records.schema import COMPLETED
from trainables.errors import UserError, did_you_mean
from trainables.seeds import generator
from trainables.strict import parse

MIN_CURVES = 4
"""Full curves that each arm needs: with fewer, hardly any trial is judged."""

ALL_ARMS = "all arms"
MEASURES = ("kept_frac", "saved_frac", "regret", "regret_top1_error", "winner_stopped_frac")


@dataclass(frozen=True)
class Curves:
    """Trials that ran to the end.

    Attributes:
        arms: names of the arms.
        arm: place of each trial's arm among them, int [N].
        values: metric after each epoch, lower is better, [N, planned epochs].
        top1_error: validation top-1 error after each epoch, fractions [N, planned epochs].
    """

    arms: tuple[str, ...]
    arm: np.ndarray
    values: np.ndarray
    top1_error: np.ndarray

    @property
    def max_epochs(self) -> int:
        """Planned epochs."""
        return int(self.values.shape[1])


def full_curves(records: SweepRecords, *, metric: str) -> Curves:
    """Return the curves of trials that no rule had a say in.

    Those are the completed trials of a sweep without early stopping, else the completed control trials: other
    survivors were chosen by the rule, and would flatter it.

    Raises:
        UserError: ``metric`` is not recorded, an arm has fewer than ``MIN_CURVES``, or trials planned unequal epochs.
    """
    if metric not in METRICS:
        raise UserError(f"--metric '{metric}' is not recorded{did_you_mean(metric, METRICS)}")
    study = records.manifest["study"]
    trials = uncensored_trials(records.manifest, records.trials)
    trials = trials[trials["status"] == COMPLETED]
    for arm in study["arms"]:
        if (count := int((trials["arm"] == arm).sum())) < MIN_CURVES:
            raise UserError(
                f"arm '{arm}' has {count} completed trials that no rule could stop; a replay needs "
                f"{MIN_CURVES}: run the study with --set budget.early_stopping.rule=none, or with a control cohort, "
                "as in --set budget.control_frac=0.25"
            )
    if trials[PLANNED_EPOCHS].nunique() > 1:
        raise UserError(
            f"'{study['name']}' plans trials of unlike many epochs, which no rule compares: nothing to replay"
        )
    span = list(range(1, int(trials[PLANNED_EPOCHS].iloc[0]) + 1))
    table = records.epochs.pivot(index="trial", columns="epoch").loc[trials["trial"]]
    return Curves(
        arms=tuple(study["arms"]),
        arm=trials["arm"].map({arm: place for place, arm in enumerate(study["arms"])}).to_numpy(int),
        values=table[metric][span].to_numpy(float),
        top1_error=table["val_top1_error"][span].to_numpy(float),
    )


def asha(grace_period_epochs: int) -> AshaStopping:
    """Return ASHA with this first rung (epochs) and its default values otherwise."""
    return AshaStopping(grace_period_epochs=grace_period_epochs)


def rungs_of(stopping: EarlyStopping, max_epochs: int) -> list[int]:
    """Return the epochs at which the first trial of a rule is judged; empty if the rule stops no trial."""
    rule = new_rule(stopping, max_epochs)
    return rule.rungs(0) if rule else []


def kept_at_first_rung(stopping: AshaStopping, values: Sequence[float]) -> np.ndarray:
    """Return the trials that ASHA would keep if all of them had reached its first rung, bool [N].

    Args:
        stopping: ASHA.
        values: metric of each trial at that rung, lower is better, finite [N].
    """
    rung = stopping.grace_period_epochs
    rule = new_rule(stopping, rung + 1)
    assert rule is not None
    judged = [rule.observe(number, rung, value) for number, value in enumerate(values)]
    cutoff = judged[-1].cutoff if judged and judged[-1] else None
    return np.asarray(values) <= (math.inf if cutoff is None else cutoff)


def random_order(curves: Curves, *, rng: np.random.Generator) -> np.ndarray:
    """Draw an order in which trials are begun: each arm's at random, the arms in turn, in a sequence that is drawn.

    A fixed sequence would favour the first arm where rungs are shared.
    """
    turn, sequence = np.empty(len(curves.arm), int), rng.permutation(len(curves.arms))
    for arm in range(len(curves.arms)):
        own = np.flatnonzero(curves.arm == arm)
        turn[own] = rng.permutation(len(own))
    return np.lexsort((sequence[curves.arm], turn))


def play(
    curves: Curves, order: Sequence[int], stopping: EarlyStopping, *, n_workers: int, shared: bool = False
) -> np.ndarray:
    """Play the trials in one order and return the epochs that each runs, int [N].

    A virtual clock: an epoch of any trial takes one unit, a free worker goes on with what is promotable, else begins
    the next trial. The rule is the one that sweeps use, one for each arm, or ``shared`` by all.
    """
    groups = [0] * len(curves.arm) if shared else curves.arm.tolist()
    rules = [new_rule(stopping, curves.max_epochs) for _ in range(max(groups) + 1)]
    paused: list[dict[int, int]] = [{} for _ in rules]
    counts = [itertools.count() for _ in rules]
    numbers = {trial: next(counts[groups[trial]]) for trial in order}
    values, ran = curves.values.tolist(), [0] * len(curves.arm)
    waiting, running = deque(order), deque[int]()

    def next_trial() -> int | None:
        for rule, own in zip(rules, paused, strict=True):
            number = rule.promotable(own) if rule and own else None
            if number is not None:
                return own.pop(number)
        return waiting.popleft() if waiting else None

    while True:
        while len(running) < n_workers and (begun := next_trial()) is not None:
            running.append(begun)
        if not running:
            return np.array(ran)
        trial = running.popleft()
        rule, number = rules[groups[trial]], numbers[trial]
        ran[trial] += 1
        judged = rule.observe(number, ran[trial], values[trial][ran[trial] - 1]) if rule else None
        if ran[trial] == curves.max_epochs:
            continue
        if judged is None or judged.verdict == CONTINUE:
            running.append(trial)
        elif judged.verdict == PAUSE:
            paused[groups[trial]][number] = trial


def measure(curves: Curves, ran: np.ndarray, among: np.ndarray) -> dict[str, float]:
    """Measure what a rule saved and what it cost.

    Args:
        curves: all trials.
        ran: epochs that each ran, int [N].
        among: trials that are looked at, bool [N].

    Returns:
        ``kept_frac``: share of trials that ran to the end. ``saved_frac``: share of all epochs that were not run.
        ``regret``: final metric of the best trial that was kept, minus that of the best of all; where none was kept,
        the metric at which the best of those that came furthest was left, for nothing better is known then.
        ``regret_top1_error``: top-1 errors of the same two trials; it may be negative. ``winner_stopped_frac``: 1 if
        the best of all was not kept.
    """
    ran, values, errors = ran[among], curves.values[among], curves.top1_error[among]
    last = ran.max() - 1
    furthest = np.flatnonzero(ran == ran.max())
    chosen = furthest[np.argmin(values[furthest, last])]
    winner = np.argmin(values[:, -1])
    return {
        "kept_frac": float(np.mean(ran == curves.max_epochs)),
        "saved_frac": float(1 - ran.mean() / curves.max_epochs),
        "regret": float(values[chosen, last] - values[winner, -1]),
        "regret_top1_error": float(errors[chosen, last] - errors[winner, -1]),
        "winner_stopped_frac": float(ran[winner] < curves.max_epochs),
    }


def replay_sweep(
    sweep_dir: Path, *, rules: Sequence[str] = (), metric: str | None, n_orders: int, n_workers: int, seed: int
) -> pd.DataFrame:
    """Replay ``rules``, as typed, over a sweep's full curves; none given: the sweep's own, else ASHA's defaults.

    Returns:
        The rows of :func:`replay` for each rule, with ``rule`` (all its parameters) and ``metric`` before them; by
        default the metric that ranked the sweep's trials.

    Raises:
        RecordsError: there is no sweep.
        UserError: an unknown metric, rule or parameter, or too few full curves.
    """
    records = read_sweep(sweep_dir)
    study = records.manifest["study"]
    metric = metric or study.get("metric", "val_nll")
    curves = full_curves(records, metric=metric)
    own = study["budget"]["early_stopping"]
    asked = {f"--rule '{text}'": rule_values(text) for text in rules}
    frames = []
    for where, values in (asked or {"default rule": {"rule": "asha"} if own["rule"] == "none" else own}).items():
        stopping = _checked(values, curves, where=where)
        frame = replay(curves, stopping, n_orders=n_orders, n_workers=n_workers, seed=seed)
        frames.append(frame.assign(rule=rule_text(stopping), metric=metric))
    whole = pd.concat(frames, ignore_index=True)
    return whole[["rule", "metric", *whole.columns.drop(["rule", "metric"])]]


def _checked(values: Mapping[str, Any], curves: Curves, *, where: str) -> EarlyStopping:
    smallest = int(np.bincount(curves.arm).min())
    budget = {"trials": smallest, "max_epochs": curves.max_epochs, "early_stopping": values}
    return parse(Budget, budget, where=where).early_stopping


def replay(curves: Curves, stopping: EarlyStopping, *, n_orders: int, n_workers: int, seed: int) -> pd.DataFrame:
    """Replay one rule in many orders, with rungs of each arm's own and, of several arms, with shared ones.

    Orders depend on ``seed`` alone: two rules are compared on the same.

    Returns:
        One row for ``rungs`` (``own``, ``shared``) and ``arm`` (all arms last): ``n_curves``, and of each of
        ``MEASURES`` the mean over the orders with the ends of its 95 % interval, ``_lo`` and ``_hi``.
    """
    orders = [random_order(curves, rng=generator(seed, "replay", place)).tolist() for place in range(n_orders)]
    groups = {arm: curves.arm == place for place, arm in enumerate(curves.arms)}
    if len(curves.arms) > 1:
        groups[ALL_ARMS] = np.ones(len(curves.arm), bool)
    rows: list[dict[str, Any]] = []
    for rungs in ("own", "shared") if len(curves.arms) > 1 else ("own",):
        played = [play(curves, order, stopping, n_workers=n_workers, shared=rungs == "shared") for order in orders]
        for arm, among in groups.items():
            measured = pd.DataFrame([measure(curves, ran, among) for ran in played])
            row = {"rungs": rungs, "arm": arm, "n_curves": int(among.sum())}
            rows.append(row | {k: v for name in MEASURES for k, v in _interval(name, measured[name]).items()})
    return pd.DataFrame(rows)


def _interval(name: str, values: pd.Series[float]) -> dict[str, float]:
    """Mean over the orders with its 95 % interval: Wilson's of a frequency, else Student's."""
    mean, count = float(values.mean()), len(values)
    if name == "winner_stopped_frac":
        lo, hi = stats.binomtest(int(values.sum()), count).proportion_ci(method="wilson")
    else:
        half = float(stats.t.ppf(0.975, count - 1) * values.std() / np.sqrt(count))
        lo, hi = mean - half, mean + half
    return {name: mean, f"{name}_lo": float(lo), f"{name}_hi": float(hi)}
