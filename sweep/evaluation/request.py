"""What is to be measured: trials, axes, settings; all refusals before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from search_spaces.discover import parse_setting
from sweep.ledger import weights_path
from sweep.models import model_path
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import AXES as AXES_TABLE
from sweep.records.schema import COMPLETED, CONFIRM, EPOCHS, SEARCH, TRIALS
from trainables.config import TrialConfig
from trainables.data.sources.registry import SOURCES
from trainables.errors import UserError, did_you_mean
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Axis
from trainables.evaluation.subject import ModelInfo
from trainables.extras import check_extra
from trainables.merging import merged
from trainables.strict import parse


@dataclass(frozen=True)
class Task:
    """One axis to be measured on one trial.

    Attributes:
        trial: its name.
        axis: the axis with its settings.
        model_path: file of the trained model.
        record: row of the trial's records.
        curve: columns of its epochs.
    """

    trial: str
    axis: Axis
    model_path: str
    record: Mapping[str, Any]
    curve: Mapping[str, list[float]]

    @property
    def settings(self) -> str:
        """JSON of the axis' settings, as recorded."""
        return self.axis.model_dump_json()


def chosen_trials(sweep_dir: Path, names: Sequence[str] | None) -> pd.DataFrame:
    """Return rows of the trials to measure, arms in the study's order.

    Args:
        sweep_dir: the sweep.
        names: trials, or ``search``: all that the search completed; None: all that a confirmation completed.

    Raises:
        RecordsError: there is no sweep.
        UserError: nothing is confirmed, or a trial named does not exist or left no model.
    """
    arms = {arm: place for place, arm in enumerate(read_manifest(sweep_dir)["study"]["arms"])}
    trials = read_table(sweep_dir, TRIALS)
    completed = trials[trials["status"] == COMPLETED]
    if names is None:
        chosen = completed[completed["phase"] == CONFIRM]
        if chosen.empty:
            raise UserError(
                f"no trial of '{sweep_dir}' is confirmed: 'cutmix-sweep confirm {sweep_dir} --seeds 5' trains winners "
                "on fresh seeds; or take those of the search, whose test values must choose nothing: --trials search"
            )
    elif list(names) == [SEARCH]:
        chosen = completed[completed["phase"] == SEARCH]
    else:
        for name in names:
            model_path(sweep_dir, name)
        chosen = trials[trials["trial"].isin(names)]
    return chosen.sort_values("arm", key=lambda column: column.map(arms), kind="stable").reset_index(drop=True)


def chosen_axes(names: Sequence[str] | None, settings: Sequence[str]) -> dict[str, Axis]:
    """Build the axes that are asked for with their settings; without names all but those on request.

    Raises:
        UserError: an axis or a setting is unknown, a value does not do, or an axis needs the extra ``eval``.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        values = merged(values, parse_setting(setting))
    for name in (*(names or ()), *values):
        if name not in AXES:
            raise UserError(f"axis '{name}' is unknown{did_you_mean(name, AXES)}")
    for name, given in values.items():
        if names is not None and name not in names:
            raise UserError(f"--set {name}.{next(iter(given), '')}: the axis '{name}' is not among --axes")
        if not isinstance(given, Mapping):
            raise UserError(f"--set {name}: takes one setting at a time, as in {name}.n_images=500, got {given!r}")
    chosen = names or [name for name, axis in AXES.items() if not axis.on_request or name in values]
    axes = {
        name: parse(AXES[name], _with_absolute_paths(values.get(name, {})), where=f"--set {name}") for name in chosen
    }
    for name, axis in axes.items():
        check_extra("eval", axis.needed_packages(), needed_by=f"the axis {name}")
    return axes


def applicable_axes(
    axes: Mapping[str, Axis], trials: pd.DataFrame, *, asked: bool, console: Console
) -> dict[str, Axis]:
    """Return the axes that suit models and images; of those that do not, say that they are left out.

    Raises:
        UserError: one does not suit that was asked for by name.
    """
    abouts = _abouts(trials)
    kept = {}
    for name, axis in axes.items():
        try:
            for about in abouts:
                axis.check(about)
        except UserError as error:
            if asked:
                raise
            console.print(f"without {name}: {error}", highlight=False, markup=False, soft_wrap=True)
        else:
            kept[name] = axis
    return kept


def tasks_left(sweep_dir: Path, trials: pd.DataFrame, axes: Mapping[str, Axis]) -> list[Task]:
    """List what was not measured under these settings before, axis by axis.

    One process may then keep what an axis makes for all models.
    """
    epochs, measured = read_table(sweep_dir, EPOCHS), read_table(sweep_dir, AXES_TABLE)
    done = measured[measured["status"] == COMPLETED]
    keys = set(zip(done["trial"], done["axis"], done["settings"], strict=True))
    curves = {
        trial: {str(name): column.tolist() for name, column in rows.items()}
        for trial, rows in epochs.sort_values("epoch").groupby("trial")
    }
    tasks = [
        Task(
            trial=row["trial"],
            axis=axis,
            model_path=str(weights_path(sweep_dir, row["trial"])),
            record={str(name): value for name, value in row.items()},
            curve=curves.get(row["trial"], {}),
        )
        for axis in axes.values()
        for row in trials.to_dict("records")
    ]
    return [task for task in tasks if (task.trial, task.axis.name, task.settings) not in keys]


def _abouts(trials: pd.DataFrame) -> list[ModelInfo]:
    """Say what is known of each kind of model among the trials."""
    from trainables.data.prepared import prepare_data, prepare_test
    from trainables.evaluation.subject import about

    configs = {TrialConfig.model_validate_json(text).model_copy(update={"seed": 0}) for text in trials["config"]}
    return [about(each, prepare_test(each.data), n_val=len(prepare_data(each.data).val_rows)) for each in configs]


def _with_absolute_paths(value: Any) -> Any:
    """Let paths of data sources hold wherever a task runs."""
    if isinstance(value, Mapping):
        return {key: _with_absolute_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_absolute_paths(item) for item in value]
    name, colon, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    if name in SOURCES and colon and path:
        return f"{name}:{Path(path).expanduser().absolute()}"
    return value
