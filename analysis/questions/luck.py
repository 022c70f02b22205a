"""How much of a confirmed result is luck: tables and sentences on the searches of each arm and on their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.replication import PLURALS, SEARCH
from analysis.plots.best_of import EQUAL, ORDER, SUBSETS
from analysis.statistics import means
from sweep.findings.wording import LUCK_UNKNOWN

NOT_SEPARABLE = (
    "Searches and seeds are not separable with 1 seed per search; `confirm.seeds: 2` or more separates them."
)

_BEST_OF: Mapping[str, str] = {
    SUBSETS: "For {arms}, it is the mean over all subsets of n trials of a search, without replacement (after Dodge et "
    "al., EMNLP 2019), which is unbiased for independent trials.",
    ORDER: "For {arms}, it is what each search had found after its first n trials: a rule stopped trials, or later "
    "trials depend on earlier ones, so a subset of the trials is not what a shorter search would be.",
    EQUAL: "For {arms}, nothing varies: no configuration is best, and the line is the mean of the trials.",
}


def has_luck(winners: pd.DataFrame) -> bool:
    """Return whether a search selected a confirmed configuration, so that its luck is a question.

    Args:
        winners: from :func:`analysis.data.winners.winners`.
    """
    return bool(winners["is_searched"].any())


def winner_table(winners: pd.DataFrame) -> pd.DataFrame:
    """Summarise the winners of each arm in one row.

    Args:
        winners: from :func:`analysis.data.winners.winners`.

    Returns:
        ``arm``, ``unit`` with its number ``n``, ``error`` (mean test top-1 error) with its 95 % t interval
        ``error_low`` and ``error_high``, ``lowest`` and ``highest`` (test errors of single units), ``validation`` (mean
        validation error of the winners in their searches) and ``optimism`` (test minus validation error) with
        ``optimism_low`` and ``optimism_high``; NaN for one winner, whose validation error is one number.
    """
    several = winners["unit"].eq(SEARCH)
    gap = (winners["error"] - winners["validation"]).where(several)
    rows = winners.assign(optimism=gap)
    error, optimism = (
        means(rows, value=value).set_index("arm")[["n", "estimate", "low", "high"]] for value in ("error", "optimism")
    )
    of_arm = rows.groupby("arm", observed=True, sort=False)
    table = pd.DataFrame(
        {
            **{"unit": of_arm["unit"].first(), "n": error["n"], "error": error["estimate"]},
            **{"error_low": error["low"], "error_high": error["high"]},
            **{"lowest": of_arm["error"].min(), "highest": of_arm["error"].max()},
            **{"validation": of_arm["validation"].mean(), "optimism": optimism["estimate"]},
            **{"optimism_low": optimism["low"], "optimism_high": optimism["high"]},
        }
    )
    return table.rename_axis("arm").reset_index()


def spread_table(spread: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: standard deviations in points, each with its interval.

    Args:
        spread: from :func:`analysis.plots.spread_info`.
    """
    names = {name: f"{name} (points)" for name in ("values", "searches", "seeds")}
    cells = {new: [_interval(row, name) for row in spread.to_dict("records")] for name, new in names.items()}
    return spread[["arm", "n_searches", "n_seeds"]].assign(**cells)


def describe_best_of(info: pd.DataFrame) -> str:
    """Return sentences: how the expected error of the best of n trials was estimated, and what its interval is.

    Args:
        info: from :func:`analysis.plots.best_of_info`.
    """
    arms = {str(how): list(dict.fromkeys(rows["arm"].astype(str))) for how, rows in info.groupby("how")}
    parts = [text.format(arms=", ".join(arms[how])) for how, text in _BEST_OF.items() if how in arms]
    if (info["n_searches"] > 1).any():
        parts.append("Intervals are Student's t over searches.")
    elif SUBSETS in arms:
        parts.append(
            "With one search, the interval is the jackknife of its trials. It ends where fewer than three disjoint "
            "groups of n trials are left: beyond, one search shows too little of its own luck."
        )
    elif ORDER in arms:
        parts.append("One search has one such line, without an interval.")
    return " ".join(parts)


def sentences(winners: pd.DataFrame, spread: pd.DataFrame) -> list[str]:
    """Return what the spread of the winners means, one sentence per searched arm, then one on what is not known.

    Args:
        winners: from :func:`analysis.data.winners.winners`.
        spread: from :func:`analysis.plots.spread_info`.
    """
    searched = winners[winners["is_searched"]]
    arms = [str(arm) for arm in dict.fromkeys(searched["arm"])]
    rows = [row for row in spread.to_dict("records") if str(row["arm"]) in arms]
    if not rows:
        return []
    if winners["unit"].iloc[0] != SEARCH:
        return [*(_of_seeds(row) for row in rows), LUCK_UNKNOWN]
    is_separable = bool(spread["searches"].notna().any())
    errors = {str(arm): 100 * group["error"] for arm, group in searched.groupby("arm", observed=True)}
    lines = [_of_searches(row, errors[str(row["arm"])]) for row in rows]
    return lines if is_separable else [*lines, NOT_SEPARABLE]


def _of_searches(row: Mapping[Any, Any], errors: pd.Series[float]) -> str:
    if len(errors) < 2:
        return f"{row['arm']}: one search has been confirmed so far, so its luck does not show yet."
    head = (
        f"{row['arm']}: the winners of {len(errors)} {PLURALS[SEARCH]} have test errors from {errors.min():.2f} to "
        f"{errors.max():.2f} % (SD {_sd(row, 'values')}). One search would have shown one of these."
    )
    if pd.isna(row["searches"]):
        return head
    parts = f"Searches account for an SD of {_sd(row, 'searches')}, seeds for {_sd(row, 'seeds')}."
    return f"{head} {parts}{'' if row['searches_low'] > 0 else ' Seeds alone could explain this spread.'}"


def _of_seeds(row: Mapping[Any, Any]) -> str:
    return f"{row['arm']}: the seeds of the one winner have an SD of {_sd(row, 'seeds')}, n = {row['n_seeds']} seeds."


def _sd(row: Mapping[Any, Any], column: str) -> str:
    """Print an SD with its interval: ``0.52 points, interval 0.31 to 1.49``."""
    sd, low, high = (100 * row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return "unknown size" if pd.isna(sd) else f"{sd:.2f} points, interval {low:.2f} to {high:.2f}"


def _interval(row: Mapping[Any, Any], column: str) -> str:
    sd, low, high = (100 * row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return "" if pd.isna(sd) else f"{sd:.2f} ({low:.2f} to {high:.2f})"
