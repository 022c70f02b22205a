"""The tail of a table returns each row once, whatever the writer does meanwhile."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.records import table_files, writer
from sweep.records.errors import RecordsError
from sweep.records.parts import live_parts
from sweep.records.schema import EPOCHS, RECORDS, SCHEMA_VERSION, TRIALS
from sweep.records.tail import Tail
from sweep.records.writer import RecordsWriter, write_manifest


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordsWriter:
    monkeypatch.setattr(writer, "MERGE_PARTS", 3)
    write_manifest(tmp_path, {"schema_version": SCHEMA_VERSION})
    return RecordsWriter(tmp_path)


def write(records: RecordsWriter, *epochs: int) -> None:
    for epoch in epochs:
        records.add(EPOCHS, {"trial": "off-0000", "epoch": epoch})
    records.flush(force=True)


def test_each_row_comes_once_across_merges(records: RecordsWriter, tmp_path: Path) -> None:
    tails = {
        every: (Tail(tmp_path, EPOCHS), []) for every in (1, 2, 5)
    }  # reads after each, each second, each fifth part
    for part in range(20):
        write(records, 2 * part, 2 * part + 1)
        for every, (each, seen) in tails.items():
            if (part + 1) % every == 0:
                seen += [row["epoch"] for row in each.new_rows()]
    for each, seen in tails.values():
        assert seen == list(range(40))
        assert each.new_rows() == []


def test_reads_no_part_twice(records: RecordsWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = Tail(tmp_path, EPOCHS)
    write(records, 1)
    each.new_rows()
    write(records, 2)
    read: list[int] = []
    read_part = table_files.read_part
    monkeypatch.setattr(
        table_files, "read_part", lambda path, part, table: read.append(part.first) or read_part(path, part, table)
    )
    assert [row["epoch"] for row in each.new_rows()] == [2]
    assert read == [1]


def test_a_missing_part_is_an_error(records: RecordsWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "ATTEMPTS", 2)
    write(records, 1)
    write(records, 2)
    part = live_parts(tmp_path / RECORDS / EPOCHS.name)[0]
    part.path.unlink()
    part.copy.unlink()
    with pytest.raises(RecordsError, match=r"a part is missing \(rows 0 to 0 of 'epochs'\)"):
        Tail(tmp_path, EPOCHS).new_rows()


def test_rows_of_an_older_program_are_like_those_of_this_one(tmp_path: Path) -> None:
    """A column that it did not have is null, and a key that it named otherwise has its present name."""
    folder = tmp_path / RECORDS / TRIALS.name
    folder.mkdir(parents=True)
    old = pa.table({"seq": [0], "trial": ["off-0000"], "params": ['{"mix.other.prob": 0.5}']})
    pq.write_table(old, folder / "part-000000000000-000000000000.parquet")
    (row,) = Tail(tmp_path, TRIALS).new_rows()
    assert (row["trial"], row["params"], row["config"]) == ("off-0000", '{"mix.alternate.prob": 0.5}', None)
    assert row.keys() == {"seq", *TRIALS.columns.names}
