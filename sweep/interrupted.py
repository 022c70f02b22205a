"""Trials that an earlier run, or a lost worker, has left in the middle: their order, and the searches that wait."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator

from sweep.entry import Entry
from sweep.records.schema import SEARCH
from sweep.search_state import Search


class InterruptedTrials:
    """Queue of the trials that continue; those with lost epochs come first.

    Trials that need a whole GPU have a queue of their own.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Begin with ``entries``, in this order."""
        # an OrderedDict: the first key of a dict is found by a walk over the keys that were removed before it
        self._behind: OrderedDict[str, Entry] = OrderedDict()
        self._others: OrderedDict[str, Entry] = OrderedDict()
        self._with_whole_gpu: OrderedDict[str, Entry] = OrderedDict()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Append a trial."""
        queue = self._behind if entry.is_behind else self._others
        (self._with_whole_gpu if entry.needs_whole_gpu else queue)[entry.trial] = entry

    def remove(self, entry: Entry) -> None:
        """Remove a trial; nothing happens if it does not wait."""
        self._behind.pop(entry.trial, None)
        self._others.pop(entry.trial, None)
        self._with_whole_gpu.pop(entry.trial, None)

    def pop_next(self, held: Container[Search]) -> Entry | None:
        """Return and remove the next trial that needs no whole GPU.

        Returns:
            None if there is none, or all that are left belong to ``held`` searches.
        """
        ready = (entry for entry in self._others.values() if (entry.arm, entry.search) not in held)
        entry = next(iter(self._behind.values()), None) or next(ready, None)
        if entry is not None:
            self.remove(entry)
        return entry

    def pop_next_with_whole_gpu(self, held: Container[Search]) -> Entry | None:
        """Return and remove the next trial that needs a whole GPU; None as for the others."""
        queue = self._with_whole_gpu.values()
        behind = (entry for entry in queue if entry.is_behind)
        ready = (entry for entry in queue if (entry.arm, entry.search) not in held)
        entry = next(behind, None) or next(ready, None)
        if entry is not None:
            self.remove(entry)
        return entry

    @property
    def n_with_whole_gpu(self) -> int:
        """Number of the trials that need a whole GPU."""
        return len(self._with_whole_gpu)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the trials, without removing them."""
        yield from self._behind.values()
        yield from self._others.values()
        yield from self._with_whole_gpu.values()

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._behind) + len(self._others) + self.n_with_whole_gpu


class HeldSearches(Container[Search]):
    """Searches whose other trials wait until lost epochs are regained.

    Their rule or ``tpe`` would decide without these epochs otherwise.
    """

    def __init__(self, entries: Iterable[Entry], needs_epochs: Callable[[Search], bool]) -> None:
        """Hold the searches of those ``entries`` that lack epochs, if their decisions need these."""
        self._behind = {
            entry.trial: (entry.arm, entry.search)
            for entry in entries
            if entry.is_behind and entry.phase == SEARCH and needs_epochs((entry.arm, entry.search))
        }
        self._n_behind = Counter(self._behind.values())

    def release(self, entry: Entry) -> None:
        """Receive that a trial has regained its epochs, or that no worker will: its search no longer waits for it."""
        search = self._behind.pop(entry.trial, None)
        if search is not None:
            self._n_behind[search] -= 1

    def __contains__(self, search: object) -> bool:
        """Return whether a search waits."""
        return self._n_behind[search] > 0  # type: ignore[index]
