"""Export of a sweep in one of several formats."""

from __future__ import annotations

from pathlib import Path


def export_sweep(sweep_dir: Path, folder: Path, format_: str) -> list[Path]:
    """Write a sweep into ``folder`` as ``csv``, ``parquet``, ``optuna`` or ``tensorboard``; return the paths.

    Raises:
        RecordsError: ``sweep_dir`` has no readable records.
        UserError: ``folder`` cannot be made.

    Example:
        >>> import tempfile
        >>> from search_spaces.discover import load_study
        >>> from sweep.manifest import new_manifest
        >>> from sweep.records.writer import write_manifest
        >>> sweep_dir = Path(tempfile.mkdtemp())
        >>> write_manifest(sweep_dir, new_manifest(load_study("quickstart"), sweep_dir, "example", {}))
        >>> [path.name for path in export_sweep(sweep_dir, sweep_dir / "export", "csv")]
        ['trials.csv', 'epochs.csv', 'decisions.csv']
    """
    if format_ == "optuna":
        from sweep.export.optuna_storage import export_optuna

        return [export_optuna(sweep_dir, folder)]
    if format_ == "tensorboard":
        from sweep.export.tensorboard import export_tensorboard

        return [export_tensorboard(sweep_dir, folder)]
    from sweep.export.tabular import export_tables

    return export_tables(sweep_dir, folder, format_)
