"""The records contain the written rows, at any instant and after any kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.records import merge, writer
from sweep.records.errors import RecordsError
from sweep.records.parts import live_parts
from sweep.records.reader import read_sweep, read_table
from sweep.records.schema import DECISIONS, EPOCHS, MANIFEST, RECORDS, SCHEMA_VERSION, TRIALS, Table
from sweep.records.writer import RecordsWriter, write_manifest
from tests.processes import wait_until

ROOT = Path(__file__).parents[3]
BATCH = 3

# Writes n_batches batches of epochs of one trial, three per part (without end if n_batches is -1), and continues
# recorded epochs. Merging after 5 parts makes merges frequent. After 25 batches of a given number it waits for a line.
WRITING = """
import sys
from pathlib import Path
from sweep.records import writer
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, TRIALS

writer.MERGE_PARTS = 5
sweep_dir, n_batches = Path(sys.argv[1]), int(sys.argv[2])
records = writer.RecordsWriter(sweep_dir)
start = len(read_table(sweep_dir, EPOCHS))
print("ready", flush=True)
done = 0
while done != n_batches:
    for epoch in range(start + 3 * done + 1, start + 3 * done + 4):
        records.add(EPOCHS, {"trial": "a", "arm": "a", "epoch": epoch})
    records.add(TRIALS, {"trial": "a", "epochs": epoch, "phase": "search", "params": "{}", "config": "{}"})
    records.flush(force=True)
    done += 1
    if n_batches > 0 and done % 25 == 0:
        sys.stdin.readline()
"""


def start_writing(sweep_dir: Path, n_batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITING, str(sweep_dir), str(n_batches)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def manifest(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    study = {"name": "simulated", "question": "?", "arms": {"a": {}}, "metric": "val_nll", "budget": {}}
    empty: dict[str, Any] = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
    return {"schema_version": version, "sweep": "simulated", "study": study, **empty}


def epoch_row(epoch: int) -> dict[str, Any]:
    return {"trial": "a", "arm": "a", "epoch": epoch, "val_nll": epoch / 10}


def write_epochs(sweep_dir: Path, epochs: range, table: Table = EPOCHS) -> None:
    records = RecordsWriter(sweep_dir)
    for epoch in epochs:
        records.add(table, epoch_row(epoch))
        records.flush(force=True)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as they were written: a frame has NaN for None."""
    return [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# a column of integers with a gap is read as float64, which represents integers up to 2^53
_VALUES = {
    pa.string(): _TEXT,
    pa.int64(): st.integers(-(2**53), 2**53),
    pa.float64(): st.floats(allow_nan=False),
}


def table_rows(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries(
        {
            field.name: _VALUES[field.type] if field.name in table.key else st.none() | _VALUES[field.type]
            for field in table.columns
        }
    )
    return st.lists(row, max_size=8, unique_by=lambda row: tuple(row[name] for name in table.key))


@pytest.mark.parametrize("table", [EPOCHS, DECISIONS], ids=lambda table: table.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_read_is_what_was_written(table: Table, data: st.DataObject) -> None:
    rows = data.draw(table_rows(table))
    flushed = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    with tempfile.TemporaryDirectory() as folder:
        records = RecordsWriter(Path(folder))
        for row, flush in zip(rows, flushed, strict=True):
            records.add(table, row)
            records.flush(force=flush)
        records.flush(force=True)
        assert rows_of(read_table(Path(folder), table)) == rows


class TestOlderRecords:
    """Records without newer columns are read, continued and merged."""

    OLD = replace(TRIALS, columns=pa.schema([field for field in TRIALS.columns if not field.name.startswith("dose_")]))

    @pytest.fixture
    def sweep_dir(self, tmp_path: Path) -> Path:
        (tmp_path / MANIFEST).write_text(json.dumps(manifest(3)))
        folder = tmp_path / RECORDS / TRIALS.name
        folder.mkdir(parents=True)
        for number, trial in enumerate(("a", "b")):
            row = {"seq": number, "trial": trial, "node": "here", "phase": "search", "params": "{}", "config": "{}"}
            rows = pa.Table.from_pylist([row], schema=self.OLD.schema)
            pq.write_table(rows, folder / f"part-{number:012d}-{number:012d}.parquet")
        return tmp_path

    def test_new_columns_are_null(self, sweep_dir: Path) -> None:
        trials = read_sweep(sweep_dir).trials
        assert trials["trial"].tolist() == ["a", "b"]
        assert trials["dose_exposure"].dtype == float
        assert trials["dose_exposure"].isna().all()

    @pytest.mark.parametrize("merge_parts", [64, 3])
    def test_are_gone_on_with(self, sweep_dir: Path, merge_parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "MERGE_PARTS", merge_parts)
        records = RecordsWriter(sweep_dir)
        for trial in ("b", "c"):
            row = {
                "trial": trial,
                "dose_exposure": 0.125,
                "node": "there",
                "phase": "search",
                "params": "{}",
                "config": "{}",
            }
            records.add(TRIALS, row)
            records.flush(force=True)
        assert len(live_parts(sweep_dir / RECORDS / TRIALS.name)) == (3 if merge_parts == 64 else 1)
        assert rows_of(read_sweep(sweep_dir).trials[["trial", "dose_exposure", "node"]]) == [
            {"trial": "a", "dose_exposure": None, "node": "here"},
            {"trial": "b", "dose_exposure": 0.125, "node": "there"},
            {"trial": "c", "dose_exposure": 0.125, "node": "there"},
        ]


_LEAF = st.booleans() | st.integers(0, 99) | st.floats(0, 1) | _TEXT
_NAME = st.text("abcdef", min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(
    params=st.dictionaries(_NAME, _LEAF, max_size=3),
    config=st.dictionaries(_NAME, st.dictionaries(_NAME, _LEAF, min_size=1, max_size=3), max_size=3),
)
def test_params_and_config_are_spread_over_columns(params: dict[str, Any], config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest())
        records = RecordsWriter(Path(folder))
        records.add(
            TRIALS, {"trial": "a", "phase": "search", "params": json.dumps(params), "config": json.dumps(config)}
        )
        records.flush(force=True)
        (trial,) = read_sweep(Path(folder)).trials.to_dict(orient="records")
    spread = {name: value for name, value in trial.items() if name.startswith(("params.", "config."))}
    leaves = {f"config.{part}.{name}": value for part, of in config.items() for name, value in of.items()}
    assert spread == leaves | {f"params.{name}": value for name, value in params.items()}


def test_a_list_in_a_configuration_is_read_as_a_tuple(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    records = RecordsWriter(tmp_path)
    records.add(TRIALS, {"trial": "a", "phase": "search", "params": "{}", "config": '{"marks": [0.5, 0.75]}'})
    records.flush(force=True)
    assert read_sweep(tmp_path).trials["config.marks"].tolist() == [(0.5, 0.75)]


def test_parts_are_merged_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MERGE_PARTS", 4)
    n_merged = []
    write_part = merge.write_part
    monkeypatch.setattr(
        merge, "write_part", lambda *arguments: n_merged.append(len(arguments[1].rows)) or write_part(*arguments)
    )
    write_epochs(tmp_path, range(1, 101))
    n_parts = len(live_parts(tmp_path / RECORDS / "epochs"))
    assert n_parts < 4 + 5  # new parts, and older ones of which each is twice as large as the rows after it
    for folder in (tmp_path / RECORDS / "epochs", tmp_path / RECORDS / "copies" / "epochs"):
        assert len(list(folder.iterdir())) == n_parts
    assert sum(n_merged) < 6 * 100  # if all parts were merged each time, 33 merges would write 50 rows each
    assert rows_of(read_table(tmp_path, EPOCHS)[list(epoch_row(1))]) == [epoch_row(i) for i in range(1, 101)]


def test_the_last_row_of_a_trial_and_the_first_of_an_epoch_count(tmp_path: Path) -> None:
    records = RecordsWriter(tmp_path)
    for status, loss in (("running", 1.0), ("completed", 2.0)):
        records.add(TRIALS, {"trial": "a", "status": status})
        records.add(EPOCHS, {"trial": "a", "epoch": 1, "train_loss": loss})
    records.flush(force=True)
    assert read_table(tmp_path, TRIALS)["status"].tolist() == ["completed"]
    assert read_table(tmp_path, EPOCHS)["train_loss"].tolist() == [1.0]


def test_rows_wait_for_company(tmp_path: Path) -> None:
    records = RecordsWriter(tmp_path, flush_after_s=3600)
    records.add(EPOCHS, epoch_row(1))
    records.flush()
    assert read_table(tmp_path, EPOCHS).empty
    records.flush(force=True)
    assert len(read_table(tmp_path, EPOCHS)) == 1


def test_a_sweep_without_rows_is_empty(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    sweep = read_sweep(tmp_path)
    assert sweep.trials.empty
    assert list(sweep.epochs) == EPOCHS.columns.names
    assert sweep.manifest == manifest()


def test_a_reader_beside_a_writer_sees_whole_batches_that_only_grow(tmp_path: Path) -> None:
    seen, n_lines = [0], 0
    with start_writing(tmp_path, n_batches=100) as process:
        assert process.stdin is not None
        while process.poll() is None:
            trials = read_table(tmp_path, TRIALS)
            epochs = read_table(tmp_path, EPOCHS)["epoch"].tolist()
            assert epochs == list(range(1, len(epochs) + 1))
            assert len(epochs) % BATCH == 0
            assert trials.empty or trials["epochs"].item() <= len(epochs)
            seen.append(len(epochs))
            if n_lines < len(epochs) // (25 * BATCH):  # however slow this reader is, the writer does not end before it
                n_lines += 1
                process.stdin.write("\n")
                process.stdin.flush()
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 3  # rows were read while others were written
    assert len(read_table(tmp_path, EPOCHS)) == 100 * BATCH


def test_a_killed_writer_leaves_whole_records_that_the_next_one_continues(tmp_path: Path) -> None:
    delays_s = np.random.default_rng(0).uniform(0.0, 0.15, 5)
    n_before = 0
    for round_, delay_s in enumerate(delays_s):
        with start_writing(tmp_path, n_batches=-1) as process:
            if round_:  # the first may be killed before it has written anything
                assert wait_until(lambda: list((tmp_path / RECORDS / EPOCHS.name).glob("part-*.parquet")))
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
        epochs = read_table(tmp_path, EPOCHS)["epoch"].tolist()
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) % BATCH == 0
        assert len(epochs) >= n_before
        n_before = len(epochs)
    assert n_before > 0


def test_a_merge_cut_short_counts_no_row_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MERGE_PARTS", 4)
    folder, before = tmp_path / RECORDS, tmp_path / "before"
    write_epochs(tmp_path, range(1, 4))
    shutil.copytree(folder, before)
    write_epochs(tmp_path, range(4, 5))
    counts = (folder / "counts.json").read_bytes()
    shutil.copytree(before, folder, dirs_exist_ok=True)
    (folder / "counts.json").write_bytes(counts)
    (folder / "epochs" / "part-000000000004-000000000004.parquet.0123.unfinished").write_bytes(b"half")
    (folder / "epochs" / "notes.txt").write_text("mine")
    assert read_table(tmp_path, EPOCHS)["epoch"].tolist() == [1, 2, 3, 4]
    write_epochs(tmp_path, range(5, 6))
    assert read_table(tmp_path, EPOCHS)["epoch"].tolist() == [1, 2, 3, 4, 5]
    names = sorted(path.name[:25] for path in (folder / "epochs").iterdir())
    # the writer deletes its superseded parts only
    assert names == [
        "notes.txt",
        "part-000000000000-0000000",
        "part-000000000004-0000000",
        "part-000000000004-0000000",
    ]


@pytest.mark.parametrize("use", [read_sweep, RecordsWriter])
def test_a_newer_schema_is_refused(tmp_path: Path, use: Callable[[Path], Any]) -> None:
    write_manifest(tmp_path, manifest(SCHEMA_VERSION + 1))
    with pytest.raises(RecordsError, match=rf"newer cutmix-sweep.*version is {SCHEMA_VERSION + 1}.*update"):
        use(tmp_path)
    assert not (tmp_path / RECORDS / EPOCHS.name).exists()


@pytest.mark.parametrize("text", ["{}", '{"schema_version": "1"}', '{"schema_version": true}'])
def test_a_manifest_without_a_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RecordsError, match="it has no schema_version"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"schema_version"', "\xff", "[" * 100_000])
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text, encoding="latin-1")
    with pytest.raises(RecordsError, match=r"sweep.json' is damaged: it is not .*no intact copy"):
        read_sweep(tmp_path)


def test_a_folder_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="no sweep in"):
        read_sweep(tmp_path)


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"no column.*val_acc"):
        RecordsWriter(tmp_path).add(EPOCHS, {"trial": "a", "epoch": 1, "val_acc": 0.5})
