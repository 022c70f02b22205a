"""Formats that a sweep is exported to."""

from __future__ import annotations

from pathlib import Path


def export_sweep(sweep_dir: Path, folder: Path, format_: str) -> list[Path]:
    """Write a sweep into ``folder`` as ``csv``, ``parquet``, ``optuna`` or ``tensorboard``; return what was written.

    Raises:
        RecordsError: ``sweep_dir`` holds no readable records.
        UserError: ``folder`` cannot be made.
    """
    if format_ == "optuna":
        from sweep.export.optuna_storage import export_optuna

        return [export_optuna(sweep_dir, folder)]
    if format_ == "tensorboard":
        from sweep.export.tensorboard import export_tensorboard

        return [export_tensorboard(sweep_dir, folder)]
    from sweep.export.tabular import export_tables

    return export_tables(sweep_dir, folder, format_)
