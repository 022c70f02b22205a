"""Studies that lay their parameters out as a grid: means over settings seed by seed, settings compared as arms are.

A setting is all that a trial drew; trials of equal ``replicate`` share their seed, whatever their setting. A seed is
what repeats: of a grid of six settings and three seeds n is three.
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
"""Half a point: a smaller difference in error is said to be none. Seeds alone are about as far apart."""

POLICY = "policy"
"""Column with a trial's arm, where the values of a parameter take the place of arms."""


def column_of(factor: str) -> str:
    """Return the column of a factor: ``arm``, or that of a dotted path."""
    return factor if factor in ("arm", POLICY) else f"params.{factor}"


def word_of(path: str) -> str:
    """Return how a parameter is called in tables and sentences: ``mix.size.alpha`` is ``alpha``."""
    return _WORDS.get(path, path.rpartition(".")[2].replace("_", " "))


_WORDS = {"optimizer.max_epochs": "planned epochs", "data.train_frac": "share of the images"}


def text_of(value: Any) -> str:
    """Return a value of a parameter as it is read: 0.5, inf, batch."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def drawn(trials: pd.DataFrame, factor: str) -> pd.Series[Any]:
    """Return what each trial has of a factor; nan where it draws none, as in a sweep of which no trial has."""
    column = column_of(factor)
    return trials[column] if column in trials else pd.Series(np.nan, index=trials.index, dtype=object)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return distinct values, numbers by size, also those that are written as text (``inf``), choices as they come."""
    seen = list(dict.fromkeys(values))
    try:
        return sorted(seen, key=float)
    except ValueError:
        return seen


def by_seed(trials: pd.DataFrame, *, value: str = ERROR, by: Sequence[str] = ("arm",)) -> pd.DataFrame:
    """Average each group over its settings, seed by seed.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        value: column that is averaged.
        by: columns that name a group.

    Returns:
        One row a group and replicate: the columns of ``by``, ``replicate``, ``value`` and ``n_settings``, the most that
        a replicate of the group has. The value is nan unless that many have one: a mean over some is one of others.
    """
    rows = trials[[*by, "replicate"]].assign(value=trials[value].astype(float), setting=_settings(trials))
    recorded = rows.groupby([*by, "replicate"], observed=True)["setting"].nunique()
    n_settings = recorded.groupby(level=list(by), observed=True).max().rename("n_settings")
    known = rows[np.isfinite(rows["value"])].groupby([*by, "replicate"], observed=True, sort=False)
    means = known.agg(value=("value", "mean"), known=("setting", "nunique")).reset_index()
    every = rows.drop_duplicates([*by, "replicate"])[[*by, "replicate"]].reset_index(drop=True)
    joined = every.merge(means, how="left", on=[*by, "replicate"]).join(n_settings, on=list(by))
    joined = joined.assign(value=joined["value"].where(joined["known"] == joined["n_settings"]))
    return joined.drop(columns="known").rename(columns={"value": value})


def _settings(trials: pd.DataFrame) -> pd.Series[Any]:
    """Return what each trial drew, equal for equal settings."""
    params = trials.filter(regex=r"^params\.").astype(str)
    return pd.Series(list(map(tuple, params.to_numpy())), index=trials.index, dtype=object)


def at(trials: pd.DataFrame, path: str, value: Any) -> pd.DataFrame:
    """Return the trials that drew a value of a parameter, and those of arms that do not draw it."""
    own = drawn(trials, path)
    is_at: pd.Series[bool] = own.isna() | (own == value)
    return trials.loc[is_at]


def of_arms(trials: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return the trials of some arms."""
    return trials[trials["arm"].isin(arms)]


def levels(trials: pd.DataFrame, path: str) -> pd.DataFrame:
    """Put the values of a parameter in the place of arms, to be compared within each arm that draws it.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        path: dotted path of the parameter.

    Returns:
        The trials that draw it, none where no trial has yet: ``policy`` is their arm, and ``arm``, an ordered category,
        the parameter with its value, as in ``alpha 0.3``.
    """
    every = drawn(trials, path)
    own, values = trials[every.notna()], every[every.notna()]
    named = values.map(lambda value: level(path, value))
    order = pd.CategoricalDtype([level(path, value) for value in in_order(values)], ordered=True)
    return own.assign(policy=own["arm"].astype(str), arm=named.astype(object).astype(order))


def level(path: str, value: Any) -> str:
    """Return the name of a value that stands in the place of an arm: ``alpha 0.3``."""
    return f"{word_of(path)} {text_of(value)}"


def split(trials: pd.DataFrame, paths: Sequence[str]) -> pd.DataFrame:
    """Make an arm of its own of each value of some parameters, as ``feature, layer 2`` of ``feature``.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        paths: dotted paths; an arm that draws none of them stays as it is.

    Returns:
        The trials with another ``arm``, an ordered category: the study's arms, each in order of its values.
    """
    for path in paths:
        trials = _split(trials, path)
    return trials


def _split(trials: pd.DataFrame, path: str) -> pd.DataFrame:
    values, names = drawn(trials, path), trials["arm"].astype(str)
    named = names.where(values.isna(), names + ", " + values.map(lambda value: level(path, value)).astype(str))
    order: list[str] = []
    for arm in trials["arm"].cat.categories:
        own = in_order(values[names == arm].dropna())
        order += [f"{arm}, {level(path, value)}" for value in own] or [str(arm)]
    return trials.assign(arm=named.astype(object).astype(pd.CategoricalDtype(order, ordered=True)))


def arm_differences(
    trials: pd.DataFrame, *, baseline: str, value: str = ERROR, margin: float | None = None
) -> pd.DataFrame:
    """Compare arms with one of them by their means over settings, seed by seed.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``, of the arms that are compared.
        baseline: the arm that the others are compared with; it may have no trial yet.
        value: column that is compared.
        margin: largest difference that does not matter; see :func:`analysis.statistics.paired_differences`.
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
    """Compare the values of a parameter with one of them, by their means over all else that is drawn, seed by seed.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        path: dotted path of the parameter.
        baseline: value that the others are compared with; no trial may have it yet.
        value: column that is compared.
        by: ``("policy",)`` compares within each arm that draws the parameter; ``()`` means over these arms.
        margin: largest difference that does not matter.
    """
    reference = level(path, baseline)
    of_levels = levels(trials, path)
    if not by:  # then arms are among what a mean is taken over
        of_levels = of_levels.assign(**{"params.arm": of_levels[POLICY]})
    table = _with(by_seed(of_levels, value=value, by=(*by, "arm")), reference)
    return statistics.paired_differences(table, value=value, baseline=reference, by=by, margin=margin)


def _with(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Make an arm known that has no trial."""
    seen = table["arm"].cat.categories if isinstance(table["arm"].dtype, pd.CategoricalDtype) else table["arm"].unique()
    return table.astype({"arm": pd.CategoricalDtype(list(dict.fromkeys([*seen, baseline])), ordered=True)})
