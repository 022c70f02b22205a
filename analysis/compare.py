"""Arms of a sweep, or of several, by their errors: on test images once confirmed, else on validation images.

Values are a table with a row a trial: ``arm``, ``replicate`` (equal ones share their seed), ``error`` (top-1, a
fraction), ``images`` (on which it was measured), ``baseline`` (first arm of the study), and ``sweep`` where there are
several.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis import frames, statistics
from analysis.grid import ERROR, by_seed
from analysis.plots.style import say
from analysis.statistics.ranks import MIN_ARMS
from sweep.records.confirmed import summarise_confirmed, test_values
from sweep.records.errors import RecordsError
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from sweep.records.summary import Metric

SWEEP_DIRS = "CUTMIX_SWEEP_DIRS"
"""Environment variable that names the folders of several sweeps, separated as in ``PATH``."""

TEST, VALIDATION = "test", "validation"
"""Images on which arms are compared."""

MIN_SWEEPS = 3
"""Sweeps that ranks over sweeps need."""

COLUMNS = [
    *("arm", "images", "n", "error", "error_low", "error_high"),
    *("n_pairs", "estimate", "low", "high", "p_holm", "verdict"),
]

_CAUTION = {
    TEST: "Each arm is its best configuration of the search, trained again on seeds that chose nothing.",
    VALIDATION: "Not a confirmed result: these are validation images, by which trials were chosen and stopped, and "
    "trials that differ in what they drew as well as in their seeds.",
}


def labels(sweep_dirs: Sequence[Path | str] | None = None) -> dict[str, Path]:
    """Name sweeps by their folders, those of equal name by their parents' as well.

    Args:
        sweep_dirs: the folders; None takes those of the environment variable ``CUTMIX_SWEEP_DIRS``.

    Raises:
        RecordsError: no folder, or one twice.
    """
    given = [part for part in os.environ.get(SWEEP_DIRS, "").split(os.pathsep) if part]
    folders = [Path(folder) for folder in (given if sweep_dirs is None else sweep_dirs)]
    if not folders:
        raise RecordsError(f"no sweeps to compare: pass their folders or set the environment variable {SWEEP_DIRS}")
    resolved = [folder.resolve() for folder in folders]
    if twice := [str(folder) for place, folder in enumerate(folders) if resolved[place] in resolved[:place]]:
        raise RecordsError(f"sweep '{twice[0]}' is given twice")
    names = [folder.name for folder in resolved]
    unique = [
        folder.name if names.count(folder.name) == 1 else "-".join(folder.parts[1:])
        for folder in resolved  # a whole path is never another one
    ]
    return dict(zip(unique, folders, strict=True))


def arm_values(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Gather the errors by which the arms of a sweep are compared.

    On test images, once an arm has been confirmed: those of each arm's best configuration, over fresh seeds. Else on
    validation images: of all trials of the search after their last epoch, whatever they drew, nan where not completed;
    of a grid, means over its settings, a row a seed.

    Args:
        sweep_dir: its folder; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row a trial, in the order of the study's arms: ``arm``, ``replicate``, ``error``, ``images``, ``baseline``.

    Raises:
        ValueError: no readable sweep.
    """
    folder = frames.folder_of(sweep_dir)
    search = frames.load(folder)
    baseline = next(iter(search.manifest["study"]["arms"]))
    best = best_confirmed(folder)
    if best.empty:
        values = by_seed(search.trials, value=ERROR)
        return _ordered(values[["arm", "replicate"]].assign(error=values[ERROR]), VALIDATION, baseline)
    confirm = frames.load(folder, phase="confirm")
    errors = test_values(confirm.evaluations).query("metric == 'top1_error'").set_index("trial")["value"]
    return _ordered(best[["arm", "replicate"]].assign(error=best["trial"].map(errors)), TEST, baseline)


def best_confirmed(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the confirming trials of each arm's best configuration, as the search ranks them now; none at first."""
    folder = frames.folder_of(sweep_dir)
    confirmed = summarise_confirmed(read_sweep(folder), read_sweep(folder, CONFIRM))
    trials = frames.load(folder, phase="confirm").trials
    return trials[trials["confirms"].isin(confirmed["confirms"][confirmed["rank"] == 1])]


def _ordered(values: pd.DataFrame, images: str, baseline: str) -> pd.DataFrame:
    rows = values.sort_values("arm", kind="stable").reset_index(drop=True)
    return rows.assign(arm=rows["arm"].astype(str), images=images, baseline=baseline)


def values_of(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Gather the values of several sweeps, by name: those of :func:`arm_values`, led by ``sweep``."""
    values = [arm_values(folder).assign(sweep=name) for name, folder in sweeps.items()]
    joined = pd.concat(values, ignore_index=True)
    return joined[["sweep", *joined.columns.drop("sweep")]]


def differences(values: pd.DataFrame) -> pd.DataFrame:
    """Compare every arm of one sweep with its first one, as :func:`analysis.statistics.paired_differences` does."""
    baseline = values["baseline"].iloc[0] if len(values) else ""
    # the baseline is an arm though it may have no value yet
    arms = pd.CategoricalDtype(list(dict.fromkeys([baseline, *values["arm"]])))
    return statistics.paired_differences(values.astype({"arm": arms}), value="error", baseline=baseline)


def arm_errors(values: pd.DataFrame) -> pd.DataFrame:
    """Summarise arms in a row each, in the order of the study, of several sweeps in that of the sweeps.

    Args:
        values: from :func:`arm_values` or :func:`values_of`.

    Returns:
        Columns ``COLUMNS``, led by ``sweep`` where the values have it: ``n`` (values, each of another seed), ``error``
        their mean with its 95 % t interval; ``estimate``, the mean difference to the sweep's first arm over ``n_pairs``
        pairs, with ``low``, ``high``, ``p_holm`` and ``verdict`` as from :func:`differences`.
    """
    if "sweep" in values:
        of_sweep = values.groupby("sweep", sort=False)
        rows = [arm_errors(own.drop(columns="sweep")).assign(sweep=name) for name, own in of_sweep]
        return pd.concat(rows, ignore_index=True)[["sweep", *COLUMNS]]
    means = statistics.means(values, value="error").rename(
        columns={"estimate": "error", "low": "error_low", "high": "error_high"}
    )
    means = means.assign(images=_images(values))
    joined = means.merge(differences(values), on="arm", how="left")
    return joined.fillna({"n_pairs": 0}).astype({"n_pairs": int})[COLUMNS]


def _images(values: pd.DataFrame) -> str:
    return str(values["images"].iloc[0]) if len(values) else VALIDATION


def verdict(values: pd.DataFrame) -> list[str]:
    """Answer which arms of a sweep differ from the first one: a sentence an arm, then what they are worth.

    Args:
        values: from :func:`arm_values`.
    """
    images = _images(values)
    said = statistics.verdict(differences(values), metric=Metric(f"{images} top-1 error", 100.0, "%"))
    return [*said, _CAUTION[images]]


def overview(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Say what each of several sweeps ran: a row a sweep, so that what differs between them is seen."""
    rows = []
    for name, folder in sweeps.items():
        search, confirm = frames.load(folder), frames.load(folder, phase="confirm")
        study = search.manifest["study"]
        rows.append(
            {
                **{"sweep": name, "study": study["name"], "data": ", ".join(search.manifest.get("data", {}))},
                **{word: _values(search.trials, path) for word, path in _VARIED.items()},
                **{"arms": len(study["arms"]), "trials": len(search.trials), "confirmed": len(confirm.trials)},
            }
        )
    return pd.DataFrame(rows)


_VARIED = {
    "network": "config.model.name",
    "images": "n_train",
    "epochs": "config.optimizer.max_epochs",
}


def _values(trials: pd.DataFrame, column: str) -> str:
    values = trials[column].dropna() if column in trials else pd.Series(dtype=object)
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values.unique())


def side_by_side(values: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: a row an arm, a column a sweep, each cell an error in percent with its interval.

    Args:
        values: from :func:`values_of`.
    """
    errors = arm_errors(values)
    cells = errors.assign(cell=[_cell(row) for _, row in errors.iterrows()])
    wide = cells.pivot(index="arm", columns="sweep", values="cell")
    return wide.reindex(index=errors["arm"].unique(), columns=errors["sweep"].unique()).rename_axis(columns="sweep")


def _cell(row: pd.Series[Any]) -> str:
    if not row["n"]:
        return ""
    error, low, high = (f"{100 * row[end]:.2f}" for end in ("error", "error_low", "error_high"))
    return f"{error} ({low} to {high})" if pd.notna(row["error_low"]) else error


def verdict_of_sweeps(values: pd.DataFrame) -> list[str]:
    """Say of each sweep which arms differ from its first one, and then how arms rank over all.

    Args:
        values: from :func:`values_of`.
    """
    return [*(_of_sweep(name, own) for name, own in values.groupby("sweep", sort=False)), _of_ranks(ranks(values))]


def _of_sweep(name: Any, values: pd.DataFrame) -> str:
    images = _images(values)
    note = "" if images == TEST else ", not confirmed"
    return f"{name} ({images} top-1 error{note}): {statistics.in_short(differences(values))}."


def ranks(values: pd.DataFrame) -> statistics.Ranks | None:
    """Rank the arms that all sweeps have over the sweeps; None for fewer than three arms or sweeps.

    Args:
        values: from :func:`values_of`.
    """
    known = values[values["error"].notna()]
    n_sweeps = values["sweep"].nunique()
    common = known.groupby("arm")["sweep"].nunique() == n_sweeps
    if common.sum() < MIN_ARMS or n_sweeps < MIN_SWEEPS:
        return None
    shared = known[known["arm"].map(common)]
    return statistics.critical_differences(shared, value="error", block=("sweep",))


def rank_table(ranks: statistics.Ranks | None) -> pd.DataFrame:
    """Return mean ranks, best first: ``arm``, ``mean_rank``, ``n_sweeps`` and ``critical_difference``; none of None."""
    if ranks is None:
        return pd.DataFrame(columns=["arm", "mean_rank", "n_sweeps", "critical_difference"])
    rows = ranks.mean_rank.rename_axis("arm").rename("mean_rank").reset_index()
    return rows.assign(n_sweeps=ranks.n_blocks, critical_difference=ranks.critical_difference)


def _of_ranks(ranks: statistics.Ranks | None) -> str:
    if ranks is None:
        few = f"ranks over sweeps need {MIN_SWEEPS} sweeps that have {MIN_ARMS} arms in common"
        return f"Over all sweeps: {few}."
    alpha, mean = 1 - ranks.confidence, ranks.mean_rank
    head = f"Over n = {ranks.n_blocks} sweeps (Friedman p = {ranks.friedman_p:.2g})"
    pairs = [(a, b) for a, b in combinations(mean.index, 2) if ranks.p.loc[a, b] <= alpha]
    if not ranks.friedman_p <= alpha or not pairs:
        return f"{head}: undecided, no arm ranks before another."
    said = [f"{a} ranks before {b} ({mean[a]:.2f} against {mean[b]:.2f})" for a, b in pairs]
    return f"{head}: {'; '.join(said)}."


def draw_errors(errors: pd.DataFrame) -> Figure:
    """Draw each arm's error with its interval, a panel a sweep.

    Args:
        errors: from :func:`arm_errors`.
    """
    if errors.empty:
        nothing = plt.figure()
        say("no trial has completed yet", nothing.add_subplot())
        return nothing
    errors = errors if "sweep" in errors else errors.assign(sweep="")
    arms, sweeps = list(errors["arm"].unique()), list(errors["sweep"].unique())
    size = (max(7.0, 1.2 + 2.8 * len(sweeps)), 1.2 + 0.35 * len(arms))
    figure, panels = plt.subplots(1, len(sweeps), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, name in zip(panels.flat, sweeps, strict=True):
        rows = errors[errors["sweep"] == name]
        places = rows["arm"].map(arms.index)
        ax.hlines(places, 100 * rows["error_low"], 100 * rows["error_high"], color="#0072B2", linewidth=1.6)
        ax.plot(100 * rows["error"], places, "o", color="#0072B2", markersize=6)
        ax.set_title("\n".join(textwrap.wrap(name, 28)), fontsize=9)
        ax.set_xlabel(f"{rows['images'].iloc[0]} top-1 error (%)\nmean, 95 % interval", fontsize=9)
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    panels[0, 0].set_yticks(range(len(arms)), arms)
    panels[0, 0].set_ylim(len(arms) - 0.5, -0.5)
    return figure
