"""How well early values predict final values, and what stopping costs.

Rungs and rules are judged by trials that no rule could stop: the control cohort, or all trials of a study without
early stopping. Other completed trials were selected by their early values, and would make a rule look better than it
is. Lower values are better throughout. Each search of an arm has its own rungs and its own best trial: a regret is a
mean over the searches of the arm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.frames import Sweep
from analysis.statistics import rank_correlation
from sweep.findings.replay import asha, kept_at_first_rung, rungs_of
from sweep.findings.summary import PLANNED_EPOCHS, metric_label, uncensored_trials
from sweep.records.schema import COMPLETED, SPARED


def rung_fidelity(
    sweep: Sweep,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    rungs: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the values of trials at rungs with their final values, per arm.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        rng: source of the bootstrap resamples.
        metric: metric that ranks the trials, lower is better.
        rungs: epochs. None takes the rungs at which the sweep judged trials. If it judged none, it takes the rungs
            of ASHA from epoch 1.
        confidence: level of each interval alone.

    Returns:
        One row per arm and rung: ``arm``, ``rung_epochs``, ``n`` (completed trials that no rule could stop and that
        planned more epochs), ``correlation`` (Spearman's, between the value at the rung and the final value), ``low``
        and ``high`` (NaN for a small n), ``regret`` and ``metric``. ``regret`` is the final value of the best trial
        that ASHA would keep at this rung, after all trials of its search have reached it, minus the best final value
        in the search. It is at least 0, and NaN without a trial.

    Raises:
        ValueError: an unknown metric.
    """
    metric_label(metric)
    trials = _full(sweep, metric)
    values = sweep.epochs.set_index(["trial", "epoch"])[metric]
    rows = []
    for arm, arm_trials in trials.groupby("arm", observed=True):
        for rung in _rungs(sweep, arm_trials) if rungs is None else rungs:
            later = arm_trials[arm_trials[PLANNED_EPOCHS] > rung]
            at_rung = values.reindex([(trial, rung) for trial in later["trial"]]).to_numpy()
            final = later[f"final_{metric}"].to_numpy()
            estimate = rank_correlation(at_rung, final, rng=rng, confidence=confidence)
            regret = _mean([_regret_of_keeping(*parts) for parts in _by_search(later, at_rung, final)])
            rows.append((str(arm), int(rung), estimate.n[0], estimate.value, estimate.low, estimate.high, regret))
    columns = ["arm", "rung_epochs", "n", "correlation", "low", "high", "regret"]
    return pd.DataFrame(rows, columns=columns).assign(metric=metric)


def stopping_regret(sweep: Sweep, *, metric: str = "val_top1_error", confidence: float = 0.95) -> pd.DataFrame:
    """Compute what the rule would have cost the control trials, from the verdicts recorded on them.

    Args:
        sweep: from :func:`analysis.data.frames.load`, of a study with early stopping and a control cohort.
        metric: metric of the final values, lower is better.
        confidence: level of each interval alone.

    Returns:
        One row per arm with a completed control trial: ``arm``, ``n``, ``n_spared`` (trials that the rule would have
        stopped), ``best`` and ``best_kept`` (lowest final value of all trials of a search, and of its trials not
        spared), ``regret`` (``best_kept`` - ``best``, at least 0; NaN if the rule would have kept no trial),
        ``winner_stopped_frac`` (whether the best trial would have been stopped: 0 or 1; of several searches, the
        fraction). With several searches, these four are means over the searches; ``best_kept`` and ``regret`` over
        those in which a trial would have been kept. ``gap`` with ``low`` and ``high`` (mean final value of spared
        minus kept trials, with Welch's interval; above 0 if the rule stops the right trials) and ``metric``. The lowest
        value of a sample has no valid interval; ``cutmix-sweep replay`` gives one over orders of arrival. Empty without
        early stopping.

    Raises:
        ValueError: an unknown metric.
    """
    metric_label(metric)
    trials = _full(sweep, metric)
    if sweep.manifest["study"]["budget"]["early_stopping"]["rule"] == "none":
        trials = trials.iloc[:0]
    spared = sweep.decisions["trial"][sweep.decisions["verdict"] == SPARED]
    rows = [
        {"arm": str(arm), **_regret(arm_trials, f"final_{metric}", arm_trials["trial"].isin(spared), confidence)}
        for arm, arm_trials in trials.groupby("arm", observed=True)
    ]
    columns = ["arm", "n", "n_spared", "best", "best_kept", "regret", "winner_stopped_frac", "gap", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(metric=metric)


def _full(sweep: Sweep, metric: str) -> pd.DataFrame:
    trials = uncensored_trials(sweep.manifest, sweep.trials)
    return trials[(trials["status"] == COMPLETED) & trials[f"final_{metric}"].notna()]


def _rungs(sweep: Sweep, arm_trials: pd.DataFrame) -> list[int]:
    judged = sweep.decisions[sweep.decisions["arm"].isin(arm_trials["arm"])]
    if len(judged):
        return sorted(judged["rung_epochs"].unique())
    return rungs_of(asha(grace_period_epochs=1), int(arm_trials[PLANNED_EPOCHS].max()))


def _by_search(trials: pd.DataFrame, *values: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Return values of trials, [N], as one tuple of arrays per search."""
    places = trials.groupby(trials["search"].to_numpy()).indices.values()
    return [tuple(value[place] for value in values) for place in places]


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _regret_of_keeping(at_rung: np.ndarray, final: np.ndarray) -> float:
    finite = np.isfinite(at_rung)
    at_rung, final = at_rung[finite], final[finite]
    if not len(final):
        return math.nan
    # all rungs of ASHA keep by the same rule, so the first one stands for any
    kept = kept_at_first_rung(asha(grace_period_epochs=1), at_rung.tolist())
    return float(final[kept].min() - final.min())


def _regret(trials: pd.DataFrame, column: str, is_spared: pd.Series[bool], confidence: float) -> dict[str, Any]:
    """Compute the cost of stopping the spared trials of one arm."""
    kept, spared = trials.loc[~is_spared, column], trials.loc[is_spared, column]
    gap, low, high = spared.mean() - kept.mean(), math.nan, math.nan
    if min(len(kept), len(spared)) > 1 and max(np.ptp(kept), np.ptp(spared)) > 0:
        interval = stats.ttest_ind(spared, kept, equal_var=False).confidence_interval(confidence)
        low, high = float(interval.low), float(interval.high)
    costs = [_cost(*parts) for parts in _by_search(trials, trials[column].to_numpy(), is_spared.to_numpy())]
    means = {name: _mean([cost[name] for cost in costs]) for name in costs[0]}
    return {"n": len(trials), "n_spared": len(spared), **means, "gap": gap, "low": low, "high": high}


def _cost(final: np.ndarray, is_spared: np.ndarray) -> dict[str, float]:
    """Compare the best trial of one search with the best of its trials that were not spared."""
    best, best_kept = final.min(), final[~is_spared].min(initial=math.inf)
    best_kept = best_kept if math.isfinite(best_kept) else math.nan
    stopped = float(is_spared[final.argmin()])
    return {"best": best, "best_kept": best_kept, "regret": best_kept - best, "winner_stopped_frac": stopped}
