"""A sweep as event files of TensorBoard: one run per trial, with its curves and its parameters for the HParams tab."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from sweep.export.recorded import RecordedTrial, make_folder, recorded_trials
from sweep.output_folder import make_output_folder
from sweep.records.schema import COMPLETED, STOPPED
from sweep.tensorboard_tags import tag_of

FOLDER = "tensorboard"

_HPARAMS = ("arm", "phase", "search", "replicate", "seed", "status")
"""Columns of the trials table that the HParams tab shows beside the sampled parameters."""

_LARGEST = 2**53
"""Largest absolute value up to which float64 represents every integer."""

Params = Mapping[str, str | float | bool]


def export_tensorboard(sweep_dir: Path, folder: Path) -> Path:
    """Write a sweep into ``folder / "tensorboard"`` as event files, ``<arm>/<trial>/``; return that folder.

    Every column of an epoch is a scalar at step = epoch, at the approximate time of its report. Test values of a
    confirmation are ``test/...`` at its last epoch. An older export is replaced when the new one is complete.

    Raises:
        RecordsError: ``sweep_dir`` has no readable records.
        UserError: ``folder`` cannot be made.
    """
    trials = recorded_trials(sweep_dir)
    make_folder(sweep_dir, folder)
    path, unfinished, old = folder / FOLDER, folder / f"{FOLDER}.unfinished", folder / f"{FOLDER}.old"
    for leftover in (unfinished, old):  # from an export that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    make_output_folder(unfinished, below=folder)
    params = _params(trials)
    _write(unfinished, [_announcement(trials, params)])
    for trial, trial_params in zip(trials, params, strict=True):
        _write(unfinished / trial.about["arm"] / trial.about["trial"], _run(trial, trial_params))
    if path.exists():
        path.rename(old)
    unfinished.rename(path)
    shutil.rmtree(old, ignore_errors=True)
    return path


def _write(folder: Path, events: Iterable[Event]) -> None:
    """Write one event file."""
    # not a SummaryWriter: its thread and queue per file would take most of the time
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(folder / "events"))
    for event in events:
        writer.write_event(event)
    writer.close()


def _announcement(trials: Sequence[RecordedTrial], params: Sequence[Params]) -> Event:
    """Return the event that lists the parameters and metrics of the HParams tab.

    It lists the parameters of all trials once: TensorBoard takes the columns of the tab from the first list that it
    finds, and arms have different parameters.
    """
    columns = {name: value for trial_params in params for name, value in trial_params.items()}
    tags = {tag: 0.0 for trial in trials for row in trial.epochs.values() for tag in _tagged(row) if tag[:4] == "val/"}
    tests = {f"test/{metric}": 0.0 for trial in trials for metric in trial.tests}
    began_s = min((trial.started_s for trial in trials), default=0.0)
    return Event(summary=hparams(columns, tags | tests)[0], wall_time=began_s)


def _run(trial: RecordedTrial, params: Params) -> Iterator[Event]:
    _, start, end = hparams(params, {})
    yield Event(summary=start, wall_time=trial.started_s)
    for epoch, time_s in trial.reported_s().items():
        yield Event(summary=_scalars(_tagged(trial.epochs[epoch])), step=epoch, wall_time=time_s)
    if trial.tests:
        tests = {f"test/{metric}": value for metric, value in trial.tests.items()}
        yield Event(summary=_scalars(tests), step=max(trial.epochs), wall_time=trial.written_s)
    if trial.about["status"] in (COMPLETED, STOPPED):  # the library's end event always means success
        yield Event(summary=end, wall_time=trial.written_s)


def _tagged(row: Mapping[str, float]) -> dict[str, float]:
    return {tag_of(name): value for name, value in row.items() if name != "epoch"}


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _params(trials: Sequence[RecordedTrial]) -> list[Params]:
    """Return the columns of the HParams tab for each trial; a parameter with values of several types is text."""
    columns = [{name: trial.about[name] for name in _HPARAMS} | dict(trial.params) for trial in trials]
    params = [{name: _plain(value) for name, value in row.items()} for row in columns]
    kinds: dict[str, set[type]] = {}
    for trial_params in params:
        for name, value in trial_params.items():
            kinds.setdefault(name, set()).add(type(value))
    return [
        {name: value if len(kinds[name]) == 1 else str(value) for name, value in trial_params.items()}
        for trial_params in params
    ]


def _plain(value: Any) -> str | float | bool:
    """Return a value in a type of the HParams tab: bool, text, or a number that float64 represents."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return float(value)
    return str(value)
