"""The state of a sweep in Markdown, as the note of each of its studies in optuna-dashboard."""

from __future__ import annotations

import re
from typing import Any

from sweep.formats import format_duration, format_percent, reason_in_one_line
from sweep.serve.live import LiveSweep

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>&~$^=-])")


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line.

    Examples:
        >>> print(escape_markdown("<b>a_b</b>"))
        \\<b\\>a\\_b\\</b\\>
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def study_note(live: LiveSweep) -> str:
    """Return question, verdict, state, arms and failures of a sweep in Markdown; names are shown as text."""
    status, _ = live.status()
    lines = [f"**{escape_markdown(status['question'])}**", escape_markdown(status["verdict"]), _state(live, status)]
    lines.append(
        "\n".join(["| arm | trials | completed | best error | median |", "|---|--:|--:|--:|--:|", *_rows(status)])
    )
    if status["confirmed"]:
        head = ["| arm | n | test error | 95 % interval |", "|---|--:|--:|--:|"]
        lines.append("\n".join([*head, *_confirmed_rows(status)]))
    failures = [f"- {escape_markdown(each['trial'])}: {escape_markdown(_reason(each))}" for each in status["failures"]]
    lines.extend(["Failed trials:", "\n".join(failures[:10])] if failures else [])
    lines.append("This page shows the records; nothing can be changed here.")
    return "\n\n".join(lines)


def _reason(failure: dict[str, Any]) -> str:
    return reason_in_one_line(failure["why"] or failure["status"])[:200]


def _state(live: LiveSweep, status: dict[str, Any]) -> str:
    left_s = live.tracker.snapshot().left_s if live.driver is not None else None
    left = "" if left_s is None or status["state"] == "ended" else f"; at most {_rounded(left_s)} left"
    return f"{status['state']}: {status['n_ended']} of {status['n_trials']} trials have ended{left}."


def _rounded(seconds: float) -> str:
    """Return a time in steps of a minute: the note would otherwise change with each look."""
    return format_duration(max(60.0, 60.0 * round(seconds / 60)))


def _rows(status: dict[str, Any]) -> list[str]:
    return [
        f"| {escape_markdown(arm['arm'])} | {arm['n_trials']} | {arm['n_by_status']['completed']} "
        f"| {format_percent(arm['best_val_top1_error'])} | {format_percent(arm['median_val_top1_error'])} |"
        for arm in status["arms"]
    ]


def _confirmed_rows(status: dict[str, Any]) -> list[str]:
    return [
        f"| {escape_markdown(row['arm'])} | {row['n']} | {format_percent(row['top1_error'])} "
        f"| {format_percent(row['low'])} to {format_percent(row['high'])} |"
        for row in status["confirmed"]
        if row["rank"] == 1
    ]
