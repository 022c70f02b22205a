"""Files in folders: list them by one walk."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UserError, shorten, shorten_path

IMAGE_SUFFIXES = frozenset(
    {
        *("apng", "avif", "bmp", "dib", "gif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg", "jpx"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"),
    }
)
"""Endings of image files, in lower case; case is ignored."""

SYSTEM_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found"})
"""Files and folders that operating systems add; like hidden ones, they are never read."""

SYSTEM_FILES, NO_SUFFIX = "hidden or system", "without an ending"
"""Kinds of files that have no ending to be counted by."""

LISTED_KINDS = 6
"""Number of kinds of passed-over files that a sentence lists."""


@dataclass(frozen=True)
class Listing:
    """Files below a folder.

    Attributes:
        names: files of the wanted kind, relative to the folder, sorted.
        passed_over: number of all other files by kind: the ending in lower case, ``SYSTEM_FILES`` or ``NO_SUFFIX``. A
            hidden folder counts as one file.
    """

    names: list[str]
    passed_over: Mapping[str, int]


def image_files(folder: Path) -> list[str]:
    """Return the image files below ``folder`` at any depth, as :func:`list_files`."""
    return list_files(folder).names


def annotation_files(folder: Path) -> list[str]:
    """Return the XML files below ``folder`` at any depth, as :func:`list_files`."""
    return list_files(folder, frozenset({"xml"})).names


def list_files(folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Listing:
    """List the files below ``folder`` at any depth that have one of the endings ``suffixes``; links are followed.

    Raises:
        UserError: a folder cannot be read; a link leads nowhere, to itself or to a folder that contains it; or a wanted
            name is neither a file nor a folder. The message names it.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.PNG", "a.jpg", "notes.txt", ".DS_Store"):
        ...     (folder / name).touch()
        >>> listing = list_files(folder)
        >>> listing.names, dict(sorted(listing.passed_over.items()))
        (['a.jpg', 'b.PNG'], {'.txt': 1, 'hidden or system': 1})
    """
    names: list[str] = []
    passed_over: Counter[str] = Counter()
    root = str(folder)
    waiting = [""]
    while waiting:  # no recursion: folders may be nested deeper than Python's stack
        prefix = waiting.pop()
        for entry in _entries(f"{root}{os.sep}{prefix[:-1]}" if prefix else root):
            if is_system_name(entry.name):
                passed_over[SYSTEM_FILES] += 1
            elif _is_folder(entry):
                _check_loop(entry, root)
                waiting.append(f"{prefix}{entry.name}/")
            elif (suffix := _suffix(entry.name)) in suffixes or not suffix:
                _check_file(entry)
                if suffix:
                    names.append(prefix + entry.name)
                else:
                    passed_over[NO_SUFFIX] += 1
            else:
                passed_over[f".{suffix}"] += 1
    return Listing(sorted(names), passed_over)


def subfolders(folder: Path) -> Listing:
    """List the folders in ``folder`` itself, as :func:`list_files`; all else in it is passed over."""
    names: list[str] = []
    passed_over: Counter[str] = Counter()
    for entry in _entries(str(folder)):
        if is_system_name(entry.name):
            passed_over[SYSTEM_FILES] += 1
        elif _is_folder(entry):
            names.append(entry.name)
        else:
            suffix = _suffix(entry.name)
            if not suffix:
                _check_file(entry)
            passed_over[f".{suffix}" if suffix else NO_SUFFIX] += 1
    return Listing(sorted(names), passed_over)


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden or added by an operating system.

    Examples:
        >>> is_system_name("__MACOSX"), is_system_name(".DS_Store"), is_system_name("cat")
        (True, True, False)
    """
    return name.startswith(".") or name in SYSTEM_NAMES


def describe_passed_over(passed_over: Mapping[str, int]) -> str:
    """Return the number of files that were passed over, and their kinds, most frequent first.

    Examples:
        >>> describe_passed_over({".txt": 2, ".heic": 10})
        '12 files passed over: 10 .heic, 2 .txt'
    """
    counts = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count:,} {shorten(printable(kind), 20)}" for kind, count in counts[:LISTED_KINDS]]
    if len(counts) > LISTED_KINDS:
        kinds.append(f"{sum(count for _, count in counts[LISTED_KINDS:]):,} of other kinds")
    total = sum(passed_over.values())
    return f"{total:,} file{'' if total == 1 else 's'} passed over: {', '.join(kinds)}"


def printable(text: str) -> str:
    r"""Return a name of the file system as text; bytes that are not UTF-8 are written as ``\xNN``.

    Examples:
        >>> printable("caf\udce9")
        'caf\\xe9'
    """
    return os.fsencode(text).decode(errors="backslashreplace")


def printable_path(path: object) -> str:
    """Return a path for a message: as text, without the start of a path that is very long."""
    return shorten_path(printable(str(path)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"cannot read the folder {printable_path(folder)}: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        reason = "it leads to itself" if error.errno == errno.ELOOP else str(error.strerror)
        raise UserError(f"cannot follow the link {printable_path(entry.path)}: {reason}; remove it") from error


def _check_loop(entry: os.DirEntry[str], root: str) -> None:
    """Check that a folder is no link to a folder on the way from ``root`` to it: the walk would not end."""
    if not entry.is_symlink():
        return
    target, parent = entry.stat(), entry.path
    while parent != root:
        parent = os.path.dirname(parent)  # noqa: PTH120 (the same text as the walk's)
        if os.path.samestat(os.stat(parent), target):  # noqa: PTH116
            raise UserError(
                f"cannot follow the link {printable_path(entry.path)}: it leads back to {printable_path(parent)}, "
                "which contains it; remove it"
            )


def _check_file(entry: os.DirEntry[str]) -> None:
    if entry.is_file():
        return
    path = printable_path(entry.path)
    if entry.is_symlink():
        raise UserError(
            f"cannot follow the link {path}: there is no {printable_path(os.readlink(entry.path))}; "  # noqa: PTH115
            "restore the file or remove the link"
        )
    raise UserError(f"cannot read {path}: it is neither a file nor a folder; remove it")


def _suffix(name: str) -> str:
    """Return a name's ending in lower case; "" if it has none."""
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() if stem else ""
