"""Importance of the parameters that one arm varies, by Optuna, each compared with its own shuffled values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.frames import varied
from analysis.statistics import TOO_FEW, UNDECIDED
from sweep.findings.student_t import holm
from sweep.findings.summary import metric_label

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MATTERS = "matters"
"""Verdict on a parameter, or a factor, with an effect that chance alone would rarely show."""

MIN_TRIALS = 8
"""Smallest number of trials that get importances: the best quarter of fewer is a single trial."""

_TOP_FRAC = 0.25  # Optuna's tenth is one trial of the sixteen that an arm usually has
_COLUMNS = ["param", "importance", "shadow", "fraction", "p", "p_holm", "n", "n_left_out", "verdict"]


def importances(
    trials: pd.DataFrame,
    *,
    arm: str,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    log: Collection[str] = (),
    confidence: float = 0.95,
    shuffles: int = 99,
) -> pd.DataFrame:
    """Rank the parameters of one arm by how much its final value depends on them.

    PED-ANOVA (Watanabe et al., IJCAI 2023) measures how far the best quarter of the trials differs from all of them in
    a parameter; parameters that only some trials have are included.

    An importance alone proves nothing, because noise has one as well. Therefore each parameter is compared with its
    shadow, its own values dealt to other trials (Kursa and Rudnicki, Journal of Statistical Software 2010): ``p`` is
    the fraction of ``shuffles`` in which the shadow is as important. The verdict follows Holm's correction over the
    parameters of the arm.

    Without influence, an importance is above zero as well, and more so for few trials and for numbers: in simulated
    studies its mean is 0.011 at 16 trials, 0.003 at 64 and 0.001 at 256, and a third of that for a choice of three
    values. A parameter that explains half of the variance has 0.05. The importance of one without influence exceeds it
    in 9 % of the studies of 16 trials, and in none of the studies of 32 or more. If it explains a fifth, this happens
    in 26 % at 16 trials, 16 % at 32, 6 % at 64 and 0 % at 128. The verdict finds half of the variance in 18 % of the
    studies of 16 trials and in 96 % of those of 64. So rank parameters from 64 trials on.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``. Only completed trials have a final value; early
            stopping has selected them.
        arm: arm of the trials.
        rng: source of the shuffles.
        metric: metric of the final values, lower is better.
        log: dotted paths that are sampled evenly in logarithms, from ``analysis.data.frames.drawn_in_logs``.
        confidence: 1 - the probability that any parameter of an arm is called important if none is.
        shuffles: number of shadows; the smallest possible p is 1 / (shuffles + 1).

    Returns:
        One row per parameter, the most important first: ``param``, ``importance`` (Pearson divergence), ``shadow``
        (mean importance of its shadows: what chance alone gives), ``fraction`` (of the sum of importances), ``p``,
        ``p_holm``, ``n`` (trials with a final value and the parameter), ``n_left_out`` (stopped, diverged, failed,
        cancelled or running), ``verdict`` (``matters``, ``undecided`` or ``too few``), ``arm``, ``metric`` and
        ``confidence``. Numbers are NaN for fewer than ``MIN_TRIALS`` trials or equal values.

    Raises:
        ValueError: unknown metric, or a path in ``log`` that has values of 0 or below.
    """
    metric_label(metric)
    arm_trials = trials[trials["arm"] == arm]
    values = arm_trials[f"final_{metric}"].to_numpy(float)
    usable = np.isfinite(values)
    params = _params(arm_trials[usable], varied(trials, arm), log)
    rows = _table(params, values[usable], rng, shuffles)
    rows["n_left_out"] = int((~usable).sum())
    rows["p_holm"] = holm(rows["p"].to_numpy(float), len(rows))
    decided = np.where(rows["p_holm"] <= 1 - confidence, MATTERS, UNDECIDED)
    rows["verdict"] = np.where(rows["p"].isna(), TOO_FEW, decided)
    rows = rows.sort_values("importance", ascending=False, kind="stable", ignore_index=True)[_COLUMNS]
    return rows.assign(arm=arm, metric=metric, confidence=confidence)


def _params(arm_trials: pd.DataFrame, paths: list[str], log: Collection[str]) -> pd.DataFrame:
    """Return the sampled values, numbers as floats (those of ``log`` as logarithms), choices as text."""
    params = arm_trials[[f"params.{path}" for path in paths]].set_axis(paths, axis="columns")
    return pd.DataFrame({path: _column(params[path], path in log) for path in paths}, index=params.index)


def _column(column: pd.Series[Any], in_logs: bool) -> pd.Series[Any]:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.map(str, na_action="ignore").astype(object)
    numbers = column.astype(float)
    if not in_logs:
        return numbers
    if (numbers <= 0).any():
        raise ValueError(f"'{column.name}' has no logarithm: its smallest value is {numbers.min():g}")
    return pd.Series(np.log(numbers), index=numbers.index, name=numbers.name)


def _table(params: pd.DataFrame, values: NDArray[np.float64], rng: np.random.Generator, shuffles: int) -> pd.DataFrame:
    rows = pd.DataFrame({"param": list(params), "n": [int(params[path].notna().sum()) for path in params]})
    rows[["importance", "shadow", "fraction", "p"]] = np.nan
    if len(values) < MIN_TRIALS or np.ptp(values) == 0 or params.empty:
        return rows
    for name, column in _against_null(params, values, rng, shuffles).items():
        rows[name] = rows["param"].map(column)
    total = rows["importance"].sum()
    return rows.assign(fraction=rows["importance"] / total if total > 0 else np.nan)


def _against_null(
    params: pd.DataFrame, values: NDArray[np.float64], rng: np.random.Generator, shuffles: int
) -> dict[str, pd.Series[Any]]:
    """Return importances, the mean of the shadows', and ``p``; a shadow is the shuffled column of a parameter."""
    as_high, total = pd.Series(0, index=params.columns), pd.Series(0.0, index=params.columns)
    with _quiet_optuna():
        importance = _importance(params, values)
        for _ in range(shuffles):
            # PED-ANOVA measures each parameter by itself, so shadows need no parameters beside them
            shadows = params.apply(lambda column: pd.Series(rng.permutation(column.array), column.index, column.dtype))
            shadow = _importance(shadows, values)
            as_high += (shadow >= importance).astype(int)
            total += shadow
    return {"importance": importance, "shadow": total / shuffles, "p": (1 + as_high) / (1 + shuffles)}


def _importance(params: pd.DataFrame, values: NDArray[np.float64]) -> pd.Series[Any]:
    import optuna

    distributions = {str(path): _distribution(params[path]) for path in params}
    study = optuna.create_study()
    for row, value in zip(params.to_dict("records"), values, strict=True):
        sampled = {str(path): choice for path, choice in row.items() if pd.notna(choice)}
        laws = {path: distributions[path] for path in sampled}
        study.add_trial(optuna.trial.create_trial(params=sampled, distributions=laws, value=value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_TOP_FRAC)
    # if they were normalised, the importance of one parameter would depend on the noise of the others
    importance = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    return pd.Series(importance, dtype=float).reindex(list(distributions), fill_value=0.0)


def _distribution(column: pd.Series[Any]) -> BaseDistribution:
    """Return the distribution of a parameter over the range of its trials."""
    import optuna

    values = column.dropna()
    if column.dtype == object:
        return optuna.distributions.CategoricalDistribution(sorted(values.unique()))
    return optuna.distributions.FloatDistribution(float(values.min()), float(values.max()))


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence the line that each study prints, and the warning that unnormalised importances are experimental."""
    with warnings.catch_warnings():
        # in a notebook without ipywidgets, Optuna's progress bar warns on import; it is not used here
        warnings.filterwarnings("ignore", "IProgress not found")
        import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            message = re.escape("Argument ``normalize`` is an experimental feature")
            warnings.filterwarnings("ignore", message, optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
