"""Files of models and checkpoints: a torch state whose checksum stands in the file itself."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import UserError
from trainables.intact import DamagedFile
from trainables.whole_file import write_whole

if TYPE_CHECKING:
    import torch

_QUOTED_CHARS = 200

_PREFIX = b"sha256:"
_COMMENT_BYTES = len(_PREFIX) + 64
_END = b"PK\x05\x06"
_END_BYTES = 22
"""Size of the last record of a zip archive without its comment; its last two bytes are the length of the comment."""


def write_state(path: Path, state: Mapping[str, Any]) -> str:
    """Write a state atomically and return its SHA-256: a reader sees the old state or the new state.

    torch writes a zip archive. The checksum is the comment of the archive: ``sha256:`` and 64 hexadecimal digits. It
    covers all bytes before the comment. ``torch.load`` reads the file as any other.

    Examples:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "off-0000.pt"
        >>> sha256 = write_state(path, {"step": 3, "weights": torch.zeros(2)})
        >>> sha256 == verify_state(path)
        True
        >>> read_state(path)["step"], torch.load(path, weights_only=True)["step"]
        (3, 3)
    """
    content, sha256 = encode_state(state)
    write_whole(path, content, parents=False)  # a sweep that was deleted meanwhile stays deleted
    return sha256


def sha256_of_state(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 that a state has when it is written; nothing is written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "off-0000.pt"
        >>> write_state(path, {"step": 3}) == sha256_of_state({"step": 3})
        True
    """
    return encode_state(state)[1]


def encode_state(state: Mapping[str, Any]) -> tuple[memoryview, str]:
    """Return the content of the file of a state, as :func:`write_state` writes it, and its checksum.

    Examples:
        >>> content, sha256 = encode_state({"step": 3})
        >>> bytes(content).endswith(sha256.encode()), sha256 == sha256_of_state({"step": 3})
        (True, True)
    """
    import torch

    buffer = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    torch.save(dict(state), buffer)
    with buffer.getbuffer() as archive:
        archive[-2:] = struct.pack("<H", _COMMENT_BYTES)
        sha256 = hashlib.sha256(archive).hexdigest()
    buffer.seek(0, io.SEEK_END)
    buffer.write(_PREFIX + sha256.encode())
    return buffer.getbuffer(), sha256


def read_state(
    path: Path, *, map_location: torch.device | str = "cpu", expected_sha256: str | None = None
) -> dict[str, Any]:
    """Read a state without running code from its file.

    Args:
        path: the file.
        map_location: device of its tensors.
        expected_sha256: checksum that the file must have; None: any file that is intact.

    Raises:
        DamagedFile: the file is not as it was written, or not the expected one.
        FileNotFoundError: there is no such file.
    """
    content = _read_bytes(path)
    sha256 = _verified(path, content)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise DamagedFile(path, _other_than(expected_sha256, sha256))
    import torch

    with named_damage(path):
        state = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    if not isinstance(state, dict):
        raise DamagedFile(path, "it contains no state")
    return state


def verify_state(path: Path, *, expected_sha256: str | None = None) -> str:
    """Check the file of a state against its checksum, without torch, and return the checksum.

    A file of an older version has no checksum: the CRC-32 sums of its zip archive are checked, and the SHA-256 of the
    whole file is returned.

    Args:
        path: the file.
        expected_sha256: checksum that the file must have; None: any file that is intact.

    Raises:
        DamagedFile: the file is not as it was written, or not the expected one.
        FileNotFoundError: there is no such file.
    """
    sha256 = _verified(path, _read_bytes(path))
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise DamagedFile(path, _other_than(expected_sha256, sha256))
    return sha256


@contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Turn an error of a block that uses the content of ``path`` into a :class:`DamagedFile`.

    torch, pickle and pydantic raise many types for a content that does not fit. Errors that have another cause pass: a
    refusal, a part of one's own that cannot be found, memory that is exhausted, a device that is lost.

    Examples:
        >>> with named_damage(Path("off-0000.pt")):
        ...     {}["weights"]
        Traceback (most recent call last):
        ...
        trainables.intact.DamagedFile: 'off-0000.pt' is damaged: its content does not fit (KeyError: 'weights')
    """
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedFile(path, f"its content does not fit ({text[:_QUOTED_CHARS]})") from None


def _other_than(expected: str, present: str) -> str:
    return f"it is not the recorded file: its sha256 begins with {present[:8]}, the recorded one with {expected[:8]}"


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:  # the disk has lost a part of the file
            raise DamagedFile(path, f"it cannot be read ({error.strerror})") from None
        raise


def _verified(path: Path, content: bytes) -> str:
    """Return the checksum of a file's content, which is checked.

    A file of an older version ends with the record of an archive without a comment. Its end differs in more than one
    bit from the end of a file with a checksum, so a damaged file never counts as one of an older version.
    """
    end = content[-_END_BYTES:]
    if len(end) == _END_BYTES and end.startswith(_END) and end.endswith(b"\0\0"):
        _check_crc(path, content)
        return hashlib.sha256(content).hexdigest()
    comment = content[-_COMMENT_BYTES:]
    if not re.fullmatch(re.escape(_PREFIX) + rb"[0-9a-f]{64}", comment):
        raise DamagedFile(path, "it is cut off, or no state of this program")
    sha256 = hashlib.sha256(memoryview(content)[:-_COMMENT_BYTES]).hexdigest()
    if sha256.encode() != comment.removeprefix(_PREFIX):
        raise DamagedFile(path, "its content differs from its checksum")
    return sha256


def _check_crc(path: Path, content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises many types
        raise DamagedFile(path, f"its archive cannot be read ({error})") from None
    if damaged is not None:
        raise DamagedFile(path, f"its record '{damaged}' differs from its CRC-32")
