from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trainables.whole_file import whole_file, write_whole


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.pt"
    write_whole(path, b"old")
    write_whole(path, "née")
    assert path.read_bytes() == "née".encode()
    write_whole(path, memoryview(b"newer"))
    assert path.read_bytes() == b"newer"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.pt"
    write_whole(path, b"old")

    def full(descriptor: int) -> None:
        assert path.read_bytes() == b"old"  # the new content is not there before it is on the disk
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as full_disk:
        write_whole(path, b"newer")
    assert full_disk.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    with whole_file(path) as first:
        first.write(b"fir")
        with whole_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"st")
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(("age_s", "kept"), [(60, True), (24 * 3600, False), (-24 * 3600, False)])
def test_what_a_killed_writer_left_is_removed_by_a_later_one(tmp_path: Path, age_s: int, kept: bool) -> None:
    path, left = tmp_path / "file[1].pt", tmp_path / "file[1].pt.0123456789ab.unfinished"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - age_s,) * 2)
    write_whole(path, b"whole")
    assert left.exists() is kept
