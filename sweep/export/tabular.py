"""Records as plain files for other tools."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sweep.export.recorded import make_folder
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM


def export_tables(sweep_dir: Path, folder: Path, format_: str) -> list[Path]:
    """Write a sweep's tables into ``folder`` as ``csv`` or ``parquet``; return the files.

    Trials and epochs of a confirmation are files of their own, and there are no such files without one.

    Raises:
        RecordsError: ``sweep_dir`` holds no readable records.
        UserError: ``folder`` cannot be made.
    """
    search, confirm = read_sweep(sweep_dir), read_sweep(sweep_dir, CONFIRM)
    tables = {"trials": search.trials, "epochs": search.epochs, "decisions": search.decisions}
    if len(confirm.trials):
        tables |= {"confirm_trials": confirm.trials, "confirm_epochs": confirm.epochs}
        tables["evaluations"] = confirm.evaluations
    make_folder(folder)
    written = []
    for name, frame in tables.items():
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
