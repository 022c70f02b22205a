"""The log of a sweep: what it has, and that the sweep does not depend on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.display import SILENT, SilentDisplay
from sweep.records.reader import read_manifest, read_sweep
from sweep.run_log import LOG, LoggedDisplay

MakeStudy = Callable[..., Study]


def run_logged(session: Any, display: LoggedDisplay) -> None:
    """Run a simulated sweep, as the launcher does."""
    with display.log_run(session.sweep_dir, read_manifest(session.sweep_dir)["runs"][-1]):
        display.show_line("6 trials to run")
        with display.show_sweep(session.conductor) as update:
            session.run()
            update()


def test_has_events_and_runs_and_is_continued(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    session = simulate(study_of(), tmp_path)
    display = LoggedDisplay(SILENT)
    display.show_warning("Ray started without its dashboard")  # before the folder is known
    run_logged(session, display)
    with (
        pytest.raises(KeyboardInterrupt),
        LoggedDisplay(SILENT).log_run(tmp_path, {"command": "again", "versions": {}}),
    ):
        raise KeyboardInterrupt
    lines = (tmp_path / LOG).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S", line) for line in lines)
    texts = [line[20:] for line in lines]
    assert texts[0] == "Ray started without its dashboard"
    assert re.fullmatch(r"run begins: simulated; cutmix-sweep \S+, torch .*", texts[1])
    assert texts[2] == "6 trials to run"
    ends = [text.split()[0] for text in texts if re.search(r" (completed|stopped at) ", text)]
    assert sorted(ends) == sorted(session.conductor.entries)
    assert texts[-3:] == ["run ends", "run begins: again; ", "run ends: KeyboardInterrupt: KeyboardInterrupt"]


def test_a_full_disk_does_not_end_the_sweep(
    simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []

    class Kept(SilentDisplay):
        def show_warning(self, text: str) -> None:
            warnings.append(text)

    session = simulate(study_of(), tmp_path)
    monkeypatch.setattr("sweep.run_log._open_no_link", lambda path, flags: os.open("/dev/full", os.O_WRONLY))
    run_logged(session, LoggedDisplay(Kept()))
    assert set(read_sweep(tmp_path).trials["status"]) <= {"completed", "stopped"}
    assert warnings == [f"the log '{tmp_path / LOG}' has gaps, the sweep continues: No space left on device"]


def test_a_slow_step_has_its_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = LoggedDisplay(SILENT)
    with display.log_run(tmp_path, {"command": "run", "versions": {}}):
        with display.show_status("quick"):
            pass
        monkeypatch.setattr("sweep.run_log.SLOW_STEP_S", 0.0)
        with display.show_status("starting Ray"):
            pass
    texts = [line[20:] for line in (tmp_path / LOG).read_text().splitlines()]
    assert texts[1:-1] == ["starting Ray: 0 s"]
