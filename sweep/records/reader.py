"""Reader of a sweep's records: tidy frames, at any instant of the sweep, without torch or Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.records.errors import RecordsError
from sweep.records.names import check_names
from sweep.records.nested import flattened
from sweep.records.parts import Part, is_gapless, live_parts
from sweep.records.schema import (
    DECISIONS,
    EPOCHS,
    EVALUATIONS,
    MANIFEST,
    MEASUREMENTS,
    RECORDS,
    SCHEMA_VERSION,
    SEARCH,
    TRIALS,
    Table,
)
from trainables.renames import json_with_present_keys, with_present_keys

ATTEMPTS, PAUSE_S = 100, 0.02
"""Attempts to read a table during a merge of its parts: it takes milliseconds, on a slow network disk seconds."""

_MANY_ROWS = 100_000
_READERS = 4

_SEVERAL_SEARCHES = 3
"""First schema version in which an arm may have several searches."""

_NAMES = {"arm": "arm", "trial": "trial", "confirms": "trial"}
"""Columns of the trials with names, and what they name."""

JSON_COLUMNS = ("params", "config")
"""Columns of the trials with keys of a configuration, as JSON."""


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
        RecordsError: ``sweep_dir`` has no sweep, or a newer program wrote it.

    Example:
        >>> import tempfile
        >>> from sweep.records.schema import EPOCHS, SCHEMA_VERSION, TRIALS
        >>> from sweep.records.writer import RecordsWriter, write_manifest
        >>> sweep_dir = Path(tempfile.mkdtemp())
        >>> write_manifest(sweep_dir, {"schema_version": SCHEMA_VERSION})
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
    sweep_dir = Path(sweep_dir)
    manifest = read_manifest(sweep_dir)
    trials = read_table(sweep_dir, TRIALS)
    trials = trials[trials["phase"] == phase].reset_index(drop=True)
    epochs, decisions, evaluations, measurements = (
        _of_trials(read_table(sweep_dir, table), trials["trial"])
        for table in (EPOCHS, DECISIONS, EVALUATIONS, MEASUREMENTS)
    )
    return SweepRecords(manifest, _spread(trials), epochs, decisions, evaluations, measurements)


def read_manifest(sweep_dir: Path) -> dict[str, Any]:
    """Read ``sweep.json``; its study has every renamed key under its present name, and its number of searches.

    Raises:
        RecordsError: the file is missing or unreadable, or a newer program wrote it.
    """
    path = sweep_dir / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordsError(f"no sweep in '{sweep_dir}': the folder has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise RecordsError(f"cannot read '{path}': {error}") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise RecordsError(f"'{path}' has no schema_version: it is not the manifest of a sweep")
    if version > SCHEMA_VERSION:
        raise RecordsError(
            f"'{path}' was written by a newer cutmix-sweep: its schema version is {version}, and this program reads "
            f"versions up to {SCHEMA_VERSION}: update cutmix-sweep"
        )
    if "study" not in manifest:
        return manifest
    _check_study_names(manifest["study"], path)
    study = with_present_keys(manifest["study"])
    if version < _SEVERAL_SEARCHES and study.get("confirm") is not None:
        study = {**study, "confirm": {"searches": 1, **study["confirm"]}}
    return {**manifest, "study": study}


def _check_study_names(study: Any, path: Path) -> None:
    """Check the names of the study in a manifest, if they are there."""
    if isinstance(study, dict):
        check_names([study["name"]] if "name" in study else [], kind="study", where=path)
        arms = study.get("arms")
        check_names(arms if isinstance(arms, dict) else [], kind="arm", where=path)


def read_table(sweep_dir: Path, table: Table) -> pd.DataFrame:
    """Read one table, one row per key, in the order of writing; renamed keys of a configuration have present names."""
    rows = _read_parts(sweep_dir / RECORDS / table.name, table)
    frame: pd.DataFrame = rows.drop_columns("seq").to_pandas()
    keys = pd.DataFrame({name: _numbered(rows[name]) for name in table.key})  # comparing numbers is faster than text
    repeated = keys.duplicated(keep=table.keep).to_numpy()
    if repeated.any():
        frame = frame[~repeated].reset_index(drop=True)
    if table.name == TRIALS.name:
        for column, kind in _NAMES.items():
            check_names(frame[column].dropna().unique(), kind=kind, where=sweep_dir / RECORDS / table.name)
    if "search" in frame:
        frame["search"] = frame["search"].fillna(0).astype("int64")
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


def _read_parts(folder: Path, table: Table) -> pa.Table:
    """Return the rows of all parts of a table; read again if the writer merges parts at the same time.

    The old folder is listed before the new one. So a writer that renames it in between hides no part.
    """
    for _ in range(ATTEMPTS):
        try:
            old_parts = live_parts(folder.with_name(table.old_name)) if table.old_name else []
            parts = live_parts(folder) or old_parts
            if is_gapless(parts):
                rows = _read_all(parts)
                # null in columns that the older program of a part did not have
                return pa.concat_tables([table.schema.empty_table(), *rows], promote_options="default")
        except FileNotFoundError:
            pass
        except pa.ArrowInvalid as error:
            raise RecordsError(f"cannot read the records in '{folder}': {error}") from None
        time.sleep(PAUSE_S)
    raise RecordsError(f"cannot read the records in '{folder}': a part is missing")


def _read_all(parts: Sequence[Part]) -> list[pa.Table]:
    """Return the rows of each part."""
    if len(parts) < 2:
        return [_read(part) for part in parts]
    with ThreadPoolExecutor(_READERS) as pool:  # with many small parts, most of the time is latency
        return list(pool.map(_read, parts))


def _read(part: Part) -> pa.Table:
    """Return the rows of one part."""
    with pq.ParquetFile(part.path, pre_buffer=False) as file:
        # for a small part, starting threads takes longer than reading
        return file.read(use_threads=part.last - part.first > _MANY_ROWS)


def _spread(trials: pd.DataFrame) -> pd.DataFrame:
    """Return trials with one column per dotted path instead of the JSON columns ``config`` and ``params``."""
    spread = [
        pd.DataFrame([flattened(json.loads(text), f"{column}.") for text in trials[column]], index=trials.index)
        for column in JSON_COLUMNS
    ]
    return pd.concat([trials.drop(columns=list(JSON_COLUMNS)), *spread], axis=1)
