"""Folders of files that a command writes into a sweep: links in them are not followed.

The folder of a sweep may come from somebody else. If ``report/`` in it is a link, files elsewhere would be overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweep.mirrored import mirror_of
from trainables.errors import UserError, shorten_path
from trainables.whole_file import whole_file


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


def write_files(files: Mapping[Path, str], *, below: Path, option: str) -> list[Path]:
    """Write files that people edit, and return their paths; no file with another content is replaced.

    Args:
        files: text of each file by its path.
        below: folder of all files.
        option: option that names this folder.

    Raises:
        UserError: a file has another content, or cannot be written; in the first case nothing was written.
    """
    changed = [path for path, text in files.items() if path.is_symlink() or (path.exists() and not _holds(path, text))]
    if changed:
        raise UserError(
            f"'{shorten_path(changed[0])}' exists with another content, and no file is replaced: choose another folder "
            f"with {option}, or remove the file"
        )
    for folder in dict.fromkeys(path.parent for path in files):
        make_output_folder(folder, below=below)
    for path, text in files.items():
        if not path.exists():
            try:
                with whole_file(path) as file:
                    file.write(text.encode())
            except OSError as error:
                raise UserError(f"'{shorten_path(path)}' cannot be written: {error.strerror}") from None
    return list(files)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
