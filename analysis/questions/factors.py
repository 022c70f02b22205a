"""How the error depends on the parameters that a study varies: each factor, and factors together.

A factor is the arm or a parameter. Arms that vary the same parameters form a group, whose factors are crossed. On a
grid, the variance of the final error is split among the factors of a group and their interactions. A random search has
no levels that repeat: there the importance of each parameter is estimated arm by arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data.frames import Sweep, drawn_in_logs, varied
from analysis.data.grid import ERROR, POLICY, by_seed, in_order, level, levels, of_arms, word_of
from analysis.data.replication import GRID
from analysis.methods import variance
from analysis.methods.importance import MATTERS, importances
from analysis.statistics import TOO_FEW, UNDECIDED


class Group(NamedTuple):
    """Arms that vary the same parameters.

    Attributes:
        arms: names, in the order of the study.
        parameters: dotted paths.
    """

    arms: tuple[str, ...]
    parameters: tuple[str, ...]

    @property
    def factors(self) -> list[str]:
        """All that varies in the group: the arm, if there are several, and the parameters."""
        return [*(["arm"] if len(self.arms) > 1 else []), *self.parameters]

    @property
    def label(self) -> str:
        """Names of the arms, as a table shows them."""
        return ", ".join(self.arms)


@dataclass(frozen=True)
class Factors:
    """The factors of a sweep and their effects.

    Attributes:
        groups: groups of arms in which two factors or more vary; empty if there is none.
        is_grid: whether the study is a grid.
        variance: one table per group, from :func:`analysis.methods.variance.variance_explained`; empty unless the study
            is a grid.
        importance: one row per arm and parameter, from :func:`analysis.methods.importance.importances`; empty if the
            study is a grid.
    """

    groups: tuple[Group, ...]
    is_grid: bool
    variance: tuple[pd.DataFrame, ...]
    importance: pd.DataFrame

    @property
    def parameters(self) -> list[str]:
        """Dotted paths that vary in any group."""
        return list(dict.fromkeys(path for group in self.groups for path in group.parameters))

    @property
    def arms(self) -> list[str]:
        """Arms of all groups."""
        return [arm for group in self.groups for arm in group.arms]


def factors_of(sweep: Sweep, *, rng: np.random.Generator) -> Factors:
    """Find the factors of a sweep and estimate their effects on the final validation top-1 error.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        rng: source of the shuffles that importances are compared with.
    """
    groups = tuple(group for group in _groups(sweep.trials) if len(group.factors) > 1)
    is_grid = sweep.manifest["study"].get("search") == GRID
    tables = [
        variance.variance_explained(of_arms(sweep.trials, group.arms), factors=group.factors)
        for group in groups
        if is_grid
    ]
    ranked = [
        importances(sweep.trials, arm=arm, rng=rng, log=drawn_in_logs(sweep.manifest, arm))
        for group in groups
        for arm in group.arms
        if not is_grid
    ]
    return Factors(groups, is_grid, tuple(tables), pd.concat(ranked, ignore_index=True) if ranked else pd.DataFrame())


def _groups(trials: pd.DataFrame) -> list[Group]:
    arms: dict[tuple[str, ...], list[str]] = {}
    for arm in trials["arm"].cat.categories:
        arm_trials = trials[trials["arm"] == arm]
        paths = [path for path in varied(trials, arm) if arm_trials[f"params.{path}"].map(str).nunique() > 1]
        if paths:
            arms.setdefault(tuple(paths), []).append(str(arm))
    return [Group(tuple(names), paths) for paths, names in arms.items()]


def level_means(trials: pd.DataFrame, parameters: list[str]) -> pd.DataFrame:
    """Average the final error at each value of each parameter, seed by seed over all else that varies.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        parameters: dotted paths.

    Returns:
        One row per parameter, arm and value: ``parameter``, ``arm``, ``value``, ``n`` (seeds), ``error`` with its 95 %
        t interval ``low`` and ``high``.
    """
    columns = ["parameter", "arm", "value", "n", "error", "low", "high"]
    parts = [pd.DataFrame(columns=columns)]
    for path in parameters:
        rows = levels(trials, path)
        means = statistics.means(by_seed(rows, by=(POLICY, "arm")), value=ERROR, by=(POLICY, "arm"))
        names = {level(path, value): value for value in in_order(rows[f"params.{path}"])}
        parts.append(
            pd.DataFrame(
                {
                    **{"parameter": word_of(path), "arm": means[POLICY], "value": means["arm"].map(names).map(str)},
                    **{"n": means["n"], "error": means["estimate"], "low": means["low"], "high": means["high"]},
                }
            )
        )
    return pd.concat(parts[1:] or parts, ignore_index=True)[columns]


def numeric_pair(factors: Factors, trials: pd.DataFrame, arm: str) -> tuple[str, str] | None:
    """Return the two numeric parameters of an arm with the largest importance; None if it varies fewer."""
    ranked = factors.importance[factors.importance["arm"] == arm]["param"]
    numbers = [path for path in ranked if is_number(trials[f"params.{path}"])]
    return (numbers[0], numbers[1]) if len(numbers) > 1 else None


def is_number(values: pd.Series[Any]) -> bool:
    """Return whether the values of a parameter are numbers, not choices; missing values are left out.

    Example:
        >>> is_number(pd.Series([0.1, None])), is_number(pd.Series(["clip", "torus"]))
        (True, False)
    """
    kinds = values.dropna().infer_objects()
    return bool(pd.api.types.is_numeric_dtype(kinds) and not pd.api.types.is_bool_dtype(kinds))


def verdict(factors: Factors) -> list[str]:
    """Return the sentences that answer which factors matter; none if there are no factors.

    Args:
        factors: from :func:`factors_of`.
    """
    if factors.is_grid:
        return [
            f"{group.label}: {sentence}"
            for group, table in zip(factors.groups, factors.variance, strict=True)
            for sentence in variance.verdict(table)
        ]
    return [_importance_sentence(str(arm), rows) for arm, rows in _by_arm(factors)]


def _by_arm(factors: Factors) -> list[tuple[str, pd.DataFrame]]:
    return [(arm, factors.importance[factors.importance["arm"] == arm]) for arm in factors.arms]


def _importance_sentence(arm: str, rows: pd.DataFrame) -> str:
    decided = rows[rows["verdict"] == MATTERS]
    matters = [f"{word_of(path)} (p = {p:.2g})" for path, p in zip(decided["param"], decided["p_holm"], strict=True)]
    parts = [f"{', '.join(matters)} matter{'s' * (len(matters) == 1)}"] if matters else []
    for word in (UNDECIDED, TOO_FEW):
        if names := [word_of(path) for path in rows["param"][rows["verdict"] == word]]:
            parts.append(f"{', '.join(names)} {word}")
    return f"{arm}: for the final error of completed trials, {'; '.join(parts)} (n = {rows['n'].max()} trials)."
