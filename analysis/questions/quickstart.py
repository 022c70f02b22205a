"""What the study ``quickstart`` says of each arm's own learning rate."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.data.frames import Sweep
from sweep.findings.summary import metric_label

LEARNING_RATE = "optimizer.lr"


def best_values(sweep: Sweep, *, path: str = LEARNING_RATE) -> pd.DataFrame:
    """Find what the best trial of each arm drew.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        path: dotted path of a number that was drawn.

    Returns:
        One row an arm with a completed trial: ``arm``, ``n`` (completed), ``best_trial`` (by the metric that the study
        ranks by, last epoch), ``best`` (its value of ``path``), ``lowest`` and ``highest`` (drawn by all trials of the
        arm), ``at_edge`` (no trial drew lower, or none higher: the best may lie beyond) and ``error`` (its validation
        top-1 error, a fraction).
    """
    metric = sweep.manifest["study"].get("metric", "val_nll")
    metric_label(metric)
    column = f"params.{path}"
    done = sweep.trials[sweep.trials[f"final_{metric}"].notna()] if column in sweep.trials else sweep.trials.iloc[:0]
    rows: list[dict[str, Any]] = []
    for arm, own in done.groupby("arm", observed=True):
        drawn = sweep.trials.loc[sweep.trials["arm"] == arm, column].astype(float)
        best = own.sort_values(f"final_{metric}", kind="stable").iloc[0]
        ends = {"lowest": drawn.min(), "highest": drawn.max()}
        rows.append(
            {
                **{"arm": str(arm), "n": len(own), "best_trial": best["trial"], "best": best[column], **ends},
                **{"at_edge": best[column] in ends.values(), "error": best["final_val_top1_error"]},
            }
        )
    columns = ["arm", "n", "best_trial", "best", "lowest", "highest", "at_edge", "error"]
    return pd.DataFrame(rows, columns=columns)


def verdict(best: pd.DataFrame) -> str:
    """Say in a sentence whether the range of what was drawn was wide enough.

    Args:
        best: from :func:`best_values`.
    """
    if best.empty:
        return "No completed trial has drawn a learning rate, so no arm has a best one yet."
    edge = best["arm"][best["at_edge"]]
    if edge.empty:
        return "The best learning rate of every arm lies between others that were tried."
    return (
        f"The best learning rate of {', '.join(edge)} is the lowest or the highest tried: a better one may lie beyond."
    )
