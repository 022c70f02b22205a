"""Trials of a sweep by their names and numbers: which is new, and what its parameters are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.study import Study
from sweep.confirm import confirmation, parse_confirmation
from sweep.entry import Entry
from sweep.records.schema import CANCELLED, COMPLETED, FAILED, LIVING
from sweep.search import PastTrial, propose
from trainables.faults import DISK


class Proposals:
    """Source of the trials that a study has, beside those that have begun.

    Attributes:
        study: the study that is run; it changes if the sweep is extended while it runs.
    """

    def __init__(self, study: Study, entries: Mapping[str, Entry]) -> None:
        """Propose trials of ``study`` that are not among ``entries``, which change while the sweep runs."""
        self.study = study
        self._entries = entries

    def new_entry(self, arm: str, number: int, trials: Iterable[Entry] = ()) -> Entry:
        """Return a search trial with its parameters; ``trials`` are those of its search that have begun."""
        past = []
        if self.study.search == "tpe":  # the other searches do not use past trials
            earlier = [row for row in trials if row.number < number and self.has_parameters(row)]
            past = [self._past(row) for row in sorted(earlier, key=lambda row: row.number)]
        return self._entry(arm, number, propose(self.study, arm, number, past))

    def has_parameters(self, entry: Entry) -> bool:
        """Return whether the parameters of a trial are known; the records may have lost those that ``tpe`` chose."""
        return entry.params.keys() >= self.study.space_of(entry.arm).keys()

    def names_like(self, trial: str) -> list[str]:
        """Return names that a wrong name may mean: of trials that have begun, and of trials with the same number."""
        number = trial.rpartition("-")[2]
        is_number = number.isascii() and number.isdecimal() and int(number) < self.study.trials_per_arm
        return list(dict.fromkeys([*self._entries, *(f"{arm}-{number}" for arm in self.study.arms if is_number)]))

    def named(self, trial: str) -> Entry | None:
        """Return a trial that has recorded epochs, but no row of its own; None if the study has no such trial.

        The parameters of a search trial follow from its number, except those that ``tpe`` has chosen: without its row
        such a trial counts as failed.
        """
        if parsed := parse_confirmation(trial):
            winner = self._entries.get(parsed[0]) or self.named(parsed[0])
            entry = None if winner is None or self.study.confirm is None else confirmation(winner, parsed[1])
            if entry and winner and winner.status == FAILED:  # its parameters are lost
                entry.status, entry.why, entry.fault = FAILED, winner.why, winner.fault
        else:
            arm, _, digits = trial.rpartition("-")
            known = arm in self.study.arms and digits.isdecimal() and int(digits) < self.study.trials_per_arm
            entry = self._search_trial(arm, int(digits)) if known else None
        if entry is None or entry.trial != trial:
            return None
        entry.attempts = 1
        return entry

    def _search_trial(self, arm: str, number: int) -> Entry:
        if self.study.search != "tpe" or not self.study.space_of(arm):
            return self.new_entry(arm, number)
        entry = self._entry(arm, number, {})
        entry.status, entry.why = FAILED, "the records have lost the parameters that tpe had chosen"
        entry.fault = DISK
        return entry

    def _entry(self, arm: str, number: int, params: dict[str, object]) -> Entry:
        return Entry(
            trial=f"{arm}-{number:04d}",
            arm=arm,
            search=self.study.search_of(arm, number),
            number=number,
            replicate=self.study.replicate(arm, number),
            control=self.study.is_control(arm, number),
            params=params,
        )

    def _past(self, entry: Entry) -> PastTrial:
        return PastTrial(
            params=entry.params,
            values=entry.values_of(self.study.metric),
            completed=entry.status == COMPLETED,
            ended=entry.status not in LIVING,
            cancelled=entry.status == CANCELLED,
        )
