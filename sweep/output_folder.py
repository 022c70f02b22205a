"""Folders of files that a command writes into a sweep: links in them are not followed.

The folder of a sweep may come from somebody else. If ``report/`` in it is a link, files elsewhere would be overwritten.
"""

from __future__ import annotations

from pathlib import Path

from sweep.mirrored import mirror_of
from trainables.errors import UserError


def output_folder(sweep_dir: Path, name: str) -> Path:
    """Return the folder into which a command writes files for people, unless they name one.

    It is in the folder of the sweep; for a sweep in an object store, in the current folder.

    Examples:
        >>> output_folder(Path("sweeps/box"), "export")
        PosixPath('sweeps/box/export')
    """
    return sweep_dir / name if mirror_of(sweep_dir) is None else Path(name)


def make_output_folder(folder: Path, *, below: Path) -> Path:
    """Make a folder and return it, after :func:`check_output_folder`.

    Raises:
        UserError: a link or a file is in the way, or the folder cannot be made.
    """
    check_output_folder(folder, below=below)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"'{folder}' is not a folder") from None
    except OSError as error:
        raise UserError(f"'{folder}' cannot be made: {error.strerror}") from None
    return folder


def check_output_folder(folder: Path, *, below: Path) -> None:
    """Check that no link leads from ``below`` to ``folder``; ``below`` itself, and what is above it, may be links.

    Raises:
        UserError: there is a link.

    Examples:
        >>> import tempfile
        >>> sweep_dir = Path(tempfile.mkdtemp())
        >>> (sweep_dir / "report").symlink_to("/tmp")
        >>> check_output_folder(sweep_dir / "report" / "tables", below=sweep_dir)
        Traceback (most recent call last):
        ...
        trainables.errors.UserError: ... is a link: no file is written through it; remove it or choose another folder
    """
    n_below = len(folder.relative_to(below).parts)
    for step in reversed([folder, *folder.parents][:n_below]):
        if step.is_symlink():
            raise UserError(f"'{step}' is a link: no file is written through it; remove it or choose another folder")
