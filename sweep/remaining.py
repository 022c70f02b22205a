"""Trials that a sweep has left: one count for the conductor, the display and ``status``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from search_spaces.study import Study
from sweep.curve import Curve
from sweep.entry import End, Entry
from sweep.ledger import read_entries
from sweep.lost import reopen
from sweep.manifest import read_study
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, LIVING, TRIALS
from sweep.search_state import Search, Searches
from sweep.tally import Tally
from trainables.errors import UserError


class Remaining(NamedTuple):
    """Trials of a sweep.

    Attributes:
        n_left: trials that have not ended, including those that have not begun and the confirmations that follow.
        n_trials: all trials of the sweep.
        problem: why the trials that have not begun are not counted; "" if they are.
        dropped: number of confirmation trials, by arm, that cannot run; see ``SweepTrials.dropped``.
        n_to_confirm: how many of the trials that are left are confirmation trials.
    """

    n_left: int
    n_trials: int
    problem: str = ""
    dropped: Mapping[str, int] = MappingProxyType({})
    n_to_confirm: int = 0


class SweepTrials:
    """The trials of a sweep that have begun, and the numbers of those that are left.

    A trial that was counted changes through :meth:`set_status`, :meth:`add_epoch` and :meth:`add_loss` only. So the
    counts stay correct, and no event of a sweep reads all of its trials.

    Attributes:
        study: the study that is run.
        entries: trials by name, approximately in the order of their start.
        tally: counts over all trials.
        by_search: trials by search, and what is left of each search.
    """

    def __init__(self, study: Study) -> None:
        """Begin without trials."""
        self.study = study
        self.entries: dict[str, Entry] = {}
        self.recount()

    def recount(self) -> None:
        """Count all trials anew, after the study or many trials were changed at once."""
        self.tally = Tally(self.study)
        self.by_search = Searches(self.study)
        self._max_epochs: int | None = None
        for entry in self.entries.values():
            self._count(entry)

    def add(self, entry: Entry) -> None:
        """Add a trial that has begun; a trial of the same name is replaced."""
        if former := self.entries.get(entry.trial):
            self._discount(former)
        self.entries[entry.trial] = entry
        self._count(entry)

    def set_status(
        self, entry: Entry, status: str, why: str = "", fault: str | None = None, *, end: End | None = None
    ) -> None:
        """Change the status of a trial, with its reason and the kind of its failure.

        Args:
            entry: the trial.
            status: status as in the records.
            why: reason of the end or of the pause.
            fault: kind of the failure.
            end: how a trial had ended that runs again to regain what is lost.
        """
        self._discount(entry)
        entry.status, entry.why, entry.fault, entry.end = status, why, fault, end
        self._count(entry)

    def add_epoch(self, entry: Entry, epoch: int, values: Mapping[str, float]) -> None:
        """Add the next epoch to the curve of a trial that has not ended."""
        entry.curve[epoch] = values
        self.tally.add_epoch(entry)

    def add_loss(self, entry: Entry, kind: str) -> None:
        """Add a lost worker to a trial."""
        entry.losses[kind] = entry.losses.get(kind, 0) + 1
        self.tally.add_loss(kind)

    def _count(self, entry: Entry) -> None:
        self.tally.add(entry)
        self.by_search.add(entry)

    def _discount(self, entry: Entry) -> None:
        self.tally.remove(entry)
        self.by_search.remove(entry)

    @property
    def n_trials(self) -> int:
        """Number of trials of the sweep: the ended ones, including confirmations of former winners, and the rest."""
        return len(self.entries) - self.tally.n_living + self.n_left

    @property
    def n_left(self) -> int:
        """Number of trials that have not ended, including the confirmations that will follow."""
        return self.tally.n_living + self.n_unbegun + self.by_search.n_to_confirm

    @property
    def n_to_confirm(self) -> int:
        """Number of confirmation trials that have not ended, including those that will follow."""
        living = sum(entry.confirms is not None and entry.status in LIVING for entry in self.entries.values())
        return living + self.by_search.n_to_confirm

    @property
    def epochs_left(self) -> int:
        """Number of epochs that are left if no further trial stops early."""
        if self._max_epochs is None:
            self._max_epochs = sum(map(self.study.max_epochs_in, self.study.arms))
        unbegun = self._max_epochs - self.tally.planned_epochs
        return self.tally.epochs_left + unbegun + self.study.budget.max_epochs * self.by_search.n_to_confirm

    @property
    def n_unbegun(self) -> int:
        """Number of search trials, in all arms, that have not begun."""
        return len(self.study.arms) * self.study.trials_per_arm - self.tally.n_begun

    @property
    def dropped(self) -> dict[str, int]:
        """Number of confirmation trials, by arm, that cannot run: their search ended with too few completed trials."""
        return self.by_search.dropped

    @property
    def searches(self) -> list[Search]:
        """Arm and index of every search of the study."""
        return [(arm, search) for search in range(self.study.n_searches) for arm in self.study.arms]


class RunningSweep(SweepTrials, ABC):
    """A sweep that runs: in this process a conductor, from the records of another process a ``FollowedSweep``.

    Attributes:
        ended: trials that have ended in this run, in the order of their ends; the list only grows.
        paused: who paused the sweep, and when; "" if it is not paused.
        lost: losses of workers in this run, in their order, one line each; the list only grows.
        without_worker: names of running trials that wait for a worker.
        capacity: number of trials that fit on the nodes at present, and of these nodes; None if it is not known.
    """

    def __init__(self, study: Study) -> None:
        """Begin without trials."""
        super().__init__(study)
        self.ended: list[Entry] = []
        self.paused = ""
        self.lost: list[str] = []
        self.without_worker: set[str] = set()
        self.capacity: tuple[int, int] | None = None

    @property
    @abstractmethod
    def running(self) -> list[Entry]:
        """Trials that a worker runs, in the order in which they were started or resumed."""


def read_remaining(sweep_dir: Path, manifest: Mapping[str, Any]) -> Remaining:
    """Count the trials of a recorded sweep; nothing is written.

    If the study cannot be read, only the recorded trials are counted: a part of the user's own may be gone.

    Args:
        sweep_dir: folder of the sweep.
        manifest: content of its ``sweep.json``.
    """
    try:
        study = read_study(manifest, sweep_dir)
    except UserError as error:
        status = read_table(sweep_dir, TRIALS)["status"]
        return Remaining(int(status.isin(LIVING).sum()), len(status), str(error))
    trials = SweepTrials(study)
    entries = trials.entries
    entries.update((entry.trial, entry) for entry in read_entries(sweep_dir, study))
    for trial, curve in _read_curves(sweep_dir, study.metric).items():
        if trial in entries:
            entries[trial].curve = curve
    for entry in entries.values():
        reopen(entry)
    trials.recount()
    return Remaining(trials.n_left, trials.n_trials, dropped=trials.dropped, n_to_confirm=trials.n_to_confirm)


def _read_curves(sweep_dir: Path, metric: str) -> dict[str, Curve]:
    """Read the recorded values of one metric by trial, up to the first epoch that is lost."""
    rows = read_table(sweep_dir, EPOCHS).sort_values("epoch", kind="stable")
    curves: dict[str, Curve] = {}
    for trial, epoch, value in zip(rows["trial"], rows["epoch"].tolist(), rows[metric].tolist(), strict=True):
        curve = curves.setdefault(trial, Curve((metric,)))
        if epoch == len(curve) + 1:
            curve[epoch] = {metric: value}
    return curves
