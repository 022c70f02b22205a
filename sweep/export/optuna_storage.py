"""A sweep as an Optuna storage, for Optuna's plots and importances and for optuna-dashboard."""

from __future__ import annotations

import datetime
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert

from search_spaces.study import Study
from sweep.export.recorded import RecordedTrial, make_folder, recorded_trials
from sweep.findings.summary import METRICS
from sweep.records.reader import read_manifest
from sweep.records.schema import COMPLETED, DIVERGED, FAILED, LIVING, MANIFEST, STOPPED
from sweep.search import distribution
from trainables.strict import parse

FILE = "optuna.db"

STATES = {
    **dict.fromkeys(LIVING, TrialState.RUNNING),
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}
"""Optuna's state by status."""

_NO_ATTRIBUTES = ("sweep", "study", "arm", "time_s")  # said by the study's name and the timestamps


def export_optuna(sweep_dir: Path, folder: Path) -> Path:
    """Write a sweep into ``folder`` as an SQLite storage of Optuna; return the file, which is replaced as a whole.

    An arm is one study, ``<sweep>/<arm>``, with the distributions that it declared, minimizing the metric that ranked
    its trials. Completed trials are COMPLETE with their value after the last planned epoch; stopped ones PRUNED with
    the last value, as Optuna has it; failed and diverged ones FAIL; those that have not ended RUNNING. Values by epoch
    are the intermediate ones, everything else of a trial is in its user attributes. Trials that confirm are a study
    of their own, ``<sweep>/<arm>/confirm``: their configurations were chosen, not searched. Their value is one of
    validation as well; test values are user attributes.

    Raises:
        RecordsError: ``sweep_dir`` holds no readable records.
        UserError: ``folder`` cannot be made, or this program cannot read the study.
    """
    manifest = read_manifest(sweep_dir)
    study = parse(Study, manifest["study"], where=f"'{sweep_dir / MANIFEST}'")
    trials = recorded_trials(sweep_dir)
    make_folder(folder)
    path, unfinished = folder / FILE, folder / f"{FILE}.unfinished"
    unfinished.unlink(missing_ok=True)  # of an export that was killed
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{unfinished.absolute()}")
    try:
        for arm in study.arms:
            name = f"{manifest['sweep']}/{arm}"
            for confirms in (False, True):
                own = [trial for trial in trials if trial.about["arm"] == arm and trial.confirms == confirms]
                if own or not confirms:
                    _add_study(storage, f"{name}/confirm" if confirms else name, study, arm, own)
    finally:
        storage.remove_session()
        storage.engine.dispose()
    unfinished.replace(path)
    return path


def _add_study(
    storage: optuna.storages.RDBStorage, name: str, study: Study, arm: str, trials: Sequence[RecordedTrial]
) -> None:
    added = optuna.create_study(storage=storage, study_name=name, direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        added.set_metric_names([study.metric])
    for key, value in {"study": study.name, "question": study.question, "arm": arm}.items():
        added.set_user_attr(key, value)
    distributions = {path: distribution(domain) for path, domain in study.space_of(arm).items()}
    added.add_trials([_frozen(trial, study.metric, distributions) for trial in trials])
    _add_values(storage, [trial._trial_id for trial in added.get_trials(deepcopy=False)], trials, study.metric)


def _frozen(
    trial: RecordedTrial, metric: str, distributions: Mapping[str, optuna.distributions.BaseDistribution]
) -> FrozenTrial:
    """Return a trial without its values by epoch and user attributes."""
    state = STATES[trial.about["status"]]
    last = trial.epochs[max(trial.epochs)][metric] if trial.epochs else math.nan
    if state == TrialState.COMPLETE and math.isnan(last):
        state = TrialState.FAIL  # the loss was finite and the metric was not
    return FrozenTrial(
        number=-1,  # Optuna counts
        trial_id=-1,
        state=state,
        value=last if state in (TrialState.COMPLETE, TrialState.PRUNED) and math.isfinite(last) else None,
        datetime_start=_local_time(trial.started_s),
        datetime_complete=_local_time(trial.written_s) if state.is_finished() else None,
        params=dict(trial.params),
        distributions={path: distributions[path] for path in trial.params},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _local_time(time_s: float) -> datetime.datetime:
    """Return a time as Optuna has it: local, and not saying so."""
    return datetime.datetime.fromtimestamp(time_s)


def _add_values(
    storage: optuna.storages.RDBStorage, ids: Sequence[int], trials: Sequence[RecordedTrial], metric: str
) -> None:
    """Add values by epoch and user attributes, all at once: one by one, 500 trials take Optuna a minute."""
    values = models.TrialIntermediateValueModel
    by_epoch = [
        {"trial_id": id_, "step": epoch} | _stored(row[metric])
        for id_, trial in zip(ids, trials, strict=True)
        for epoch, row in trial.epochs.items()
    ]
    attributes = [
        {"trial_id": id_, "key": key, "value_json": json.dumps(value)}
        for id_, trial in zip(ids, trials, strict=True)
        for key, value in _attributes(trial).items()
    ]
    with storage.engine.begin() as connection:
        for model, rows in ((values, by_epoch), (models.TrialUserAttributeModel, attributes)):
            if rows:
                connection.execute(insert(model), rows)


def _stored(value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"intermediate_value": stored, "intermediate_value_type": kind}


def _attributes(trial: RecordedTrial) -> dict[str, Any]:
    """Everything of a trial that Optuna has no place for; the other metrics after its last epoch."""
    last = trial.epochs[max(trial.epochs)] if trial.epochs else {}
    return {
        **{name: value for name, value in trial.about.items() if name not in _NO_ATTRIBUTES},
        **{f"last.{name}": last[name] for name in METRICS if math.isfinite(last.get(name, math.nan))},
        **{f"test.{name}": value for name, value in trial.tests.items() if math.isfinite(value)},
    }
