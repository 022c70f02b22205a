"""Trials that a sweep has left: one count for the conductor, the display and ``status``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from search_spaces.study import Study
from sweep.confirm import confirming, winners
from sweep.entry import Entry
from sweep.ledger import read_entries
from sweep.lost import reopen
from sweep.manifest import read_study
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, LIVING, SEARCH, TRIALS
from trainables.errors import UserError


class Remaining(NamedTuple):
    """Trials of a sweep.

    Attributes:
        n_left: trials that have not ended, including those that have not begun and the confirmations that follow.
        n_trials: all trials of the sweep.
        problem: why the trials that have not begun are not counted; "" if they are.
        dropped: number of confirmation trials, by arm, that cannot run; see ``SweepTrials.dropped``.
    """

    n_left: int
    n_trials: int
    problem: str = ""
    dropped: Mapping[str, int] = MappingProxyType({})


class SweepTrials:
    """The trials of a sweep that have begun, and the numbers of those that are left.

    Attributes:
        study: the study that is run.
        entries: trials by name, approximately in the order of their start.
    """

    def __init__(self, study: Study) -> None:
        """Begin without trials."""
        self.study = study
        self.entries: dict[str, Entry] = {}
        self._to_confirm: dict[tuple[str, int], list[Entry]] = {}

    @property
    def n_trials(self) -> int:
        """Number of trials of the sweep: the ended ones, including confirmations of former winners, and the rest."""
        return len(self.entries) - self._n_living + self.n_left

    @property
    def n_left(self) -> int:
        """Number of trials that have not ended, including the confirmations that will follow."""
        return self._n_living + self.n_unbegun + self._n_unconfirmed

    @property
    def epochs_left(self) -> int:
        """Number of epochs that are left if no further trial stops early."""
        planned = self.study.max_epochs_of
        living = sum(planned(row.params) - row.epochs for row in self.entries.values() if row.status in LIVING)
        begun = sum(planned(row.params) for row in self.entries.values() if row.phase == SEARCH)
        search = sum(map(self.study.max_epochs_in, self.study.arms))
        return living + search - begun + self.study.budget.max_epochs * self._n_unconfirmed

    @property
    def n_unbegun(self) -> int:
        """Number of search trials, in all arms, that have not begun."""
        n_begun = sum(entry.phase == SEARCH for entry in self.entries.values())
        return len(self.study.arms) * self.study.trials_per_arm - n_begun

    @property
    def _n_living(self) -> int:
        return sum(entry.status in LIVING for entry in self.entries.values())

    @property
    def _n_unconfirmed(self) -> int:
        """Number of confirmation trials that have not begun; the winners may not be known yet."""
        if self.study.confirm is None:
            return 0
        per_search = self.study.confirming_per_arm // self.study.n_searches
        begun: dict[tuple[str, int], list[Entry]] = {search: [] for search in self.searches}
        for entry in self.entries.values():  # one pass: with many searches, one pass per search takes long
            if entry.phase == SEARCH:
                begun[entry.arm, entry.search].append(entry)
        return sum(self._n_to_confirm(*search, trials, per_search) for search, trials in begun.items())

    def _n_to_confirm(self, arm: str, search: int, trials: list[Entry], per_search: int) -> int:
        """Return the number of confirmation trials of a search that have not begun."""
        planned = self._confirming(arm, search, trials)
        if planned is not None:
            return sum(row.trial not in self.entries for row in planned)
        if not any(entry.end for entry in trials):
            return per_search
        # what the search has lost is regained, and its winner with it: its confirmation trials stay
        confirming = [row for row in self.entries.values() if row.confirms and (row.arm, row.search) == (arm, search)]
        return max(0, per_search - len(confirming))

    @property
    def dropped(self) -> dict[str, int]:
        """Number of confirmation trials, by arm, that cannot run: their search ended with too few completed trials."""
        if self.study.confirm is None:
            return {}
        per_search = self.study.confirming_per_arm // self.study.n_searches
        missing: Counter[str] = Counter()
        if self._n_unconfirmed < len(self.searches) * per_search:  # which also finds the winners of ended searches
            for (arm, _), trials in self._to_confirm.items():
                missing[arm] += per_search - len(trials)
        return {arm: missing[arm] for arm in self.study.arms if missing[arm]}

    @property
    def searches(self) -> list[tuple[str, int]]:
        """Arm and index of every search of the study."""
        return [(arm, search) for search in range(self.study.n_searches) for arm in self.study.arms]

    def confirming(self, arm: str, search: int) -> list[Entry] | None:
        """Return the confirmation trials of a search; None before its end."""
        if (arm, search) in self._to_confirm:  # the conductor asks before each trial: no pass over all trials then
            return self._to_confirm[arm, search]
        return self._confirming(arm, search, self.trials_of(arm, search))

    def _confirming(self, arm: str, search: int, trials: list[Entry]) -> list[Entry] | None:
        """Return the confirmation trials of a search of which these trials have begun."""
        if self.study.confirm is None:
            return []
        if (arm, search) not in self._to_confirm:
            if len(trials) < self.study.trials_per_search or any(entry.status in LIVING for entry in trials):
                return None
            best = winners(trials, metric=self.study.metric, count=self.study.confirm.configs)
            self._to_confirm[arm, search] = list(confirming(best, self.study.confirm))
        return self._to_confirm[arm, search]

    def trials_of(self, arm: str, search: int) -> list[Entry]:
        """Return the search trials of one search that have begun."""
        wanted = (arm, search, SEARCH)
        return [entry for entry in self.entries.values() if (entry.arm, entry.search, entry.phase) == wanted]


class RunningSweep(SweepTrials, ABC):
    """A sweep that runs: in this process a conductor, from the records of another process a ``FollowedSweep``.

    Attributes:
        ended: trials that have ended in this run, in the order of their ends; the list only grows.
        paused: who paused the sweep, and when; "" if it is not paused.
    """

    def __init__(self, study: Study) -> None:
        """Begin without trials."""
        super().__init__(study)
        self.ended: list[Entry] = []
        self.paused = ""

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
    for row in read_table(sweep_dir, EPOCHS)[["trial", "epoch", study.metric]].to_dict("records"):
        if row["trial"] in entries:
            entries[row["trial"]].curve[row["epoch"]] = {study.metric: float(row[study.metric])}
    for entry in entries.values():
        reopen(entry)
    return Remaining(trials.n_left, trials.n_trials, dropped=trials.dropped)
