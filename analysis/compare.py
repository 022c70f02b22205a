"""Arms of a sweep, or of several, by their errors: on test images once confirmed, else on validation images."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import frames
from analysis.statistics import HIGHER, LOWER, TOO_FEW, UNDECIDED
from sweep.records.confirmed import LEVEL, interval, summarise_confirmed
from sweep.records.errors import RecordsError
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from sweep.records.summary import Metric

SWEEP_DIRS = "CUTMIX_SWEEP_DIRS"
"""Environment variable that names the folders of several sweeps, separated as in ``PATH``."""

TEST, VALIDATION = "test", "validation"
"""Images on which arms are compared."""

COLUMNS = [
    *("arm", "images", "n", "error", "error_low", "error_high"),
    *("baseline", "n_pairs", "estimate", "low", "high", "verdict", "confidence"),
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


def arm_errors(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Compare the arms of a sweep by their top-1 errors, a row an arm, in the order of the study.

    On test images, once an arm has been confirmed: those of each arm's best configuration over fresh seeds. Else on
    validation images: of all completed trials after their last epoch, whatever they drew. Trials of equal number, that
    is of equal seed, are compared with those of the first arm.

    Args:
        sweep_dir: its folder; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        Columns ``COLUMNS``: ``images`` (``test`` or ``validation``), ``n`` (values, each of another seed), ``error``
        their mean with the ends of its 95 % t interval; ``estimate`` (mean difference arm - ``baseline`` over
        ``n_pairs`` pairs) with an interval wide enough for all arms at once (Bonferroni), at the joint level
        ``confidence``, and its ``verdict``, None of the baseline itself. What cannot be said is nan.

    Raises:
        ValueError: no readable sweep.
    """
    folder = frames.folder_of(sweep_dir)
    search, confirm = read_sweep(folder), read_sweep(folder, CONFIRM)
    confirmed = summarise_confirmed(search, confirm)
    if confirmed.empty:
        return _judged(_on_validation(frames.load(folder).trials))
    best = confirmed[confirmed["rank"] == 1].rename(columns={"low": "error_low", "high": "error_high"})
    names = {"top1_error": "error", "difference": "estimate", "difference_low": "low", "difference_high": "high"}
    baseline = next(iter(search.manifest["study"]["arms"]))
    return _judged(best.rename(columns=names).assign(images=TEST, baseline=baseline))


def _on_validation(trials: pd.DataFrame) -> pd.DataFrame:
    arms = list(trials["arm"].cat.categories)
    final = trials.pivot_table(index="number", columns="arm", values="final_val_top1_error", observed=True)
    final = final.reindex(columns=arms)
    level = 1 - (1 - LEVEL) / max(1, len(arms) - 1)
    rows = [_row(final[arm], None if arm == arms[0] else final[arms[0]], level) for arm in arms]
    return pd.DataFrame(rows).assign(arm=arms, images=VALIDATION, baseline=arms[0] if arms else None)


def _row(own: pd.Series[Any], baseline: pd.Series[Any] | None, level: float) -> dict[str, Any]:
    error, error_low, error_high = interval(own.dropna().to_numpy())
    pairs = np.empty(0) if baseline is None else (own - baseline).dropna().to_numpy()
    estimate, low, high = interval(pairs, level=level)
    return {
        **{"n": int(own.notna().sum()), "error": error, "error_low": error_low, "error_high": error_high},
        **{"n_pairs": len(pairs), "estimate": estimate, "low": low, "high": high},
    }


def _judged(rows: pd.DataFrame) -> pd.DataFrame:
    cases = [rows["arm"] == rows["baseline"], ~(rows["low"] < rows["high"]), rows["high"] < 0, rows["low"] > 0]
    verdicts = pd.Series(np.select(cases, ["", TOO_FEW, LOWER, HIGHER], UNDECIDED), index=rows.index, dtype=object)
    verdicts = verdicts.where(verdicts != "", None)
    return rows.assign(verdict=verdicts, confidence=LEVEL)[COLUMNS].reset_index(drop=True)


def verdict(errors: pd.DataFrame) -> list[str]:
    """Answer which arms differ from the first one: a sentence an arm, then one that says what they are worth.

    Args:
        errors: from :func:`arm_errors`, of one sweep.
    """
    compared = errors[errors["verdict"].notna()]
    if compared["verdict"].isin([TOO_FEW]).all():  # of none at all as well
        return ["Undecided: there are too few pairs of completed trials to compare arms by.", *_caution(errors)]
    decided = int(compared["verdict"].isin([LOWER, HIGHER]).sum())
    return [
        *(_sentence(row) for _, row in compared.iterrows()),
        f"Decided: {decided} of {len(compared)} comparisons, at a joint level of {compared['confidence'].iloc[0]:.0%} "
        f"(Bonferroni). {' '.join(_caution(errors))}",
    ]


def _caution(errors: pd.DataFrame) -> list[str]:
    return [_CAUTION[images] for images in errors["images"].unique()]


def _sentence(row: pd.Series[Any]) -> str:
    words = Metric(f"{row['images']} top-1 error", 100.0, "%")
    n = f"n = {row['n_pairs']} pairs"
    if row["verdict"] == TOO_FEW:
        return f"Whether {row['arm']} and {row['baseline']} differ is undecided ({n}: too few, or all alike)."
    estimate, low, high = (f"{row[end] * words.factor:+.2f}" for end in ("estimate", "low", "high"))
    evidence = f"difference in {words.difference_unit} {estimate}, interval {low} to {high}, {n}"
    if row["verdict"] == UNDECIDED:
        return f"Whether {row['arm']} and {row['baseline']} differ in {words.name} is undecided ({evidence})."
    return f"{row['arm']} has a {row['verdict']} {words.name} than {row['baseline']} ({evidence})."


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


def errors_of(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Compare the arms within each of several sweeps: the rows of :func:`arm_errors`, led by ``sweep``, its name."""
    rows = [arm_errors(folder).assign(sweep=name) for name, folder in sweeps.items()]
    return pd.concat(rows, ignore_index=True)[["sweep", *COLUMNS]]


def side_by_side(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: a row an arm, a column a sweep, each cell an error in percent, its interval and n."""
    cells = errors.assign(cell=[_cell(row) for _, row in errors.iterrows()])
    wide = cells.pivot(index="arm", columns="sweep", values="cell")
    return wide.reindex(index=errors["arm"].unique(), columns=errors["sweep"].unique()).rename_axis(columns=None)


def _cell(row: pd.Series[Any]) -> str:
    if not row["n"]:
        return ""
    error, low, high = (f"{100 * row[end]:.2f}" for end in ("error", "error_low", "error_high"))
    within = f" ({low} to {high})" if row["error_low"] == row["error_low"] else ""
    return f"{error}{within}, n = {row['n']}"


def verdict_of_sweeps(errors: pd.DataFrame) -> list[str]:
    """Say of each sweep which arms differ from its first one, in a sentence.

    Args:
        errors: from :func:`errors_of`.
    """
    return [_of_sweep(str(name), rows) for name, rows in errors.groupby("sweep", sort=False)]


def _of_sweep(name: str, rows: pd.DataFrame) -> str:
    images, baseline = rows["images"].iloc[0], rows["baseline"].iloc[0]
    named = {word: ", ".join(rows["arm"][rows["verdict"] == word]) for word in (LOWER, HIGHER, UNDECIDED, TOO_FEW)}
    said = [f"{named[word]} {word} than {baseline}" for word in (LOWER, HIGHER) if named[word]]
    said += [f"{named[word]} {word}" for word in (UNDECIDED,) if named[word]]
    said += [f"of {named[word]} too few pairs" for word in (TOO_FEW,) if named[word]]
    note = "" if images == TEST else ", not confirmed"
    return f"{name} ({images} top-1 error{note}): {'; '.join(said) or 'nothing to compare'}."


def draw_errors(errors: pd.DataFrame) -> Figure:
    """Draw each arm's error with its interval, a panel a sweep.

    Args:
        errors: from :func:`errors_of`, or from :func:`arm_errors`.
    """
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
