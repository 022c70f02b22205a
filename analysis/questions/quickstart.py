"""Answers of the study ``quickstart``: the best learning rate of each arm."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.data.frames import Sweep
from sweep.findings.summary import metric_label

LEARNING_RATE = "optimizer.lr"


def best_values(sweep: Sweep, *, path: str = LEARNING_RATE) -> pd.DataFrame:
    """Find the parameter of the best trial of each search.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        path: dotted path of a number.

    Returns:
        One row per arm and search with a completed trial that samples the parameter: ``arm``, ``search`` (index), ``n``
        (completed), ``best_trial`` (by the metric that the study ranks by, last epoch), ``best`` (its value of
        ``path``), ``lowest`` and ``highest`` (values of all trials of the arm), ``at_edge`` (whether ``best`` is the
        lowest or the highest) and ``error`` (validation top-1 error of the best trial, a fraction).
    """
    metric = sweep.manifest["study"].get("metric", "val_nll")
    metric_label(metric)
    column = f"params.{path}"
    done = sweep.trials[sweep.trials[f"final_{metric}"].notna()] if column in sweep.trials else sweep.trials.iloc[:0]
    done = done.dropna(subset=[column]) if len(done) else done
    rows: list[dict[str, Any]] = []
    for (arm, search), completed in done.groupby(["arm", "search"], observed=True):
        values = sweep.trials.loc[sweep.trials["arm"] == arm, column].astype(float)
        best = completed.sort_values(f"final_{metric}", kind="stable").iloc[0]
        ends = {"lowest": values.min(), "highest": values.max()}
        at_edge = best[column] in ends.values()
        row = {"arm": str(arm), "search": search, "n": len(completed), "best_trial": best["trial"]}
        row |= {"best": best[column], **ends, "at_edge": at_edge, "error": best["final_val_top1_error"]}
        rows.append(row)
    columns = ["arm", "search", "n", "best_trial", "best", "lowest", "highest", "at_edge", "error"]
    return pd.DataFrame(rows, columns=columns)


def best_table(best: pd.DataFrame) -> pd.DataFrame:
    """Return one row per arm with the best values of its searches.

    Args:
        best: from :func:`best_values`.

    Returns:
        Columns ``arm``, ``searches`` (number), ``best`` (text: the values in the order of the searches), ``lowest`` and
        ``highest`` (values of all trials of the arm), and ``at_edge`` (number of searches).
    """
    return (
        best.groupby("arm", sort=False)
        .agg(
            searches=("search", "size"),
            best=("best", lambda values: ", ".join(f"{value:.3g}" for value in values)),
            lowest=("lowest", "first"),
            highest=("highest", "first"),
            at_edge=("at_edge", "sum"),
        )
        .reset_index()
    )


def verdict(best: pd.DataFrame) -> str:
    """Return one sentence on whether the range of learning rates was wide enough.

    Args:
        best: from :func:`best_values`.
    """
    if best.empty:
        return "No completed trial has varied the learning rate, so no arm has a best one yet."
    edge = best["arm"][best["at_edge"]].unique()
    if not len(edge):
        return "The best learning rate of each search lies between others that were tried."
    return (
        f"The best learning rate of {', '.join(edge)} is the lowest or the highest tried; a better one may lie beyond."
    )
