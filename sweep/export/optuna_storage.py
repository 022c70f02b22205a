"""A sweep as an Optuna storage, for Optuna's plots and importances and for optuna-dashboard."""

from __future__ import annotations

import datetime
import math
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import StaticPool

from search_spaces.study import Study
from sweep.export.recorded import RecordedTrial, make_folder, recorded_trials
from sweep.findings.summary import METRICS
from sweep.manifest import read_study
from sweep.records.reader import read_manifest
from sweep.records.schema import CANCELLED, COMPLETED, DIVERGED, FAILED, LIVING, STOPPED
from sweep.search import distribution
from trainables.whole_file import write_whole

FILE = "optuna.db"

STATES = {
    **dict.fromkeys(LIVING, TrialState.RUNNING),
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
    CANCELLED: TrialState.FAIL,
}
"""Optuna's state by status."""

_NO_ATTRIBUTES = ("sweep", "study", "arm", "time_s")  # the study's name and the timestamps contain these


def export_optuna(sweep_dir: Path, folder: Path) -> Path:
    """Write a sweep into ``folder`` as an SQLite storage of Optuna; return the file. An older export is replaced.

    - Each arm is one study, ``<sweep>/<arm>``, with the distributions that the arm declares. The study minimizes the
      metric that ranked the trials.
    - Completed trials are COMPLETE, with their value after the last planned epoch. Stopped trials are PRUNED, with
      their last value, as in Optuna. Failed, diverged and cancelled trials are FAIL. All others are RUNNING.
    - The intermediate values are the values by epoch. All other facts of a trial are user attributes. With several
      searches per arm, the attribute ``search`` is the index of the trial's search, from 0.
    - Confirmation trials are a separate study, ``<sweep>/<arm>/confirm``, because their configurations were selected
      and not sampled. Their value is a validation value too; their test values are user attributes.

    Optuna inserts attributes and values one by one: about 45 ms per trial with 30 epochs.

    Raises:
        RecordsError: ``sweep_dir`` has no readable records.
        UserError: ``folder`` cannot be made, or this program cannot read the study.
    """
    manifest = read_manifest(sweep_dir)
    study = read_study(manifest, sweep_dir)
    trials = recorded_trials(sweep_dir)
    make_folder(sweep_dir, folder)
    path = folder / FILE
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # in memory: on a disk Optuna waits for one sync per trial, and a network disk may not lock SQLite files
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as database:
        storage = optuna.storages.RDBStorage(
            "sqlite://", engine_kwargs={"creator": lambda: database, "poolclass": StaticPool}
        )
        for arm in study.arms:
            name = f"{manifest['sweep']}/{arm}"
            for confirms in (False, True):
                arm_trials = [trial for trial in trials if trial.about["arm"] == arm and trial.confirms == confirms]
                if arm_trials or not confirms:
                    _add_study(storage, f"{name}/confirm" if confirms else name, study, arm, arm_trials)
        storage.remove_session()
        write_whole(path, database.serialize())
    return path


def _add_study(
    storage: optuna.storages.RDBStorage, name: str, study: Study, arm: str, trials: Sequence[RecordedTrial]
) -> None:
    arm_study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        arm_study.set_metric_names([study.metric])
    for key, value in {"study": study.name, "question": study.question, "arm": arm}.items():
        arm_study.set_user_attr(key, value)
    distributions = distributions_of(study, arm)
    arm_study.add_trials([frozen_trial(trial, study.metric, distributions) for trial in trials])


def distributions_of(study: Study, arm: str) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the distributions that an arm declares, by dotted path."""
    return {path: distribution(domain) for path, domain in study.space_of(arm).items()}


def frozen_trial(
    trial: RecordedTrial, metric: str, distributions: Mapping[str, optuna.distributions.BaseDistribution]
) -> FrozenTrial:
    """Return a trial as Optuna has it, without its number and its id."""
    state = STATES[trial.about["status"]]
    last = trial.epochs[max(trial.epochs)][metric] if trial.epochs else math.nan
    if state == TrialState.COMPLETE and math.isnan(last):
        state = TrialState.FAIL  # the loss was finite, but the metric was not
    return FrozenTrial(  # not optuna.create_trial, which cannot set the times
        number=-1,  # assigned by the storage, as is the id
        trial_id=-1,
        state=state,
        value=last if state in (TrialState.COMPLETE, TrialState.PRUNED) and math.isfinite(last) else None,
        datetime_start=_local_time(trial.started_s),
        datetime_complete=_local_time(trial.written_s) if state.is_finished() else None,
        params=dict(trial.params),
        distributions={path: distributions[path] for path in trial.params},
        user_attrs=_attributes(trial),
        system_attrs={},
        intermediate_values={epoch: row[metric] for epoch, row in trial.epochs.items()},
    )


def _local_time(time_s: float) -> datetime.datetime:
    """Return a time since the Unix epoch as Optuna has it: local time without a time zone."""
    return datetime.datetime.fromtimestamp(time_s)


def _attributes(trial: RecordedTrial) -> dict[str, Any]:
    """Return the facts of a trial for which Optuna has no field, with the other metrics after its last epoch."""
    last = trial.epochs[max(trial.epochs)] if trial.epochs else {}
    return {
        **{name: value for name, value in trial.about.items() if name not in _NO_ATTRIBUTES},
        **{f"last.{name}": last[name] for name in METRICS if math.isfinite(last.get(name, math.nan))},
        **{f"test.{name}": value for name, value in trial.tests.items() if math.isfinite(value)},
    }
