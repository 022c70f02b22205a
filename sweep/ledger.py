"""The records of one sweep: written row by row, and read back when the sweep is resumed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search_spaces.early_stopping.base import CONTINUE, Judgement
from search_spaces.study import Study
from sweep.curve import VALUE_COLUMNS
from sweep.entry import Entry
from sweep.findings.confirmed import test_values
from sweep.mirrored import mirror_of
from sweep.records.reader import read_table
from sweep.records.schema import (
    ABOUT_COLUMNS,
    CONFIRM,
    DECISIONS,
    EPOCHS,
    EVALUATIONS,
    FAILED,
    LIVING,
    LOSSES,
    RUNNING,
    SEARCH,
    SPARED,
    TRIALS,
)
from sweep.records.writer import RecordsWriter
from trainables.config import TrialConfig
from trainables.intact import DAMAGED, DamagedFile
from trainables.saved_state import verify_state

EPOCH_COLUMNS = ["epoch", *VALUE_COLUMNS]
"""Columns of the epochs table that a trial reports: the fields of ``EpochResult``, which a test compares."""

LOGS = "logs"
"""Folder of the logs of the trials."""

_ENTRY_COLUMNS = ("trial", "arm", "search", "number", "replicate", "attempts", "status", "phase")


class Ledger:
    """Records of one sweep, which its conductor writes.

    Attributes:
        study: the study that is run; it changes if the sweep is extended while it runs.
    """

    def __init__(self, study: Study, sweep_dir: Path, *, repaired: bool = False) -> None:
        """Open the records of ``sweep_dir`` to append; ``repaired`` is that of ``RecordsWriter``.

        Raises:
            RecordsError: a newer program wrote the records.
        """
        self.study = study
        self._dir = sweep_dir
        self._writer = RecordsWriter(sweep_dir, repaired=repaired)
        self._ended: list[Entry] = []

    def config(self, entry: Entry) -> TrialConfig:
        """Return the whole configuration of a trial."""
        if entry.config is None:
            entry.config = self.study.trial_config(
                entry.arm, entry.params, replicate=entry.replicate, phase=entry.phase
            )
        return entry.config

    def add_epoch(self, entry: Entry, epoch: int) -> None:
        """Write one epoch of a trial's curve."""
        row = {"trial": entry.trial, "arm": entry.arm, "attempt": entry.attempts, "node": entry.about.get("node")}
        self._writer.add(EPOCHS, {**row, **entry.curve[epoch]})

    def add_decision(self, entry: Entry, judgement: Judgement) -> Mapping[str, Any]:
        """Write the judgement of a rule on a trial and return the row; for a control trial the verdict is spared."""
        spared = entry.control and judgement.verdict != CONTINUE
        row = {
            "trial": entry.trial,
            "arm": entry.arm,
            "rule": self.study.budget.early_stopping.rule,
            "metric": self.study.metric,
            **asdict(judgement),
            "verdict": SPARED if spared else judgement.verdict,
            "time_s": time.time(),
        }
        self._writer.add(DECISIONS, row)
        return row

    def add_test(self, entry: Entry, test: Mapping[str, Any]) -> None:
        """Write the test values of a confirmation trial that are not recorded yet."""
        for metric, value in test["metrics"].items():
            if metric in entry.tests:
                continue
            entry.tests[metric] = value
            self._writer.add(
                EVALUATIONS,
                {
                    "trial": entry.trial,
                    "axis": "classification",
                    "split": "test",
                    "setting": test["weights"],
                    "metric": metric,
                    "value": value,
                    "n": test["n"],
                    "library": test["library"],
                    "seed": self.config(entry).seed,
                    "time_s": time.time(),
                },
            )

    def add_trial(self, entry: Entry) -> None:
        """Write the present state of a trial."""
        training_s = sum(1 / pace for pace in entry.values_of("images_per_s").values())
        config = self.config(entry)
        self._writer.add(
            TRIALS,
            {
                "sweep": self._dir.name,
                "study": self.study.name,
                "phase": entry.phase,
                "arm": entry.arm,
                "trial": entry.trial,
                "search": entry.search,
                "number": entry.number,
                "confirms": entry.confirms,
                "replicate": entry.replicate,
                "control": entry.control,
                "seed": config.seed,
                "params": json.dumps(entry.params),
                "config": config.model_dump_json(),
                "status": entry.status,
                "why": entry.why,
                "fault": entry.fault,
                "epochs": entry.epochs,
                "attempts": entry.attempts,
                "resumed_at_epoch": entry.resumed_at_epoch,
                **{name: entry.losses.get(name, 0) for name in LOSSES},
                "seconds": sum(entry.values_of("seconds").values()),
                "images_per_s": entry.epochs / training_s if entry.epochs else None,
                "model_sha256": entry.model_sha256,
                "time_s": time.time(),
                **entry.about,
            },
        )

    def end(self, entry: Entry) -> None:
        """Write a trial that has ended or paused; its checkpoint is removed when the row is on disk."""
        self.add_trial(entry)
        entry.config = None  # it takes more memory than everything else of a trial, and can be computed again
        self._ended.append(entry)

    def flush(self, *, force: bool = False) -> None:
        """Write the buffered rows if they have waited long enough or ``force`` is set."""
        if self._writer.flush(force=force):
            # not earlier: if a kill lost the row, the trial would be trained again from the start
            for entry in self._ended:
                self.drop_checkpoint(entry)
            self._ended.clear()

    @property
    def flush_s(self) -> float:
        """Duration of the last write of rows to the disk, seconds; 0 before it."""
        return self._writer.flush_s

    def drop_checkpoints(self, entries: Mapping[str, Entry]) -> None:
        """Remove the checkpoints of all trials that will not continue; the folder is listed once."""
        mirror, folder = mirror_of(self._dir), checkpoint_path(self._dir, "").parent
        names = [path.name for path in folder.glob("*.pt")] if mirror is None else mirror.names(folder.name)
        for name in names:
            if entry := entries.get(Path(name).stem):
                self.drop_checkpoint(entry)

    def drop_checkpoint(self, entry: Entry) -> None:
        """Remove the checkpoint of a trial that will not continue; a failed trial keeps it for ``--retry-failed``.

        The checkpoint of a completed trial stays if the model that replaces it cannot be read back.
        """
        checkpoint, mirror = checkpoint_path(self._dir, entry.trial), mirror_of(self._dir)
        is_there = checkpoint.exists() if mirror is None else mirror.may_have(checkpoint_name(entry.trial))
        if entry.status in (*LIVING, FAILED) or not is_there:
            return
        if entry.model_sha256 is not None and model_damage(self._dir, entry.trial, entry.model_sha256) is not None:
            return
        if mirror is None:
            checkpoint.unlink(missing_ok=True)
        else:
            mirror.remove(checkpoint_name(entry.trial))

    def decisions(self) -> dict[tuple[str, int], Mapping[Any, Any]]:
        """Read the recorded decisions by trial and rung."""
        return {(row["trial"], row["rung_epochs"]): row for row in read_table(self._dir, DECISIONS).to_dict("records")}

    def epochs(self) -> Iterator[Mapping[Any, Any]]:
        """Read the recorded epochs in the order of writing."""
        yield from read_table(self._dir, EPOCHS).to_dict("records")


def read_entries(sweep_dir: Path, study: Study, *, retry_failed: bool = False) -> Iterator[Entry]:
    """Read the recorded trials without their epochs; with ``retry_failed``, failed trials continue.

    A failed trial stays failed if its parameters are lost.
    """
    tests = read_tests(sweep_dir)
    for row in read_table(sweep_dir, TRIALS).sort_values("number", kind="stable").to_dict("records"):
        entry = entry_of(row, study)
        entry.tests = tests.get(entry.trial, {})
        if retry_failed and entry.status == FAILED and entry.params.keys() >= study.space_of(entry.arm).keys():
            entry.status, entry.why, entry.fault = RUNNING, "", None
        yield entry


def read_tests(sweep_dir: Path) -> dict[str, dict[str, float]]:
    """Read the test values of the confirmation trials by trial and metric."""
    tests: dict[str, dict[str, float]] = {}
    for row in test_values(read_table(sweep_dir, EVALUATIONS)).to_dict("records"):
        tests.setdefault(row["trial"], {})[row["metric"]] = row["value"]
    return tests


def entry_of(row: Mapping[Any, Any], study: Study) -> Entry:
    """Return a trial as its row of the table ``trials`` has it: without its epochs and its test values."""
    return Entry(
        params=json.loads(row["params"]),
        control=row["phase"] == SEARCH and study.is_control(row["arm"], row["number"]),
        confirms=row["confirms"] if row["phase"] == CONFIRM else None,
        why=row["why"] if row["status"] != RUNNING else "",
        fault=None if _is_null(row["fault"]) else row["fault"],
        resumed_at_epoch=None if _is_null(row["resumed_at_epoch"]) else int(row["resumed_at_epoch"]),
        model_sha256=None if _is_null(row["model_sha256"]) else row["model_sha256"],
        losses={name: int(row[name]) for name in LOSSES if not _is_null(row[name]) and row[name]},
        known_epochs=int(row["epochs"]),
        about={name: row[name] for name in ABOUT_COLUMNS if not _is_null(row[name])},
        **{name: row[name] for name in _ENTRY_COLUMNS},
    )


def _is_null(value: Any) -> bool:
    return value is None or value != value


def checkpoint_path(sweep_dir: Path, trial: str) -> Path:
    """Return the file in which a trial that has not ended keeps its last state."""
    return sweep_dir / checkpoint_name(trial)


def weights_path(sweep_dir: Path, trial: str) -> Path:
    """Return the file of a completed trial's final weights."""
    return sweep_dir / weights_name(trial)


def checkpoint_name(trial: str) -> str:
    """Return the name of a trial's last state below the place of the sweep."""
    return f"checkpoints/{trial}.pt"


def weights_name(trial: str) -> str:
    """Return the name of a trial's final weights below the place of the sweep."""
    return f"models/{trial}.pt"


def weights_place(sweep_dir: Path, trial: str) -> str:
    """Return the path of a completed trial's final weights, or their address in an object store, for another node."""
    mirror = mirror_of(sweep_dir)
    return str(weights_path(sweep_dir, trial)) if mirror is None else f"{mirror.url}/{weights_name(trial)}"


def trial_places(sweep_dir: Path, trial: str) -> dict[str, str]:
    """Return what a worker must know to find the files of a trial, for ``trainables.trial_files``."""
    mirror = mirror_of(sweep_dir)
    if mirror is None:
        checkpoint, weights = checkpoint_path(sweep_dir, trial), weights_path(sweep_dir, trial)
        log = sweep_dir / log_name(trial)
        return {"checkpoint_path": str(checkpoint), "weights_path": str(weights), "log_path": str(log)}
    mirror.expect(checkpoint_name(trial))
    mirror.expect(weights_name(trial))
    return {"storage": mirror.url, "sweep_key": mirror.sweep_key}


def local_weights(sweep_dir: Path, trial: str) -> Path:
    """Return the file of a completed trial's final weights, which is read from an object store if it is there.

    The file may be missing.
    """
    if (mirror := mirror_of(sweep_dir)) is not None:
        with contextlib.suppress(FileNotFoundError):
            return mirror.fetch(weights_name(trial))
    return weights_path(sweep_dir, trial)


def log_name(trial: str) -> str:
    """Return the name of a trial's log below the place of the sweep."""
    return f"{LOGS}/{trial}.txt"


def model_damage(sweep_dir: Path, trial: str, sha256: str | None) -> DamagedFile | None:
    """Return what is wrong with the model of a completed trial; None if it is the recorded one.

    Args:
        sweep_dir: folder of the sweep.
        trial: name of the trial.
        sha256: recorded checksum of the model; None in records of older versions: a missing model is then no damage,
            unless it was set aside.

    In an object store, which has checksums of its own, the model must be there; who reads it compares the checksum.
    """
    path, mirror = weights_path(sweep_dir, trial), mirror_of(sweep_dir)
    if mirror is not None and not path.exists():
        is_there = mirror.has(weights_name(trial)) or sha256 is None
        return None if is_there else DamagedFile(path, "it is missing")
    try:
        verify_state(path, expected_sha256=sha256)
    except FileNotFoundError:
        was_set_aside = path.with_name(f"{path.name}{DAMAGED}-1").exists()  # a kill came before it was regained
        return DamagedFile(path, "it is missing") if sha256 is not None or was_set_aside else None
    except DamagedFile as error:
        return error
    return None
