"""The folder of a new sweep: checked before anything is done, and removed again if nothing was written into it."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from search_spaces.study import Study
from sweep.endings import resume_command
from sweep.lease import is_lock_file
from sweep.node_check import SIGN
from sweep.records.counts import COUNTS
from sweep.records.manifest_file import manifest_copy
from sweep.records.parts import COPIES
from sweep.records.schema import MANIFEST, RECORDS
from trainables.errors import UserError, shorten_path
from trainables.whole_file import UNFINISHED


def new_folder(study: Study, out: Path | None) -> Path:
    """Return the folder of a new sweep, which is checked but not made.

    Args:
        study: the study, whose name the folder gets.
        out: the folder; None: ``sweeps/STUDY-TIME``.

    Raises:
        UserError: it cannot be made, has a sweep already, or is not empty.
    """
    if out is not None and ":/" in str(out):  # a Path writes s3://bucket as s3:/bucket
        raise UserError(f"--out '{out}': must be a folder that all nodes of the cluster can use, not an address")
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    sweep_dir = (out or Path("sweeps") / f"{study.name}-{stamp}").absolute()
    try:
        _check_new_folder(sweep_dir)
    except OSError as error:  # for example a name that is too long
        raise UserError(f"--out '{shorten_path(out or sweep_dir)}': {error.strerror}") from None
    return sweep_dir


def check_no_sweep(sweep_dir: Path) -> None:
    """Check that a folder has no sweep.

    Raises:
        UserError: it has one; the message says how to resume it.
    """
    if (sweep_dir / MANIFEST).exists() or manifest_copy(sweep_dir).exists():
        raise UserError(f"--out '{sweep_dir}' already contains a sweep: resume it with: {resume_command(sweep_dir)}")


def _check_new_folder(sweep_dir: Path) -> None:
    check_no_sweep(sweep_dir)
    if sweep_dir.is_dir() and not all(_precedes_manifest(path, sweep_dir) for path in sweep_dir.rglob("*")):
        raise UserError(f"--out '{sweep_dir}' is not empty: choose a new folder")
    nearest = next(folder for folder in (sweep_dir, *sweep_dir.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out '{sweep_dir}': cannot write to '{nearest}'")


def _precedes_manifest(path: Path, sweep_dir: Path) -> bool:
    """Return whether a kill before the manifest was written may have left a file or folder: the lock, or no rows."""
    names = path.relative_to(sweep_dir).parts
    return (
        is_lock_file(Path(names[0]))
        or names[0].startswith(SIGN)
        or names in ((RECORDS,), (RECORDS, COPIES))
        or (names[0] == RECORDS and path.name.startswith(COUNTS))
        or (path.name.startswith(MANIFEST) and path.name.endswith(UNFINISHED))
    )


@contextlib.contextmanager
def made(sweep_dir: Path) -> Iterator[None]:
    """Make the folder of a new sweep; if nothing is written into it, remove it after an error.

    Raises:
        UserError: it cannot be made.
    """
    missing = [folder for folder in (sweep_dir, *sweep_dir.parents) if not folder.exists()]
    try:
        try:
            sweep_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out '{sweep_dir}': cannot be made: {error.strerror}") from None
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: the sweep has begun
                folder.rmdir()
        raise
