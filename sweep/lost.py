"""What the records of a sweep have lost: found when they are read, and regained by the trials that had written it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweep.endings import resume_command
from sweep.entry import End, Entry
from sweep.model_stamps import ModelStamps
from sweep.records.schema import CANCELLED, COMPLETED, CONFIRM, RUNNING
from trainables.intact import set_aside

TIMES = ("seconds", "images_per_s")
"""Reported values that differ each time that an epoch is run."""

NAMED = 5
"""Number of trials that a warning names."""


def reopen(entry: Entry) -> bool:
    """Make an ended or paused trial run again if values of it are lost; return whether it does.

    Its row of the table ``trials`` stays until it has ended again: a kill in between changes nothing.
    """
    if entry.status in (RUNNING, CANCELLED):  # nothing uses the epochs of a trial that a person stopped
        return False
    untested = entry.status == COMPLETED and entry.phase == CONFIRM and not entry.tested
    if not (entry.is_behind or untested):
        return False
    _reopen(entry)
    return True


def reopen_without_model(sweep_dir: Path, entries: Iterable[Entry]) -> list[str]:
    """Make completed trials run again whose model is damaged or missing; damaged files are set aside.

    Models that have not changed since they were verified are not read.

    Returns:
        Warnings: one for each damaged file, and one for all missing files.
    """
    stamps = ModelStamps(sweep_dir)
    try:
        return _reopen_without_model(entries, stamps)
    finally:  # also after Ctrl-C: reading all models may take long
        stamps.write()


def _reopen_without_model(entries: Iterable[Entry], stamps: ModelStamps) -> list[str]:
    warnings, missing = [], []
    for entry in entries:
        status = entry.end.status if entry.end else entry.status
        damage = stamps.damage(entry.trial, entry.model_sha256) if status == COMPLETED else None
        if damage is None:
            continue
        if damage.path.exists():
            name = set_aside(damage.path).name
            warnings.append(f"{damage}; it is kept as '{name}', and trial {entry.trial} is run again")
        else:
            missing.append(entry.trial)
        if entry.status == COMPLETED:
            _reopen(entry)
        entry.lacks_facts = True
    if missing:
        leave = resume_command(stamps.sweep_dir, None, "--no-models")
        again = f"the model is missing of {describe_trials(missing)}: it is trained again"
        warnings.append(f"{again}; to leave it, end this run and use: {leave}")
    return warnings


def _reopen(entry: Entry) -> None:
    entry.end = End(entry.status, entry.why, entry.fault)
    entry.status, entry.why, entry.fault = RUNNING, "", None


def describe_trials(names: list[str]) -> str:
    """Return the names of trials as the object of a sentence.

    Examples:
        >>> describe_trials(["off-0001"])
        'trial off-0001'
        >>> describe_trials([f"off-000{number}" for number in range(7)])
        '7 trials (off-0000, off-0001, off-0002, off-0003, off-0004, ...)'
    """
    if len(names) == 1:
        return f"trial {names[0]}"
    return f"{len(names)} trials ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"


def find_difference(recorded: Mapping[str, float], again: Mapping[str, Any]) -> str:
    """Return the first value of an epoch that differs from the recorded one, in words; "" if all are equal.

    Values that one of them lacks are not compared; nor are null values of older versions.

    Examples:
        >>> find_difference({"val_nll": 1.5, "seconds": 2.0}, {"val_nll": 1.5, "seconds": 3.0})
        ''
        >>> find_difference({"val_nll": 1.5}, {"val_nll": 1.25})
        'val_nll is 1.25, recorded 1.5'
    """
    for name, value in recorded.items():
        if name not in TIMES and value == value and again.get(name, value) != value:
            return f"{name} is {again[name]!r}, recorded {value!r}"
    return ""
