"""The published numbers, and the names that their arms have here."""

from __future__ import annotations

import math
from importlib.resources import files

import pandas as pd

UNKNOWN = "not known"
"""Text of ``selection`` and ``start`` where it was not found in the source."""

BASELINE = "off"
"""Arm that changes of a quantity are measured from."""

PUBLISHED_AS = {
    "scheduled": "cutmix_scheduled",
    "fixed_size": "cutmix_fixed_size",
    "complete_label": "cutmix_complete_label",
    "one_hot": "cutmix_one_hot",
    "center_gaussian": "cutmix_center_gaussian",
    "feature": "feature_cutmix",
    "mixup_half": "mixup_alpha_0.5",
}
"""Name among the published numbers of arms of built-in studies. Other arms have the same name there and here."""

_NUMBERS = ["n_seeds", "epochs", "batch_size"]


def load_published() -> pd.DataFrame:
    """Load the published numbers.

    Returns:
        One row per number, unchanged from its source: ``dataset``, ``model`` and ``arm`` (in the names of this program
        if it has one), ``metric``, ``unit``, ``value``, ``n_seeds``, planned ``epochs`` and ``batch_size`` (NaN: not
        known), ``selection`` (the reported epoch), ``start`` (the initial weights), ``source`` (with its table),
        ``taken_from`` (the paper from which the source copied the number, trained by another recipe; otherwise empty)
        and ``note``. Text is ``not known`` where we did not find it in the source.

    Examples:
        >>> published = load_published()
        >>> published.columns.tolist()[:6]
        ['dataset', 'model', 'arm', 'metric', 'unit', 'value']
    """
    with files("analysis.published").joinpath("results.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})


def training_of(published: pd.DataFrame, *, dataset: str, model: str, arm: str) -> dict[str, float]:
    """Return planned ``epochs`` and ``batch_size`` of a published network; NaN if its error was not published.

    Numbers of a downstream task, for example captions, have the epochs and the batch of that task in these columns.

    Args:
        published: from :func:`load_published`.
        dataset: data set that the network was trained on.
        model: the network.
        arm: the arm, as published.

    Examples:
        >>> training_of(load_published(), dataset="imagenet", model="resnet50", arm="cutmix")
        {'epochs': 300.0, 'batch_size': 256.0}
    """
    keys = {"dataset": dataset, "model": model, "arm": arm, "metric": "top1_error"}
    rows = published[(published[list(keys)] == pd.Series(keys)).all(axis=1)]
    return {name: float(rows[name].iloc[0]) if len(rows) else math.nan for name in ("epochs", "batch_size")}


def published_name(arm: str) -> str:
    """Return the name of an arm of a built-in study among the published numbers; the name itself for other arms.

    Examples:
        >>> published_name("scheduled"), published_name("cutmix")
        ('cutmix_scheduled', 'cutmix')
    """
    return PUBLISHED_AS.get(arm, arm)
