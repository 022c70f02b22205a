"""A table of the paper, filled with own values: one row per published number, run or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.frames import Sweep, load
from analysis.published.comparison import own_change
from analysis.published.differences import differences
from analysis.published.numbers import BASELINE, load_published, published_name, training_of
from analysis.published.own_values import OwnValue, own_values
from analysis.published.quantities import QUANTITIES, published_metrics

MEASURED, MISSING, NOT_RUN = "measured", "not measured yet", "not run"
"""State of a row."""

COLUMNS = [
    *("study", "dataset", "model", "arm", "metric", "state", "own", "low", "high", "n", "n_trials"),
    *("published", "published_seeds", "own_change", "change_low", "change_high", "published_change"),
    *("not_comparable", "differs", "why", "source"),
]


def fill_table(
    sweeps: Mapping[str, Sweep],
    studies: Mapping[str, Mapping[str, Any]],
    *,
    tables: Sequence[str],
    not_run: Iterable[Mapping[str, Any]] = (),
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Set own values beside the published numbers of a table.

    Args:
        sweeps: the sweeps that have begun, by study; loaded with ``phase="search"``.
        studies: for each study its ``dataset``, ``model``, ``arms`` and ``metrics``, as in the file of a table.
        tables: numbers of the published tables whose rows must all appear.
        not_run: published numbers that are not computed again: ``why``, and the ``dataset``, ``model`` and ``arm`` that
            they have; None: any.
        published: published numbers; None loads them.

    Returns:
        One row per study, quantity and arm, then one row per published number that is not run: ``study``, ``dataset``
        and ``model`` (as published), ``arm``, ``metric``, ``state``, ``own`` with its 95 % t interval ``low`` to
        ``high`` (%), ``n`` (searches or seeds), ``n_trials``, ``published`` (%; NaN: no such number), its
        ``published_seeds``, ``own_change`` with ``change_low`` and ``change_high``, and ``published_change`` (points,
        from ``off``), ``not_comparable`` (a list: differences because of which the two numbers are not comparable),
        ``differs`` (a list: all other differences), ``why`` (the reason of a row without a value), ``source``.
    """
    published = load_published() if published is None else published
    rows: list[dict[str, Any]] = []
    for name, study in studies.items():
        own = own_values(sweeps[name], study["metrics"]) if name in sweeps else []
        lacking = _lacking(sweeps[name], study["metrics"]) if name in sweeps else {}
        for metric in study["metrics"]:
            of_metric = [value for value in own if value.metric == metric and value.arm in study["arms"]]
            rows += _of_quantity(name, study, metric, of_metric, published, lacking)
    rows += _not_run(studies, tables, list(not_run), published)
    return pd.DataFrame(rows, columns=COLUMNS)


def fill_folders(
    folders: Mapping[str, Path],
    studies: Mapping[str, Mapping[str, Any]],
    *,
    tables: Sequence[str],
    not_run: Iterable[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """Set own values beside the published numbers of a table, see :func:`fill_table`.

    Args:
        folders: folders of the sweeps that have begun, by study.
        studies: as for :func:`fill_table`.
        tables: as for :func:`fill_table`.
        not_run: as for :func:`fill_table`.
    """
    sweeps = {name: load(folder) for name, folder in folders.items()}
    return fill_table(sweeps, studies, tables=tables, not_run=not_run)


def _of_quantity(
    name: str,
    study: Mapping[str, Any],
    metric: str,
    own: list[OwnValue],
    published: pd.DataFrame,
    lacking: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one quantity, one per arm."""
    dataset = QUANTITIES[metric].dataset or study["dataset"]
    numbers = {
        arm: _published(published, dataset, study["model"], published_name(arm), metric) for arm in study["arms"]
    }
    baseline = numbers.get(BASELINE)
    by_arm = {value.arm: value for value in own}
    for arm in study["arms"]:
        number = numbers[arm]
        row: dict[str, Any] = {"study": name, "dataset": dataset, "model": study["model"], "arm": arm}
        row |= {"metric": metric, "state": MISSING, "not_comparable": [], "differs": [], "why": "", "source": ""}
        if number is not None:
            change = math.nan if baseline is None else number["value"] - baseline["value"]
            row |= {"published": number["value"], "published_seeds": number["n_seeds"], "source": number["source"]}
            row |= {"published_change": change}
            if QUANTITIES[metric].dataset:
                trained = {"dataset": study["dataset"], "model": study["model"], "arm": published_name(arm)}
                number |= training_of(published, **trained)
        if arm in by_arm:
            row |= _own(by_arm[arm], own, number, study["dataset"])
        elif metric in lacking:
            row["why"] = lacking[metric]
        yield row


def _lacking(sweep: Sweep, metrics: Sequence[str]) -> dict[str, str]:
    """Return why a quantity has no value although its axis was measured, by quantity."""
    reasons = {}
    for metric in metrics:
        quantity = QUANTITIES[metric]
        rows = sweep.evaluations[sweep.evaluations["axis"] == quantity.axis]
        recorded = set(rows.loc[rows["metric"] == quantity.metric, "setting"])
        absent = set(quantity.conditions) - recorded
        if len(rows) and absent and not set(quantity.either) & recorded:
            conditions = ", ".join(sorted(absent - {""})) or quantity.metric
            reasons[metric] = f"{metric} has no value: the axis {quantity.axis} recorded nothing for {conditions}"
    return reasons


def _own(value: OwnValue, own: list[OwnValue], number: Mapping[str, Any] | None, trained_on: str) -> dict[str, Any]:
    estimate = dict(zip(("own", "low", "high"), value.estimate, strict=True))
    change = dict(zip(("own_change", "change_low", "change_high"), own_change(value, own), strict=True))
    found = [] if number is None else list(differences(value, number, trained_on=trained_on))
    return {
        **{"state": MEASURED, "n": len(value.units), "n_trials": value.n_trials, **estimate, **change},
        "not_comparable": [each.text for each in found if each.decides],
        "differs": [each.text for each in found if not each.decides],
    }


def _published(published: pd.DataFrame, dataset: str, model: str, arm: str, metric: str) -> dict[str, Any] | None:
    """Return a published number, or the mean of those that a quantity is compared with; None if one is missing."""
    metrics = published_metrics(metric)
    rows = published[
        (published["dataset"] == dataset)
        & (published["model"] == model)
        & (published["arm"] == arm)
        & published["metric"].isin(metrics)
    ]
    if len(rows) < len(metrics):
        return None
    first: dict[str, Any] = {str(key): value for key, value in rows.iloc[0].items()}
    return {**first, "value": float(rows["value"].mean())}


def _not_run(
    studies: Mapping[str, Mapping[str, Any]],
    tables: Sequence[str],
    not_run: Sequence[Mapping[str, Any]],
    published: pd.DataFrame,
) -> Iterator[dict[str, Any]]:
    """Yield the published numbers of the tables that no study computes again."""
    run = {
        (QUANTITIES[metric].dataset or study["dataset"], study["model"], published_name(arm), number)
        for study in studies.values()
        for metric in study["metrics"]
        for number in published_metrics(metric)
        for arm in study["arms"]
    }
    table = published["source"].str.extract(r"Table (\w+)$")[0]
    for row in published[table.isin(tables)].to_dict("records"):
        if (row["dataset"], row["model"], row["arm"], row["metric"]) in run:
            continue
        reasons = [each["why"] for each in not_run if _includes(each, row)]
        yield {
            **{key: row[key] for key in ("dataset", "model", "arm", "metric", "source")},
            **{"study": "", "state": NOT_RUN, "published": row["value"], "published_seeds": row["n_seeds"]},
            **{"not_comparable": [], "differs": [], "why": reasons[0] if reasons else "no study of the table has it"},
        }


def _includes(reason: Mapping[str, Any], row: Mapping[Any, Any]) -> bool:
    return all(reason.get(key) in (None, row[key]) for key in ("dataset", "model", "arm"))


def why_not_comparable(frame: pd.DataFrame) -> list[str]:
    """Return the differences because of which own values of a filled table are not comparable with the paper's.

    Examples:
        >>> why_not_comparable(pd.DataFrame({"not_comparable": [["2 epochs, not 300"], []]}))
        ['2 epochs, not 300']
    """
    return list(dict.fromkeys(text for texts in frame["not_comparable"] for text in texts))
