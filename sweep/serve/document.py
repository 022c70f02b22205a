"""What a page of ``serve`` shows, as one JSON document per sweep, and one that lists the sweeps.

The results are the document of ``status --json``, unchanged. What surrounds it is the present: running trials, curves,
rungs, nodes, time left.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.document_models import without_nan
from sweep.endings import resume_command
from sweep.entry import Entry
from sweep.findings.summary import METRICS
from sweep.formats import reason_in_one_line
from sweep.mirrored import mirror_of
from sweep.progress import SweepProgress
from sweep.records.schema import COMPLETED, FAILED, LIVING, LOSSES
from sweep.serve.live import LiveSweep

REPORT = Path("report", "report.html")
"""Page that the command ``report`` writes, below the folder of a sweep."""

REFRESH_S = 2.0
"""Time after which a page asks again."""

N_CURVES = 40
"""Largest number of curves per arm: all that run, then the best, then the latest of the others."""

N_BEST = 10
N_REASON = 600
"""Largest number of characters of a reason."""

DOSE = ("dose_exposure", "dose_pasted_frac", "dose_mean_prob", "dose_label_entropy")


def sweep_document(live: LiveSweep, *, optuna_url: Callable[[str], str | None]) -> dict[str, Any]:
    """Return everything that the page of a sweep shows.

    Args:
        live: the sweep.
        optuna_url: returns the address of an arm's study in optuna-dashboard.

    Returns:
        - ``status``: the document of ``status --json``, and its age ``status_age_s``.
        - ``state``: ``running``, ``stalled``, ``paused``, ``interrupted`` or ``ended``.
        - ``running``, ``events``, ``nodes``, ``arms`` (curves, rungs, dose), ``losses``, ``cost``, ``report``.
    """
    live.look()
    with live.lock:
        status, age_s = live.status()
        progress = live.tracker.snapshot()
        document = {
            **_head(live, status, age_s, progress),
            "status": status,
            "status_age_s": age_s,
            "metric": METRICS[live.study.metric].name,
            "driver": live.driver.describe() if live.driver else None,
            "advice": live.driver.advice if live.driver else "",
            "running": [asdict(each) for each in progress.running] if live.driver else [],
            "events": [_event(live, live.sweep.entries[trial]) for trial in live.last_ended],
            "arms": _arms(live, optuna_url),
            "nodes": _nodes(live, status, progress),
            "losses": _losses(live.rows.values()),
            "faults": Counter(row["fault"] for row in live.rows.values() if row["status"] == FAILED and "fault" in row),
            "cost": _cost(live, status),
            "report": _report(live),
            "commands": _commands(live),
        }
    result: dict[str, Any] = without_nan(document)
    return result


def list_document(sweeps: Sequence[LiveSweep]) -> dict[str, Any]:
    """Return one short entry per sweep."""
    entries = []
    for live in sweeps:
        live.look()
        with live.lock:
            status, age_s = live.status()
            head = _head(live, status, age_s, live.tracker.snapshot())
            entries.append({**head, "verdict": status["verdict"], "n_failed": _n_failed(live)})
    result: dict[str, Any] = without_nan({"sweeps": entries, "refresh_s": REFRESH_S})
    return result


def _head(live: LiveSweep, status: dict[str, Any], age_s: float, progress: SweepProgress) -> dict[str, Any]:
    is_running = live.driver is not None and status["state"] != "ended"
    return {
        "name": live.name,
        "place": live.place,
        "study": status["study"],
        "question": status["question"],
        "problem": live.problem,
        "now": datetime.now(UTC).isoformat(timespec="seconds"),
        "refresh_s": REFRESH_S,
        "state": _state(live, status),
        "why_state": _why_state(live),
        "n_ended": progress.n_ended if age_s else status["n_ended"],
        "n_trials": progress.n_trials if age_s else status["n_trials"],
        "n_running": len(progress.running) if is_running else 0,
        "elapsed_s": progress.elapsed_s if is_running else None,
        "left_s": progress.left_s if is_running and not progress.paused else None,
    }


def _state(live: LiveSweep, status: dict[str, Any]) -> str:
    if status["state"] != "running" or live.driver is None:
        return str(status["state"])
    return "stalled" if live.driver.stalled else "paused" if live.driver.paused else "running"


def _why_state(live: LiveSweep) -> str:
    return (live.driver.stalled or live.driver.paused) if live.driver else ""


def _n_failed(live: LiveSweep) -> int:
    return sum(row["status"] == FAILED for row in live.rows.values())


def _event(live: LiveSweep, entry: Entry) -> dict[str, Any]:
    last = max(entry.curve, default=None)
    return {
        "trial": entry.trial,
        "arm": entry.arm,
        "phase": entry.phase,
        "status": entry.status,
        "epochs": entry.epochs,
        "planned_epochs": live.study.max_epochs_of(entry.params),
        "val_top1_error": None if last is None else entry.curve[last]["val_top1_error"],
        "node": entry.about.get("node"),
        "why": reason_in_one_line(entry.why)[:N_REASON] if entry.why else "",
        "time_s": live.rows[entry.trial]["time_s"],
    }


def _arms(live: LiveSweep, optuna_url: Callable[[str], str | None]) -> list[dict[str, Any]]:
    by_arm: dict[str, list[Entry]] = {arm: [] for arm in live.study.arms}
    for entry in live.sweep.entries.values():
        if entry.confirms is None and entry.arm in by_arm:
            by_arm[entry.arm].append(entry)
    running = {entry.trial for entry in live.sweep.running} if live.driver else set()
    return [
        {
            "arm": arm,
            "curves": [_curve(entry, running) for entry in _shown(entries, running)],
            "n_curves": sum(bool(entry.curve) for entry in entries),
            "rungs": _rungs(live, arm),
            "dose": _dose([live.rows[entry.trial] for entry in entries]),
            "optuna": optuna_url(arm),
        }
        for arm, entries in by_arm.items()
    ]


def _shown(entries: Sequence[Entry], running: set[str]) -> list[Entry]:
    """Return at most about ``N_CURVES`` trials: those that run, the best ones, and the latest."""
    with_curve = [entry for entry in entries if entry.curve]
    if len(with_curve) <= N_CURVES:
        return with_curve
    completed = [entry for entry in with_curve if entry.status == COMPLETED]
    best = sorted(completed, key=lambda entry: entry.curve[max(entry.curve)]["val_top1_error"])[:N_BEST]
    kept = {entry.trial for entry in best} | (running & {entry.trial for entry in with_curve})
    for entry in reversed(with_curve):
        if len(kept) >= N_CURVES:
            break
        kept.add(entry.trial)
    return [entry for entry in with_curve if entry.trial in kept]


def _curve(entry: Entry, running: set[str]) -> dict[str, Any]:
    errors = [[epoch, round(entry.curve[epoch]["val_top1_error"], 5)] for epoch in sorted(entry.curve)]
    status = "running" if entry.trial in running else "paused" if entry.status in LIVING else entry.status
    return {"trial": entry.trial, "status": status, "errors": errors}


def _rungs(live: LiveSweep, arm: str) -> list[dict[str, Any]]:
    rungs = sorted((epochs, rung) for (of_arm, epochs), rung in live.rungs.items() if of_arm == arm)
    return [
        {"epochs": epochs, **{name: value for name, value in rung.items() if name != "trials"}}
        for epochs, rung in rungs
    ]


def _dose(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return the mean over the trials that have reported a dose, by column without ``dose_``."""
    dose: dict[str, float | None] = {}
    for column in DOSE:
        values = [row[column] for row in rows if column in row]
        dose[column.removeprefix("dose_")] = sum(values) / len(values) if values else None
    return dose


def _nodes(live: LiveSweep, status: dict[str, Any], progress: SweepProgress) -> list[dict[str, Any]]:
    """Return the nodes that have trained trials or that get none, by name."""
    nodes: dict[str, dict[str, Any]] = defaultdict(lambda: {"running": 0, "ended": 0, "failed": 0, "left_out": ""})
    for row in live.rows.values():
        if row["status"] not in LIVING and (node := row.get("node")):
            nodes[node]["ended"] += 1
            nodes[node]["failed"] += row["status"] == FAILED
    for running in progress.running if live.driver else ():
        nodes[running.node or "not known yet"]["running"] += 1
    for left_out in status["left_out_nodes"]:
        nodes[left_out["node"]]["left_out"] = left_out["why"]
    return [{"node": name, **counts} for name, counts in sorted(nodes.items())]


def _losses(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return how many workers were lost, by cause, and how many trials were started again."""
    counts = dict.fromkeys((*LOSSES, "restarted"), 0)
    for row in rows:
        for name in LOSSES:
            counts[name] += row.get(name, 0)
        counts["restarted"] += row["attempts"] > 1
    return counts


def _cost(live: LiveSweep, status: dict[str, Any]) -> dict[str, Any]:
    """Return training time so far, and at most to come: no further trial stops early, and epochs take as long."""
    n_epochs = sum(entry.epochs for entry in live.sweep.entries.values())
    left = live.sweep.epochs_left if status["state"] != "ended" else 0
    mirror = mirror_of(live.folder)
    requests = {} if mirror is None else mirror.requests()["driver"]  # those of this process
    return {
        "training_s": status["training_s"],
        "left_training_s": left * status["training_s"] / n_epochs if n_epochs else None,
        "n_epochs": n_epochs,
        "epochs_left": left,
        "devices": dict(Counter(row["device"] for row in live.rows.values() if "device" in row)),
        "requests": sum(number for name, number in requests.items() if name.startswith("n_")) if requests else None,
    }


def _report(live: LiveSweep) -> dict[str, Any]:
    """Return address and age of the report; no address if there is none in the folder."""
    page = live.folder / REPORT
    command = shlex.join(["cutmix-sweep", "report", live.place])
    try:
        written_s = page.stat().st_mtime
    except OSError:
        return {"url": None, "command": command, "is_old": False}
    newest_s = max((row["time_s"] for row in live.rows.values()), default=0.0)
    return {
        "url": f"/sweeps/{live.name}/{REPORT}",
        "command": command,
        "is_old": newest_s > written_s,
        "age_s": time.time() - written_s,
    }


def _commands(live: LiveSweep) -> dict[str, str]:
    """Return the commands that a reader may want next."""
    return {
        "resume": resume_command(live.folder),
        "status": shlex.join(["cutmix-sweep", "status", live.place]),
        "why": shlex.join(["cutmix-sweep", "status", live.place, "--why"]),
        "logs": shlex.join(["cutmix-sweep", "logs", live.place, "--trial"]),
    }
