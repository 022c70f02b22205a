"""Studies whose parameters form a grid: means over grid points per seed, and values of a parameter compared like arms.

A grid point is the set of all parameters that a trial sampled. Trials of equal ``replicate`` share their seed at all
grid points. The seed is the unit of repetition: a grid of six points and three seeds has n = 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import statistics

ERROR = "final_val_top1_error"
"""Column of trials with the error after the last planned epoch, on validation images."""

MARGIN = 0.005
"""Largest difference in error that does not matter: half a point, about the difference between two seeds."""

POLICY = "policy"
"""Column with the arm of a trial in tables where ``arm`` is the value of a parameter."""


def column_of(factor: str) -> str:
    """Return the column of a factor: ``arm``, ``policy``, or the column of a dotted path."""
    return factor if factor in ("arm", POLICY) else f"params.{factor}"


def word_of(path: str) -> str:
    """Return the name of a parameter in tables and sentences.

    Examples:
        >>> word_of("mix.size.alpha"), word_of("optimizer.max_epochs")
        ('alpha', 'planned epochs')
    """
    return _WORDS.get(path, path.rpartition(".")[2].replace("_", " "))


_WORDS = {"optimizer.max_epochs": "planned epochs", "data.train_frac": "fraction of the images"}


def text_of(value: Any) -> str:
    """Format a value of a parameter.

    Examples:
        >>> text_of(0.50), text_of(float("inf")), text_of("batch")
        ('0.5', 'inf', 'batch')
    """
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def drawn(trials: pd.DataFrame, factor: str) -> pd.Series[Any]:
    """Return each trial's value of a factor; NaN for trials without that factor."""
    column = column_of(factor)
    return trials[column] if column in trials else pd.Series(np.nan, index=trials.index, dtype=object)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the distinct values: numbers by size, also numbers written as text, and choices in the given order.

    Examples:
        >>> in_order([4.0, "inf", 0.5, 4.0]), in_order(["torus", "clip"])
        ([0.5, 4.0, 'inf'], ['torus', 'clip'])
    """
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return distinct


def by_seed(trials: pd.DataFrame, *, value: str = ERROR, by: Sequence[str] = ("arm",)) -> pd.DataFrame:
    """Compute the mean of each group over its grid points, per seed.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        value: column that is averaged.
        by: columns that name a group.

    Returns:
        One row per group and replicate: the columns of ``by``, ``replicate``, ``value`` and ``n_settings`` (largest
        number of grid points per replicate in the group). ``value`` is NaN unless all these grid points have one: means
        over different grid points are not comparable.

    Examples:
        >>> trials = pd.DataFrame(
        ...     {"arm": "cutmix", "replicate": [0, 0, 1], "params.alpha": [0.5, 1.0, 0.5], "error": [0.25, 0.5, 0.25]}
        ... )
        >>> by_seed(trials, value="error")
              arm  replicate  error  n_settings
        0  cutmix          0  0.375           2
        1  cutmix          1    NaN           2
    """
    rows = trials[[*by, "replicate"]].assign(value=trials[value].astype(float), setting=_settings(trials))
    recorded = rows.groupby([*by, "replicate"], observed=True)["setting"].nunique()
    n_settings = recorded.groupby(level=list(by), observed=True).max().rename("n_settings")
    measured = rows[np.isfinite(rows["value"])].groupby([*by, "replicate"], observed=True, sort=False)
    means = measured.agg(value=("value", "mean"), known=("setting", "nunique")).reset_index()
    every = rows.drop_duplicates([*by, "replicate"])[[*by, "replicate"]].reset_index(drop=True)
    joined = every.merge(means, how="left", on=[*by, "replicate"]).join(n_settings, on=list(by))
    joined = joined.assign(value=joined["value"].where(joined["known"] == joined["n_settings"]))
    return joined.drop(columns="known").rename(columns={"value": value})


def _settings(trials: pd.DataFrame) -> pd.Series[Any]:
    """Return the grid point of each trial as a tuple of text."""
    params = trials.filter(regex=r"^params\.").astype(str)
    return pd.Series(list(map(tuple, params.to_numpy())), index=trials.index, dtype=object)


def at(trials: pd.DataFrame, path: str, value: Any) -> pd.DataFrame:
    """Return the trials with a value of a parameter, and all trials of arms that do not sample this parameter."""
    values = drawn(trials, path)
    is_at: pd.Series[bool] = values.isna() | (values == value)
    return trials.loc[is_at]


def of_arms(trials: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return the trials of some arms."""
    return trials[trials["arm"].isin(arms)]


def levels(trials: pd.DataFrame, path: str) -> pd.DataFrame:
    """Replace the arm of each trial by its value of a parameter, so that values are compared within each arm.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        path: dotted path of the parameter.

    Returns:
        The trials that sample the parameter: ``policy`` is the arm, and ``arm``, an ordered category, is the parameter
        with its value, for example ``alpha 0.3``.

    Examples:
        >>> trials = pd.DataFrame({"arm": ["off", "cutmix", "cutmix"], "params.mix.size.alpha": [None, 1.0, 0.3]})
        >>> levels(trials, "mix.size.alpha")[["policy", "arm"]]
           policy        arm
        1  cutmix    alpha 1
        2  cutmix  alpha 0.3
    """
    values = drawn(trials, path)
    sampled, values = trials[values.notna()], values.dropna()
    names = values.map(lambda value: level(path, value))
    order = pd.CategoricalDtype([level(path, value) for value in in_order(values)], ordered=True)
    return sampled.assign(policy=sampled["arm"].astype(str), arm=names.astype(object).astype(order))


def level(path: str, value: Any) -> str:
    """Return the name of a value that replaces the arm: ``alpha 0.3``."""
    return f"{word_of(path)} {text_of(value)}"


def split(trials: pd.DataFrame, paths: Sequence[str]) -> pd.DataFrame:
    """Split each arm by its values of some parameters: ``feature`` becomes ``feature, layer 2`` and others.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        paths: dotted paths; an arm that samples none of them is not split.

    Returns:
        The trials with a new ``arm``, an ordered category: the arms of the study, each in the order of its values.
    """
    for path in paths:
        trials = _split(trials, path)
    return trials


def _split(trials: pd.DataFrame, path: str) -> pd.DataFrame:
    values, names = drawn(trials, path), trials["arm"].astype(str)
    arms = names.where(values.isna(), names + ", " + values.map(lambda value: level(path, value)).astype(str))
    order: list[str] = []
    for arm in trials["arm"].cat.categories:
        arm_values = in_order(values[names == arm].dropna())
        order += [f"{arm}, {level(path, value)}" for value in arm_values] or [str(arm)]
    return trials.assign(arm=arms.astype(object).astype(pd.CategoricalDtype(order, ordered=True)))


def arm_differences(
    trials: pd.DataFrame, *, baseline: str, value: str = ERROR, margin: float | None = None
) -> pd.DataFrame:
    """Compare arms with the baseline by their means over grid points, paired by seed.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``, of the arms that are compared.
        baseline: the arm that the others are compared with; it may have no trial yet.
        value: column that is compared, lower is better.
        margin: largest difference that does not matter; see :func:`analysis.statistics.paired_differences`.

    Returns:
        As from :func:`analysis.statistics.paired_differences`.
    """
    return statistics.paired_differences(
        _with(by_seed(trials, value=value), baseline), value=value, baseline=baseline, margin=margin
    )


def level_differences(
    trials: pd.DataFrame,
    *,
    path: str,
    baseline: Any,
    value: str = ERROR,
    by: Sequence[str] = (POLICY,),
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare the values of a parameter with one of them, by means over all other parameters, paired by seed.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        path: dotted path of the parameter.
        baseline: value that the others are compared with; a trial with it need not exist yet.
        value: column that is compared, lower is better.
        by: ``("policy",)`` compares within each arm that samples the parameter; ``()`` averages over these arms.
        margin: largest difference that does not matter.

    Returns:
        As from :func:`analysis.statistics.paired_differences`; ``arm`` and ``baseline`` are values of the parameter.
    """
    baseline_level = level(path, baseline)
    of_levels = levels(trials, path)
    if not by:  # the arm then counts as a parameter, so that means are taken over it too
        of_levels = of_levels.assign(**{"params.arm": of_levels[POLICY]})
    table = _with(by_seed(of_levels, value=value, by=(*by, "arm")), baseline_level)
    return statistics.paired_differences(table, value=value, baseline=baseline_level, by=by, margin=margin)


def _with(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Add the baseline to the categories of ``arm``, also if no trial has it."""
    arms = table["arm"].cat.categories if isinstance(table["arm"].dtype, pd.CategoricalDtype) else table["arm"].unique()
    return table.astype({"arm": pd.CategoricalDtype(list(dict.fromkeys([*arms, baseline])), ordered=True)})
