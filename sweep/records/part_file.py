"""Content of one Parquet part: encoded with its metadata, and checked when it is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.records.parts import DIGEST_CHARS, Part, part_path
from sweep.records.schema import JSON_COLUMNS, Table
from trainables.intact import DamagedFile
from trainables.whole_file import write_whole

Ranges = tuple[tuple[int, int], ...]
"""First and last row of each range."""

_MANY_ROWS = 100_000

_TABLE, _STUDY, _LOST = (f"cutmix_sweep_{name}".encode() for name in ("table", "study", "lost"))


@dataclass(frozen=True)
class PartContent:
    """Rows of a part.

    Attributes:
        rows: the rows, with ``seq``.
        study_sha256: checksum of the study of the sweep when the part was written; "" if it is not known.
        lost: ranges of rows that were lost before the part was written; ``rows`` lacks them.
    """

    rows: pa.Table
    study_sha256: str = ""
    lost: Ranges = ()


def encode_part(content: PartContent, table: Table) -> bytes:
    """Return the bytes of a part: Parquet with page checksums, and metadata that state what the part holds."""
    metadata = {
        **(table.schema.metadata or {}),
        _TABLE: table.name.encode(),
        _STUDY: content.study_sha256.encode(),
        _LOST: json.dumps(content.lost).encode(),
    }
    sink = pa.BufferOutputStream()
    rows = content.rows.replace_schema_metadata(metadata)
    pq.write_table(rows, sink, write_page_checksum=True)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def digest_of(encoded: bytes) -> str:
    """Return the checksum that the name of a part contains."""
    return hashlib.sha256(encoded).hexdigest()[:DIGEST_CHARS]


def write_part(folder: Path, content: PartContent, table: Table, first: int, last: int) -> Part:
    """Write the rows ``first`` to ``last`` of a table: the file, then its second copy; return the part.

    The folder of the sweep is not made: if it was deleted, it stays deleted.

    Raises:
        OSError: a file cannot be written.
    """
    encoded = encode_part(content, table)
    digest = digest_of(encoded)
    part = Part(first, last, digest, part_path(folder, first, last, digest))
    write_whole(part.path, encoded, parents=False)
    write_copy(part, encoded)
    return part


def write_copy(part: Part, encoded: bytes) -> None:
    """Write the second copy of a part; it need not survive a crash of the machine, because the file does."""
    part.copy.parent.parent.mkdir(exist_ok=True)
    write_whole(part.copy, encoded, parents=False, durable=False)


def read_part(path: Path, part: Part, table: Table) -> PartContent:
    """Read a part from its file or from its copy, and check it.

    Raises:
        DamagedFile: the file differs from its checksum, or does not hold what its name and its folder say.
        FileNotFoundError: the file is missing.
        PermissionError: the file may not be read.
    """
    try:
        encoded = path.read_bytes()
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise DamagedFile(path, f"it cannot be read ({error.strerror})") from None
    if part.digest and digest_of(encoded) != part.digest:
        raise DamagedFile(path, "its content differs from the checksum in its name")
    try:
        with pq.ParquetFile(pa.BufferReader(encoded), pre_buffer=False, page_checksum_verification=True) as file:
            # for a small part, starting threads takes longer than reading
            content = _content_of(file.read(use_threads=part.n_rows > _MANY_ROWS))
        if not part.digest:
            _check_values(content.rows)
    except Exception as error:  # a damaged file of an older version: Arrow raises errors of many kinds
        raise DamagedFile(path, f"it cannot be read ({_first_line(error)})") from None
    reason = _misfit(content, part, table)
    if reason:
        raise DamagedFile(path, reason)
    return content


def read_study_sha256(path: Path) -> str:
    """Return the checksum of the study under which a part was written, from the footer of the file alone.

    Returns:
        The checksum; "" in records of an older version.

    Raises:
        DamagedFile: the footer cannot be read.
        FileNotFoundError: the file is missing.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise DamagedFile(path, f"it cannot be read ({_first_line(error)})") from None
    return str(metadata.get(_STUDY, b"").decode())


def _check_values(rows: pa.Table) -> None:
    """Check what can be checked of a part without a checksum: its text is UTF-8, and its JSON columns are JSON."""
    rows.validate(full=True)
    for name in set(JSON_COLUMNS) & set(rows.column_names):
        for text in rows[name].to_pylist():
            json.loads(text or "{}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _content_of(rows: pa.Table) -> PartContent:
    """Return the rows and what the metadata say about them; records of an older version say nothing."""
    metadata = rows.schema.metadata or {}
    lost = tuple((first, last) for first, last in json.loads(metadata.get(_LOST, b"[]")))
    return PartContent(rows, metadata.get(_STUDY, b"").decode(), lost)


def _misfit(content: PartContent, part: Part, table: Table) -> str:
    """Return why a part does not belong where it is; "" if it does."""
    metadata = content.rows.schema.metadata or {}
    name = metadata.get(_TABLE, table.name.encode()).decode()
    if name != table.name:
        return f"it belongs to the table '{name}', not to '{table.name}'"
    # parts of an older version do not name their table
    columns = {field.name: field.type for field in content.rows.schema}
    types = {field.name: field.type for field in table.schema}
    if not columns.keys() >= {"seq", *table.key} or not columns.items() <= types.items():
        return f"its columns are not those of the table '{table.name}'"
    n_rows = len(content.rows) + sum(last - first + 1 for first, last in content.lost)
    if n_rows != part.n_rows:
        return f"it has {n_rows} rows, and its name says {part.n_rows}"
    return ""
