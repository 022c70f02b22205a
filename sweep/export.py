"""Records as plain files for other tools."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sweep.records.reader import read_sweep
from trainables.errors import UserError


def export_tables(sweep_dir: Path, folder: Path, format_: str) -> list[Path]:
    """Write trials, epochs and decisions of a sweep into ``folder`` as ``csv`` or ``parquet``; return the files.

    Raises:
        RecordsError: ``sweep_dir`` holds no readable records.
        UserError: ``folder`` cannot be made.
    """
    records = read_sweep(sweep_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--to '{folder}': {error.strerror}") from None
    written = []
    for name, frame in (
        ("trials", records.trials),
        ("epochs", records.epochs),
        ("decisions", records.decisions),
    ):
        path = folder / f"{name}.{format_}"
        if format_ == "csv":
            frame.to_csv(path, index=False)
        else:
            _one_type_a_column(frame).to_parquet(path, index=False)
        written.append(path)
    return written


def _one_type_a_column(frame: pd.DataFrame) -> pd.DataFrame:
    """Write columns of mixed types, such as a choice between a number and a name, as text."""
    frame = frame.copy()
    for name in frame:
        if frame[name].dropna().map(type).nunique() > 1:
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame
