"""The progress of a running sweep as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweep.event_lines import describe_time
from sweep.formats import format_pace, format_percent
from sweep.notebook.html import Html, heading, paragraph, sparkline, table
from sweep.progress import ArmProgress, SweepProgress
from sweep.records.schema import COMPLETED, STATUSES

WARNING = "color: #b35900"
"""Style of a text that needs attention; readable on light and dark pages."""


def progress_html(progress: SweepProgress) -> Html:
    """Return the state of a sweep: counts and times, one row per arm, one row per running trial, the last failure."""
    return Html("".join(_parts(progress)))


def _parts(progress: SweepProgress) -> Iterator[str]:
    yield heading(
        f"{progress.study}: {progress.n_ended} of {progress.n_trials} trials ended, {describe_time(progress)}"
        f"{', paused' if progress.paused else ''}"
    )
    yield _arms(progress.arms)
    if progress.running:
        yield _running(progress)
    if progress.last_failure is not None:
        yield paragraph(f"last failure: {progress.last_failure}", style=WARNING)


def _arms(arms: Sequence[ArmProgress]) -> str:
    statuses = [status for status in STATUSES if status == COMPLETED or any(arm.counts[status] for arm in arms)]
    confirms = any(arm.confirmed for arm in arms)
    curves = [arm.best_so_far for arm in arms if arm.best_so_far]  # each of them only falls
    lo, hi = min((curve[-1] for curve in curves), default=0.0), max((curve[0] for curve in curves), default=0.0)
    headings = ["arm", *statuses, *(["confirmed"] if confirms else []), "best error", "median", "best so far"]
    rows = [
        [
            arm.arm,
            *(str(arm.counts[status]) for status in statuses),
            *([str(arm.confirmed)] if confirms else []),
            format_percent(arm.best),
            format_percent(arm.median),
            sparkline(arm.best_so_far, lo=lo, hi=hi),
        ]
        for arm in arms
    ]
    return table(headings, rows)


def _running(progress: SweepProgress) -> str:
    several = progress.n_searches > 1
    rows = [
        [
            trial.trial,
            *([str(trial.search)] if several else []),
            f"{trial.epoch} of {trial.planned_epochs}",
            format_percent(trial.val_top1_error),
            format_pace(trial.images_per_s),
            trial.node or "-",
        ]
        for trial in progress.running
    ]
    return table(["running trial", *(["search"] if several else []), "epoch", "error", "images/s", "node"], rows)
