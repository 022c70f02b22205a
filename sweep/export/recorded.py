"""The trials of a sweep one by one, for tools that have trials and steps instead of tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sweep.findings.confirmed import test_values
from sweep.output_folder import make_output_folder
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import CONFIRM, EPOCHS, EVALUATIONS, TRIALS
from trainables.errors import UserError

EXPORT = "export"
"""Folder of the sweep into which it is exported, unless the user chooses another one."""

_JSON = ("params", "config")
_WHOLE = {field.name for field in TRIALS.columns if field.type == pa.int64()}


@dataclass(frozen=True)
class RecordedTrial:
    """Records of one trial.

    Attributes:
        about: the trial's row of the trials table as plain Python values, without null and empty values.
        params: sampled values by dotted path.
        config: whole configuration, nested.
        epochs: rows of the epochs table by epoch, from 1.
        tests: test values by metric; empty in the search.
        started_s: time of the first start, since the Unix epoch.
    """

    about: Mapping[str, Any]
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    epochs: Mapping[int, Mapping[str, float]]
    tests: Mapping[str, float]
    started_s: float

    @property
    def confirms(self) -> bool:
        """Whether the trial belongs to the confirmation."""
        return bool(self.about["phase"] == CONFIRM)

    @property
    def written_s(self) -> float:
        """Time of the last row in the trials table, since the Unix epoch: for an ended trial, its end."""
        return float(self.about["time_s"])

    def reported_s(self) -> dict[int, float]:
        """Return the approximate time of each epoch's report, since the Unix epoch.

        The records have no times of epochs. The result is the start plus the seconds of all epochs so far, and at most
        the end. For an interrupted trial it is too early.
        """
        times, now_s = {}, self.started_s
        for epoch, row in self.epochs.items():
            now_s += row["seconds"]
            times[epoch] = min(now_s, max(self.written_s, self.started_s))
        return times


def recorded_trials(sweep_dir: Path) -> list[RecordedTrial]:
    """Read all trials of a sweep, in the study's order of arms; within an arm the search first, then by number.

    Confirmation trials of several searches are ordered by search, then by number.

    Raises:
        RecordsError: ``sweep_dir`` has no readable records.
    """
    arms = list(read_manifest(sweep_dir)["study"]["arms"])
    rows = read_table(sweep_dir, TRIALS)
    first = read_table(sweep_dir, dataclasses.replace(TRIALS, keep="first")).set_index("trial")["time_s"].to_dict()
    epochs = _by_trial(read_table(sweep_dir, EPOCHS).drop(columns=["arm", "node"]))
    tests = _by_trial(test_values(read_table(sweep_dir, EVALUATIONS))[["trial", "metric", "value"]])
    trials = [
        RecordedTrial(
            about=_plain(row),
            **{name: json.loads(row[name]) for name in _JSON},
            epochs={epoch["epoch"]: epoch for epoch in sorted(epochs.get(row["trial"], []), key=itemgetter("epoch"))},
            tests={test["metric"]: test["value"] for test in tests.get(row["trial"], [])},
            started_s=first[row["trial"]],
        )
        for row in rows.to_dict("records")
    ]
    order = {arm: index for index, arm in enumerate(arms)}
    return sorted(trials, key=lambda trial: (order.get(trial.about["arm"], len(order)), *_place(trial)))


def _place(trial: RecordedTrial) -> tuple[bool, int, int]:
    """Return the place of a trial within its arm."""
    return trial.confirms, trial.about["search"] if trial.confirms else 0, trial.about["number"]


def _plain(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return a row of the trials table without null and empty values; integers are int again.

    Nulls in a column of integers turn them into floats.
    """
    values = {str(name): value for name, value in row.items() if name not in _JSON and value == value and value != ""}
    return {name: int(value) if name in _WHOLE else value for name, value in values.items()}


def _by_trial(rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_dict("records"):
        by_trial.setdefault(row.pop("trial"), []).append({str(name): value for name, value in row.items()})
    return by_trial


def make_folder(sweep_dir: Path, folder: Path) -> None:
    """Make the folder of an export; a folder that the user has chosen may be a link, one in the sweep may not.

    Raises:
        UserError: the folder cannot be made, or is a link in the folder of the sweep.
    """
    try:
        make_output_folder(folder, below=sweep_dir if folder == sweep_dir / EXPORT else folder)
    except UserError as error:
        raise UserError(f"--to '{folder}': {error}") from None
