"""What a sweep's records say arm by arm: a table and a sentence, shared by command line and analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweep.records.schema import COMPLETED, LIVING, STATUSES

PLANNED_EPOCHS = "config.optimizer.max_epochs"
"""Column of the trials frame with the planned epochs of a trial."""

MIN_COMPLETED = 3
"""Completed trials that each arm needs before medians are compared: a median of two is no median."""


class Metric(NamedTuple):
    """How a recorded metric is called and printed."""

    name: str
    factor: float
    unit: str

    def label(self) -> str:
        """Name with its unit, as on an axis: ``validation top-1 error (%)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def difference_unit(self) -> str:
        """Unit of a difference of two values: two percentages differ in points."""
        return "points" if self.unit == "%" else self.unit

    def text(self, value: float) -> str:
        """One value with its unit, as in a sentence: ``12.3 %``."""
        return f"{value * self.factor:.3g} {self.unit}".rstrip()


METRICS = {
    "val_top1_error": Metric("validation top-1 error", 100.0, "%"),
    "val_top5_error": Metric("validation top-5 error", 100.0, "%"),
    "val_nll": Metric("validation NLL", 1.0, "nats"),
    "val_ece": Metric("validation ECE", 100.0, "%"),
}
"""Metrics of an epoch by which trials are compared; all are better when lower."""


def metric_label(metric: str) -> Metric:
    """Return how ``metric`` is called and printed.

    Raises:
        ValueError: it is not recorded.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}, choose one of {', '.join(METRICS)}")
    return METRICS[metric]


def final_epochs(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the epochs' rows of completed trials at their last planned epoch, indexed by trial.

    The last planned epoch, never the best one: an epoch chosen by the value it is judged by flatters noise.
    """
    completed = trials.loc[trials["status"] == COMPLETED]
    planned = completed.set_index("trial").reindex(columns=[PLANNED_EPOCHS])[PLANNED_EPOCHS]
    numbers, names = pd.factorize(epochs["trial"])  # one look a trial, not a row
    is_final: np.ndarray = epochs["epoch"].to_numpy() == planned.reindex(names).to_numpy()[numbers]
    return epochs.loc[is_final].set_index("trial")


def baseline_arm(study: Mapping[str, Any]) -> str:
    """Return the arm that the others are compared with: the study's ``reference``, otherwise its first arm.

    Args:
        study: a study as it is recorded in a manifest; records without ``reference`` mean the first arm.

    Example:
        >>> baseline_arm({"arms": {"off": {}, "cutmix": {}}})
        'off'
        >>> baseline_arm({"arms": {"off": {}, "cutmix": {}}, "reference": "cutmix"})
        'cutmix'
    """
    return str(study.get("reference") or next(iter(study["arms"])))


def uncensored_trials(manifest: Mapping[str, Any], trials: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trials that early stopping had no say in: all where the study has none, else the controls.

    Other survivors were chosen by the rule, by what they showed, and would flatter it.
    """
    if manifest["study"]["budget"]["early_stopping"]["rule"] == "none":
        return trials
    return trials[trials["control"] == 1]  # null in records of older programs


def summarise_arms(trials: pd.DataFrame, epochs: pd.DataFrame, *, metric: str = "val_top1_error") -> pd.DataFrame:
    """Summarise each arm in one row, at any instant of a sweep.

    Args:
        trials: one row a trial, as from ``read_sweep``.
        epochs: one row a trial and epoch.
        metric: column of ``epochs`` that ranks trials, lower is better.

    Returns:
        One row an arm, in order of first appearance: ``arm``, ``n_trials``, ``n_<status>`` for each status,
        ``n_seeds`` (distinct), ``epochs`` (trained by all its trials), ``best`` and ``median`` (of the final
        ``metric`` of completed trials), ``best_trial``, its final ``val_nll`` and ``val_ece``, ``seconds``
        (of all those epochs). Without a completed trial the values are nan and the best trial is None.
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
    own = epochs[epochs["trial"].isin(trials["trial"])]
    return {
        "arm": arm,
        "n_trials": len(trials),
        **{f"n_{status}": int((trials["status"] == status).sum()) for status in STATUSES},
        "n_seeds": trials["seed"].nunique(),
        "epochs": len(own),
        "seconds": own["seconds"].sum(),
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


def verdict(summary: pd.DataFrame, *, metric: str = "val_top1_error") -> str:
    """Say in one sentence which arm is ahead and how little that proves.

    Args:
        summary: from ``summarise_arms``, of the same ``metric``.
        metric: what ``best`` and ``median`` are.
    """
    words = metric_label(metric)
    arms = summary[summary["median"].notna()]
    if arms.empty:
        return "No trial has completed yet, so nothing can be said about the arms."
    if len(arms) == 1:
        return _one_arm(arms.iloc[0], len(summary), words)
    so_far = "So far" if summary[[f"n_{status}" for status in LIVING]].to_numpy().sum() else "Among completed trials"
    ahead = f"{so_far}, {_lowest(arms, words)}; this is a look at validation data after selection"
    if few := list(summary["arm"][summary["n_completed"] < MIN_COMPLETED]):
        return (
            f"{ahead}, with fewer than {MIN_COMPLETED} completed trials of {_list(few)}: "
            "too few to compare, and not a confirmed result."
        )
    return f"{ahead}, not a confirmed result."


def _one_arm(arm: pd.Series[Any], n_arms: int, words: Metric) -> str:
    alone = "the only arm" if n_arms == 1 else "the only arm with completed trials"
    return (
        f"Arm {arm['arm']} is {alone} (n = {arm['n_completed']}, median {words.name} "
        f"{words.text(arm['median'])}, lowest {words.text(arm['best'])}), so there is nothing to compare it "
        "with; this is a look at validation data after selection, not a confirmed result."
    )


def _lowest(arms: pd.DataFrame, words: Metric) -> str:
    # a median of two rounds: equal counts of errors may differ in their last digit
    by_median, by_best = (
        arms[np.isclose(arms[column], arms[column].min(), rtol=1e-9, atol=0)] for column in ("median", "best")
    )
    median, best = words.text(by_median["median"].iloc[0]), words.text(by_best["best"].iloc[0])
    same = list(by_median["arm"]) == list(by_best["arm"])
    return (
        f"{_named(by_median)} the lowest median {words.name} ({median}) and "
        f"{'also' if same else _named(by_best)} the lowest single one ({best})"
    )


def _named(arms: pd.DataFrame) -> str:
    names = [f"{arm} (n = {n})" for arm, n in zip(arms["arm"], arms["n_completed"], strict=True)]
    return f"arm {names[0]} has" if len(names) == 1 else f"arms {_list(names)} share"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
