"""What ``cutmix-sweep evaluate`` measured on the trained networks of a sweep: values, summaries and pictures.

A quantity is named by its axis, split, condition (column ``setting``) and metric. All quantities come from the records,
so a new evaluation axis needs no change here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis import statistics
from analysis.data import frames
from analysis.data.arms import best_confirmed
from analysis.data.grid import by_seed
from analysis.data.replication import unit_of_search
from sweep.findings.confirmed import test_values
from sweep.findings.searches import unit_of
from sweep.records.schema import COMPLETED, CONFIRM, SEARCH

QUANTITY = ["axis", "split", "setting", "metric"]
"""Columns that name a quantity."""

COLUMNS = [*QUANTITY, "is_headline", "phase", "unit", "images", "arm", "replicate", "value"]

HEADLINES = "headlines"
"""Key of the manifest: by axis, the pairs of condition and metric that its table shows first; written by evaluate."""

N_WITHOUT_HEADLINE = 6
"""Quantities that are shown of an axis without a headline; sweeps of older versions record none."""

PICTURES = "pictures"
"""Folder of a sweep with the pictures of its evaluations."""


def measured_values(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Gather the values that ``cutmix-sweep evaluate`` recorded, one row per quantity, arm and unit.

    An axis that was measured on confirming trials is read from those of the winners. With several searches per arm, the
    unit is the search, and its value the mean over the seeds of its winner; with one search, the unit is the seed. Any
    other axis is read from the completed trials of the search, averaged over the settings of each seed. A quantity
    that was measured under several settings of its axis is read under those with most trials, the latest of equals.
    The test values that a confirmation itself records are left out.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        Columns ``COLUMNS``; quantities in the order of their axis, the headline of each axis first. ``images`` is the
        smallest number of images per value, ``phase`` is ``confirm`` or ``search``, ``unit`` is ``search``, ``seed`` or
        ``trial``, ``arm`` an ordered category and ``value`` NaN where a seed lacks one of its settings. Empty if
        nothing was evaluated.
    """
    folder = frames.folder_of(sweep_dir)
    search, confirm = frames.load(folder), frames.load(folder, phase=CONFIRM)
    confirmed = _values(confirm, best_confirmed(folder), CONFIRM)
    searched = _values(search, search.trials[search.trials["status"] == COMPLETED], SEARCH)
    searched = searched[~searched["axis"].isin(confirmed["axis"])]
    study = search.manifest["study"]
    confirmed, searched = confirmed.assign(unit=unit_of(study)), searched.assign(unit=unit_of_search(study))
    values = pd.concat([part for part in (confirmed, searched) if len(part)] or [searched], ignore_index=True)
    return _headline_first(values, search.manifest.get(HEADLINES, {}))[COLUMNS]


def _values(sweep: frames.Sweep, trials: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return the evaluated values of some trials, one row per quantity, arm and replicate."""
    every = sweep.evaluations
    rows = every.drop(index=test_values(every).index)
    rows = rows[rows["trial"].isin(trials["trial"]) & rows["value"].notna()]
    rows = _same_settings(rows.fillna({"settings": "", "setting": ""}))
    drawn = [str(name) for name in trials.filter(regex=r"^params\.")]
    rows = rows[[*QUANTITY, "trial", "value", "n"]].merge(trials[["trial", "arm", "replicate", *drawn]], on="trial")
    images = rows.groupby(QUANTITY)["n"].min().rename("images")
    # by_seed calls the parameters of a trial its setting
    named = ["condition" if name == "setting" else name for name in QUANTITY]
    seeds = by_seed(rows.rename(columns={"setting": "condition"}), value="value", by=[*named, "arm"])
    return seeds.rename(columns={"condition": "setting"}).join(images, on=QUANTITY).assign(phase=phase)


def _same_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each quantity under those settings of its axis that most trials have."""
    settings = rows.groupby([*QUANTITY, "settings"]).agg(trials=("trial", "nunique"), time_s=("time_s", "max"))
    chosen = settings.reset_index().sort_values(["trials", "time_s"], kind="stable")
    return rows.merge(chosen.drop_duplicates(QUANTITY, keep="last")[[*QUANTITY, "settings"]])


def _headline_first(values: pd.DataFrame, headlines: Mapping[str, Any]) -> pd.DataFrame:
    quantities = values[QUANTITY].drop_duplicates()
    parts = [_ranked(rows, headlines) for _, rows in quantities.groupby("axis", sort=False)]
    ordered = pd.concat(parts) if parts else quantities.assign(is_headline=False)
    return ordered.merge(values, on=QUANTITY)


def _ranked(quantities: pd.DataFrame, headlines: Mapping[str, Any]) -> pd.DataFrame:
    """Return the quantities of one axis, its headline first."""
    headline = [tuple(pair) for pair in headlines.get(quantities["axis"].iloc[0], [])]
    if not headline:
        # summaries first: without a condition, then of a metric with few of them; a metric per class has many
        n_conditions = quantities.groupby("metric")["setting"].transform("nunique")
        keys = quantities.assign(has_condition=quantities["setting"] != "", n=n_conditions)
        rows = quantities.loc[keys.sort_values(["has_condition", "n"], kind="stable").index]
        return rows.assign(is_headline=[place < N_WITHOUT_HEADLINE for place in range(len(rows))])
    pairs = list(zip(quantities["setting"], quantities["metric"], strict=True))
    places = [headline.index(pair) if pair in headline else len(headline) for pair in pairs]
    rows = quantities.assign(place=places).sort_values("place", kind="stable")
    return rows.assign(is_headline=rows["place"] < len(headline)).drop(columns="place")


def measured_means(values: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean of each quantity and arm over searches, seeds or trials.

    Args:
        values: from :func:`measured_values`.

    Returns:
        One row per quantity and arm, in the order of ``values`` and of the study's arms: ``QUANTITY``, ``is_headline``,
        ``phase``, ``unit``, ``images``, ``arm``, ``n`` (units), ``estimate`` with its 95 % t interval ``low`` and
        ``high`` (NaN for one unit), and ``confidence``.
    """
    named = [*QUANTITY, "is_headline", "phase", "unit", "images"]
    means = statistics.means(values, value="value", by=[*named, "arm"], metric="metric")
    means = means.astype({"arm": values["arm"].dtype})
    place = means.groupby(named, sort=False).ngroup()
    return means.assign(place=place).sort_values(["place", "arm"], ignore_index=True).drop(columns="place")


def measured_differences(values: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Compare each arm with the baseline over pairs of searches, seeds or trials, quantity by quantity.

    Args:
        values: from :func:`measured_values`, of one quantity at least.
        baseline: arm that the others are compared with.

    Returns:
        As from :func:`analysis.statistics.paired_differences`, one family per quantity.
    """
    # one call per quantity: the smallest spread that counts is relative to the values of a call
    parts = [
        statistics.paired_differences(rows, value="value", baseline=baseline, by=QUANTITY, metric="metric")
        for _, rows in values.groupby(QUANTITY, sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


class Sheet(NamedTuple):
    """The pictures of one arm's networks in one file, one below another.

    Attributes:
        axis: evaluation axis that wrote them.
        kind: name of the picture within the axis.
        arm: arm of the networks.
        path: PNG file.
        strips: PNG files of single trials.
    """

    axis: str
    kind: str
    arm: str
    path: Path
    strips: tuple[Path, ...]


def sheets(sweep_dir: Path | str | None = None) -> list[Sheet]:
    """List the sheets of pictures that evaluations left, by axis and kind, arms in the order of the study.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    folder = frames.folder_of(sweep_dir)
    arms = list(frames.load(folder).manifest["study"]["arms"])
    files = sorted((folder / PICTURES).glob("*/arm-*.png"))
    listed = [sheet for path in files if (sheet := _sheet(path, arms)) is not None]
    return sorted(listed, key=lambda sheet: (sheet.axis, sheet.kind, arms.index(sheet.arm)))


def _sheet(path: Path, arms: list[str]) -> Sheet | None:
    for arm in arms:
        if match := re.fullmatch(rf"arm-{re.escape(arm)}-(.+)", path.stem):
            strips = sorted(path.parent.glob(f"{arm}-[0-9]*-{match[1]}.png"))
            return Sheet(path.parent.name, match[1], arm, path, tuple(strips))
    return None
