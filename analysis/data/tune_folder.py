"""Files of one experiment of Ray Tune, with snapshots of its older forms too; read without Ray and without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from sweep.records.nested import flattened

STATUSES = ("PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR")
"""Statuses of a trial in all releases of Tune."""

TRIAL_FILES = ("params.json", "result.json", "progress.csv")
"""Files that Tune writes into the folder of a trial."""

ALWAYS_REPORTED = "training_iteration"
"""Column that Tune adds to each report; a mapping inside a report does not have it."""

LISTED, QUOTED_CHARS = 5, 80
"""Number of names that a message lists, and length of the longest quotation."""


@dataclass(frozen=True)
class TuneTrial:
    """One trial's folder.

    Attributes:
        name: Tune's id of the trial.
        folder: its folder.
        params: values of its parameters by dotted path.
        results: all reported values, one row per report.
        status: status in Tune, one of ``STATUSES`` in all known releases; None if no snapshot has it.
        error: last line of its newest error, also if it was retried afterwards; "" if there was none.
    """

    name: str
    folder: Path
    params: Mapping[str, Any]
    results: pd.DataFrame
    status: str | None
    error: str


@dataclass(frozen=True)
class _Snapshots:
    """States of the trials by the name of their folder and by their id, from all snapshots of an experiment."""

    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, state: Mapping[str, Any]) -> None:
        """Add the state of a trial; a newer state of the same trial replaces an older one."""
        path = state.get("relative_logdir") or state.get("logdir") or state.get("_logdir")
        names = [PurePosixPath(path).name] if isinstance(path, str) else []
        for name in [*names, state.get("trial_id")]:
            if isinstance(name, str):
                self.states[name] = state


def read_trials(folder: Path) -> tuple[list[TuneTrial], list[str]]:
    """Read all trials of an experiment that have begun, in the order of the names of their folders.

    Returns:
        The trials, and one sentence per file that could not be read as it is.

    Raises:
        ValueError: the folder contains no trial, two trials have one id, or a table is damaged; the message names the
            files and what the folder contains.
    """
    folders = sorted(path for path in _subfolders(folder) if _is_trial(path))
    if not folders:
        raise ValueError(f"no results of Ray Tune in '{folder}': {_describe_contents(folder)}")
    notes: list[str] = []
    snapshots = _read_snapshots(folder, notes)
    trials = [_read_trial(path, snapshots, notes) for path in folders]
    _check_ids(trials)
    notes += _unknown_statuses(folder, trials)
    return trials, notes


def _unknown_statuses(folder: Path, trials: Sequence[TuneTrial]) -> Iterator[str]:
    fallback = "such a trial counts as failed if it has an error.txt, else as ended"
    for status in sorted({trial.status for trial in trials if trial.status is not None} - set(STATUSES)):
        names = [trial.name for trial in trials if trial.status == status]
        yield f"no known release of Tune has the status {_cut(repr(status))} of {_listed(names)}: {fallback}"
    if names := [trial.name for trial in trials if trial.status is None]:
        yield f"no snapshot (experiment_state*.json) in '{folder}' has the status of {_listed(names)}: {fallback}"


def _read_snapshots(folder: Path, notes: list[str]) -> _Snapshots:
    """Read the snapshots from the oldest to the newest: each run into the folder wrote its own."""
    snapshots = _Snapshots()
    for path in sorted(folder.glob("experiment_state*.json")):
        try:
            for state in _states(json.loads(path.read_bytes())):
                snapshots.add(state)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            notes.append(f"cannot read the snapshot '{path}' ({_cut(str(error))}): it is ignored")
    return snapshots


def _states(snapshot: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the states of the trials in a snapshot.

    Since Ray 2.4, a row of ``trial_data`` has the trial and its last report, both as JSON text. Before, ``checkpoints``
    has the trials: as JSON text or, in the oldest releases, as mappings.

    Raises:
        LookupError: the snapshot has another form.
    """
    if "trial_data" in snapshot:
        rows = [row[0] for row in snapshot["trial_data"]]
    elif "checkpoints" in snapshot:
        rows = snapshot["checkpoints"]
    else:
        raise LookupError("it has neither trial_data nor checkpoints")
    for row in rows:
        state = json.loads(row) if isinstance(row, str) else row
        if not isinstance(state, dict):
            raise LookupError(f"a trial is {_cut(repr(state))}")
        yield state


def _read_trial(folder: Path, snapshots: _Snapshots, notes: list[str]) -> TuneTrial:
    results, reported = _read_results(folder, notes)
    ids = list(results["trial_id"].dropna()) if "trial_id" in results else []
    name = str(ids[0]) if ids else folder.name
    state = snapshots.states.get(folder.name) or snapshots.states.get(name) or {}
    status = str(state["status"]) if "status" in state else None
    error = folder / "error.txt"
    lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines() if error.exists() else []
    params = _read_params(folder, [reported, state.get("config")], notes)
    return TuneTrial(name, folder, params, results, status, lines[-1] if lines else "")


def _read_params(folder: Path, elsewhere: Sequence[object], notes: list[str]) -> dict[str, Any]:
    """Read ``params.json``; without it, take the parameters that came with the reports or that a snapshot has."""
    path = folder / "params.json"
    try:
        params = json.loads(path.read_bytes())
        if isinstance(params, dict):
            return flattened(params)
        reason = "it is not a mapping"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    found = next((config for config in elsewhere if isinstance(config, dict)), None)
    source = (
        "its trial has no parameters" if found is None else "the parameters are those of the reports or the snapshot"
    )
    notes.append(f"cannot read '{path}' ({_cut(reason)}): {source}")
    return flattened(found or {})


def _read_results(folder: Path, notes: list[str]) -> tuple[pd.DataFrame, object]:
    """Read ``result.json``, one report per line, or ``progress.csv``, the same reports without the parameters.

    Returns:
        One row per report, and the parameters that came with the last report.

    Raises:
        ValueError: the table is damaged.
    """
    lines, table = folder / "result.json", folder / "progress.csv"
    if lines.exists():
        reports = _read_reports(lines, notes)
        configs = [report.pop("config", None) for report in reports]
        return pd.DataFrame([flattened(report) for report in reports]), configs[-1] if configs else None
    try:
        return pd.read_csv(table), None
    except (FileNotFoundError, pd.errors.EmptyDataError):  # the trial has begun but not reported
        return pd.DataFrame(), None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read '{table}': {_cut(str(error).strip())}; repair or remove it") from error


def _read_reports(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read the reports; a kill may have cut a line, and Tune may have written on in the same line.

    The last line is passed over in silence if it is cut, because it was being written.
    """
    reports: list[dict[str, Any]] = []
    cut: list[int] = []
    lines = [(number, line) for number, line in enumerate(path.read_bytes().splitlines(), start=1) if line.strip()]
    for position, (number, line) in enumerate(lines, start=1):
        report = _parse(line)
        if report is None:
            report = _rest(line)
            if report is not None or position < len(lines):
                cut.append(number)
        if report is not None:
            reports.append(report)
    if cut:
        where = f"line{'s' if len(cut) > 1 else ''} {', '.join(map(str, cut[:LISTED]))}"
        more = f" and {len(cut) - LISTED} more" if len(cut) > LISTED else ""
        notes.append(f"{where}{more} of '{path}' cannot be read as a whole: {len(reports)} reports were read")
    return reports


def _rest(line: bytes) -> dict[str, Any] | None:
    """Return the report that follows a cut report in the same line, if there is one."""
    starts = (start for start in range(1, len(line)) if line.startswith(b'{"', start))
    rests = (_parse(line[start:]) for start in starts)
    return next((rest for rest in rests if rest is not None and ALWAYS_REPORTED in rest), None)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _check_ids(trials: Iterable[TuneTrial]) -> None:
    folders: dict[str, Path] = {}
    for trial in trials:
        if trial.name in folders:
            raise ValueError(
                f"'{folders[trial.name]}' and '{trial.folder}' are of the same trial '{trial.name}': move the copy away"
            )
        folders[trial.name] = trial.folder


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _is_trial(folder: Path) -> bool:
    return any((folder / name).exists() for name in TRIAL_FILES)


def _describe_contents(folder: Path) -> str:
    """Return what a folder without trials is, and what to load instead."""
    if not folder.is_dir():
        return "there is no such folder"
    if _is_trial(folder):
        return f"it is the folder of one trial; load the folder of its experiment, '{folder.parent}'"
    below = _subfolders(folder)
    if experiments := [path.name for path in below if any(map(_is_trial, _subfolders(path)))]:
        return f"it contains experiments; load one of them: {_listed(experiments)}"
    names = sorted(path.name for path in folder.iterdir())
    return (
        f"none of its {len(below)} folders has a {', '.join(TRIAL_FILES[:-1])} or {TRIAL_FILES[-1]}; it contains "
        f"{_listed(names) or 'nothing'}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"'{_cut(name)}'" for name in names[:LISTED]) + more


def _cut(text: str) -> str:
    return text if len(text) <= QUOTED_CHARS else f"{text[: QUOTED_CHARS - 3]}..."
