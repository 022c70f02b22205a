"""Damaged records are noticed, read from their copies, repaired or given up; nothing else is deleted."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.records import errors, part_file, table_files, writer
from sweep.records.counts import read_counts_file
from sweep.records.errors import RecordsError
from sweep.records.manifest_file import manifest_copy, read_manifest, study_sha256, write_manifest
from sweep.records.parts import list_parts, live_parts
from sweep.records.reader import read_rows, read_sweep, read_table
from sweep.records.repair import inspect_records, repair_records
from sweep.records.schema import EPOCHS, MANIFEST, RECORDS, SCHEMA_VERSION, TABLES, TRIALS
from sweep.records.study_edits import check_study, check_study_of_parts
from sweep.records.table_files import lost_rows
from sweep.records.tail import Tail
from sweep.records.writer import RecordsWriter
from trainables import intact
from trainables.intact import write_checked_json

N_FLIPS = 40
STUDY = {
    "name": "small",
    "question": "?",
    "arms": {"off": {}, "cutmix": {}},
    "metric": "val_nll",
    "budget": {"trials": 4},
}
RUN = {"started_at": "2026-01-01T00:00:00+00:00", "command": "run", "versions": {}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(table_files, "ATTEMPTS", 2)
    errors.warn_once.cache_clear()
    yield
    errors.warn_once.cache_clear()


def manifest(study: dict[str, Any] = STUDY, n_runs: int = 1, **changes: Any) -> dict[str, Any]:
    runs = [{**RUN, "study_sha256": study_sha256(study)} for _ in range(n_runs)]
    empty: dict[str, Any] = {"data": {}, "versions": {}, "hardware": {}}
    return {"schema_version": SCHEMA_VERSION, "study": study, "runs": runs, **empty, **changes}


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    """A sweep with four parts of epochs, of two rows each, and one part of trials."""
    folder = tmp_path / "small"
    folder.mkdir()
    write_manifest(folder, manifest())
    records = RecordsWriter(folder)
    for first in (1, 3, 5, 7):
        add_epochs(records, first, first + 1)
    records.add(TRIALS, {"trial": "off-0000", "phase": "search", "params": "{}", "config": "{}", "epochs": 8})
    records.flush(force=True)
    return folder


def add_epochs(records: RecordsWriter, *epochs: int) -> None:
    for epoch in epochs:
        records.add(EPOCHS, {"trial": "off-0000", "epoch": epoch, "val_nll": 1 / epoch})
    records.flush(force=True)


def epochs_of(sweep_dir: Path) -> list[int]:
    epochs: list[int] = read_table(sweep_dir, EPOCHS)["epoch"].tolist()
    return epochs


def all_values(sweep_dir: Path) -> Any:
    return read_manifest(sweep_dir), read_rows(sweep_dir, EPOCHS).to_pylist()


def part(sweep_dir: Path, place: int = 1) -> Path:
    return live_parts(sweep_dir / RECORDS / "epochs")[place].path


def copy_of(path: Path) -> Path:
    return path.parents[1] / "copies" / path.parent.name / path.name


def flip(path: Path, bit: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    bit = 4 * len(content) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


FILES: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "part": lambda folder: (part(folder), copy_of(part(folder))),
    "counts": lambda folder: (folder / RECORDS / "counts.json", folder / RECORDS / "copies" / "counts.json"),
    "manifest": lambda folder: (folder / MANIFEST, manifest_copy(folder)),
}


@pytest.mark.parametrize("which", [0, 1], ids=["file", "copy"])
@pytest.mark.parametrize("kind", FILES)
def test_one_flipped_bit_costs_nothing(sweep_dir: Path, kind: str, which: int) -> None:
    path, expected = FILES[kind](sweep_dir)[which], all_values(sweep_dir)
    whole, rng = path.read_bytes(), random.Random(f"{kind} {which}")
    for _ in range(N_FLIPS):
        flip(path, rng.randrange(8 * len(whole)))
        assert all_values(sweep_dir) == expected
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", FILES)
def test_one_flipped_bit_without_a_copy_is_refused(sweep_dir: Path, kind: str) -> None:
    path, copy = FILES[kind](sweep_dir)
    copy.unlink()
    whole, rng = path.read_bytes(), random.Random(kind)
    for _ in range(N_FLIPS):
        flip(path, rng.randrange(8 * len(whole)))
        with pytest.raises(RecordsError, match=path.name):
            all_values(sweep_dir)
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_file_is_set_aside_and_restored(
    sweep_dir: Path, kind: str, is_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected = all_values(sweep_dir)
    path, _ = FILES[kind](sweep_dir)
    path.unlink() if is_missing else flip(path)
    with caplog.at_level(logging.WARNING):
        assert all_values(sweep_dir) == all_values(sweep_dir) == expected
    assert [path.name in message and "its copy is read" in message for message in caplog.messages] == [True]
    assert [finding.path for finding in inspect_records(sweep_dir)] == [path]
    (finding,) = repair_records(sweep_dir)
    assert "restored from its copy" in finding.describe()
    assert path.with_name(f"{path.name}.damaged-1").exists() != is_missing
    assert inspect_records(sweep_dir) == []
    assert all_values(sweep_dir) == expected


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_copy_is_written_again(sweep_dir: Path, kind: str, is_missing: bool) -> None:
    path, copy = FILES[kind](sweep_dir)
    copy.unlink() if is_missing else flip(copy)
    (finding,) = repair_records(sweep_dir)
    assert finding.path == copy
    assert copy.with_name(f"{copy.name}.damaged-1").exists() != is_missing
    assert copy.read_bytes() == path.read_bytes()


def damage_both(sweep_dir: Path, place: int = 1) -> Path:
    path = part(sweep_dir, place)
    flip(path)
    flip(copy_of(path))
    return path


class TestLostRows:
    def test_are_given_up_and_the_rest_is_read_and_continued(
        self, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = damage_both(sweep_dir)
        readers: list[Callable[[Path], Any]] = [epochs_of, read_sweep, lambda folder: Tail(folder, EPOCHS).new_rows()]
        for read in readers:
            with pytest.raises(RecordsError, match=rf"{path.name}' is damaged: .*cutmix-sweep check .* --repair"):
                read(sweep_dir)
        assert sum(finding.n_lost for finding in repair_records(sweep_dir)) == 2
        assert epochs_of(sweep_dir) == [1, 2, 5, 6, 7, 8]
        assert lost_rows(sweep_dir) == {**dict.fromkeys(TABLES, 0), "epochs": 2}
        assert repair_records(sweep_dir) == []
        assert [copy.with_name(f"{path.name}.damaged-1").exists() for copy in (path, copy_of(path))] == [True, True]
        monkeypatch.setattr(writer, "MERGE_PARTS", 5)
        add_epochs(RecordsWriter(sweep_dir), 3, 4)
        assert len(live_parts(path.parent)) == 1  # merged
        assert epochs_of(sweep_dir) == [1, 2, 5, 6, 7, 8, 3, 4]
        assert lost_rows(sweep_dir)["epochs"] == 2
        assert inspect_records(sweep_dir) == []

    def test_at_the_end_are_noticed(self, sweep_dir: Path) -> None:
        path = part(sweep_dir, -1)
        path.unlink()
        copy_of(path).unlink()
        with pytest.raises(RecordsError, match=r"records/epochs' is damaged: a part is missing \(rows 6 to 7"):
            epochs_of(sweep_dir)
        repair_records(sweep_dir)
        assert epochs_of(sweep_dir) == [1, 2, 3, 4, 5, 6]
        add_epochs(RecordsWriter(sweep_dir), 7)
        assert epochs_of(sweep_dir) == [1, 2, 3, 4, 5, 6, 7]

    @pytest.mark.parametrize("folder", ["records/epochs", "records"])
    def test_of_a_whole_folder_are_noticed(self, sweep_dir: Path, folder: str) -> None:
        shutil.rmtree(sweep_dir / folder)
        shutil.rmtree(sweep_dir / "records/copies/epochs", ignore_errors=True)
        with pytest.raises(RecordsError, match=r"records/(epochs|counts\.json)' is damaged"):
            read_sweep(sweep_dir)
        assert repair_records(sweep_dir)
        assert epochs_of(sweep_dir) == []
        assert inspect_records(sweep_dir) == []

    def test_that_came_back_are_kept(self, sweep_dir: Path, tmp_path: Path) -> None:
        """A part that was given up and then copied back from a backup is not deleted as superseded."""
        path = part(sweep_dir)
        backup = path.read_bytes()
        damage_both(sweep_dir)
        repair_records(sweep_dir)
        path.write_bytes(backup)
        RecordsWriter(sweep_dir)
        assert path.read_bytes() == backup


class TestMisplacedParts:
    def test_a_part_of_another_table_is_refused_by_name(self, sweep_dir: Path) -> None:
        trials = live_parts(sweep_dir / RECORDS / "trials")[0].path
        epochs = sweep_dir / RECORDS / "epochs" / trials.name  # row 0, which a larger part contains
        for each in live_parts(epochs.parent)[:1]:
            each.path.unlink()
            each.copy.unlink()
        shutil.copy(trials, epochs)
        with pytest.raises(RecordsError, match=rf"{trials.name}' is damaged: it belongs to the table 'trials'"):
            epochs_of(sweep_dir)

    def test_a_part_with_other_row_numbers_is_refused(self, sweep_dir: Path) -> None:
        for path in (part(sweep_dir, -1), copy_of(part(sweep_dir, -1))):
            path.rename(path.with_name(path.name.replace(f"-{7:012d}-", f"-{9:012d}-")))
        with pytest.raises(RecordsError, match="it has 2 rows, and its name says 4"):
            epochs_of(sweep_dir)

    def test_a_damaged_part_over_all_rows_deletes_nothing(self, sweep_dir: Path) -> None:
        expected, folder = all_values(sweep_dir), sweep_dir / RECORDS / "epochs"
        damaged = folder / f"part-{0:012d}-{7:012d}-{'0' * 16}.parquet"
        damaged.write_bytes(b"PAR1 and no more")
        (folder / "notes.txt").write_text("mine")
        before = {path: path.read_bytes() for path in folder.iterdir() if path != damaged}
        assert all_values(sweep_dir) == expected
        RecordsWriter(sweep_dir)
        assert all_values(sweep_dir) == expected
        assert {path: path.read_bytes() for path in folder.iterdir() if "damaged" not in path.name} == before
        assert damaged.with_name(f"{damaged.name}.damaged-1").exists()

    def test_a_merge_deletes_nothing_that_it_could_not_read_back(
        self, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = list_parts(sweep_dir / RECORDS / "epochs")
        records = RecordsWriter(sweep_dir)
        monkeypatch.setattr(writer, "MERGE_PARTS", 5)
        monkeypatch.setattr("sweep.records.merge.write_part", spoiled(writer.write_part))
        with pytest.raises(OSError, match="although it was written just now"):
            add_epochs(records, 9)
        assert set(before) <= set(list_parts(sweep_dir / RECORDS / "epochs"))


def spoiled(write_part: Callable[..., Any]) -> Callable[..., Any]:
    def write(*arguments: Any) -> Any:
        written = write_part(*arguments)
        flip(written.path)
        return written

    return write


class TestManifest:
    @pytest.mark.parametrize("key", ["study", "data", "versions", "hardware", "runs"])
    def test_that_lacks_a_key_is_refused(self, sweep_dir: Path, key: str) -> None:
        content = {name: value for name, value in manifest().items() if name != key}
        write_checked_json(sweep_dir / MANIFEST, content)
        with pytest.raises(RecordsError, match=rf"sweep.json' is not the manifest of a sweep: '{key}': field required"):
            read_sweep(sweep_dir)

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"runs": 3}, "runs"),
            ({"data": ["a"]}, "data"),
            ({"study": {**STUDY, "arms": []}}, "study.arms"),
            ({"study": {**STUDY, "name": None}}, "study.name"),
            ({"runs": [{**RUN, "started_at": 5}]}, "runs.0.started_at"),
            ({"runs": [{**RUN, "started_at": "today"}]}, "runs.0.started_at"),
        ],
    )
    def test_with_a_wrong_type_is_refused(self, sweep_dir: Path, changes: dict[str, Any], key: str) -> None:
        write_checked_json(sweep_dir / MANIFEST, {**manifest(), "runs": [], **changes})
        with pytest.raises(RecordsError, match=rf"'{key}': (input should be|value error)"):
            read_sweep(sweep_dir)

    def test_of_an_older_version_needs_no_checksum(self, sweep_dir: Path) -> None:
        (sweep_dir / MANIFEST).write_text(json.dumps({**manifest(), "schema_version": 3, "runs": []}))
        assert read_manifest(sweep_dir)["study"] == STUDY


EDITED = {**STUDY, "budget": {"trials": 8}}


class TestEditedStudy:
    """Nothing but the program changes the study of a sweep."""

    @pytest.mark.parametrize("is_fixed", [False, True], ids=["checksum left", "checksum fixed"])
    def test_is_refused_and_restored(self, sweep_dir: Path, is_fixed: bool) -> None:
        edited = {**manifest(), "study": EDITED}
        if is_fixed:
            write_checked_json(sweep_dir / MANIFEST, edited)
        else:
            text = (sweep_dir / MANIFEST).read_text()
            (sweep_dir / MANIFEST).write_text(text.replace('"trials": 4', '"trials": 8'))
        with pytest.raises(RecordsError, match=r"not the study of its last run; different: budget.trials; to restore"):
            check_study(sweep_dir)
        assert read_manifest(sweep_dir)["study"] == STUDY  # the copy
        repair_records(sweep_dir)
        check_study(sweep_dir)
        assert (sweep_dir / f"{MANIFEST}.damaged-1").exists()

    def test_is_refused_if_the_run_is_edited_too(self, sweep_dir: Path) -> None:
        write_checked_json(sweep_dir / MANIFEST, manifest(EDITED))
        with pytest.raises(RecordsError, match=r"different: budget\.trials"):
            check_study(sweep_dir)

    def test_is_refused_if_all_checksums_and_the_copy_are_replaced(self, sweep_dir: Path) -> None:
        write_manifest(sweep_dir, manifest(EDITED))
        check_study(sweep_dir)
        with pytest.raises(RecordsError, match="not the study under which 'part-"):
            check_study_of_parts(sweep_dir, read_manifest(sweep_dir))

    def test_the_order_of_arms_counts(self, sweep_dir: Path) -> None:
        """The first arm is the baseline."""
        study = {**STUDY, "arms": {"cutmix": {}, "off": {}}}
        write_checked_json(sweep_dir / MANIFEST, {**manifest(), "study": study})
        with pytest.raises(RecordsError, match=r"different: arms \(order\)"):
            check_study(sweep_dir)

    def test_a_kill_between_file_and_copy_is_no_edit(self, sweep_dir: Path) -> None:
        """The sweep was extended: the file has one run more, with the new study."""
        extended = manifest(EDITED)
        extended["runs"] = [*manifest()["runs"], *extended["runs"]]
        write_checked_json(sweep_dir / MANIFEST, extended)
        check_study(sweep_dir)
        records = RecordsWriter(sweep_dir)
        assert read_manifest(sweep_dir)["study"] == EDITED
        assert manifest_copy(sweep_dir).read_bytes() == (sweep_dir / MANIFEST).read_bytes()
        add_epochs(records, 9)
        check_study_of_parts(sweep_dir, read_manifest(sweep_dir))


def test_parts_and_counts_outlive_a_crash_of_the_machine(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their copies need not."""
    durable: dict[Path, bool] = {}
    write_whole = part_file.write_whole

    def write(path: Path, content: Any, **options: bool) -> None:
        durable[path] = options.get("durable", True)
        write_whole(path, content, **options)

    for module in (part_file, intact):
        monkeypatch.setattr(module, "write_whole", write)
    add_epochs(RecordsWriter(sweep_dir), 9)
    new = part(sweep_dir, -1)
    assert [durable[path] for path in (new, copy_of(new), *FILES["counts"](sweep_dir))] == [True, False, True, False]


@pytest.mark.parametrize("change", [{"epochs": -1}, {"epochs": True}, {"more": 0}])
def test_counts_that_are_no_counts_are_damaged(sweep_dir: Path, change: dict[str, Any]) -> None:
    for path in FILES["counts"](sweep_dir):
        write_checked_json(path, {**read_counts_file(path), **change})
    with pytest.raises(RecordsError, match="it does not hold one number of rows per table"):
        epochs_of(sweep_dir)


def test_a_kill_before_the_copy_and_the_counts_is_no_damage(sweep_dir: Path) -> None:
    counts = {path: path.read_bytes() for path in FILES["counts"](sweep_dir)}
    add_epochs(RecordsWriter(sweep_dir), 9)
    copy_of(part(sweep_dir, -1)).unlink()
    for path, content in counts.items():
        path.write_bytes(content)
    assert inspect_records(sweep_dir) == []
    assert epochs_of(sweep_dir)[-1] == 9
    assert repair_records(sweep_dir) == []
    assert copy_of(part(sweep_dir, -1)).exists()
    assert [path.read_bytes() != content for path, content in counts.items()] == [True, True]


class Killed(BaseException):
    """End of the writer in the middle of its work."""


def test_a_kill_before_any_change_of_a_file_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each file that is written or deleted: parts, copies and counts, also in a merge."""
    monkeypatch.setattr(writer, "MERGE_PARTS", 3)
    n_kills = 0
    for kill_at in range(200):
        sweep_dir = tmp_path / str(kill_at)
        sweep_dir.mkdir()
        write_manifest(sweep_dir, manifest())
        records, flushed = RecordsWriter(sweep_dir), 0
        with monkeypatch.context() as patch:
            countdown = iter(range(kill_at, -1, -1))
            for owner, name in ((part_file, "write_whole"), (intact, "write_whole"), (Path, "unlink")):
                patch.setattr(owner, name, killed_at(countdown, getattr(owner, name)))
            try:
                for epoch in range(1, 6):
                    add_epochs(records, epoch)
                    flushed = epoch
            except Killed:
                n_kills += 1
        seen = epochs_of(sweep_dir)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) in (flushed, flushed + 1)
        assert inspect_records(sweep_dir) == []
        add_epochs(RecordsWriter(sweep_dir), len(seen) + 1)
        assert epochs_of(sweep_dir) == [*seen, len(seen) + 1]
        if n_kills <= kill_at:  # all is written
            break
    assert n_kills > 25


def killed_at(countdown: Iterator[int], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if next(countdown, None) == 0:
            raise Killed
        return function(*arguments, **options)

    return call


def test_a_deleted_sweep_is_not_made_again(sweep_dir: Path) -> None:
    records = RecordsWriter(sweep_dir)
    shutil.rmtree(sweep_dir)
    with pytest.raises(FileNotFoundError):
        add_epochs(records, 9)
    assert not sweep_dir.exists()
