"""Reader of a sweep's records: tidy frames, at any instant of the sweep, without torch or Ray."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.records.errors import RecordsError
from sweep.records.nested import flattened
from sweep.records.parts import Part, is_gapless, live_parts
from sweep.records.schema import (
    AXES,
    DECISIONS,
    EPOCHS,
    EVALUATIONS,
    MANIFEST,
    RECORDS,
    SCHEMA_VERSION,
    SEARCH,
    TRIALS,
    Table,
)
from trainables.renames import json_with_present_keys, with_present_keys

_ATTEMPTS, _PAUSE_S = 100, 0.02  # a merge takes milliseconds, seconds on a slow network disk
_MANY_ROWS = 100_000
_READERS = 4

_JSON_COLUMNS = {"params", "config"}
"""Columns of the trials with keys of a configuration, as JSON."""


@dataclass(frozen=True)
class SweepRecords:
    """All that is known of one phase of a sweep.

    Attributes:
        manifest: study, versions, hardware, seed, command and runs, from ``sweep.json``.
        trials: one row a trial; its drawn parameters also as ``params.*``, its configuration as ``config.*``
            columns.
        epochs: one row a trial and epoch.
        decisions: one row a trial and rung; none in a confirmation.
        evaluations: one row a trial, axis, split, setting, metric and settings of the axis.
        axes: one row a trial, axis and settings that it was measured under: whether that came to its end.
    """

    manifest: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame
    axes: pd.DataFrame


def read_sweep(sweep_dir: Path | str, phase: str = SEARCH) -> SweepRecords:
    """Read what is recorded so far below ``sweep_dir`` of a phase: ``search`` or ``confirm``.

    They are kept apart, for trials of a search were chosen and stopped by what they showed.

    Raises:
        RecordsError: no sweep there, or one of a newer schema.
    """
    sweep_dir = Path(sweep_dir)
    manifest = read_manifest(sweep_dir)
    trials = read_table(sweep_dir, TRIALS)
    trials = trials[trials["phase"] == phase].reset_index(drop=True)
    epochs, decisions, evaluations, axes = (
        _of_trials(read_table(sweep_dir, table), trials["trial"]) for table in (EPOCHS, DECISIONS, EVALUATIONS, AXES)
    )
    return SweepRecords(manifest, _spread(trials), epochs, decisions, evaluations, axes)


def read_manifest(sweep_dir: Path) -> dict[str, Any]:
    """Read ``sweep.json``; its study has every renamed key under its present name.

    Raises:
        RecordsError: it is missing, unreadable or of a newer schema.
    """
    path = sweep_dir / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise RecordsError(f"no sweep in '{sweep_dir}': it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise RecordsError(f"cannot read '{path}': {error}") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise RecordsError(f"'{path}' names no schema version: it is not the manifest of a sweep")
    if version > SCHEMA_VERSION:
        raise RecordsError(
            f"'{path}' has schema version {version}; this program reads up to {SCHEMA_VERSION}: update cutmix-sweep"
        )
    return {**manifest, "study": with_present_keys(manifest["study"])} if "study" in manifest else manifest


def read_table(sweep_dir: Path, table: Table) -> pd.DataFrame:
    """Read one table, one row per key, in the order of writing; renamed keys of a configuration have present names."""
    rows = _read_parts(sweep_dir / RECORDS / table.name, table)
    frame: pd.DataFrame = rows.drop_columns("seq").to_pandas()
    keys = pd.DataFrame({name: _numbered(rows[name]) for name in table.key})  # numbers are compared faster than text
    for column in _JSON_COLUMNS & set(frame.columns):
        frame[column] = frame[column].map(json_with_present_keys, na_action="ignore")
    repeated = keys.duplicated(keep=table.keep).to_numpy()
    return frame[~repeated].reset_index(drop=True) if repeated.any() else frame


def _numbered(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers as it is, and one of text as a number for each distinct text, int [n]."""
    numbers = column.combine_chunks()
    if pa.types.is_string(column.type):
        numbers = numbers.dictionary_encode().indices
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _of_trials(rows: pd.DataFrame, trials: pd.Series[str]) -> pd.DataFrame:
    """Keep the rows of the named trials; one look a trial, not a row."""
    numbers, names = pd.factorize(rows["trial"])
    wanted = pd.Index(trials).get_indexer(names) >= 0
    return rows if wanted.all() else rows[wanted[numbers]].reset_index(drop=True)


def _read_parts(folder: Path, table: Table) -> pa.Table:
    """Concatenate a table's parts; start again where the writer merged some of them meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            parts = live_parts(folder)
            if is_gapless(parts):
                with ThreadPoolExecutor(_READERS) as pool:  # many small parts: a file's latency is most of its time
                    rows = list(pool.map(_read, parts))
                # parts of an older program lack columns that have been added since: null
                return pa.concat_tables([table.schema.empty_table(), *rows], promote_options="default")
        except FileNotFoundError:
            pass
        except pa.ArrowInvalid as error:
            raise RecordsError(f"cannot read the records in '{folder}': {error}") from None
        time.sleep(_PAUSE_S)
    raise RecordsError(f"cannot read the records in '{folder}': a part is missing")


def _read(part: Part) -> pa.Table:
    """Read one part; of a small one, threads would take longer to start than to read."""
    with pq.ParquetFile(part.path, pre_buffer=False) as file:
        return file.read(use_threads=part.last - part.first > _MANY_ROWS)


def _spread(trials: pd.DataFrame) -> pd.DataFrame:
    """Replace the JSON columns ``config`` and ``params`` by one column a dotted path."""
    spread = [
        pd.DataFrame([flattened(json.loads(text), f"{column}.") for text in trials[column]], index=trials.index)
        for column in ("params", "config")
    ]
    return pd.concat([trials.drop(columns=["params", "config"]), *spread], axis=1)
