"""Own values of a sweep beside published numbers."""

from __future__ import annotations

import math

import pandas as pd

from analysis.data.frames import Sweep
from analysis.published.differences import dataset_of, differences
from analysis.published.numbers import BASELINE, load_published, published_name, training_of
from analysis.published.own_values import OwnValue, own_values
from analysis.published.quantities import QUANTITIES

COLUMNS = [
    *("arm", "metric", "own", "low", "high", "seeds", "published", "published_model"),
    *("own_change", "change_low", "change_high", "published_change", "differs", "source"),
]


def compare_to_published(
    sweep: Sweep, *, dataset: str | None = None, published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Compare the test values of a sweep with published numbers of the same data set and arm.

    Test values are the errors of a confirmation, and what ``cutmix-sweep evaluate`` measured: localization, robustness,
    OOD detection, transfer. Absolute values are rarely comparable. The changes ``own_change`` and ``published_change``,
    each from the arm ``off`` that was trained in the same way, are more comparable. Numbers that the source copied from
    another paper have no such ``off``.

    Args:
        sweep: a sweep, loaded with ``phase="confirm"``, or with ``phase="search"`` if nothing varies in its arms.
        dataset: name of the data set in the published table; None uses the data source of the sweep.
        published: published numbers with the columns of :func:`load_published`; None loads them.

    Returns:
        One row per quantity, configuration and published network, in the study's order of arms; with several searches
        per arm, one row per arm, over the winners of its searches. Columns: ``arm``, ``metric``, ``own`` (mean, %),
        ``low`` and ``high`` (its 95 % t interval over seeds, or over searches, cut at 0 and 100), ``seeds``,
        ``published`` (%), ``published_model``, ``own_change`` and ``published_change`` (points, from ``off``; NaN
        without that arm), ``change_low`` and ``change_high`` (95 % t interval of the paired differences),
        ``differs`` (differences in training), ``source``. If several configurations of ``off`` were confirmed,
        ``own_change`` is from their mean. If the network of the sweep was published, only its rows are returned. Empty
        if no number was published.

    Raises:
        ValueError: no test values, or trials of several data sets.
    """
    own = own_values(sweep)
    if not own:
        raise ValueError("no test values: load a confirmed sweep with phase='confirm' (cutmix-sweep confirm DIR)")
    published = load_published() if published is None else published
    name = _dataset(own) if dataset is None else dataset
    rows = []
    for metric in dict.fromkeys(value.metric for value in own):
        of_metric = [value for value in own if value.metric == metric]
        rows += _rows(of_metric, published, name)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(own: list[OwnValue], published: pd.DataFrame, dataset: str) -> list[dict[str, object]]:
    """Return the rows of one quantity."""
    metric = own[0].metric
    in_published = QUANTITIES[metric].dataset or dataset
    numbers = published[(published["metric"] == metric) & (published["dataset"] == in_published)]
    models = {value.first["config.model.name"] for value in own}
    if (same := numbers["model"].isin(models)).any():
        numbers = numbers[same]
    own_recipe = numbers[(numbers["arm"] == BASELINE) & (numbers["taken_from"] == "")]
    baselines = own_recipe.groupby("model")["value"].mean()
    rows = []
    for value in own:
        mean, low, high = value.estimate
        change = own_change(value, own)
        for row in numbers[numbers["arm"] == published_name(value.arm)].to_dict("records"):
            published_change = math.nan if row["taken_from"] else row["value"] - baselines.get(row["model"], math.nan)
            trained = (
                training_of(published, dataset=dataset, model=row["model"], arm=row["arm"])
                if QUANTITIES[metric].dataset
                else {}
            )
            texts = [each.text for each in differences(value, row | trained, trained_on=None)]
            rows.append(
                {
                    **{"arm": value.arm, "metric": metric, "own": mean, "low": low, "high": high},
                    **{"seeds": value.n_trials, "published": row["value"], "published_model": row["model"]},
                    **dict(zip(("own_change", "change_low", "change_high"), change, strict=True)),
                    **{"published_change": published_change, "differs": "; ".join(texts), "source": row["source"]},
                }
            )
    return rows


def own_change(value: OwnValue, own: list[OwnValue]) -> tuple[float, float, float]:
    """Return the change of a value from the baseline, in points, with its interval.

    Args:
        value: the value.
        own: all values of the quantity, with those of the baseline.
    """
    baselines = [each for each in own if each.arm == BASELINE]
    if len(baselines) > 1:  # several configurations were confirmed
        mean = sum(each.estimate[0] for each in baselines) / len(baselines)
        return value.estimate[0] - mean, math.nan, math.nan
    return value.change_from(baselines[0] if baselines else None)


def _dataset(own: list[OwnValue]) -> str:
    names = list(dict.fromkeys(dataset_of(value.first["config.data.source"]) for value in own))
    if len(names) > 1:
        raise ValueError(f"the trials have several data sets ({', '.join(names)}): pass dataset")
    return names[0]
