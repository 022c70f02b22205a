from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables.whole_file import write_whole


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.pt"
    write_whole(path, b"old")
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
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"old"
