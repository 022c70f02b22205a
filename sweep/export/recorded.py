"""The trials of a sweep one by one, for tools that know trials and steps rather than tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sweep.findings.confirmed import test_values
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import CONFIRM, EPOCHS, EVALUATIONS, TRIALS
from trainables.errors import UserError

_JSON = ("params", "config")
_WHOLE = {field.name for field in TRIALS.columns if field.type == pa.int64()}


@dataclass(frozen=True)
class RecordedTrial:
    """What is recorded of one trial.

    Attributes:
        about: columns of the trials table that hold something, in plain Python values.
        params: drawn values by dotted path.
        config: its whole configuration, nested.
        epochs: rows of the epochs table by epoch, from 1 on.
        tests: test values by metric; none but in a confirmation.
        started_s: when it was first handed out, since the Unix epoch.
    """

    about: Mapping[str, Any]
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    epochs: Mapping[int, Mapping[str, float]]
    tests: Mapping[str, float]
    started_s: float

    @property
    def confirms(self) -> bool:
        """Whether it belongs to the confirmation."""
        return bool(self.about["phase"] == CONFIRM)

    @property
    def written_s(self) -> float:
        """When it was last written of: of one that has ended, its end."""
        return float(self.about["time_s"])

    def reported_s(self) -> dict[int, float]:
        """About when each epoch was reported: the start and the seconds of all epochs so far, at most the end.

        The records have no clock of epochs; of a trial that was interrupted these come too early.
        """
        times, now_s = {}, self.started_s
        for epoch, row in self.epochs.items():
            now_s += row["seconds"]
            times[epoch] = min(now_s, max(self.written_s, self.started_s))
        return times


def recorded_trials(sweep_dir: Path) -> list[RecordedTrial]:
    """Read all trials of a sweep: arms in the study's order, the search before the confirmation, by number.

    Raises:
        RecordsError: ``sweep_dir`` holds no readable records.
    """
    arms = list(read_manifest(sweep_dir)["study"]["arms"])
    rows = read_table(sweep_dir, TRIALS)
    first = read_table(sweep_dir, dataclasses.replace(TRIALS, keep="first")).set_index("trial")["time_s"].to_dict()
    epochs = _by_trial(read_table(sweep_dir, EPOCHS).drop(columns="arm"))
    tests = _by_trial(test_values(read_table(sweep_dir, EVALUATIONS))[["trial", "metric", "value"]])
    trials = [
        RecordedTrial(
            about=_plain(row),
            **{name: json.loads(row[name]) for name in _JSON},
            epochs={epoch["epoch"]: epoch for epoch in sorted(epochs.get(row["trial"], []), key=_epoch)},
            tests={test["metric"]: test["value"] for test in tests.get(row["trial"], [])},
            started_s=first[row["trial"]],
        )
        for row in rows.to_dict("records")
    ]
    order = {arm: place for place, arm in enumerate(arms)}
    return sorted(trials, key=lambda trial: (order[trial.about["arm"]], trial.confirms, trial.about["number"]))


def _plain(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return what a row of the trials holds; whole numbers as such, which nulls in a column make floats of."""
    held = {str(name): value for name, value in row.items() if name not in _JSON and value == value and value != ""}
    return {name: int(value) if name in _WHOLE else value for name, value in held.items()}


def _epoch(row: Mapping[str, Any]) -> int:
    return int(row["epoch"])


def _by_trial(rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(row.pop("trial"), []).append({str(name): value for name, value in row.items()})
    return found


def make_folder(folder: Path) -> None:
    """Make the folder that an export goes to.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--to '{folder}': {error.strerror}") from None
