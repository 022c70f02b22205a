"""Served sweeps as a storage of Optuna that can only be read: each answer is made from the records."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from sweep.entry import Entry
from sweep.export.optuna_storage import distributions_of, frozen_trial
from sweep.serve.live import LiveSweep
from sweep.serve.note import study_note


@dataclass
class _View:
    """One study of Optuna: an arm of a sweep, its search or its confirmation.

    Attributes:
        live: the sweep.
        arm: name of the arm.
        confirms: whether it shows the confirmation.
        study_id: number of the study.
        built: trials by name, with what each was made from: its entry and its number of epochs.
        attributes: text of the note with the attributes of Optuna that contain it.
    """

    live: LiveSweep
    arm: str
    confirms: bool
    study_id: int
    generation: int = 0
    built: dict[str, tuple[Entry, int, FrozenTrial]] = field(default_factory=dict)
    attributes: tuple[str, dict[str, Any]] = ("", {})

    @property
    def name(self) -> str:
        return f"{self.live.name}/{self.arm}{'/confirm' if self.confirms else ''}"


class RecordsStorage(BaseStorage):
    """Storage with one study per arm of each sweep, and one per confirmation of an arm: names as in ``export``.

    Nothing is kept that the records do not have. Each method that would write raises an error.
    """

    def __init__(self, sweeps: Sequence[LiveSweep]) -> None:
        """Show sweeps."""
        self._sweeps = sweeps
        self._views: dict[tuple[str, str, bool], _View] = {}
        self._by_id: list[_View] = []
        self._trial_ids: dict[tuple[int, str], int] = {}
        self._trials: list[tuple[int, str]] = []

    def _all_views(self) -> Iterator[_View]:
        for live in self._sweeps:
            live.look()
            with live.lock:
                confirmed = {entry.arm for entry in live.sweep.entries.values() if entry.confirms is not None}
                for arm in live.study.arms:
                    for confirms in (False, True):
                        if not confirms or arm in confirmed:
                            yield self._view(live, arm, confirms)

    def _view(self, live: LiveSweep, arm: str, confirms: bool) -> _View:
        key = live.name, arm, confirms
        if key not in self._views:
            self._views[key] = _View(live, arm, confirms, len(self._by_id))
            self._by_id.append(self._views[key])
        return self._views[key]

    def study_id(self, live: LiveSweep, arm: str) -> int:
        """Return the number of the study that shows the search of an arm."""
        return self._view(live, arm, confirms=False).study_id

    def _view_of(self, study_id: int) -> _View:
        if not 0 <= study_id < len(self._by_id):
            raise KeyError(f"no study has the number {study_id}")
        return self._by_id[study_id]

    def _system_attributes(self, view: _View) -> dict[str, Any]:
        text = study_note(view.live)
        if view.attributes[0] != text:
            view.attributes = text, _attributes(text, view.live.study.metric)
        return view.attributes[1]

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies."""
        return [
            FrozenStudy(
                study_name=view.name,
                direction=StudyDirection.MINIMIZE,
                user_attrs=self.get_study_user_attrs(view.study_id),
                system_attrs=self._system_attributes(view),
                study_id=view.study_id,
            )
            for view in self._all_views()
        ]

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the number of a study."""
        for view in self._all_views():
            if view.name == study_name:
                return view.study_id
        raise KeyError(f"there is no study '{study_name}'")

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return self._view_of(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return that the metric is minimized."""
        self._view_of(study_id)
        return [StudyDirection.MINIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what an export writes about the study."""
        view = self._view_of(study_id)
        study = view.live.study
        return {"study": study.name, "question": study.question, "arm": view.arm}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the name of the metric, and the note of optuna-dashboard."""
        return self._system_attributes(self._view_of(study_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study in the order in which they began."""
        view = self._view_of(study_id)
        view.live.look()
        with view.live.lock:
            trials = self._built(view)
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _built(self, view: _View) -> list[FrozenTrial]:
        """Return the trials of a study; only those that have changed are made anew."""
        live, distributions = view.live, distributions_of(view.live.study, view.arm)
        if view.generation != live.generation:
            view.built, view.generation = {}, live.generation
        trials = []
        for number, entry in enumerate(live.trials_of(view.arm, confirms=view.confirms)):
            former = view.built.get(entry.trial)
            if former is None or former[0] is not entry or former[1] != entry.epochs or former[2].number != number:
                trial = self._frozen(view, entry, number, distributions)
                view.built[entry.trial] = former = entry, entry.epochs, trial
            trials.append(former[2])
        return trials

    def _frozen(
        self, view: _View, entry: Entry, number: int, distributions: Mapping[str, BaseDistribution]
    ) -> FrozenTrial:
        trial = frozen_trial(view.live.recorded(entry), view.live.study.metric, distributions)
        trial.number = number
        key = view.study_id, entry.trial
        if key not in self._trial_ids:
            self._trial_ids[key] = len(self._trials)
            self._trials.append(key)
        trial._trial_id = self._trial_ids[key]
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return one trial."""
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"no trial has the number {trial_id}")
        study_id, _ = self._trials[trial_id]
        for trial in self.get_all_trials(study_id, deepcopy=False):
            if trial._trial_id == trial_id:
                return trial
        raise KeyError(f"the records have no trial with the number {trial_id} any more")

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Refuse to write."""
        _refuse()

    def delete_study(self, study_id: int) -> None:
        """Refuse to write."""
        _refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Refuse to write."""
        _refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Refuse to write."""
        _refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Refuse to write."""
        _refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Refuse to write."""
        _refuse()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Refuse to write."""
        _refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Refuse to write."""
        _refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Refuse to write."""
        _refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Refuse to write."""
        _refuse()


def _refuse() -> NoReturn:
    raise PermissionError("the records of a sweep are only shown here: nothing is written")


def _attributes(note: str, metric: str) -> dict[str, Any]:
    """Return the attributes in which Optuna and optuna-dashboard keep the name of the metric and a note.

    Their own functions write them, into a storage that is then thrown away.
    """
    from optuna_dashboard import save_note

    storage = InMemoryStorage()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(storage=storage, direction="minimize")
        study.set_metric_names([metric])
    save_note(study, note)
    return storage.get_study_system_attrs(study._study_id)
