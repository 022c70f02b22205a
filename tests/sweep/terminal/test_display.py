"""What a running command shows: in a terminal and elsewhere, quiet and verbose."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.terminal import display as module
from sweep.terminal.display import TerminalDisplay
from tests.processes import PATIENCE_S, wait_until

MakeStudy = Callable[..., Study]


def plain() -> Console:
    return Console(file=io.StringIO(), width=80)


def terminal() -> Console:
    return Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestStatus:
    def test_a_quick_step_is_not_mentioned_outside_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "PATIENCE_S", 3600.0)
        before = set(threading.enumerate())
        with TerminalDisplay(console := plain()).show_status("starting Ray"):
            (timer,) = set(threading.enumerate()) - before
        timer.join(PATIENCE_S)
        assert not timer.is_alive()
        assert text_of(console) == ""

    def test_a_slow_step_has_one_line_and_a_step_within_it_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "PATIENCE_S", 0.01)
        display = TerminalDisplay(console := plain())
        with display.show_status("starting Ray"):
            assert wait_until(lambda: "Ray" in text_of(console))
            with display.show_status("loading [bold]torch"):
                assert wait_until(lambda: "torch ...\n" in text_of(console))
        assert text_of(console) == "starting Ray ...\nloading [bold]torch ...\n"

    def test_a_terminal_shows_the_elapsed_time(self) -> None:
        display = TerminalDisplay(console := terminal())
        with display.show_status("starting Ray"), display.show_status("loading torch"):
            console.print(display._steps)  # as the spinner does
        with display.show_status("matching"):
            console.print(display._steps)
        for step in ("starting Ray", "loading torch", "matching"):
            assert re.search(rf"{step}, \d+ s", text_of(console))
        assert text_of(console).count("\x1b[?25l") == text_of(console).count("\x1b[?25h") == 2  # one spinner at a time

    def test_an_error_ends_it(self) -> None:
        display = TerminalDisplay(terminal())
        with pytest.raises(ValueError, match="bad"), display.show_status("starting Ray"):
            raise ValueError("bad")
        assert not display._steps.names


class TestSweep:
    @pytest.fixture
    def show(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., str]:
        """Return the function that runs a sweep on a display and returns its text."""

        def show(console: Console, **options: bool) -> str:
            curve = lambda job, epoch: {"failed": "[bold] of luck"} if job.trial == "off-0001" else {}  # noqa: E731
            session = simulate(study_of(), tmp_path, curve=curve)
            with TerminalDisplay(console, **options).show_sweep(session.conductor) as update:
                while session.conductor.n_left:
                    session.run(1)
                    update()
            return text_of(console)

        return show

    def test_outside_a_terminal_each_event_has_a_line(self, show: Callable[..., str]) -> None:
        lines = show(plain()).splitlines()
        assert len(lines) == 12 + 1
        assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
        assert max(map(len, lines)) <= 120
        assert [line[9:] for line in lines if "failed" in line] == ["off-0001 failed: [bold] of luck"]
        assert re.search(r" 12/12 trials ended, 0 running, best trial so far: ", lines[-1])

    @pytest.mark.parametrize("console", [plain(), terminal()])
    def test_quiet_shows_failures_only(self, show: Callable[..., str], console: Console) -> None:
        (line,) = show(console, quiet=True).splitlines()
        assert "off-0001 failed" in line

    def test_a_terminal_shows_the_table(self, show: Callable[..., str]) -> None:
        text = show(terminal())
        assert "small  0/12 ended" in text
        assert " completed 5/5 " not in text

    def test_verbose_shows_lines_above_the_table(self, show: Callable[..., str]) -> None:
        text = show(terminal(), verbose=True)
        assert "small  0/12 ended" in text
        assert " completed 5/5 epochs" in text
        assert re.search(r"off-0000 epoch 1/5, validation error \d", text)


class TestMeasurements:
    @pytest.mark.parametrize(("options", "n_lines"), [({}, 1), ({"verbose": True}, 3), ({"quiet": True}, 0)])
    def test_one_line_per_minute_outside_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], n_lines: int
    ) -> None:
        now_s = iter([0.0, 30.0, 61.0, 70.0])
        clock = SimpleNamespace(monotonic=lambda: next(now_s), strftime=time.strftime)  # other threads have their own
        monkeypatch.setattr(module, "time", clock)
        console = plain()
        with TerminalDisplay(console, **options).show_measurements(3) as update:
            for axis in ("ood", "calibration", "corruption"):
                update(f"measured {axis} of off-0000")
        lines = text_of(console).splitlines()
        assert len(lines) == n_lines
        if n_lines == 1:
            assert lines[0][9:] == "2/3 measurements, 1 min 1 s, last: measured calibration of off-0000"
