"""Lines about a running sweep: one per event, one summary per minute, never a flood."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep import progress
from sweep.event_lines import MAX_CHARS, MAX_EVENTS, EventLines, describe_event, describe_progress
from sweep.progress import ProgressTracker, SweepProgress, TrialEvent

MakeStudy = Callable[..., Study]
BUDGET = {"trials": 2, "max_epochs": 4, "early_stopping": {"rule": "none"}}
NAME = "a_mask_with_a_name_of_30_chars"


@pytest.fixture
def session(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
    """Two trials of each of three arms, four epochs each, one at a time."""
    return simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)


def texts(lines: Any) -> list[str]:
    return [line.text for line in lines]


class TestEvent:
    def event(self, kind: str, why: str = "", **changes: Any) -> TrialEvent:
        values = {"trial": f"{NAME}-0007-confirm-01", "arm": NAME, "epoch": 9, "planned_epochs": 25}
        values |= {"val_top1_error": 0.318, "node": "ip-10-0-0-1.eu-central-1.compute.internal", "seconds": 7500.0}
        return TrialEvent(kind=kind, why=why, **(values | changes))

    @pytest.mark.parametrize(
        ("kind", "why", "text"),
        [
            ("completed", "", "cutmix-0007 completed 9/25 epochs, validation error 31.80 %, b, 2 h 5 min"),
            ("confirmed", "", "cutmix-0007 confirmed, 9/25 epochs, validation error 31.80 %, b, 2 h 5 min"),
            ("stopped", "val_nll 1.71 > 1.64 at epoch 9", "cutmix-0007 stopped at epoch 9/25: val_nll 1.71 > 1.64"),
            ("failed", "ValueError: no folder", "cutmix-0007 failed on b: ValueError: no folder"),
            ("diverged", "loss not finite in epoch 9", "cutmix-0007 diverged on b: loss not finite in epoch 9"),
        ],
    )
    def test_in_words(self, kind: str, why: str, text: str) -> None:
        assert describe_event(self.event(kind, why, trial="cutmix-0007", node="b")) == text

    @pytest.mark.parametrize("kind", ["completed", "confirmed", "stopped", "failed", "diverged"])
    def test_is_short_and_names_the_trial_whole(self, kind: str) -> None:
        text = describe_event(self.event(kind, "out of memory " * 30))
        assert len(text) <= MAX_CHARS
        assert text.startswith(f"{NAME}-0007-confirm-01 ")
        if kind in ("completed", "confirmed"):
            assert text.endswith(", validation error 31.80 %, 2 h 5 min")  # not the node: it is too long


class TestLines:
    def test_one_per_event_and_a_summary_per_minute(self, session: Any, clock: Any) -> None:
        lines = EventLines(ProgressTracker(session.conductor))
        shown: list[str] = []
        for _ in range(24):
            session.run(1)
            clock.now_s += 10
            shown += texts(lines.new())
        shown += texts(lines.last())
        ends = [text for text in shown if " completed 4/4 epochs, validation error " in text]
        assert len(ends) == 6
        summaries = [text for text in shown if "trials ended" in text]
        assert [text.split(", best")[0] for text in summaries] == [
            f"{n}/6 trials ended, {running} running" for n, running in ((1, 1), (3, 0), (4, 1), (6, 0))
        ]
        assert re.fullmatch(
            r"1/6 trials ended, 1 running, best trial so far: \d+\.\d\d % \(off\), 1 min 0 s, at most 3 min 0 s left",
            summaries[0],
        )
        assert len(shown) == 10

    def test_no_news_no_line(self, session: Any, clock: Any) -> None:
        lines = EventLines(ProgressTracker(session.conductor))
        session.run(1)
        clock.now_s += 60
        assert len(texts(lines.new())) == 1
        for _ in range(600):
            clock.now_s += 1
            assert not texts(lines.new())
        assert not texts(lines.last())

    def test_waiting_for_the_first_worker(self, session: Any, clock: Any) -> None:
        lines = EventLines(ProgressTracker(session.conductor))
        shown = []
        for _ in range(130):
            shown += texts(lines.new())
            clock.now_s += 1
        assert shown == [f"waiting for the first worker, {elapsed}" for elapsed in ("2 s", "1 min 2 s", "2 min 2 s")]
        session.run(1)
        assert not texts(lines.new())
        clock.now_s += 55
        (summary,) = texts(lines.new())
        assert summary.startswith("0/6 trials ended, 1 running")

    def test_a_flood_is_bounded_and_failures_are_kept(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Any
    ) -> None:
        curve = lambda job, epoch: {"failed": "out of luck"} if job.trial in ("off-0097", "off-0098") else {}  # noqa: E731
        budget = {"trials": 100, "max_epochs": 1, "early_stopping": {"rule": "none"}}
        session = simulate(study_of(budget=budget), tmp_path, n_workers=1, curve=curve).run()
        lines = EventLines(ProgressTracker(session.conductor))
        clock.now_s += 61
        shown = list(lines.new())
        assert len(shown) == MAX_EVENTS + 2 + 2
        assert [line.text for line in shown if line.failure] == [f"off-00{n} failed: out of luck" for n in (97, 98)]
        assert shown[-2].text == f"and {300 - MAX_EVENTS - 2} more trials ended"
        assert shown[-1].text.startswith("300/300 trials ended, 0 running")

    def test_failures_alone_are_bounded_too(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Any
    ) -> None:
        curve = lambda job, epoch: {"failed": "out of luck"}  # noqa: E731
        budget = BUDGET | {"trials": 100}
        session = simulate(study_of(budget=budget), tmp_path, n_workers=1, curve=curve).run()
        lines = EventLines(ProgressTracker(session.conductor))
        shown = texts(lines.last())
        assert shown[-2] == f"and {300 - MAX_EVENTS} more trials ended, {300 - MAX_EVENTS} of them failed"
        assert len(shown) == MAX_EVENTS + 2

    def test_verbose_has_a_line_per_epoch(self, session: Any, clock: Any) -> None:
        lines = EventLines(ProgressTracker(session.conductor), verbose=True)
        session.run(1)
        (text,) = texts(lines.new())
        assert re.fullmatch(r"off-0000 epoch 1/4, validation error \d+\.\d\d %, 1,000 images/s, here", text)


def test_a_summary_is_short() -> None:
    arm = progress.ArmProgress(NAME, {}, 0, 0.5, 0.5, ())
    whole = SweepProgress("study", 99999, 99999, 4e6, 4e6, (arm,), (), None, 1)
    assert len(describe_progress(whole)) <= MAX_CHARS
    assert NAME in describe_progress(whole)
