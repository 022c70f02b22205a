"""Records as plain files for other tools."""

from __future__ import annotations

from pathlib import Path

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
            frame.to_parquet(path, index=False)
        written.append(path)
    return written
