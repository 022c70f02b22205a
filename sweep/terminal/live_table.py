"""Layout of the live table: what of a sweep's progress fits into a terminal of a given size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweep.event_lines import describe_time
from sweep.formats import cut, format_pace, format_percent, printable
from sweep.progress import ArmProgress, SweepProgress
from sweep.records.schema import CANCELLED, COMPLETED, DIVERGED, FAILED, PAUSED, RUNNING, STOPPED
from sweep.terminal.tables import Column, add_row, fit_width, plain, total_width

HEADS = {
    RUNNING: "run",
    PAUSED: "wait",
    COMPLETED: "done",
    STOPPED: "stop",
    DIVERGED: "div",
    FAILED: "fail",
    CANCELLED: "cancel",
}
"""Heading of each status."""

BLOCKS = "▁▂▃▄▅▆▇█"
"""Heights of a sparkline."""

CURVE_HEAD, MAX_CURVE = "best so far", 40
"""Heading and largest number of characters of a sparkline."""

DISPENSABLE = ("median", "wait", "run", "conf", "stop", "div", "cancel", "search", "node", "images/s")
"""Columns that a narrow terminal lacks, the first one first."""


def draw_progress(progress: SweepProgress, *, width: int, height: int, blocks: bool) -> Group:
    """Return title, arms, running trials and last failure, as far as they fit.

    Args:
        progress: state of the sweep.
        width: characters per line.
        height: number of lines.
        blocks: whether the terminal can show Unicode blocks; otherwise there are no sparklines.
    """
    title = [plain(line, style="bold", no_wrap=True) for line in _title(progress, width)]
    room = height - len(title)
    arms = fit_width(_arm_columns(progress.arms), width, without=DISPENSABLE)
    running = fit_width(_running_columns(progress), width, without=DISPENSABLE)
    n_arms = _fit_height(len(progress.arms), room - 1)
    n_below = room - 1 - _n_lines(n_arms, len(progress.arms))
    failure = _failure(progress, width) if n_below >= 1 else []
    n_below -= len(failure)
    beside = total_width(arms, gap=2) + 4 + total_width(running, gap=2) <= width and len(running[0].cells) + 1 > n_below
    n_running = _fit_height(len(progress.running), room - 1 - len(failure) if beside else n_below - 1)
    free = width - total_width(arms, gap=2) - (4 + total_width(running, gap=2) if beside else 0)
    arm_block = _block([*arms, *_extra_columns(progress, free, blocks=blocks)], n_arms, "arms", width)
    if not n_running:
        return Group(*title, *arm_block, *failure)
    running_block = _block(running, n_running, "running trials", width)
    if beside:
        both = Table.grid(padding=(0, 4, 0, 0))
        both.add_row(Group(*arm_block), Group(*running_block))
        return Group(*title, both, *failure)
    n_spare = n_below - 1 - _n_lines(n_running, len(progress.running))
    gaps = [[plain("")] if n_spare > place else [] for place in range(2)]
    return Group(*title, *arm_block, *gaps[0], *running_block, *(gaps[1] if failure else []), *failure)


def sparkline(values: Sequence[float], *, lo: float, hi: float, width: int) -> str:
    """Return values as blocks; if there are more values than characters, the last value of each part.

    Examples:
        >>> sparkline([0.9, 0.5, 0.1], lo=0.1, hi=0.9, width=10)
        '█▅▁'
        >>> sparkline([0.9, 0.5, 0.1, 0.1], lo=0.1, hi=0.9, width=2)
        '▅▁'
    """
    if len(values) > width:
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    span = max(hi - lo, 1e-12)
    return "".join(BLOCKS[min(int(8 * (value - lo) / span), 7)] for value in values)


def _title(progress: SweepProgress, width: int) -> list[str]:
    """Return the parts of the title in as many lines as they need."""
    parts = [
        progress.study,
        f"{progress.n_ended}/{progress.n_trials} ended",
        describe_time(progress),
        progress.describe_running(),
        *([f"paused {progress.paused}"] if progress.paused else []),
    ]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def _arm_columns(arms: Sequence[ArmProgress]) -> list[Column]:
    """Return the columns of the arms without those that are zero everywhere; ``done`` is always there."""
    counts = {head: [arm.counts[status] for arm in arms] for status, head in HEADS.items()}
    counts["conf"] = [arm.confirmed for arm in arms]
    shown = {head: numbers for head, numbers in counts.items() if head == HEADS[COMPLETED] or any(numbers)}
    return [
        Column("arm", tuple(arm.arm for arm in arms), "left"),
        *(Column(head, tuple(map(str, numbers))) for head, numbers in shown.items()),
        Column("best", tuple(format_percent(arm.best) for arm in arms)),
        Column("median", tuple(format_percent(arm.median) for arm in arms)),
    ]


def _running_columns(progress: SweepProgress) -> list[Column]:
    """Return the columns of the running trials: ``search`` if an arm has several, ``node`` if a node is known."""
    running = progress.running
    columns = [
        Column("running", tuple(trial.trial for trial in running), "left"),
        *([Column("search", tuple(str(trial.search) for trial in running))] if progress.n_searches > 1 else []),
        Column("epoch", tuple(f"{trial.epoch}/{trial.planned_epochs}" for trial in running)),
        Column("error", tuple(format_percent(trial.val_top1_error) for trial in running)),
        Column("images/s", tuple(map(format_pace, (trial.images_per_s for trial in running)))),
        Column("node", tuple(trial.node or "-" for trial in running), "left"),
    ]
    return columns if any(trial.node for trial in running) else columns[:-1]


def _extra_columns(progress: SweepProgress, room: int, *, blocks: bool) -> list[Column]:
    """Return the sparkline and the pace of each arm, if there is room for them."""
    columns = []
    curves = [arm.best_so_far for arm in progress.arms if arm.best_so_far]  # each of them only falls
    if any(trial.images_per_s for trial in progress.running) and room >= 10 + blocks * (2 + len(CURVE_HEAD)):
        pace = dict.fromkeys((arm.arm for arm in progress.arms), 0.0)
        for trial in progress.running:
            pace[trial.arm] += trial.images_per_s or 0.0
        columns.append(Column("images/s", tuple(format_pace(speed or None) for speed in pace.values())))
        room -= 2 + columns[0].width
    if blocks and curves and room >= 2 + len(CURVE_HEAD):
        lo, hi = min(curve[-1] for curve in curves), max(curve[0] for curve in curves)
        width = min(room - 2, MAX_CURVE)
        cells = (sparkline(arm.best_so_far, lo=lo, hi=hi, width=width) for arm in progress.arms)
        columns.append(Column(CURVE_HEAD, tuple(cells), "left"))
    return columns


def _failure(progress: SweepProgress, width: int) -> list[Text]:
    if progress.last_failure is None:
        return []
    line = f"last failure: {progress.last_failure}"
    return [plain(cut(printable(line), width), style="yellow", no_wrap=True)]


def _fit_height(n_rows: int, room: int) -> int:
    """Return how many of the rows fit; if not all do, one line is kept for the number of the others."""
    return n_rows if n_rows <= room else max(room - 1, 0)


def _n_lines(n_shown: int, n_rows: int) -> int:
    return n_shown + (n_shown < n_rows)


def _block(columns: Sequence[Column], n_shown: int, kind: str, width: int) -> Iterable[RenderableType]:
    """Yield a table of the first rows, and a line with the number of the others."""
    table = Table.grid(padding=(0, 2 if total_width(columns, gap=2) <= width else 1, 0, 0))
    for column in columns:
        table.add_column(justify=column.justify, no_wrap=True, min_width=column.width)
    add_row(table, [column.head for column in columns], style="dim")
    for row in range(n_shown):
        add_row(table, [column.cells[row] for column in columns])
    yield table
    n_rows = len(columns[0].cells)
    if n_shown < n_rows:
        yield plain(f"and {n_rows - n_shown} more {kind}", style="dim", no_wrap=True)
