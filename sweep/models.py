"""Trained models of a sweep: load or export one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sweep.endings import resume_command
from sweep.ledger import local_weights
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import COMPLETED, TRIALS
from trainables.errors import UserError, did_you_mean, shorten
from trainables.models.exported import SUFFIXES, export_model
from trainables.models.saved import SavedModel, read_model


def load_trial(sweep_dir: Path | str, trial: str) -> SavedModel:
    """Load the model of a completed trial into host memory.

    ``load_trial(sweep_dir, trial).model`` maps images in [0, 1], float32 [B, 3, H, W], to logits, float32 [B, C].

    Raises:
        RecordsError: there is no sweep.
        DamagedFile: the model is not the one that the trial wrote.
        UserError: the sweep has no such trial, or the trial has no model.

    Example:
        >>> load_trial("no-such-sweep", "cutmix-0004")
        Traceback (most recent call last):
        ...
        sweep.records.errors.RecordsError: no sweep in 'no-such-sweep': there is no such folder
    """
    path, sha256 = recorded_model(Path(sweep_dir), trial)
    return read_model(path, expected_sha256=sha256)


def export_trial(sweep_dir: Path, trial: str, *, form: str, out: Path | None) -> Path:
    """Write the model of a trial to ``out``, by default ``TRIAL.pt`` or ``TRIAL.pt2``; return the file.

    Raises:
        RecordsError: there is no sweep.
        UserError: there is no such model or form, or the file cannot be written.
    """
    saved = load_trial(sweep_dir, trial)
    if form not in SUFFIXES:
        raise UserError(f"--form '{form}' is unknown{did_you_mean(form, SUFFIXES)}")
    path = out or Path(f"{trial}{SUFFIXES[form]}")
    export_model(saved, path, form)
    return path


def recorded_model(sweep_dir: Path, trial: str) -> tuple[Path, str | None]:
    """Return the file of a trial's model and its recorded checksum, which is None in records of older versions.

    The name is looked up in the records before it becomes a part of a path.

    Raises:
        RecordsError: there is no sweep.
        UserError: the sweep has no such trial, or the trial has no model.
    """
    read_manifest(sweep_dir)
    trials = read_table(sweep_dir, TRIALS).set_index("trial")[["status", "model_sha256"]].astype(object)
    if trial not in trials.index:  # looked up before it is part of a path
        raise UserError(f"'{sweep_dir}' has no trial '{shorten(trial)}'{did_you_mean(trial, _with_model(trials))}")
    path, (status, sha256) = local_weights(sweep_dir, trial), trials.loc[trial]
    if not path.exists():
        lost = f"; it is lost: regain it with: {resume_command(sweep_dir)}" if isinstance(sha256, str) else ""
        raise UserError(f"trial '{trial}' has no model file: its status is '{status}'; completed trials have one{lost}")
    return path, sha256 if isinstance(sha256, str) else None


def _with_model(trials: pd.DataFrame) -> list[str]:
    """Return the names of the completed trials, from a table of trials by name."""
    return [str(trial) for trial in trials.index[trials["status"] == COMPLETED]]
