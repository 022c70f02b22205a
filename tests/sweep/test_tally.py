"""The counts that a sweep keeps equal a recount of its trials, and an event of a sweep touches none of the others."""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.conductor import Job
from sweep.curve import VALUE_COLUMNS, Curve
from sweep.progress import ProgressTracker
from sweep.remaining import SweepTrials
from sweep.tally import FinalErrors
from tests.sweep.conftest import falling, report
from tests.sweep.simulated_sweeps import Buffered

MakeStudy = Callable[..., Study]

ASHA = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
PROMOTE = ASHA | {"mode": "promote"}
CONFIRM = {"searches": 3, "seeds": 2}
GRID = {"optimizer.lr": {"kind": "choice", "values": [0.05, 0.1, 0.2]}}


def budget(rule: dict[str, Any], trials: int | None = 6) -> dict[str, Any]:
    return {"trials": trials, "max_epochs": 5, "early_stopping": rule}


def with_faults(job: Job, epoch: int) -> dict[str, Any]:
    luck = random.Random(f"{job.trial} {epoch}").random()
    if luck < 0.02:
        return {"failed": "it broke", "node": "here"}
    return falling(job, epoch) | ({"train_loss": math.nan} if luck < 0.04 else {})


def recounted(sweep: SweepTrials) -> SweepTrials:
    fresh = SweepTrials(sweep.study)
    fresh.entries = sweep.entries
    fresh.recount()
    return fresh


def facts(sweep: SweepTrials) -> dict[str, Any]:
    """Return everything that is counted."""
    following = sweep.by_search.next_confirming()
    by_search = {
        search: (
            sorted(state.trials),
            sorted(state.paused),
            (state.n_running, state.n_reopened, state.n_planned_begun),
            sorted(state.confirming),
            list(state.unbegun),
        )
        for search in sweep.searches
        for state in (sweep.by_search[search],)
    }
    tally = sweep.tally
    return {
        "counts": (tally.counts, tally.confirm_counts, tally.n_living, tally.n_begun),
        "by phase": (tally.n_epochs_of, tally.test_errors),
        "epochs": (tally.n_epochs, tally.epochs_left, tally.planned_epochs),
        "errors": {arm: (each.best, each.median, len(each.lowest)) for arm, each in tally.errors.items()},
        "NLL": {arm: (each.best, each.median) for arm, each in tally.nlls.items()},
        "losses": +tally.losses,
        "numbers": {arm: (len(each), each.lowest_new) for arm, each in tally.numbers.items()},
        "left": (sweep.n_left, sweep.n_trials, sweep.n_unbegun, sweep.epochs_left, sweep.dropped),
        "stuck": sweep.by_search.stuck,
        "next": following and following.trial,
        "searches": by_search,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": budget(ASHA), "confirm": CONFIRM},
        {"budget": budget(PROMOTE), "confirm": {"searches": 1, "seeds": 2, "configs": 2}},
        {"budget": budget(PROMOTE), "search": "tpe", "confirm": CONFIRM},
        {"budget": budget(PROMOTE, trials=None), "search": "grid", "arms": {"off": {}, "cutout": {}}, "space": GRID},
    ],
    ids=["asha", "promote", "tpe", "grid"],
)
def test_counts_equal_a_recount_after_each_event(
    simulate: Any, study_of: MakeStudy, tmp_path: Path, changes: dict[str, Any]
) -> None:
    study = study_of(**changes)
    for session_number in range(100):
        session = simulate(study, tmp_path, curve=with_faults, retry_failed=session_number == 1)
        conductor = session.conductor
        while conductor.n_left:
            session.run(1)
            assert facts(conductor) == facts(recounted(conductor))
            if len(session.jobs) > 24:  # the session is killed
                break
        else:
            break
    assert not conductor.n_left


class Steps:
    """Counter of the instructions that the interpreter executes in its context: a measure of work without a clock."""

    def __init__(self) -> None:
        self.n = 0

    def __enter__(self) -> Steps:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self.n += event == "opcode"
        return self._trace


def steps_by_size(study: Study, folder: Path, sizes: Sequence[range]) -> list[float]:
    """Run a sweep; return the mean number of instructions per event while it has as many trials as each range says.

    An event is a report and the choice of the trials that follow it.
    """
    conductor = Buffered(study, folder)
    tracker = ProgressTracker(conductor)
    config = study.trial_config("off", {}, replicate=0)
    conductor._ledger.config = lambda entry: config  # type: ignore[method-assign]  # most of the work, the same always
    counts: list[list[int]] = [[] for _ in sizes]
    running: deque[tuple[Job, int]] = deque()

    def event() -> bool:
        while len(running) < 8 and (begun := conductor.next_job()):
            running.append((begun, begun.recorded_epochs + 1))
        if not running:
            return conductor.may_go_on
        job, epoch = running.popleft()
        if not conductor.on_report(job.trial, report(job, epoch, with_faults(job, epoch))):
            running.append((job, epoch + 1))
        return True

    goes_on = True
    while goes_on:
        measured = next((of for size, of in zip(sizes, counts, strict=True) if len(conductor.entries) in size), None)
        steps = Steps()
        context: AbstractContextManager[object] = steps if measured is not None else nullcontext()
        with context:
            goes_on = event()
            tracker.snapshot()
            tracker.new_events()
        if measured is not None:
            measured.append(steps.n)
    return [statistics.fmean(count) for count in counts]


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"budget": budget({"rule": "none"}, 100)}, [range(30, 50), range(260, 280)]),
        ({"budget": budget(ASHA, 100)}, [range(30, 50), range(260, 280)]),
        ({"budget": budget(PROMOTE, 100)}, [range(30, 50), range(260, 280)]),
        ({"budget": budget(PROMOTE | {"rule": "hyperband"}, 100)}, [range(30, 50), range(260, 280)]),
        ({"budget": budget(ASHA, 100), "confirm": {"searches": 50, "seeds": 2}}, [range(310, 330), range(560, 580)]),
    ],
    ids=["none", "asha", "promote", "hyperband", "confirmation"],
)
def test_an_event_reads_no_other_trials(
    study_of: MakeStudy, tmp_path: Path, changes: dict[str, Any], sizes: list[range]
) -> None:
    """A walk over all trials takes at least five instructions per trial."""
    early, late = steps_by_size(study_of(**changes), tmp_path, sizes)
    assert late - early < 2 * (sizes[1].start - sizes[0].start)


def test_errors_of_a_trial_that_runs_again() -> None:
    errors = FinalErrors()
    for number, error in enumerate([0.5, 0.2, 0.4]):
        errors.add(f"off-{number}", error)
    shown = errors.lowest
    assert (errors.best, errors.median, list(shown)) == (0.2, 0.4, [0.5, 0.2, 0.2])
    errors.remove("off-1")
    assert (errors.best, errors.median, list(errors.lowest)) == (0.4, 0.45, [0.5, 0.4])
    errors.add("off-1", 0.1)
    assert (errors.best, errors.median, list(errors.lowest)) == (0.1, 0.4, [0.5, 0.4, 0.1])
    assert list(shown) == [0.5, 0.2, 0.2]


def test_a_curve_grows_epoch_by_epoch() -> None:
    curve = Curve()
    with pytest.raises(ValueError, match="the next epoch is 1, got 2"):
        curve[2] = dict.fromkeys(VALUE_COLUMNS, 0.5)
    curve[1] = {"epoch": 1, **dict.fromkeys(VALUE_COLUMNS, 0.5)}
    assert (list(curve), 2 in curve, curve.get(2)) == ([1], False, None)
    with pytest.raises(TypeError, match="cannot be removed"):
        del curve[1]
