"""Counts of a sweep's trials that change with each trial, so that no event of a sweep reads all of its trials."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from typing import overload

from search_spaces.study import Study
from sweep.entry import Entry
from sweep.records.schema import COMPLETED, CONFIRM, LIVING, SEARCH, STATUSES


class Lowest(Sequence[float]):
    """Lowest of the first n values, for each n from 1 on; only the values at which it falls are kept.

    Examples:
        >>> lowest = Lowest()
        >>> for value in (0.5, 0.7, 0.4):
        ...     lowest.add(value)
        >>> before = lowest.frozen()
        >>> lowest.add(0.1)
        >>> list(lowest), list(before)
        ([0.5, 0.5, 0.4, 0.1], [0.5, 0.5, 0.4])
    """

    def __init__(self) -> None:
        """Begin without values."""
        self._n = 0
        self._falls_at: list[int] = []
        self._values: list[float] = []

    def add(self, value: float) -> None:
        """Append a value."""
        if not self._values or value < self._values[-1]:
            self._falls_at.append(self._n)
            self._values.append(value)
        self._n += 1

    def frozen(self) -> Lowest:
        """Return the present state, which later values do not change; nothing is copied."""
        copy = Lowest()
        copy._n, copy._falls_at, copy._values = self._n, self._falls_at, self._values
        return copy

    def __len__(self) -> int:
        """Return the number of values."""
        return self._n

    @overload
    def __getitem__(self, place: int) -> float: ...

    @overload
    def __getitem__(self, place: slice) -> list[float]: ...

    def __getitem__(self, place: int | slice) -> float | list[float]:
        """Return the lowest of the first ``place + 1`` values."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(self._n))]
        if not -self._n <= place < self._n:
            raise IndexError(place)
        return self._values[bisect_right(self._falls_at, place % self._n) - 1]

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same values."""
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        """Refuse: the values change."""
        raise TypeError("values that change have no hash")


class FinalErrors:
    """Final values, lower is better, of the completed search trials of one arm."""

    def __init__(self) -> None:
        """Begin without trials."""
        self._by_trial: dict[str, float] = {}
        self._sorted: list[float] = []
        self._lowest = Lowest()
        self._is_stale = False

    def add(self, trial: str, error: float) -> None:
        """Receive the final error of a trial."""
        self._by_trial[trial] = error
        if not self._is_stale:
            insort(self._sorted, error)
            self._lowest.add(error)

    def remove(self, trial: str) -> None:
        """Forget a trial, which runs again to regain what is lost."""
        self._is_stale |= self._by_trial.pop(trial, None) is not None

    def _refresh(self) -> None:
        """Sort all errors again after a trial was removed; trials that are only added never need it."""
        if self._is_stale:
            self._sorted, self._lowest, self._is_stale = sorted(self._by_trial.values()), Lowest(), False
            for error in self._by_trial.values():
                self._lowest.add(error)

    @property
    def best(self) -> float | None:
        """Lowest error; None without a completed trial."""
        self._refresh()
        return self._sorted[0] if self._sorted else None

    @property
    def lowest(self) -> Lowest:
        """Lowest error after each completed trial, in the order in which they were added."""
        self._refresh()
        return self._lowest.frozen()

    @property
    def median(self) -> float | None:
        """Median of the errors; None without a completed trial."""
        self._refresh()
        values = self._sorted
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2 if values else None


class Numbers:
    """Numbers of the search trials of one arm that have begun."""

    def __init__(self) -> None:
        """Begin without trials."""
        self._begun: set[int] = set()
        self._lowest = 0

    def add(self, number: int) -> None:
        """Receive that a trial has begun."""
        self._begun.add(number)

    def __contains__(self, number: int) -> bool:
        """Return whether a trial has begun."""
        return number in self._begun

    def __len__(self) -> int:
        """Return how many trials have begun."""
        return len(self._begun)

    @property
    def lowest_new(self) -> int:
        """Lowest number of a trial that has not begun; numbers have gaps after records were lost."""
        while self._lowest in self._begun:
            self._lowest += 1
        return self._lowest


class Tally:
    """Counts over all trials of a sweep.

    Attributes:
        counts: number of search trials by arm and status.
        confirm_counts: number of confirmation trials by arm and status.
        n_living: number of trials that have not ended, in both phases.
        n_begun: number of search trials.
        n_epochs: number of recorded epochs.
        n_epochs_of: number of recorded epochs by arm and phase.
        epochs_left: planned epochs, not yet recorded, of the trials that have not ended.
        planned_epochs: planned epochs of the search trials that have begun.
        losses: number of lost workers by kind of the loss.
        errors: final validation top-1 errors by arm.
        nlls: final validation NLLs by arm, of the trials whose curves have them.
        test_errors: test errors of the completed confirmation trials by arm and trial.
        numbers: numbers of the search trials that have begun, by arm.
    """

    def __init__(self, study: Study) -> None:
        """Count the trials of ``study``; none has begun."""
        self._study = study
        self.counts = {arm: dict.fromkeys(STATUSES, 0) for arm in study.arms}
        self.confirm_counts = {arm: dict.fromkeys(STATUSES, 0) for arm in study.arms}
        self.n_living = self.n_begun = self.n_epochs = self.epochs_left = self.planned_epochs = 0
        self.n_epochs_of = {(arm, phase): 0 for arm in study.arms for phase in (SEARCH, CONFIRM)}
        self.losses = Counter[str]()
        self.errors = {arm: FinalErrors() for arm in study.arms}
        self.nlls = {arm: FinalErrors() for arm in study.arms}
        self.test_errors: dict[str, dict[str, float]] = {arm: {} for arm in study.arms}
        self.numbers = {arm: Numbers() for arm in study.arms}

    def add(self, entry: Entry) -> None:
        """Count a trial."""
        self._count(entry, 1)
        if entry.phase != SEARCH:
            if entry.status == COMPLETED and "top1_error" in entry.tests:
                self.test_errors[entry.arm][entry.trial] = entry.tests["top1_error"]
            return
        self.numbers[entry.arm].add(entry.number)
        last = entry.curve.get(entry.epochs, {}) if entry.status == COMPLETED else {}
        for column, values in (("val_top1_error", self.errors), ("val_nll", self.nlls)):
            if (value := last.get(column)) is not None:  # a count of what is left reads none
                values[entry.arm].add(entry.trial, value)

    def remove(self, entry: Entry) -> None:
        """Count a trial no more, because it is about to change; its number stays begun."""
        self._count(entry, -1)
        self.test_errors[entry.arm].pop(entry.trial, None)
        if entry.phase == SEARCH and entry.status == COMPLETED:
            self.errors[entry.arm].remove(entry.trial)
            self.nlls[entry.arm].remove(entry.trial)

    def add_epoch(self, entry: Entry) -> None:
        """Receive that one epoch was added to the curve of a counted trial."""
        self.n_epochs += 1
        self.n_epochs_of[entry.arm, entry.phase] += 1
        self.epochs_left -= entry.status in LIVING

    def add_loss(self, kind: str) -> None:
        """Receive that a counted trial has lost its worker once more."""
        self.losses[kind] += 1

    def _count(self, entry: Entry, sign: int) -> None:
        planned = self._study.max_epochs_of(entry.params)
        self.n_epochs += sign * entry.epochs
        self.n_epochs_of[entry.arm, entry.phase] += sign * entry.epochs
        for kind, number in entry.losses.items():
            self.losses[kind] += sign * number
        if entry.status in LIVING:
            self.n_living += sign
            self.epochs_left += sign * (planned - entry.epochs)
        if entry.phase == SEARCH:
            self.n_begun += sign
            self.planned_epochs += sign * planned
            self.counts[entry.arm][entry.status] += sign
        else:
            self.confirm_counts[entry.arm][entry.status] += sign
