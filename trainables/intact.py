"""Files that show damage: their checksum is read back, and what fails it is set aside under another name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.whole_file import write_whole

DAMAGED = ".damaged"
"""Part of the name of a file or folder that was set aside; a number follows."""

CHECKSUM = "sha256"
"""Key of a JSON file that holds the checksum of all its other keys."""


class DamagedFile(UserError):
    """A file is not as it was written.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Describe what is wrong with ``path``."""
        self.path, self.reason = path, reason
        super().__init__(f"'{path}' is damaged: {reason}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "empty"
        >>> path.touch()
        >>> sha256_of(path)[:8]
        'e3b0c442'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder and return its new path, in the same folder; nothing is deleted.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "off-0000.pt"
        >>> path.touch()
        >>> set_aside(path).name
        'off-0000.pt.damaged-1'
        >>> path.touch()
        >>> set_aside(path).name
        'off-0000.pt.damaged-2'
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}{DAMAGED}-{number}")):
        number += 1
    path.rename(aside)
    return aside


def write_checked_json(path: Path, content: Mapping[str, Any], *, parents: bool = True, durable: bool = True) -> None:
    """Write a mapping as a JSON file whose last key, ``sha256``, is the checksum of the other keys.

    ``parents`` and ``durable`` are those of :func:`trainables.whole_file.whole_file`.
    """
    content = {key: value for key, value in content.items() if key != CHECKSUM}
    text = json.dumps({**content, CHECKSUM: checksum_of(content)}, indent=2) + "\n"
    write_whole(path, text, parents=parents, durable=durable)


def read_checked_json(path: Path, *, require_checksum: bool = True) -> dict[str, Any]:
    """Read a file of :func:`write_checked_json`, without its checksum.

    Args:
        path: the file.
        require_checksum: whether a file without a checksum is damaged; False where older versions wrote none.

    Raises:
        DamagedFile: the content is not a JSON mapping, or differs from its checksum.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "counts.json"
        >>> write_checked_json(path, {"epochs": 12})
        >>> read_checked_json(path)
        {'epochs': 12}
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:
        raise DamagedFile(path, f"it cannot be read ({error.strerror})") from None
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DamagedFile(path, "it is not a JSON mapping")
    checksum = content.pop(CHECKSUM, None)
    if checksum is None and not require_checksum:
        return content
    if checksum != checksum_of(content):
        raise DamagedFile(path, "its content differs from its checksum")
    return content


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a mapping; it does not depend on the order of its keys.

    Examples:
        >>> checksum_of({"a": 1, "b": [2.5]}) == checksum_of({"b": [2.5], "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
