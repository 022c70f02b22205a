"""How far early looks can be trusted: rungs against final values, what stopping costs, and how best epochs flatter.

What rungs and rules are judged by are trials that early stopping had no say in: the control cohort, or all trials of a
study without it. Other survivors were chosen by their early values, which hides what is asked. Lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.frames import Sweep
from analysis.statistics import means, rank_correlation
from sweep.findings.summary import PLANNED_EPOCHS, metric_label, uncensored_trials
from sweep.records.schema import COMPLETED, SPARED

REDUCTION_FACTOR = 3
"""ASHA's usual eta: rungs are its powers, and one trial in eta is kept at each."""


def rung_fidelity(
    sweep: Sweep,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    rungs: Sequence[int] | None = None,
    keep_frac: float = 1 / REDUCTION_FACTOR,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare what trials showed at rungs with what they came to, arm by arm.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        rng: source of the bootstrap resamples.
        metric: by which trials are ranked, lower is better.
        rungs: epochs; None takes those where the sweep judged, or, where it did not, powers of ``REDUCTION_FACTOR``.
        keep_frac: share of the trials that a rule keeps at a rung, in (0, 1].
        confidence: level of each interval alone.

    Returns:
        One row an arm and rung: ``arm``, ``rung_epochs``, ``n`` (completed trials that no rule could stop and that
        planned more epochs),
        ``correlation`` (Spearman's, of the value at the rung with the final one), ``low`` and ``high`` (nan for a small
        n), ``regret`` (final value of the best among the ``keep_frac`` that were ahead at the rung, minus that of the
        best of all; at least 0) and ``metric``.

    Raises:
        ValueError: an unknown metric, or a share out of range.
    """
    metric_label(metric)
    if not 0 < keep_frac <= 1:
        raise ValueError(f"keep_frac must be a share above 0 and at most 1, got {keep_frac}")
    trials = _full(sweep, metric)
    values = sweep.epochs.set_index(["trial", "epoch"])[metric]
    rows = []
    for arm, own in trials.groupby("arm", observed=True):
        for rung in _rungs(sweep, own) if rungs is None else rungs:
            later = own[own[PLANNED_EPOCHS] > rung]
            at_rung = values.reindex([(trial, rung) for trial in later["trial"]]).to_numpy()
            final = later[f"final_{metric}"].to_numpy()
            found = rank_correlation(at_rung, final, rng=rng, confidence=confidence)
            regret = _regret_of_keeping(at_rung, final, keep_frac)
            rows.append((str(arm), int(rung), found.n[0], found.value, found.low, found.high, regret))
    columns = ["arm", "rung_epochs", "n", "correlation", "low", "high", "regret"]
    return pd.DataFrame(rows, columns=columns).assign(metric=metric)


def stopping_regret(sweep: Sweep, *, metric: str = "val_top1_error", confidence: float = 0.95) -> pd.DataFrame:
    """Say what the rule would have cost the control trials, by the verdicts recorded on them.

    Args:
        sweep: from :func:`analysis.data.frames.load`, of a study with early stopping and a control cohort.
        metric: of the final values, lower is better.
        confidence: level of each interval alone.

    Returns:
        One row an arm with a completed control trial: ``arm``, ``n``, ``n_spared`` (that the rule would have stopped),
        ``best``, ``best_kept`` (final values, of all and of the others), ``regret`` (``best_kept`` - ``best``, at least
        0; nan where the rule would have kept none), ``winner_stopped`` (whether the best would have been stopped),
        ``gap``, ``low`` and ``high`` (mean final value of the spared minus that of the kept, with Welch's interval; a
        rule that stops the right ones has it above 0) and ``metric``. The lowest of a sample has no honest interval;
        over orders of arrival ``cutmix-sweep replay`` gives one. Empty without early stopping.

    Raises:
        ValueError: an unknown metric.
    """
    metric_label(metric)
    trials = _full(sweep, metric)
    if sweep.manifest["study"]["budget"]["early_stopping"]["rule"] == "none":
        trials = trials.iloc[:0]
    spared = sweep.decisions["trial"][sweep.decisions["verdict"] == SPARED]
    rows = [
        {"arm": str(arm), **_regret(own[f"final_{metric}"], own["trial"].isin(spared), confidence)}
        for arm, own in trials.groupby("arm", observed=True)
    ]
    columns = ["arm", "n", "n_spared", "best", "best_kept", "regret", "winner_stopped", "gap", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(metric=metric)


def best_epoch_gaps(sweep: Sweep, *, metric: str = "val_top1_error") -> pd.DataFrame:
    """Return how much better each trial looks at its best epoch than at its last.

    An epoch that is chosen by the value it is judged by flatters, and flatters most where curves are noisy or turn up.
    To compare arms pass the table to :func:`analysis.statistics.paired_differences` with ``value="gap"``.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        metric: of the curves, lower is better.

    Returns:
        One row a completed trial: ``arm``, ``trial``, ``replicate``, ``last``, ``best``, ``best_epoch`` and ``gap``
        (``last`` - ``best``, at least 0).

    Raises:
        ValueError: an unknown metric.
    """
    metric_label(metric)
    done = sweep.trials[sweep.trials[f"final_{metric}"].notna()]
    curves = sweep.epochs[sweep.epochs["trial"].isin(done["trial"])].dropna(subset=[metric])
    best = curves.loc[curves.groupby("trial")[metric].idxmin()].set_index("trial").reindex(done["trial"])
    last = done[f"final_{metric}"]
    return done[["arm", "trial", "replicate"]].assign(
        last=last,
        best=best[metric].to_numpy(),
        best_epoch=best["epoch"].to_numpy(),
        gap=last - best[metric].to_numpy(),
    )


def best_epoch_optimism(sweep: Sweep, *, metric: str = "val_top1_error", confidence: float = 0.95) -> pd.DataFrame:
    """Average :func:`best_epoch_gaps` over the completed trials of each arm.

    Returns:
        One row an arm: ``arm``, ``n``, ``estimate`` (mean gap), ``low``, ``high`` (t interval, each alone),
        ``confidence`` and ``metric``.
    """
    gaps = best_epoch_gaps(sweep, metric=metric)
    return means(gaps, value="gap", confidence=confidence).assign(metric=metric)


def _full(sweep: Sweep, metric: str) -> pd.DataFrame:
    trials = uncensored_trials(sweep.manifest, sweep.trials)
    return trials[(trials["status"] == COMPLETED) & trials[f"final_{metric}"].notna()]


def _rungs(sweep: Sweep, own: pd.DataFrame) -> list[int]:
    judged = sweep.decisions[sweep.decisions["arm"].isin(own["arm"])]
    if len(judged):
        return sorted(judged["rung_epochs"].unique())
    n_rungs = math.ceil(math.log(own[PLANNED_EPOCHS].max(), REDUCTION_FACTOR) - 1e-9)  # the last one below the end
    return [REDUCTION_FACTOR**power for power in range(n_rungs)]


def _regret_of_keeping(at_rung: np.ndarray, final: np.ndarray, keep_frac: float) -> float:
    known = np.isfinite(at_rung)
    at_rung, final = at_rung[known], final[known]
    if not len(final):
        return math.nan
    kept = np.argsort(at_rung, kind="stable")[: math.ceil(keep_frac * len(final))]
    return float(final[kept].min() - final.min())


def _regret(final: pd.Series[float], is_spared: pd.Series[bool], confidence: float) -> dict[str, Any]:
    kept, spared = final[~is_spared], final[is_spared]
    gap, low, high = spared.mean() - kept.mean(), math.nan, math.nan
    if min(len(kept), len(spared)) > 1 and max(np.ptp(kept), np.ptp(spared)) > 0:
        interval = stats.ttest_ind(spared, kept, equal_var=False).confidence_interval(confidence)
        low, high = float(interval.low), float(interval.high)
    return {
        **{"n": len(final), "n_spared": len(spared), "best": final.min(), "best_kept": kept.min()},
        **{"regret": kept.min() - final.min(), "winner_stopped": bool(is_spared.iloc[final.argmin()])},
        **{"gap": gap, "low": low, "high": high},
    }
