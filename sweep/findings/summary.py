"""Results of a sweep arm by arm: a table and a sentence, shared by command line and analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweep.records.schema import COMPLETED, LIVING, STATUSES

PLANNED_EPOCHS = "config.optimizer.max_epochs"
"""Column of the trials frame with the planned epochs of a trial."""

MIN_COMPLETED = 3
"""Completed trials that each arm needs before medians are compared: a median of two is only their mean."""


class Metric(NamedTuple):
    """Name and unit of a recorded metric in texts.

    Attributes:
        name: name in a sentence.
        factor: factor from the recorded value to the unit.
        unit: unit in which values are printed; empty if there is none.

    Examples:
        >>> metric_label("val_top1_error").text(0.1234)
        '12.3 %'
    """

    name: str
    factor: float
    unit: str

    def label(self) -> str:
        """Return the name with its unit, as in a plot: ``validation top-1 error (%)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def difference_unit(self) -> str:
        """Unit of a difference between two values: two percentages differ in points."""
        return "points" if self.unit == "%" else self.unit

    def text(self, value: float) -> str:
        """Return a recorded value with its unit, as in a sentence: ``12.3 %``."""
        return f"{value * self.factor:.3g} {self.unit}".rstrip()


METRICS = {
    "val_top1_error": Metric("validation top-1 error", 100.0, "%"),
    "val_top5_error": Metric("validation top-5 error", 100.0, "%"),
    "val_nll": Metric("validation NLL", 1.0, "nats"),
    "val_ece": Metric("validation ECE", 100.0, "%"),
}
"""Metrics of an epoch by which trials are compared; all are better when lower."""


def metric_label(metric: str) -> Metric:
    """Return name and unit of a metric in texts.

    Raises:
        ValueError: the metric is not recorded.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}, choose one of {', '.join(METRICS)}")
    return METRICS[metric]


def final_epochs(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``epochs`` of completed trials at their last planned epoch, indexed by trial.

    The last planned epoch, never the best one: the lowest of several noisy values is too optimistic.
    """
    completed = trials.loc[trials["status"] == COMPLETED]
    planned = completed.set_index("trial").reindex(columns=[PLANNED_EPOCHS])[PLANNED_EPOCHS]
    numbers, names = pd.factorize(epochs["trial"])  # one look-up per trial instead of one per row
    is_final: np.ndarray = epochs["epoch"].to_numpy() == planned.reindex(names).to_numpy()[numbers]
    return epochs.loc[is_final].set_index("trial")


def baseline_arm(study: Mapping[str, Any]) -> str:
    """Return the arm that the others are compared with: the study's ``reference``, otherwise its first arm.

    Args:
        study: a study as it is recorded in a manifest; records without ``reference`` mean the first arm.

    Examples:
        >>> baseline_arm({"arms": {"off": {}, "cutmix": {}}})
        'off'
        >>> baseline_arm({"arms": {"off": {}, "cutmix": {}}, "reference": "cutmix"})
        'cutmix'
    """
    return str(study.get("reference") or next(iter(study["arms"])))


def uncensored_trials(manifest: Mapping[str, Any], trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that no rule could stop: all trials if the study has no rule, otherwise the control trials.

    The rule selected the other trials that ran to the end, so they make the rule look better than it is.
    """
    if manifest["study"]["budget"]["early_stopping"]["rule"] == "none":
        return trials
    return trials[trials["control"] == 1]  # null in records of older versions


def summarise_arms(trials: pd.DataFrame, epochs: pd.DataFrame, *, metric: str = "val_top1_error") -> pd.DataFrame:
    """Summarise each arm in one row, at any instant of a sweep.

    Args:
        trials: one row per trial, from ``read_sweep``.
        epochs: one row per trial and epoch.
        metric: column of ``epochs`` that ranks trials, lower is better.

    Returns:
        One row per arm, in order of first appearance: ``arm``, ``n_trials``, ``n_<status>`` for each status,
        ``n_seeds`` (distinct), ``epochs`` (trained by all trials of the arm), ``best`` and ``median`` (of the final
        ``metric`` of completed trials), ``best_trial``, its final ``val_nll`` and ``val_ece``, ``seconds``
        (of all these epochs). Without a completed trial the values are NaN and the best trial is None.
    """
    metric_label(metric)
    final = final_epochs(trials, epochs)
    rows = [_arm_row(str(arm), trials[trials["arm"] == arm], epochs, final, metric) for arm in trials["arm"].unique()]
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("arm", "n_trials", *(f"n_{status}" for status in STATUSES), "n_seeds", "epochs"),
    *("best", "best_trial", "median", "val_nll", "val_ece", "seconds"),
]


def _arm_row(arm: str, trials: pd.DataFrame, epochs: pd.DataFrame, final: pd.DataFrame, metric: str) -> dict[str, Any]:
    arm_epochs = epochs[epochs["trial"].isin(trials["trial"])]
    return {
        "arm": arm,
        "n_trials": len(trials),
        **{f"n_{status}": int((trials["status"] == status).sum()) for status in STATUSES},
        "n_seeds": trials["seed"].nunique(),
        "epochs": len(arm_epochs),
        "seconds": arm_epochs["seconds"].sum(),
        **_best(final[final.index.isin(trials["trial"])], metric),
    }


def _best(final: pd.DataFrame, metric: str) -> dict[str, Any]:
    if final[metric].isna().all():
        return {"best_trial": None} | dict.fromkeys(("best", "median", "val_nll", "val_ece"), np.nan)
    best = final.sort_values(metric, kind="stable").iloc[0]
    return {
        "best": best[metric],
        "best_trial": best.name,
        "median": final[metric].median(),
        "val_nll": best["val_nll"],
        "val_ece": best["val_ece"],
    }


def verdict(summary: pd.DataFrame, *, metric: str = "val_top1_error", unfinished: bool = False) -> str:
    """Return the verdict of a search: the arm with trials of the lowest error so far, and the limits of this result.

    It describes the trials that were run. It claims nothing about the arms, because the trials select.

    Args:
        summary: from ``summarise_arms``, for the same ``metric``.
        metric: metric of ``best`` and ``median``.
        unfinished: whether trials are left to run that ``summary`` does not show, because they have not begun.
    """
    unfinished = unfinished or _n_living(summary) > 0
    label = metric_label(metric)
    arms = summary[summary["median"].notna()]
    if arms.empty:
        return _no_result(summary, unfinished=unfinished)
    if len(arms) == 1:
        return _one_arm(arms.iloc[0], len(summary), label)
    so_far = "So far" if unfinished else "Among completed trials"
    result = f"{so_far}, {_lowest(arms, label)}. {_CAVEAT}"
    if few := list(summary["arm"][summary["n_completed"] < MIN_COMPLETED]):
        have = "has" if len(few) == 1 else "have"
        return f"{result} {list_names(few)} {have} fewer than {MIN_COMPLETED} completed trials: too few to compare."
    return result


_CAVEAT = "This is validation data after selection, not a confirmed result."


def _n_living(summary: pd.DataFrame) -> int:
    return int(summary[[f"n_{status}" for status in LIVING]].to_numpy().sum())


def _no_result(summary: pd.DataFrame, *, unfinished: bool) -> str:
    n_trials = int(summary["n_trials"].sum())
    if not n_trials or unfinished:
        return "No trial has completed yet; there is no result to compare."
    counts = {status: int(summary[f"n_{status}"].sum()) for status in STATUSES}
    if n_trials in counts.values():
        status = next(status for status, count in counts.items() if count)
        trials = f"All {n_trials} trials" if n_trials > 1 else "The only trial"
        return f"{trials} {status}; there is no result to compare."
    ended = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"None of the {n_trials} trials completed ({ended}); there is no result to compare."


def _one_arm(arm: pd.Series[Any], n_arms: int, label: Metric) -> str:
    alone = "the only arm" if n_arms == 1 else "the only arm with completed trials"
    return (
        f"Arm {arm['arm']} is {alone} (n = {arm['n_completed']}, median {label.name} {label.text(arm['median'])}, "
        f"lowest {label.text(arm['best'])}); there is nothing to compare it with. {_CAVEAT}"
    )


def _lowest(arms: pd.DataFrame, label: Metric) -> str:
    # a median of two values is rounded: equal counts of errors may differ in the last digit
    by_median, by_best = (
        arms[np.isclose(arms[column], arms[column].min(), rtol=1e-9, atol=0)] for column in ("median", "best")
    )
    median, best = label.text(by_median["median"].iloc[0]), label.text(by_best["best"].iloc[0])
    same = list(by_median["arm"]) == list(by_best["arm"])
    return (
        f"{_named(by_median)} the lowest median {label.name} ({median}) and "
        f"{'also' if same else _named(by_best)} the lowest single value ({best})"
    )


def _named(arms: pd.DataFrame) -> str:
    names = [f"{arm} (n = {n})" for arm, n in zip(arms["arm"], arms["n_completed"], strict=True)]
    return f"the trials of {list_names(names)} {'have' if len(names) == 1 else 'share'}"


def list_names(names: Sequence[str]) -> str:
    """Return names as a list in a sentence.

    Examples:
        >>> list_names(["off", "cutmix", "mixup"])
        'off, cutmix and mixup'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
