"""Which drawn parameters of an arm matter: importances by Optuna, each next to its own shuffled shadow."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.frames import varied
from analysis.statistics import TOO_FEW, UNDECIDED
from sweep.findings.summary import metric_label

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator

Method = Literal["fanova", "ped_anova"]

MATTERS = "matters"
"""Verdict on a parameter, or a factor, whose effect chance alone would rarely show."""

MIN_TRIALS = 8
"""Smallest number of trials whose importances are computed: the best quarter of fewer is a single trial."""

_METHODS = ("fanova", "ped_anova")
_N_TREES = 32
_SHADOW = "shadow of "
_TOP_FRAC = 0.25  # Optuna's tenth is one trial of the sixteen that an arm usually has
_COLUMNS = ["param", "importance", "share", "p", "p_holm", "n", "n_left_out", "verdict"]


def importances(
    trials: pd.DataFrame,
    *,
    arm: str,
    rng: np.random.Generator,
    method: Method = "ped_anova",
    metric: str = "val_top1_error",
    log: Collection[str] = (),
    confidence: float = 0.95,
    shuffles: int = 99,
) -> pd.DataFrame:
    """Rank what one arm draws by how much of its final value depends on it.

    ``fanova`` (Hutter et al., ICML 2014) fits a forest and gives each parameter alone its share of the forest's
    variance; what interactions explain is missing from the sum. ``ped_anova`` (Watanabe et al., IJCAI 2023) asks
    how far the best quarter of the trials differs from all of them in that parameter, conditional ones included.

    A share says nothing by itself, as even noise has importances that sum to 1: ``p`` is the share of ``shuffles``
    in which a parameter's shadow, its own values dealt to other trials, is as important when it is added to the
    parameters (Kursa and Rudnicki, Journal of Statistical Software 2010). The verdict goes by Holm's correction over
    the arm's parameters. A shuffle takes some 0.1 s for fANOVA.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``. Only completed ones have a final value; early
            stopping has selected them.
        arm: whose trials.
        rng: source of the forest's seed and of the shuffles.
        method: which importance.
        metric: which final value, lower is better.
        log: dotted paths drawn evenly in logarithms, as ``analysis.data.frames.drawn_in_logs`` lists them.
        confidence: 1 - the chance of calling any parameter of an arm important where none is.
        shuffles: number of shadows; the smallest possible p is 1 / (shuffles + 1).

    Returns:
        One row a parameter, the most important first: ``param``, ``importance`` (fANOVA: fraction of variance;
        PED-ANOVA: Pearson divergence), ``share`` of their sum, ``p``, ``p_holm``, ``n`` (trials with a value that
        drew it), ``n_left_out`` (stopped, diverged, failed or under way), ``verdict`` (``matters``, ``undecided``
        or ``too few``), ``arm``, ``method``, ``metric``, ``confidence``. Numbers are nan with fewer than
        ``MIN_TRIALS`` trials or equal values; for fANOVA also where some trial did not draw the parameter.

    Raises:
        ValueError: unknown method or metric, or a path in ``log`` that has values of 0 or below.
    """
    metric_label(metric)
    if method not in _METHODS:
        raise ValueError(f"unknown method {method!r}, choose one of {', '.join(_METHODS)}")
    own = trials[trials["arm"] == arm]
    values = own[f"final_{metric}"].to_numpy(float)
    usable = np.isfinite(values)
    drawn = _drawn(own[usable], varied(trials, arm), log)
    rows = _table(drawn, values[usable], method, rng, shuffles)
    rows["n_left_out"] = int((~usable).sum())
    rows["p_holm"], rows["verdict"] = _judged(rows, 1 - confidence)
    rows = rows.sort_values("importance", ascending=False, kind="stable", ignore_index=True)[_COLUMNS]
    return rows.assign(arm=arm, method=method, metric=metric, confidence=confidence)


def _drawn(own: pd.DataFrame, paths: list[str], log: Collection[str]) -> pd.DataFrame:
    """Return what was drawn, numbers as floats (those of ``log`` as logarithms), choices as text."""
    drawn = own[[f"params.{path}" for path in paths]].set_axis(paths, axis="columns")
    return pd.DataFrame({path: _column(drawn[path], path in log) for path in paths}, index=drawn.index)


def _column(column: pd.Series[Any], in_logs: bool) -> pd.Series[Any]:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.map(str, na_action="ignore").astype(object)
    numbers = column.astype(float)
    if not in_logs:
        return numbers
    if (numbers <= 0).any():
        raise ValueError(f"'{column.name}' cannot be read in logarithms: its least value is {numbers.min():g}")
    return pd.Series(np.log(numbers), index=numbers.index, name=numbers.name)


def _table(
    drawn: pd.DataFrame, values: NDArray[np.float64], method: Method, rng: np.random.Generator, shuffles: int
) -> pd.DataFrame:
    rows = pd.DataFrame({"param": list(drawn), "n": [int(drawn[path].notna().sum()) for path in drawn]})
    rows[["importance", "share", "p"]] = np.nan
    usable = [path for path in drawn if method == "ped_anova" or drawn[path].notna().all()]
    if len(values) < MIN_TRIALS or np.ptp(values) == 0 or not usable:
        return rows
    importance, p = _against_null(drawn[usable], values, method, rng, shuffles)
    rows["importance"], rows["p"] = rows["param"].map(importance), rows["param"].map(p)
    total = rows["importance"].sum()
    return rows.assign(share=rows["importance"] / total if total > 0 else np.nan)


def _against_null(
    drawn: pd.DataFrame, values: NDArray[np.float64], method: Method, rng: np.random.Generator, shuffles: int
) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Return importances, and how often a parameter's shadow, its own column shuffled, is as important."""
    seed, shadows = int(rng.integers(2**31)), drawn.add_prefix(_SHADOW)
    as_high = pd.Series(0, index=drawn.columns)
    with _quiet_optuna():
        seen = _importance(drawn, values, method, seed)
        for _ in range(shuffles):
            shadow = shadows.apply(lambda column: pd.Series(rng.permutation(column.array), column.index, column.dtype))
            beside = _importance(pd.concat([drawn, shadow], axis=1), values, method, seed)
            as_high += beside[shadows.columns].to_numpy() >= beside[drawn.columns].to_numpy()
    return seen, (1 + as_high) / (1 + shuffles)


def _importance(drawn: pd.DataFrame, values: NDArray[np.float64], method: Method, seed: int) -> pd.Series[Any]:
    import optuna

    distributions = {str(path): _distribution(drawn[path]) for path in drawn}
    study = optuna.create_study()
    for row, value in zip(drawn.to_dict("records"), values, strict=True):
        params = {str(path): choice for path, choice in row.items() if pd.notna(choice)}
        has = {path: distributions[path] for path in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=has, value=value))
    # normalised, a parameter's importance would depend on the noise of the others
    found = optuna.importance.get_param_importances(study, evaluator=_evaluator(method, seed), normalize=False)
    return pd.Series(found, dtype=float).reindex(list(distributions), fill_value=0.0)


def _distribution(column: pd.Series[Any]) -> BaseDistribution:
    """Return the law of a parameter over the range that its trials span."""
    import optuna

    seen = column.dropna()
    if column.dtype == object:
        return optuna.distributions.CategoricalDistribution(sorted(seen.unique()))
    return optuna.distributions.FloatDistribution(float(seen.min()), float(seen.max()))


def _evaluator(method: Method, seed: int) -> BaseImportanceEvaluator:
    import optuna

    if method == "fanova":
        return optuna.importance.FanovaImportanceEvaluator(n_trees=_N_TREES, seed=seed)
    return optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_TOP_FRAC)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence the line that each study prints, and the warning that unnormalised importances are experimental."""
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


def _judged(rows: pd.DataFrame, alpha: float) -> tuple[pd.Series[Any], pd.Series[Any]]:
    from statsmodels.stats.multitest import multipletests

    corrected = rows["p"].copy()
    judged = rows["p"].notna()
    if judged.any():
        corrected[judged] = multipletests(rows["p"][judged], method="holm")[1]
    words = np.where(judged, np.where(corrected <= alpha, MATTERS, UNDECIDED), TOO_FEW)
    return corrected, pd.Series(words, index=rows.index, dtype=object)
