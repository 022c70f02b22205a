"""Tables of the records as CSV or Parquet files, for other tools."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sweep.csv_files import write_csv
from sweep.export.recorded import make_folder
from sweep.records.reader import read_both_phases
from trainables.whole_file import whole_file


def export_tables(sweep_dir: Path, folder: Path, format_: str) -> list[Path]:
    """Write a sweep's tables into ``folder`` as ``csv`` or ``parquet``; return the files.

    Trials and epochs of a confirmation are separate files. Without a confirmation these files do not exist.

    Raises:
        RecordsError: ``sweep_dir`` has no readable records.
        UserError: ``folder`` cannot be made.
    """
    search, confirm = read_both_phases(sweep_dir)
    tables = {"trials": search.trials, "epochs": search.epochs, "decisions": search.decisions}
    if len(confirm.trials):
        tables |= {"confirm_trials": confirm.trials, "confirm_epochs": confirm.epochs}
        tables["evaluations"] = confirm.evaluations
    make_folder(sweep_dir, folder)
    written = []
    for name, frame in tables.items():
        path = folder / f"{name}.{format_}"
        with whole_file(path) as file:
            if format_ == "csv":
                write_csv(frame, file)
            else:
                _with_uniform_types(frame).to_parquet(file, index=False)
        written.append(path)
    return written


def _with_uniform_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which columns of mixed types, such as a choice between a number and a name, are text."""
    frame = frame.copy()
    for name in frame:
        if frame[name].dropna().map(type).nunique() > 1:
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame
