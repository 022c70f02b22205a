"""The live table: what it shows at each size, and how it follows the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.progress import ArmProgress, ProgressTracker, RunningTrial, SweepProgress
from sweep.records.schema import CANCELLED, STATUSES
from sweep.terminal import progress
from sweep.terminal.live_table import draw_progress
from sweep.terminal.progress import LiveTable

MakeStudy = Callable[..., Study]
NAMES = [*(f"arm_{n}" for n in range(13)), "a_mask_with_a_name_of_30_chars"]
SIZES = [(60, 20), (80, 24), (120, 40), (200, 50)]


def arm(name: str, best: float | None = 0.1234, **counts: int) -> ArmProgress:
    errors = () if best is None else (best + 0.3, best)
    return ArmProgress(name, dict.fromkeys(STATUSES, 0) | counts, 0, best, best, errors)


def trial(number: int, node: str = "node-a") -> RunningTrial:
    name = NAMES[number % len(NAMES)]
    return RunningTrial(f"{name}-{number:04d}", name, "search", 3, 25, 0.451, 1234.0, node)


def sweep_of(**changes: Any) -> SweepProgress:
    values: dict[str, Any] = {"study": "mask_shape", "n_ended": 31, "n_trials": 64, "elapsed_s": 720, "left_s": 1080}
    values |= {"arms": tuple(arm(name, running=1, completed=2) for name in NAMES), "n_epochs": 100}
    values |= {"running": tuple(trial(n, f"node-{'abc'[n % 3]}") for n in range(6)), "last_failure": None}
    return SweepProgress(**(values | changes))


def drawn(sweep: SweepProgress, width: int, height: int, *, blocks: bool = True) -> list[str]:
    """Lines of the table without trailing spaces."""
    console = Console(file=io.StringIO(), width=width, height=height, legacy_windows=False)
    console.print(draw_progress(sweep, width=width, height=height - 1, blocks=blocks), crop=False)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


class TestSizes:
    @pytest.mark.parametrize(("width", "height"), SIZES)
    def test_arm_names_are_whole_and_nothing_is_cut(self, width: int, height: int) -> None:
        failure = f"{NAMES[-1]}-0003 on node-b: ValueError: no folder '{'x' * 300}'"
        lines = drawn(sweep_of(last_failure=failure), width, height)
        assert len(lines) < height
        assert max(map(len, lines)) <= width
        for name in NAMES:
            assert sum(line.split()[:1] == [name] for line in lines) == 1, name
        assert any(line.startswith(f"last failure: {NAMES[-1]}-0003 on") for line in lines)
        assert "31/64 ended" in lines[0]

    def test_80_columns(self) -> None:
        lines = drawn(sweep_of(), 80, 24)
        assert lines[0] == "mask_shape  31/64 ended  12 min 0 s, at most 18 min 0 s left"
        assert lines[1] == "6 running on 3 nodes"
        assert lines[2].split() == ["arm", "run", "done", "best", "median", "best", "so", "far"]
        assert lines[3].split() == ["arm_0", "1", "2", "12.34", "%", "12.34", "%", "█▁"]
        assert lines[17].split() == ["running", "epoch", "error", "images/s", "node"]
        assert lines[18].split() == ["arm_0-0000", "3/25", "45.10", "%", "1,234", "node-a"]
        assert lines[-1] == "and 2 more running trials"

    def test_a_wide_terminal_has_more(self) -> None:
        lines = drawn(sweep_of(), 120, 40)
        assert lines[1].endswith("images/s  best so far")
        assert lines[2].endswith("█▁")

    @pytest.mark.parametrize("blocks", [True, False])
    def test_without_blocks_all_is_ascii(self, blocks: bool) -> None:
        text = "".join(drawn(sweep_of(last_failure="x" * 500), 120, 40, blocks=blocks))
        assert text.isascii() != blocks

    def test_beside_each_other_where_lines_are_few(self) -> None:
        lines = drawn(sweep_of(running=tuple(map(trial, range(40)))), 200, 24)
        header = next(line for line in lines if line.startswith("arm "))
        assert "running" in header
        assert lines[-1].endswith("and 20 more running trials")

    def test_what_does_not_fit_is_counted(self) -> None:
        lines = drawn(sweep_of(), 80, 12)
        assert len(lines) == 11
        assert lines[-1] == "and 7 more arms"

    def test_tiny_terminals_show_something(self) -> None:
        for width in (1, 20, 40):
            for height in (1, 2, 3, 5):
                assert len(drawn(sweep_of(), width, height)) >= 1


class TestContent:
    def test_columns_of_zeros_are_left_out(self) -> None:
        arms = (arm("off", None), arm("cutmix", None, paused=1, failed=2))
        (header,) = (line for line in drawn(sweep_of(arms=arms, running=()), 80, 24) if line.startswith("arm "))
        assert header.split() == ["arm", "wait", "done", "fail", "best", "median"]

    def test_all_columns_fit_80_characters(self) -> None:
        counts = dict.fromkeys(STATUSES, 100) | {CANCELLED: 0}  # which is rare
        arms = tuple(ArmProgress(name, counts, 100, 0.1, 0.5, ()) for name in NAMES)
        (header,) = (line for line in drawn(sweep_of(arms=arms), 80, 24) if line.startswith("arm "))
        assert header.split() == ["arm", "run", "wait", "done", "stop", "div", "fail", "conf", "best", "median"]

    def test_the_search_of_a_running_trial_where_an_arm_has_several(self) -> None:
        running = (replace(trial(0), search=3), replace(trial(1), search=0))
        lines = drawn(sweep_of(running=running, n_searches=5), 120, 40)
        (at,) = (place for place, line in enumerate(lines) if line.startswith("running "))
        assert [line.split()[:2] for line in lines[at : at + 3]] == [
            *(["running", "search"], ["arm_0-0000", "3"], ["arm_1-0001", "0"])
        ]

    def test_waiting_for_the_first_worker(self) -> None:
        lines = drawn(sweep_of(n_epochs=0, n_ended=0, left_s=None, elapsed_s=12, running=()), 80, 24)
        assert lines[0] == "mask_shape  0/64 ended  waiting for the first worker, 12 s  0 running"

    def test_of_a_real_conductor(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path)
        tracker = ProgressTracker(session.conductor)
        session.run(20)
        lines = drawn(tracker.snapshot(), 80, 24)
        for name in session.conductor.study.arms:
            assert any(line.startswith(f"{name} ") for line in lines)


class TestDrawing:
    @pytest.fixture
    def session(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
        return simulate(study_of(arms={name: {"mix": "off"} for name in NAMES}), tmp_path)

    def console(self) -> Console:
        return Console(force_terminal=True, file=io.StringIO(), width=100, height=30, color_system=None)

    @pytest.mark.parametrize(("seconds_per_draw", "n_drawn"), [(0.0, 25), (0.05, 7)])
    def test_is_drawn_four_times_per_second_or_less(
        self, session: Any, clock: Any, monkeypatch: pytest.MonkeyPatch, seconds_per_draw: float, n_drawn: int
    ) -> None:
        """A draw that takes long is repeated less often: at most a twentieth of the time."""
        times: list[float] = []

        def draw(*_: object, **__: object) -> str:
            times.append(clock.now_s)
            clock.now_s += seconds_per_draw
            return ""

        monkeypatch.setattr(progress, "draw_progress", draw)
        with LiveTable(ProgressTracker(session.conductor), self.console()) as table:
            for step in range(100):
                clock.now_s = 1000 + step / 16
                table.update()
        assert len(times) == n_drawn

    def test_leaves_the_terminal_as_it_was(self, session: Any) -> None:
        console = self.console()
        with LiveTable(ProgressTracker(session.conductor), console):
            assert "\x1b[?25l" in console.file.getvalue()  # type: ignore[attr-defined]  # hides the cursor
        assert console.file.getvalue().count("\x1b[?25h") == 1  # type: ignore[attr-defined]

    def test_a_narrower_terminal_shows_no_old_lines(self, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Terminals break the lines of the last drawing, so more lines must be erased than were drawn."""
        console = self.console()
        with LiveTable(ProgressTracker(session.conductor), console) as table:
            console.width = 30
            before = len(console.file.getvalue())  # type: ignore[attr-defined]
            monkeypatch.setattr(table, "_due_at_s", 0.0)
            table.update()
            written = console.file.getvalue()[before:]  # type: ignore[attr-defined]
        lines = drawn(table._tracker.snapshot(), 100, 30)
        on_screen = sum(-(-len(line) // 30) for line in lines)
        assert on_screen > len(lines)
        assert written[: written.index("m")].count("\x1b[1A") == on_screen - 1
