"""The Grafana board of a sweep: what each panel shows, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweep.metrics import (
    CHECKPOINT,
    EPOCHS,
    EPOCHS_LEFT,
    FAILURES,
    FLUSH,
    GPU_MEMORY,
    INFO,
    LAG,
    LOSSES,
    NODES,
    PACE,
    RECORD_AGE,
    SLOTS,
    TEST_ERROR,
    TIME_LEFT,
    TRIALS,
    VAL_ERROR,
    VAL_NLL,
    Metric,
)
from sweep.ray_job import BOARD_UID

GPU_USE, GRAM_USED, CPU_USE, MEM_USED = RAY_METRICS = (
    "ray_node_gpus_utilization",
    "ray_node_gram_used",
    "ray_node_cpu_utilization",
    "ray_node_mem_used",
)
"""Metrics of Ray itself that the board shows."""

_IS_ENDED = 'status=~"completed|stopped|diverged|failed|cancelled"'
_IS_FAILED, _IS_BEST, _IS_MEDIAN = 'status="failed"', 'stat="best"', 'stat="median"'
_COLUMNS = 24
"""Width of a board of Grafana."""


def _of(metric: Metric, *conditions: str) -> str:
    """Return the selector of a metric for the chosen sweeps and session of Ray."""
    chosen = ('sweep=~"$sweep"', 'id=~"$id"', 'SessionName=~"$SessionName"', *conditions)
    return f"{metric.exported}{{{','.join(chosen)}}}"


def _of_ray(name: str) -> str:
    return f'{name}{{SessionName=~"$SessionName"}}'


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: title.
        meaning: text behind the mark beside the title.
        unit: unit of Grafana, for example ``percentunit``.
        series: query and name of each series.
        kind: ``timeseries``, ``stat`` or ``bargauge``.
        width: columns of the board, of 24.
        height: rows of the board.
        stacked: whether the series add up to a whole.
    """

    title: str
    meaning: str
    unit: str
    series: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False


_BY_ARM = "{{sweep}} {{arm}}"

PANELS = (
    Panel(
        "Trials ended",
        "Number of trials that have ended, and of all trials, including the confirmations that follow.",
        "short",
        (
            (f"sum by (sweep, id) ({_of(TRIALS, _IS_ENDED)})", "{{sweep}} ended"),
            (f"sum by (sweep, id) ({_of(TRIALS)})", "{{sweep}} all"),
        ),
        kind="stat",
        width=6,
        height=5,
    ),
    Panel(
        "Time left, at most",
        "Upper bound: no further trial stops early.",
        "s",
        ((_of(TIME_LEFT), "{{sweep}}"),),
        kind="stat",
        width=6,
        height=5,
    ),
    Panel(
        "Epochs left, at most",
        "Upper bound: no further trial stops early.",
        "short",
        ((_of(EPOCHS_LEFT), "{{sweep}}"),),
        kind="stat",
        width=4,
        height=5,
    ),
    Panel(
        "Failed trials",
        "Trials with the status failed. `cutmix-sweep status DIR` prints the reasons.",
        "short",
        ((f"sum by (sweep, id) ({_of(TRIALS, _IS_FAILED)}) or on (sweep, id) 0 * {_of(INFO)}", "{{sweep}}"),),
        kind="stat",
        width=4,
        height=5,
    ),
    Panel(
        "Newest epoch",
        "Time since the last recorded epoch. A long time means that no trial makes progress.",
        "s",
        ((_of(RECORD_AGE), "{{sweep}}"),),
        kind="stat",
        width=4,
        height=5,
    ),
    Panel(
        "Best validation error by arm",
        "Lowest final validation top-1 error of the completed search trials. It is too optimistic: the best trial was "
        "selected by it.",
        "percentunit",
        ((f"sort({_of(VAL_ERROR, _IS_BEST)})", _BY_ARM),),
        kind="bargauge",
    ),
    Panel(
        "Test error by arm",
        "Mean test top-1 error of the completed confirmation trials. `cutmix-sweep status DIR` prints the intervals.",
        "percentunit",
        ((f"sort({_of(TEST_ERROR)})", _BY_ARM),),
        kind="bargauge",
    ),
    Panel(
        "Trials by status",
        "Search and confirmation. Waiting: not begun; paused: at a rung, or interrupted.",
        "short",
        ((f"sum by (status) ({_of(TRIALS)})", "{{status}}"),),
        stacked=True,
    ),
    Panel(
        "Trials that have ended by arm",
        "Search and confirmation.",
        "short",
        ((f"sum by (sweep, id, arm) ({_of(TRIALS, _IS_ENDED)})", _BY_ARM),),
    ),
    Panel(
        "Best validation error by arm over time",
        "Lowest final validation top-1 error of the completed search trials.",
        "percentunit",
        ((_of(VAL_ERROR, _IS_BEST), _BY_ARM),),
    ),
    Panel(
        "Median validation error by arm over time",
        "Median of the final validation top-1 errors of the completed search trials.",
        "percentunit",
        ((_of(VAL_ERROR, _IS_MEDIAN), _BY_ARM),),
    ),
    Panel(
        "Best validation NLL by arm over time",
        "Lowest final validation NLL of the completed search trials, nats.",
        "short",
        ((_of(VAL_NLL, _IS_BEST), _BY_ARM),),
    ),
    Panel(
        "Median validation NLL by arm over time",
        "Median of the final validation NLLs of the completed search trials, nats.",
        "short",
        ((_of(VAL_NLL, _IS_MEDIAN), _BY_ARM),),
    ),
    Panel(
        "Epochs per second",
        "Recorded epochs of all trials, mean over a minute.",
        "short",
        ((f"sum by (sweep, id, phase) (rate({_of(EPOCHS)}[1m]))", "{{sweep}} {{phase}}"),),
    ),
    Panel(
        "Images per second by arm",
        "Sum over the running trials, each in its last epoch.",
        "short",
        ((_of(PACE), _BY_ARM),),
        stacked=True,
    ),
    Panel(
        "Slots",
        "Trials that run, trials that wait for a worker, and free slots.",
        "short",
        ((f"sum by (state) ({_of(SLOTS)})", "{{state}}"),),
        stacked=True,
    ),
    Panel(
        "Nodes",
        "Nodes that can run trials (fit), and nodes that were left out (unfit); `cutmix-sweep status DIR` prints why.",
        "short",
        ((f"sum by (state) ({_of(NODES)})", "{{state}}"),),
        stacked=True,
    ),
    Panel(
        "Lost workers by cause",
        "Workers that trials have lost since the driver started, and GPU memory that did not suffice. They continue.",
        "short",
        ((f"sum by (cause) ({_of(LOSSES)})", "{{cause}}"),),
    ),
    Panel(
        "Failed trials by node",
        "Since the driver started. Many on one node: look at that node.",
        "short",
        ((f"sum by (node) ({_of(FAILURES)})", "{{node}}"),),
    ),
    Panel(
        "Driver",
        "Lag: longest time between two steps of the driver; a report waits at most so long. Flush: writing the "
        "records. Checkpoint: writing the state of a trial.",
        "s",
        (
            (_of(LAG), "{{sweep}} lag"),
            (_of(FLUSH), "{{sweep}} flush"),
            (_of(CHECKPOINT), "{{sweep}} checkpoint"),
        ),
    ),
    Panel(
        "GPU memory of a trial by arm",
        "Largest memory that PyTorch allocated for one trial of the arm.",
        "bytes",
        ((_of(GPU_MEMORY), _BY_ARM),),
    ),
    Panel(
        "GPU use by node",
        "Percent of each GPU, as Ray reports it.",
        "percent",
        ((_of_ray(GPU_USE), "{{instance}} {{GpuIndex}}"),),
    ),
    Panel(
        "GPU memory by node",
        "As Ray reports it.",
        "decmbytes",
        ((_of_ray(GRAM_USED), "{{instance}} {{GpuIndex}}"),),
    ),
    Panel(
        "CPU use by node",
        "Percent of all cores, as Ray reports it.",
        "percent",
        ((_of_ray(CPU_USE), "{{instance}}"),),
    ),
    Panel(
        "Memory by node",
        "As Ray reports it.",
        "bytes",
        ((_of_ray(MEM_USED), "{{instance}}"),),
    ),
)
"""Panels in their order on the board, from left to right and from top to bottom."""


def board() -> dict[str, Any]:
    """Return the board in the JSON format of Grafana.

    Examples:
        >>> board()["uid"], len(board()["panels"]) == len(PANELS)
        ('cutmix-sweep', True)
    """
    return {
        "uid": BOARD_UID,
        "title": "cutmix-sweep",
        "tags": ["cutmix-sweep", "ray"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": _placed_panels(),
    }


def _variables() -> list[dict[str, Any]]:
    """Return the variables of the board; the page of the Ray dashboard sets ``datasource`` and ``SessionName``."""
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 2, "refresh": 1},
        _label_variable("SessionName", INFO.exported, hide=2),
        _label_variable("sweep", f'{INFO.exported}{{SessionName=~"$SessionName"}}', hide=0),
        _label_variable("id", f'{INFO.exported}{{SessionName=~"$SessionName",sweep=~"$sweep"}}', hide=0),
    ]


def _label_variable(label: str, selector: str, *, hide: int) -> dict[str, Any]:
    query = f"label_values({selector}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "sort": 2,
        "hide": hide,
        "multi": label != "SessionName",
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed_panels() -> list[dict[str, Any]]:
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(PANELS, start=1):
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    is_curve = panel.kind == "timeseries"
    custom = {
        "fillOpacity": 40 if panel.stacked else 5,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    options: dict[str, Any] = {"orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if is_curve:
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "gridPos": place,
        "datasource": source,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expr, "legendFormat": name}
            | ({} if is_curve else {"instant": True, "range": False})
            for index, (expr, name) in enumerate(panel.series)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, **({"custom": custom} if is_curve else {})},
            "overrides": [],
        },
        "options": options,
    }
