"""The section on each factor and their interactions: absent where only one thing varies."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
from IPython.display import Markdown, display

from analysis import plots
from analysis.data.frames import Sweep, drawn_in_logs
from analysis.data.grid import of_arms
from analysis.questions import factors as questions
from analysis.questions.factors import Factors, Group, is_number
from analysis.report.show import show

_GRID = """## Factors and their interactions

Final validation top-1 error after the last planned epoch. `n` counts seeds. A seed is averaged over all factors that a
mean does not name, and counts once all of these trials have completed. Intervals of 95 %, each alone."""

_SEARCH = """## Factors

Final validation top-1 error of completed trials over each parameter that the search varied. Early stopping has selected
these trials, so a relation among them may be one that the stopping rule made."""

_VARIANCE = """### Variance explained

Type II analysis of variance with all pairs of factors and seeds as blocks. `omega2` is the fraction of the variance
that a term explains, with its 95 % interval; `p` belongs to one F-test alone."""

_IMPORTANCE = """### Importance

`importance` compares the best quarter of an arm's completed trials with all of them (PED-ANOVA, Watanabe et al., IJCAI
2023). `p` is the fraction of shuffles in which the parameter's own values, dealt to other trials, are as important;
`p holm` is adjusted over the parameters of the arm."""


def show_factors(sweep: Sweep, factors: Factors) -> None:
    """Show how the error depends on each parameter and on pairs of them; nothing if fewer than two things vary.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        factors: from :func:`analysis.questions.factors.factors_of`.
    """
    if not factors.groups:
        return
    if factors.is_grid:
        _show_grid(sweep, factors)
    else:
        _show_search(sweep, factors)


def _show_grid(sweep: Sweep, factors: Factors) -> None:
    display(Markdown(_GRID))
    for path in factors.parameters:
        show(plots.profile(plots.profile_info(of_arms(sweep.trials, factors.arms), x=path)), f"factor_{_name(path)}")
    for number, group in enumerate(factors.groups, start=1):
        for first, second in combinations(group.parameters, 2):
            info = plots.profile_info(of_arms(sweep.trials, group.arms), x=first, series=second, panel="arm")
            show(plots.profile(info), f"factors_{number}_{_name(first)}_{_name(second)}")
    means = questions.level_means(sweep.trials, factors.parameters)
    show(means, "factor_levels", percent=["error"], intervals={"error": ("low", "high")})
    display(Markdown(_VARIANCE))
    tables = [_variance(group, table) for group, table in zip(factors.groups, factors.variance, strict=True)]
    show(pd.concat(tables), "factor_variance", percent=["omega2"], intervals={"omega2": ("low", "high")})


def _variance(group: Group, table: pd.DataFrame) -> pd.DataFrame:
    columns = ["term", "df", "omega2", "low", "high", "p", "n", "n_replicates"]
    return table.assign(arms=group.label)[["arms", *columns]].reset_index(drop=True)


def _show_search(sweep: Sweep, factors: Factors) -> None:
    display(Markdown(_SEARCH))
    for path in factors.parameters:
        groups = [group for group in factors.groups if path in group.parameters]
        arms = [arm for group in groups for arm in group.arms]
        rows = of_arms(sweep.trials, arms)
        if is_number(rows[f"params.{path}"]):
            is_log = path in drawn_in_logs(sweep.manifest, arms[0])
            show(plots.slice_plot(plots.slice_info(rows, path=path, log=is_log)), f"factor_{_name(path)}")
        else:
            show(plots.profile(plots.profile_info(rows, x=path)), f"factor_{_name(path)}")
    for arm in factors.arms:
        if pair := questions.numeric_pair(factors, sweep.trials, arm):
            info = plots.response_info(
                sweep.trials, arm=arm, x=pair[0], y=pair[1], marker="", log=drawn_in_logs(sweep.manifest, arm)
            )
            show(plots.response(info), f"factors_{arm}")
    display(Markdown(_IMPORTANCE))
    columns = ["arm", "param", "importance", "shadow", "fraction", "p", "p_holm", "n", "n_left_out", "verdict"]
    show(factors.importance[columns], "factor_importance", percent=["fraction"])


def _name(path: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in path)
