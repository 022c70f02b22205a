"""The log of a trial: what is printed, one line per epoch, and a bound on its size."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from trainables import trial_log
from trainables.trial_log import TrialLog


def test_has_what_is_printed_and_one_line_per_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = TrialLog(tmp_path / "logs" / "off-0000.txt")
    with log.capture():
        print("from the trial")
        print("to stderr", file=sys.stderr)
    log.write_report({"epoch": 3, "train_loss": 0.5, "val_top1_error": 0.25, "val_nll": 1.0, "seconds": 2.0})
    log.write_report({"failed": "ValueError: bad shape"})
    lines = (tmp_path / "logs" / "off-0000.txt").read_text().splitlines()
    assert lines[:2] == ["from the trial", "to stderr"]
    assert lines[2].endswith(" epoch 3: train_loss 0.5, val_top1_error 0.25, val_nll 1, seconds 2")
    assert lines[3].endswith(" failed: ValueError: bad shape")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("from the trial\n", "to stderr\n")


def test_keeps_what_was_printed_before_an_error(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "logs" / "off-0000.txt")

    def fail() -> None:
        print("before")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"), log.capture():
        fail()
    assert (tmp_path / "logs" / "off-0000.txt").read_text() == "before\n"


def test_keeps_the_newest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "MAX_BYTES", 1000)
    path = tmp_path / "logs" / "off-0000.txt"
    log = TrialLog(path)
    for number in range(200):
        log.write_line(f"line {number}")
        assert path.stat().st_size <= 1000 + 100
    lines = path.read_text().splitlines()
    assert lines[0] == "(older lines were dropped)"
    assert lines[-1].endswith(" line 199")
    assert all(" line " in line for line in lines[1:])


@pytest.mark.parametrize("place", ["gone", "link", "folder"])
def test_lets_the_trial_continue_if_it_cannot_be_written(tmp_path: Path, place: str) -> None:
    path = tmp_path / "box" / "logs" / "off-0000.txt"
    if place != "gone":
        path.parent.mkdir(parents=True)
    if place == "link":
        path.symlink_to(tmp_path / "elsewhere")
    if place == "folder":
        path.mkdir()
    with TrialLog(path).capture(), warnings.catch_warnings():
        print("from the trial")
    TrialLog(None).write_line("nothing")
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "box").exists() == (place != "gone")
