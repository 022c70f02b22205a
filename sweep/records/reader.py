"""Reader of a sweep's records: tidy frames, at any instant of the sweep, without torch or Ray."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sweep.records.manifest_file import read_manifest
from sweep.records.names import check_names
from sweep.records.nested import flattened
from sweep.records.schema import (
    CONFIRM,
    DECISIONS,
    EPOCHS,
    EVALUATIONS,
    JSON_COLUMNS,
    LOSSES,
    MEASUREMENTS,
    RECORDS,
    SEARCH,
    TRIALS,
    Table,
)
from sweep.records.table_files import read_parts
from trainables.renames import json_with_present_keys

__all__ = ["SweepRecords", "read_both_phases", "read_manifest", "read_rows", "read_sweep", "read_table"]

_NAMES = {"arm": "arm", "trial": "trial", "confirms": "trial"}
"""Columns of the trials with names, and what they name."""


@dataclass(frozen=True)
class SweepRecords:
    """Records of one phase of a sweep.

    Attributes:
        manifest: study, versions, hardware, seed, command and runs, from ``sweep.json``.
        trials: one row per trial, with its sampled parameters in ``params.*`` columns and its configuration in
            ``config.*`` columns.
        epochs: one row per trial and epoch.
        decisions: one row per trial and rung; empty for the confirmation.
        evaluations: one row per trial, axis, split, condition (column ``setting``), metric and settings of the axis.
        measurements: one row per trial, axis and settings of the axis: whether the measurement completed or failed.
    """

    manifest: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame
    measurements: pd.DataFrame


def read_sweep(sweep_dir: Path | str, phase: str = SEARCH) -> SweepRecords:
    """Read the records of one phase of a sweep, ``search`` or ``confirm``, as far as they are written.

    The phases are read separately, because search trials are stopped and selected by their values.

    Raises:
        RecordsError: ``sweep_dir`` has no sweep, its files are damaged, or a newer program wrote it.

    Example:
        >>> import tempfile
        >>> from search_spaces.discover import load_study
        >>> from sweep.manifest import new_manifest
        >>> from sweep.records.schema import EPOCHS, TRIALS
        >>> from sweep.records.writer import RecordsWriter, write_manifest
        >>> sweep_dir = Path(tempfile.mkdtemp())
        >>> write_manifest(sweep_dir, new_manifest(load_study("quickstart"), sweep_dir, "example", {}))
        >>> records = RecordsWriter(sweep_dir)
        >>> row = {"trial": "off-0000", "phase": "search", "params": '{"optimizer.lr": 0.1}', "config": "{}"}
        >>> records.add(TRIALS, row)
        >>> records.add(EPOCHS, {"trial": "off-0000", "epoch": 1, "val_nll": 2.5})
        >>> records.flush(force=True)
        True
        >>> sweep = read_sweep(sweep_dir)
        >>> sweep.trials[["trial", "params.optimizer.lr"]]
              trial  params.optimizer.lr
        0  off-0000                  0.1
        >>> sweep.epochs["val_nll"].tolist()
        [2.5]
    """
    return _read_phases(sweep_dir, phase)[0]


def read_both_phases(sweep_dir: Path | str) -> tuple[SweepRecords, SweepRecords]:
    """Read the records of the search and of the confirmation, as :func:`read_sweep` does; each file is read once.

    Raises:
        RecordsError: ``sweep_dir`` has no sweep, its files are damaged, or a newer program wrote it.
    """
    search, confirm = _read_phases(sweep_dir, SEARCH, CONFIRM)
    return search, confirm


def _read_phases(sweep_dir: Path | str, *phases: str) -> list[SweepRecords]:
    sweep_dir = Path(sweep_dir)
    manifest = read_manifest(sweep_dir)
    all_trials = read_table(sweep_dir, TRIALS)
    tables = [read_table(sweep_dir, table) for table in (EPOCHS, DECISIONS, EVALUATIONS, MEASUREMENTS)]
    records = []
    for phase in phases:
        trials = all_trials[all_trials["phase"] == phase].reset_index(drop=True)
        records.append(SweepRecords(manifest, _spread(trials), *(_of_trials(rows, trials["trial"]) for rows in tables)))
    return records


def read_table(sweep_dir: Path, table: Table) -> pd.DataFrame:
    """Read one table, one row per key, in the order of writing; renamed keys of a configuration have present names.

    Raises:
        DamagedRecords: rows are missing or damaged. Rows that a repair gave up are left out without an error.
    """
    rows = read_rows(sweep_dir, table)
    frame: pd.DataFrame = rows.drop_columns("seq").to_pandas()
    keys = pd.DataFrame({name: _numbered(rows[name]) for name in table.key})  # comparing numbers is faster than text
    repeated = keys.duplicated(keep=table.keep).to_numpy()
    if repeated.any():
        frame = frame[~repeated].reset_index(drop=True)
    if table.name == TRIALS.name:
        for column, kind in _NAMES.items():
            check_names(frame[column].dropna().unique(), kind=kind, where=sweep_dir / RECORDS / table.name)
    for column in {"search", *LOSSES} & set(frame.columns):
        frame[column] = frame[column].fillna(0).astype("int64")
    for column in set(JSON_COLUMNS) & set(frame.columns):
        frame[column] = frame[column].map(json_with_present_keys, na_action="ignore")
    return frame


def _numbered(column: pa.ChunkedArray) -> np.ndarray:
    """Return a numeric column unchanged, and a text column as one number per distinct text, int [n]."""
    numbers = column.combine_chunks()
    if pa.types.is_string(column.type):
        numbers = numbers.dictionary_encode().indices
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _of_trials(rows: pd.DataFrame, trials: pd.Series[str]) -> pd.DataFrame:
    """Return the rows of the named trials."""
    numbers, names = pd.factorize(rows["trial"])  # one look-up per trial, not per row
    wanted = pd.Index(trials).get_indexer(names) >= 0
    return rows if wanted.all() else rows[wanted[numbers]].reset_index(drop=True)


def read_rows(sweep_dir: Path, table: Table) -> pa.Table:
    """Read every row of a table, with ``seq``; columns are null that the older program of a part did not have.

    Raises:
        DamagedRecords: rows are missing or damaged.
    """
    rows = read_parts(sweep_dir, table).rows
    return pa.concat_tables([table.schema.empty_table(), *rows], promote_options="default")


def _spread(trials: pd.DataFrame) -> pd.DataFrame:
    """Return trials with one column per dotted path instead of the JSON columns ``config`` and ``params``."""
    spread = [
        pd.DataFrame([flattened(json.loads(text), f"{column}.") for text in trials[column]], index=trials.index)
        for column in JSON_COLUMNS
    ]
    return pd.concat([trials.drop(columns=list(JSON_COLUMNS)), *spread], axis=1)
