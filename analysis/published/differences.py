"""Differences in training between a number of one's own and a published one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.published.numbers import UNKNOWN
from analysis.published.own_values import OwnValue

DATASETS = {"cub": "cub200"}
"""Name among the published numbers of data sources that have another name here."""

LEAST_TRAIN_FRAC = 0.8
"""Smallest fraction of the training images with which a number is still comparable."""


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        text: what differs.
        decides: whether the two numbers are not comparable because of it.
    """

    text: str
    decides: bool = False


def dataset_of(source: str) -> str:
    """Return the name of the data of a source among the published numbers.

    Examples:
        >>> dataset_of("cub:CUB_200_2011"), dataset_of("digits")
        ('cub200', 'digits')
    """
    name = source.partition(":")[0]
    return DATASETS.get(name, name)


def differences(own: OwnValue, published: Mapping[Any, Any], *, trained_on: str | None) -> Iterator[Difference]:
    """Yield the differences in training between a value and a published number.

    Args:
        own: the value.
        published: row of :func:`analysis.published.load_published`.
        trained_on: data set that the published network was trained on; None: the data set of the sweep.
    """
    config = own.first
    if trained_on is not None and (data := dataset_of(config["config.data.source"])) != trained_on:
        yield Difference(f"data {data}, not {trained_on}", decides=True)
    if own.axis_data and not own.axis_data.startswith(published["dataset"]):
        yield Difference(f"data of the axis {own.axis_data}, not {published['dataset']}", decides=True)
    if (model := config["config.model.name"]) != published["model"]:
        yield Difference(f"network {model}, not {published['model']}", decides=True)
    if (width := config.get("config.model.width", 1.0)) != 1.0:
        yield Difference(f"width times {width:g}", decides=True)
    frac = own.train_frac
    yield Difference(f"{100 * frac:.3g} % of the training images, not all", decides=frac < LEAST_TRAIN_FRAC)
    yield from _different_number(own.planned_epochs, published["epochs"], "epochs", decides=True)
    batch_size = config.get("config.data.batch_size", math.nan)
    yield from _different_number(batch_size, published["batch_size"], "images per batch")
    weights = "averaged weights" if own.weights == "ema" else "weights"
    selection = published["selection"]
    epoch = "published epoch unknown" if selection == UNKNOWN else f"not {selection}"
    yield Difference(f"{weights} of the last epoch, {epoch}")
    yield from _different_number(own.n_trials, published["n_seeds"], "seeds")
    if published["taken_from"]:
        yield Difference(f"published: number from {published['taken_from']}")
    if published["note"]:
        yield Difference(f"published: {published['note']}")


def _different_number(own: float, published: float, unit: str, *, decides: bool = False) -> Iterator[Difference]:
    if own == published or math.isnan(own):
        return
    if math.isnan(published):
        yield Difference(f"{own:g} {unit}, published number unknown")
    else:
        yield Difference(f"{own:g} {unit}, not {published:g}", decides=decides)
