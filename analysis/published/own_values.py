"""Own values of the quantities that the paper reports: one per trial, and means per configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.frames import Sweep
from analysis.published.quantities import QUANTITIES, Quantity
from sweep.findings.bounds import bounds_of, cut
from sweep.findings.confirmed import test_values
from sweep.findings.searches import is_searched, unit_of
from sweep.findings.student_t import mean_interval
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.schema import COMPLETED, CONFIRM, WEIGHTS


@dataclass(frozen=True)
class OwnValue:
    """A quantity of one configuration of a sweep.

    Attributes:
        arm: the arm.
        metric: name of the quantity.
        units: value in percent of each search or seed, by its number.
        n_trials: number of trials with a value.
        weights: ``last``, or ``ema`` for averaged weights.
        first: row of its first trial, with its configuration.
        axis_data: data set of the axis, where it has one of its own; otherwise "".
    """

    arm: str
    metric: str
    units: pd.Series[Any]
    n_trials: int
    weights: str
    first: pd.Series[Any]
    axis_data: str

    @property
    def estimate(self) -> tuple[float, float, float]:
        """Mean over the units, with its 95 % t interval, cut at the bounds of a rate; NaN for one unit."""
        mean, low, high = mean_interval(self.units.to_numpy())
        least, most = bounds_of(QUANTITIES[self.metric].metric)
        return mean, *cut(low, high, (100 * least, 100 * most))

    def change_from(self, baseline: OwnValue | None) -> tuple[float, float, float]:
        """Return the mean difference to a baseline over the common units, with its 95 % t interval.

        Without common units it is the difference of the means, without an interval.
        """
        if baseline is None:
            return math.nan, math.nan, math.nan
        differences = (self.units - baseline.units).dropna()
        if differences.empty:
            return self.estimate[0] - baseline.estimate[0], math.nan, math.nan
        return mean_interval(differences.to_numpy())

    @property
    def planned_epochs(self) -> int:
        """Planned epochs of the trials."""
        return int(self.first[PLANNED_EPOCHS])

    @property
    def train_frac(self) -> float:
        """Fraction of the training images that was trained on, without the validation images."""
        return float(self.first["config.data.train_frac"] * (1 - self.first["config.data.val_frac"]))


def own_values(sweep: Sweep, metrics: Iterable[str] = tuple(QUANTITIES)) -> list[OwnValue]:
    """Return the quantities that were measured on the completed trials of a sweep.

    A confirmation gives one value per confirmed configuration, and one per arm if the arm has several searches. Trials
    of a search count only if nothing varies in their arm: then no value selects a configuration.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        metrics: names of quantities.

    Returns:
        Arms in the order of the study.
    """
    trials = sweep.trials[sweep.trials["status"] == COMPLETED]
    if trials.empty:
        return []
    study = sweep.manifest["study"]
    by_search = unit_of(study) == "search"
    if set(trials["phase"]) <= {CONFIRM}:
        trials = trials[trials["rank"] == 1] if by_search else trials
        keys = ["arm"] if by_search else ["arm", "confirms"]
    else:
        fixed = [arm for arm in trials["arm"].unique() if not is_searched(study, str(arm))]
        trials = trials[trials["arm"].isin(fixed)]
        keys, by_search = ["arm"], False
    found = []
    for metric in metrics:
        values = _of_trials(sweep.evaluations, metric, QUANTITIES[metric])
        measured = trials.join(values, on="trial", how="inner")
        for (arm, *_), group in measured.groupby(keys, observed=True, sort=False):
            found.append(_own_value(str(arm), metric, group, "search" if by_search else "replicate"))
    order = {arm: place for place, arm in enumerate(dict.fromkeys(sweep.trials["arm"]))}
    return sorted(found, key=lambda value: order[value.arm])


def _own_value(arm: str, metric: str, trials: pd.DataFrame, unit: str) -> OwnValue:
    first = trials.iloc[0]
    units = trials.groupby(trials[unit].fillna(trials["number"]))["value"].mean()  # older records lack replicates
    return OwnValue(arm, metric, 100 * units, len(trials), first["weights"], first, first["axis_data"])


def _of_trials(evaluations: pd.DataFrame, metric: str, quantity: Quantity) -> pd.DataFrame:
    """Return the fraction of each trial that has the quantity, indexed by trial, with ``weights`` and ``axis_data``."""
    rows = evaluations[
        (evaluations["axis"] == quantity.axis)
        & (evaluations["split"] == "test")
        & (evaluations["metric"] == quantity.metric)
    ]
    chosen = rows[rows["setting"].isin(quantity.either or quantity.conditions)]
    if metric == "top1_error" and not (recorded := test_values(rows)).empty:
        chosen = recorded  # a confirmation measures its trials itself
    if "time_s" in chosen:  # measured again under other settings: the latest value counts
        chosen = chosen.sort_values("time_s", kind="stable").drop_duplicates(["trial", "setting"], keep="last")
    found = list(_weighted(chosen, quantity))
    columns = ["trial", "value", "weights", "axis_data"]
    return pd.DataFrame(found, columns=columns).set_index("trial")


def _weighted(rows: pd.DataFrame, quantity: Quantity) -> Iterator[tuple[Any, ...]]:
    """Yield each trial with its value, its weights and the data of its axis."""
    for trial, of_trial in rows.groupby("trial", sort=False):
        values = of_trial.set_index("setting")["value"]
        axis_data = ""
        if quantity.either:
            condition = next(each for each in quantity.either if each in values)
            value, axis_data = values[condition], condition.rpartition(", ")[2]
        elif set(values.index) <= set(WEIGHTS):  # a confirmation has one value per trial
            value = values.iloc[0]
        elif set(values.index) >= set(quantity.conditions):
            weights = pd.Series(quantity.conditions)
            value = (values * weights).sum() / weights.sum()
        else:
            continue
        used = "ema" if str(of_trial["setting"].iloc[0]).startswith("ema") else "last"
        yield trial, 1 - value if quantity.complement else value, used, axis_data
