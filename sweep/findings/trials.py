"""Trials of a sweep as one sorted table: search and confirmation, at any instant of the sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweep.findings.confirmed import test_values
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.nested import flattened
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import ABOUT_COLUMNS, EPOCHS, EVALUATIONS, LOSSES, SEARCH, STATUSES, TRIALS
from trainables.errors import UserError, did_you_mean

CONFIG = "config."
"""Start of the names of columns with values of the whole configuration, for example ``config.optimizer.lr``."""

_LAST_EPOCH = ("val_top1_error", "val_top5_error", "val_nll", "val_ece", "train_loss")
_ABOUT_TRIAL = (
    "search",
    "number",
    "replicate",
    "seed",
    "control",
    "confirms",
    "attempts",
    "resumed_at_epoch",
    *LOSSES,
    "fault",
    "why",
)
_FIRST = ("trial", "arm", "phase", "status")
_TEST = "test_"
_COMPUTED = ("epochs", "planned_epochs", "seconds", "images_per_s")
_RECORDED = {*_FIRST, *_COMPUTED, *_LAST_EPOCH, *_ABOUT_TRIAL, *ABOUT_COLUMNS, "time_s"}


def list_trials(
    sweep_dir: Path | str,
    *,
    arm: str | Sequence[str] | None = None,
    state: str | Sequence[str] | None = None,
    sort: str | None = None,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the recorded trials of search and confirmation, one row per trial, best first.

    Args:
        sweep_dir: folder of the sweep.
        arm: arms to list; None: all arms.
        state: statuses to list, for example ``completed``; None: all statuses.
        sort: column to sort by, smallest value first; ``-COLUMN``: largest value first; None: the study's metric.
        top: number of rows to keep; None: all rows.
        columns: columns to keep; None: all columns except the configuration.

    Returns:
        ``trial``, ``arm``, ``phase``, ``status``, ``epochs`` (recorded), ``planned_epochs``; validation metrics and
        ``train_loss`` after the last recorded epoch, which is not the last planned epoch of a stopped trial;
        ``test_top1_error`` and other test values of a confirmation; one column per sampled parameter under its dotted
        path; ``seconds`` and ``images_per_s`` over the recorded epochs; ``search``, the index from 0 of the search of
        the arm that a trial belongs to or confirms; the other columns of the records.
        ``columns`` may also name a value of the configuration: ``config.optimizer.lr``. Unknown values are NaN. Rows
        with NaN in the sorted column come last.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
        UserError: the sweep has no such arm, status or column, or ``top`` is less than 1.

    Examples:
        >>> list_trials("sweeps/box", state="completed", sort="val_nll", top=10)  # doctest: +SKIP
    """
    sweep_dir = Path(sweep_dir)
    study = read_manifest(sweep_dir).get("study", {})
    frame, configs = _all_trials(sweep_dir, list(study.get("arms", ())))
    kept = np.ones(len(frame), dtype=bool)
    for option, column, names, valid in (
        ("--arm", "arm", arm, {*study.get("arms", ()), *frame["arm"]}),
        ("--state", "status", state, set(STATUSES)),
    ):
        if names is not None:
            kept &= frame[column].isin(_check_names(option, names, valid)).to_numpy()
    descending, sort_column = _parse_sort(sort or default_sort(study))
    named = [sort_column, *(columns or ())]
    frame = _with_config(frame, configs, named)  # a frame of all its values would have a hundred columns more
    for option, wanted in (("--sort", [sort_column]), ("--columns", columns or ())):
        _check_columns(option, wanted, frame)
    if top is not None and top < 1:
        raise UserError(f"--top must be at least 1, got {top}")
    rows = frame[kept].sort_values(
        sort_column, ascending=not descending, kind="stable", na_position="last", key=_comparable
    )
    rows = rows.head(len(rows) if top is None else top).reset_index(drop=True)
    shown = [name for name in map(str, frame) if not name.startswith(CONFIG)] if columns is None else list(columns)
    return rows[shown]


def default_sort(study: Mapping[str, Any]) -> str:
    """Return the column that trials are sorted by unless another one is named: the metric that the study selects by.

    Examples:
        >>> default_sort({"metric": "val_nll"})
        'val_nll'
    """
    return str(study.get("metric", "val_top1_error"))


def sampled_parameters(trials: pd.DataFrame) -> list[str]:
    """Return the columns of ``list_trials`` that are sampled parameters: their names are paths of the configuration.

    Examples:
        >>> sampled_parameters(pd.DataFrame(columns=["trial", "optimizer.lr", "mix", "seconds", "config.optimizer.lr"]))
        ['optimizer.lr', 'mix']
    """
    return [name for name in map(str, trials) if name not in _RECORDED and not name.startswith((CONFIG, _TEST))]


def _all_trials(sweep_dir: Path, arms: Sequence[str]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return all trials, the search first, each phase arm by arm, and their configurations."""
    trials = read_table(sweep_dir, TRIALS)
    places = trials["arm"].map({arm: place for place, arm in enumerate(arms)})
    confirms = (trials["phase"] != SEARCH).to_numpy()
    order = np.lexsort((trials["search"], trials["number"], places, confirms))
    trials = trials.iloc[order].reset_index(drop=True)
    configs = [flattened(json.loads(text), CONFIG) for text in trials["config"]]
    epochs = read_table(sweep_dir, EPOCHS)
    names = trials["trial"]
    by_trial = epochs.assign(training_s=1 / epochs["images_per_s"]).groupby("trial")
    last = epochs.sort_values("epoch", kind="stable").drop_duplicates("trial", keep="last").set_index("trial")
    tests = test_values(read_table(sweep_dir, EVALUATIONS))
    tests = tests.pivot_table(index="trial", columns="metric", values="value", sort=False)
    n_epochs = by_trial.size().reindex(names, fill_value=0).to_numpy()
    values: dict[str, Any] = {name: trials[name] for name in _FIRST}
    values["epochs"] = n_epochs
    values["planned_epochs"] = [config.get(PLANNED_EPOCHS) for config in configs]
    values |= {name: last[name].reindex(names).to_numpy() for name in _LAST_EPOCH}
    values |= {f"{_TEST}{name}": tests[name].reindex(names).to_numpy() for name in tests}
    params = pd.DataFrame([flattened(json.loads(text)) for text in trials["params"]], index=trials.index)
    values |= {str(name): params[name] for name in params}
    values["seconds"] = by_trial["seconds"].sum().reindex(names, fill_value=0.0).to_numpy()
    values["images_per_s"] = n_epochs / by_trial["training_s"].sum().reindex(names).to_numpy()
    values |= {name: trials[name] for name in (*_ABOUT_TRIAL, *ABOUT_COLUMNS, "time_s")}
    return pd.DataFrame(values), configs


def _with_config(frame: pd.DataFrame, configs: list[dict[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """Return the frame with a column per named value of the configuration that some trial has."""
    paths = [name for name in names if name.startswith(CONFIG) and any(name in config for config in configs)]
    return frame.join(pd.DataFrame({path: [config.get(path) for config in configs] for path in dict.fromkeys(paths)}))


def _parse_sort(sort: str) -> tuple[bool, str]:
    """Return whether the largest value comes first, and the column."""
    return sort.startswith("-"), sort.removeprefix("-")


def _check_names(option: str, names: str | Sequence[str], valid: Set[str]) -> list[str]:
    """Return names as a list.

    Raises:
        UserError: a name is not valid.
    """
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if name not in valid:
            raise UserError(f"{option} '{name}': trials have no such {option[2:]}{did_you_mean(name, valid)}")
    return listed


def _check_columns(option: str, names: Sequence[str], frame: pd.DataFrame) -> None:
    for name in names:
        if name not in frame:
            valid = [column for column in map(str, frame) if not column.startswith(("dose_", CONFIG))]
            more = ", dose columns such as dose_exposure, and config.PATH, for example config.optimizer.lr"
            raise UserError(f"{option} '{name}': the trials have no such column{did_you_mean(name, valid)}{more}")


def _comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column with values that can be compared: a mixture of kinds is compared as text."""
    if column.dtype != object:
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().equals(column.notna()):
        return numbers
    return column.map(str, na_action="ignore")
