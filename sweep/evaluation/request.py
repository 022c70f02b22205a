"""Select the trials, axes and settings of an evaluation; refuse mistakes before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search_spaces.discover import parse_setting
from sweep.display import SILENT, Display
from sweep.findings.confirmed import confirmed_ranks
from sweep.ledger import weights_place
from sweep.models import recorded_model
from sweep.records.reader import read_both_phases, read_manifest, read_table
from sweep.records.schema import COMPLETED, CONFIRM, EPOCHS, EVALUATIONS, MEASUREMENTS, SEARCH, TRIALS
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.sources.registry import SOURCES, absolute_source, split_text
from trainables.errors import UserError, did_you_mean
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Axis
from trainables.evaluation.subject import ModelInfo
from trainables.extras import check_extra
from trainables.merging import merged
from trainables.own_part import OwnPart
from trainables.strict import parse


@dataclass(frozen=True)
class Task:
    """One measurement: one axis on one trial.

    Attributes:
        trial: name of the trial.
        axis: the axis with its settings.
        model_path: file of the trained model.
        record: the trial's row of the records.
        curve: columns of the trial's epochs.
    """

    trial: str
    axis: Axis
    model_path: str
    record: Mapping[str, Any]
    curve: Mapping[str, list[float]]

    @property
    def settings(self) -> str:
        """Return the axis' settings as JSON, as recorded."""
        return self.axis.model_dump_json()


def select_trials(sweep_dir: Path, names: Sequence[str] | None) -> pd.DataFrame:
    """Return the records of the trials to measure, one row per trial, arms in the study's order.

    Args:
        sweep_dir: folder of the sweep.
        names: names of trials, or ``search`` for all completed search trials; None: the completed confirmation trials
            of present winners, not of configurations that more trials of their search have replaced.

    Returns:
        The rows of the table of trials; for None with the column ``rank``, from 1, of the winner in its search.

    Raises:
        RecordsError: there is no sweep.
        UserError: no trial is confirmed, or a named trial does not exist or has no model.
    """
    arms = {arm: place for place, arm in enumerate(read_manifest(sweep_dir)["study"]["arms"])}
    trials = read_table(sweep_dir, TRIALS)
    completed = trials[trials["status"] == COMPLETED]
    if names is None:
        selected = _of_present_winners(sweep_dir, completed[completed["phase"] == CONFIRM])
        if selected.empty:
            confirm = f"cutmix-sweep confirm {shlex.quote(str(sweep_dir))} --seeds 5"
            raise UserError(
                f"no trial of '{sweep_dir}' is confirmed: train the winners on fresh seeds with: {confirm}; "
                "or pass --trials search (do not select configurations by these test values)"
            )
    elif list(names) == [SEARCH]:
        selected = completed[completed["phase"] == SEARCH]
    else:
        for name in names:
            recorded_model(sweep_dir, name)
        selected = trials[trials["trial"].isin(names)]
    return selected.sort_values("arm", key=lambda column: column.map(arms), kind="stable").reset_index(drop=True)


def _of_present_winners(sweep_dir: Path, trials: pd.DataFrame) -> pd.DataFrame:
    """Return those confirmation trials whose configuration is among the winners of its search, with its ``rank``."""
    search, confirm = read_both_phases(sweep_dir)
    ranks = confirmed_ranks(search, confirm)
    ranked = trials.assign(rank=trials["trial"].map(ranks))
    configs = int((search.manifest["study"]["confirm"] or {}).get("configs", 1))
    return ranked[ranked["rank"] <= configs]


def select_axes(names: Sequence[str] | None, settings: Sequence[str]) -> dict[str, Axis]:
    """Return the requested axes with their settings; without names, all axes except those on request.

    Raises:
        UserError: an axis or a setting is unknown, a value is not valid, or an axis needs the extra ``eval``.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        values = merged(values, parse_setting(setting))
    kinds = _axes_by_name(names)
    for name in values:
        if name not in AXES and name not in kinds:
            raise UserError(f"unknown evaluation axis '{name}'{did_you_mean(name, {*AXES, *kinds})}")
    for name, axis_values in values.items():
        if not isinstance(axis_values, Mapping):
            raise UserError(f"--set {name}: takes one setting, for example {name}.n_images=500, got {axis_values!r}")
        if names is not None and name not in kinds:
            raise UserError(f"--set {name}.{next(iter(axis_values), '')}: the axis '{name}' is not in --axes")
    selected = {name: kind for name, kind in kinds.items() if names or not kind.on_request or name in values}
    axes = {
        name: parse(kind, _with_absolute_paths(values.get(name, {})), where=f"--set {name}")
        for name, kind in selected.items()
    }
    for name, axis in axes.items():
        check_extra("eval", axis.needed_packages(), needed_by=f"the axis {name}")
    return axes


def _axes_by_name(names: Sequence[str] | None) -> dict[str, type[Axis]]:
    """Return the classes of the axes by their names in the records; without names, all built-in axes."""
    if not names:
        return dict(AXES)
    kinds: dict[str, type[Axis]] = {}
    for name in dict.fromkeys(names):
        try:
            kind = AXES[name]
        except ValueError as error:
            raise UserError(str(error)) from None
        if kinds.setdefault(kind.name, kind) is not kind:
            raise UserError(f"axis '{name}' has the name '{kind.name}' of another requested axis: change its name")
    return kinds


def own_axes(axes: Mapping[str, Axis]) -> list[OwnPart]:
    """Return the axes of one's own, and the data sources of one's own that settings of axes name."""
    parts = [OwnPart(AXES.kind, name, type(axis)) for name, axis in axes.items() if name not in AXES]
    for axis in axes.values():
        for text in _texts(axis.model_dump()):
            source = split_text(text)[0]
            if source not in SOURCES and SOURCES.found(source):
                parts.append(OwnPart(SOURCES.kind, source, SOURCES[source]))
    return parts


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, list | tuple):
        yield from (text for item in value for text in _texts(item))


def applicable_axes(
    axes: Mapping[str, Axis], trials: pd.DataFrame, *, by_name: bool, display: Display = SILENT
) -> dict[str, Axis]:
    """Return the axes that apply to the models and images of the trials; show which axes are left out.

    Args:
        axes: selected axes.
        trials: selected trials.
        by_name: whether the user named the axes: an axis that does not apply is then refused.
        display: shows the axes that are left out.

    Raises:
        UserError: an axis that the user named does not apply.
    """
    models = _model_infos(trials)
    kept = {}
    for name, axis in axes.items():
        try:
            for model in models:
                axis.check(model)
        except UserError as error:
            if by_name:
                raise
            display.show_line(f"{name} is not measured: {error}")
        else:
            kept[name] = axis
    return kept


def list_tasks(sweep_dir: Path, trials: pd.DataFrame, axes: Mapping[str, Axis]) -> list[Task]:
    """Return the measurements that are not recorded yet under these settings.

    They are sorted by axis: a process can then keep the images that an axis prepares for all models.
    """
    epochs, measurements = read_table(sweep_dir, EPOCHS), read_table(sweep_dir, MEASUREMENTS)
    keys = _measured(measurements, read_table(sweep_dir, EVALUATIONS))
    curves = {
        trial: {str(name): column.tolist() for name, column in rows.items()}
        for trial, rows in epochs.sort_values("epoch").groupby("trial")
    }
    tasks = [
        Task(
            trial=row["trial"],
            axis=axis,
            model_path=weights_place(sweep_dir, row["trial"]),
            record={str(name): value for name, value in row.items()},
            curve=curves.get(row["trial"], {}),
        )
        for axis in axes.values()
        for row in trials.to_dict("records")
    ]
    return [task for task in tasks if (task.trial, task.axis.name, task.settings) not in keys]


def _measured(measurements: pd.DataFrame, evaluations: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Return trial, axis and settings of the completed measurements whose values are all recorded.

    Older versions did not record the number of values: one value is then enough.
    """
    done = measurements[measurements["status"] == COMPLETED]
    n_recorded = evaluations.groupby(["trial", "axis", "settings"]).size()
    keys = list(zip(done["trial"], done["axis"], done["settings"], strict=True))
    planned = done["n_values"].fillna(1).astype(int)
    return {key for key, count in zip(keys, planned, strict=True) if n_recorded.get(key, 0) >= count}


def data_of(trials: pd.DataFrame) -> list[Data]:
    """Return the different images that trials were trained on, without duplicates."""
    return list(dict.fromkeys(TrialConfig.model_validate_json(text).data for text in trials["config"]))


def read_contents(trials: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Open the training and test images of trials; return the fingerprint of each split, by data source and split.

    Raises:
        UserError: the images cannot be used.
    """
    from trainables.data.prepared import forget_images, prepare_data, prepare_test

    forget_images()  # they may have changed since this process opened them
    contents = {}
    for data in data_of(trials):
        contents[data.source] = {"train": prepare_data(data).images.content, "test": prepare_test(data).content}
    return contents


def _model_infos(trials: pd.DataFrame) -> list[ModelInfo]:
    """Return the facts of each kind of model among the trials."""
    from trainables.data.prepared import prepare_data, prepare_test
    from trainables.evaluation.subject import about

    configs = {TrialConfig.model_validate_json(text).model_copy(update={"seed": 0}) for text in trials["config"]}
    return [about(each, prepare_test(each.data), n_val=len(prepare_data(each.data).val_rows)) for each in configs]


def _with_absolute_paths(value: Any) -> Any:
    """Make paths of data sources absolute: a task may run in another folder."""
    if isinstance(value, Mapping):
        return {key: _with_absolute_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_absolute_paths(item) for item in value]
    if isinstance(value, str) and (value.partition(":")[0] in SOURCES or value.count(":") > 1):
        return absolute_source(value)
    return value
