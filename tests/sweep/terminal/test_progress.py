"""What is seen while a sweep runs, in a terminal and elsewhere."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.formats import format_duration, format_percent
from sweep.terminal import progress
from sweep.terminal.progress import Progress, arms_progress

MakeStudy = Callable[..., Study]
BUDGET = {"trials": 2, "max_epochs": 4, "early_stopping": {"rule": "none"}}


class Clock:
    """Time that passes when it is told to."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock  # type: ignore[return-value]


@pytest.fixture
def session(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
    """Two trials of each of three arms, four epochs each, one at a time."""
    return simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)


def plain() -> Console:
    return Console(file=io.StringIO(), width=80)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0731, "7.31 %"), (0.0, "0.00 %"), (1.0, "100.00 %"), (0.12345, "12.35 %"), (None, "-"), (math.nan, "-")],
)
def test_percent(fraction: float | None, text: str) -> None:
    assert format_percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (360000, "100 h 0 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_arms_in_numbers(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    errors = {"off-0000": 0.2, "off-0001": 0.3, "cutout-0000": 0.4, "cutmix-0000": math.nan}

    def curve(job: Any, epoch: int) -> dict[str, Any]:
        if job.trial == "cutout-0001":
            return {"failed": "broken"}
        error = errors.get(job.trial, 0.5)
        return {"val_top1_error": error, "val_nll": error}

    session = simulate(study_of(budget=BUDGET), tmp_path, curve=curve, n_workers=1).run(16)
    rows = {row.arm: row for row in arms_progress(session.conductor)}
    assert list(rows) == ["off", "cutout", "cutmix"]
    assert (rows["off"].best, rows["off"].median) == (0.2, 0.25)
    assert (rows["cutout"].best, rows["cutout"].median) == (0.4, 0.4)
    assert (rows["cutmix"].best, rows["cutmix"].median) == (None, None)
    counts = {arm: {name: n for name, n in row.counts.items() if n} for arm, row in rows.items()}
    assert counts == {
        "off": {"completed": 2},
        "cutout": {"completed": 1, "failed": 1},
        "cutmix": {"running": 1, "diverged": 1},
    }


class TestPlain:
    def test_one_line_now_and_then(self, session: Any, clock: Clock) -> None:
        console = plain()
        with Progress(session.conductor, console) as shown:
            for _ in range(31):
                shown.update()
                clock.now_s += 1
        lines = text_of(console).splitlines()
        assert len(lines) == 4
        assert all(
            line.startswith("0/6 trials ended, 0.0 per minute, time left unknown | off: 0 done, best error -")
            for line in lines
        )
        assert "\x1b" not in text_of(console)

    def test_says_how_far_each_arm_is(self, session: Any, clock: Clock) -> None:
        console = plain()
        with Progress(session.conductor, console) as shown:
            session.run(9)
            clock.now_s += 60
            shown.update()
        (line,) = text_of(console).splitlines()
        best = session.conductor.entries["off-0000"].curve[4]["val_top1_error"]
        assert line.startswith("2/6 trials ended, 2.0 per minute")
        assert f"| off: 0 running, 1 done, best error {format_percent(best)}, median {format_percent(best)} |" in line
        assert line.endswith("| cutmix: 1 running, 0 done, best error -, median -")


class TestTimeLeft:
    def left(self, conductor: Any, clock: Clock, *, elapsed_s: float, run: Callable[[], Any]) -> str:
        console = plain()
        with Progress(conductor, console) as shown:
            run()
            clock.now_s += elapsed_s
            shown.update()
        return text_of(console).split(" | ", maxsplit=1)[0].split(", ")[-1].strip()

    def test_is_what_the_epochs_left_take_at_the_pace_so_far(self, session: Any, clock: Clock) -> None:
        """24 epochs in all, 6 in a minute: 18 more take three."""
        left = self.left(session.conductor, clock, elapsed_s=60, run=lambda: session.run(6))
        assert left == "at most 3 min 0 s left"

    def test_does_not_count_what_stopped_trials_saved(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Clock
    ) -> None:
        curve = lambda job, epoch: {"failed": "x"} if (job.trial, epoch) == ("off-0000", 2) else {}  # noqa: E731
        session = simulate(study_of(budget=BUDGET), tmp_path, n_workers=1, curve=curve)
        left = self.left(session.conductor, clock, elapsed_s=10, run=lambda: session.run(2))
        assert left == "at most 3 min 20 s left"  # 1 epoch in 10 s; 5 trials of 4 epochs are left

    def test_of_a_sweep_taken_up_again_counts_the_new_epochs_alone(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Clock
    ) -> None:
        simulate(study_of(budget=BUDGET), tmp_path, n_workers=1).run(12).conductor.flush(force=True)
        again = simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)
        left = self.left(again.conductor, clock, elapsed_s=30, run=lambda: again.run(3))
        assert left == "at most 1 min 30 s left"  # 9 of 24 epochs are left, 10 s each

    def test_follows_each_trial_s_own_plan(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Clock
    ) -> None:
        space = {"optimizer.max_epochs": {"kind": "choice", "values": [1, 4]}}
        study = study_of(arms={"off": {}}, space=space, search="grid", budget=BUDGET | {"trials": 4})
        session = simulate(study, tmp_path, n_workers=1)
        left = self.left(session.conductor, clock, elapsed_s=30, run=lambda: session.run(3))
        assert left == "at most 1 min 10 s left"  # 7 of 10 epochs are left, 10 s each

    def test_is_unknown_before_the_first_epoch(self, session: Any, clock: Clock) -> None:
        left = self.left(session.conductor, clock, elapsed_s=30, run=lambda: None)
        assert left == "time left unknown"

    def test_is_nothing_at_the_end(self, session: Any, clock: Clock) -> None:
        left = self.left(session.conductor, clock, elapsed_s=30, run=session.run)
        assert left == "at most 0 s left"


class TestTerminal:
    def console(self) -> Console:
        return Console(force_terminal=True, file=io.StringIO(), width=100)

    def test_a_live_table(self, session: Any, clock: Clock) -> None:
        console = self.console()
        with Progress(session.conductor, console) as shown:
            session.run(9)
            clock.now_s += 60
            shown.update()
            text = text_of(console)
        assert "small: 2/6 trials ended, 2.0 per minute" in text
        for word in ("running", "done", "best", "median"):
            assert word in text
        for word in ("paused", "stopped", "diverged", "failed"):  # no trial has this status
            assert word not in text
        for arm in ("off", "cutout", "cutmix"):
            assert arm in text
        best = session.conductor.entries["off-0000"].curve[4]["val_top1_error"]
        assert format_percent(best) in text

    def test_fits_80_columns(self, session: Any, clock: Clock) -> None:
        console = Console(force_terminal=True, file=io.StringIO(), width=80, color_system=None)
        with Progress(session.conductor, console) as shown:
            session.run(9)
            clock.now_s += 60
            shown.update()
            rows = [line for line in text_of(console).splitlines() if "cutout" in line]
        assert rows
        assert rows[0].split()[1:3] == ["0", "1"]

    def test_is_drawn_four_times_a_second_at_most(
        self, session: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn: list[float] = []
        with Progress(session.conductor, self.console()) as shown:
            monkeypatch.setattr(shown._live, "update", lambda *_, **__: drawn.append(clock.now_s))
            for _ in range(100):
                shown.update()
                clock.now_s += 0.0625
        assert len(drawn) == 25

    def test_leaves_the_terminal_as_it_was(self, session: Any) -> None:
        console = self.console()
        with Progress(session.conductor, console) as shown:
            shown.update()
            assert "\x1b[?25l" in text_of(console)  # hides the cursor
        assert text_of(console).count("\x1b[?25h") == 1  # shows it again
