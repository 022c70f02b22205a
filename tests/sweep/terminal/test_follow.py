"""``status --follow``: what is shown of a growing sweep, and how it ends."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.driver import DriverObserver
from sweep.endings import Interrupted
from sweep.followed import FollowedSweep
from sweep.lock import locked
from sweep.terminal import follow
from sweep.terminal.follow import follow_sweep

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]


def curve(job: Any, epoch: int) -> dict[str, Any]:
    if job.trial == "off-0001":
        return {"failed": f"Traceback ...\nRuntimeError: no {'memory ' * 40}"}
    return {"val_nll": 0.1 * (1 + int(job.trial[-1])), "val_top1_error": 0.25}


@pytest.fixture
def session(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
    session = simulate(study_of(confirm={"searches": 1, "seeds": 2}), tmp_path / "sweep", curve=curve).run(8)
    session.conductor.flush(force=True)
    return session


@pytest.fixture
def grow(session: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Let the sweep report ``n`` epochs in each pause of the follower; return the list of pauses."""

    def prepare(n: int) -> list[int]:
        pauses: list[int] = []

        def pause(seconds: float) -> None:
            assert seconds == follow.SECONDS_PER_READ
            pauses.append(n)
            session.run(n).conductor.flush(force=True)

        monkeypatch.setattr(follow.time, "sleep", pause)
        return pauses

    return prepare


def screen(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_name_each_trial_that_ends_once(session: Any, grow: Callable[[int], list[int]]) -> None:
    before = {name for name, entry in FollowedSweep(session.sweep_dir).entries.items() if entry.status != "running"}
    pauses, console = grow(7), screen()
    with locked(session.sweep_dir):
        assert follow_sweep(session.sweep_dir, console) == 1
    assert len(pauses) > 2
    first, *lines = text_of(console).splitlines()
    assert re.search(r" \d+/18 trials ended, \d+ running, .* left$", first)  # the state that was found
    *events, last = [line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert sorted(line.split()[1] for line in events) == sorted(set(session.conductor.entries) - before)
    kinds = {line.split()[2].strip(":,") for line in events}
    assert {"completed", "stopped", "confirmed"} <= kinds
    assert "completed 5/5 epochs, validation error 25.00 %" in text_of(console)
    assert " 18/18 trials ended, 0 running" in last
    assert lines[-1].startswith("Confirmed on fresh seeds")  # the status of the whole sweep


def test_a_terminal_shows_a_table_that_changes(
    session: Any, grow: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(30)
    monkeypatch.setattr("sweep.terminal.progress.DRAW_S", 0.0)
    monkeypatch.setattr("sweep.terminal.progress.MAX_DRAW_FRAC", 1e9)
    console = screen(terminal=True)
    with locked(session.sweep_dir):
        follow_sweep(session.sweep_dir, console)
    titles = re.findall(r"small  (\d+)/18 ended", text_of(console))
    assert len(set(titles)) > 2
    assert not re.search(r"\d\d:\d\d:\d\d ", text_of(console))


def test_reads_rows_that_are_written_just_before_the_driver_ends(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def driver_ends(_: DriverObserver) -> None:
        session.run().conductor.flush(force=True)

    monkeypatch.setattr(DriverObserver, "glance", driver_ends)
    assert follow_sweep(session.sweep_dir, screen()) == 1


def test_says_once_that_the_sweep_is_stalled(session: Any, grow: Callable[[int], list[int]]) -> None:
    grow(7)
    console = screen()
    with locked(session.sweep_dir) as lock:
        lock.news_at_s, lock.stall_after_s = time.monotonic() - 90, 60.0
        lock._beat()
        follow_sweep(session.sweep_dir, console)
    assert " ".join(text_of(console).split()).count("stalled: no epoch has ended for 1 min") == 1


def test_says_how_to_resume_if_the_driver_is_gone(session: Any, run: Run) -> None:
    with pytest.raises(Interrupted, match=r"interrupted after \d+ of 18 trials; resume with: cutmix-sweep resume /"):
        follow_sweep(session.sweep_dir, screen())
    status, _, err = run("status", session.sweep_dir, "--follow")
    assert status == 130
    assert err.startswith("interrupted after ")


def test_an_ended_sweep_is_shown_at_once(session: Any, run: Run) -> None:
    session.run()
    status, out, err = run("status", session.sweep_dir, "--follow")
    assert (status, err) == (1, "")  # a trial failed, as `run` would end
    assert run("status", session.sweep_dir)[1] in out


def test_ctrl_c_ends_the_following_only(session: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.time, "sleep", press)
    with locked(session.sweep_dir):
        status, _, err = run("status", session.sweep_dir, "--follow")
    assert (status, err) == (130, "no longer following; the sweep itself was not interrupted\n")


def test_excludes_other_views(session: Any, run: Run) -> None:
    status, out, err = run("status", session.sweep_dir, "--follow", "--json")
    assert (status, out) == (2, "")
    assert "--why, --follow and --json exclude each other" in err
