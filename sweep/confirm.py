"""Confirmation: which configurations won, and their trials on fresh seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator

from search_spaces.budget import Confirm
from sweep.entry import Entry
from sweep.records.schema import COMPLETED, CONFIRM


def winners(entries: Iterable[Entry], *, metric: str, count: int) -> list[Entry]:
    """Return the first trial of each of the best configurations of one arm's search, best first.

    Trials of equal drawn values are replicates of a configuration. It is ranked by its mean metric, lower is better,
    after the last planned epoch of those that ran to it: what was stopped early is known at another fidelity. Of equal
    ones the earlier comes first.
    """
    replicates: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.status == COMPLETED:
            replicates.setdefault(json.dumps(entry.params, sort_keys=True), []).append(entry)
    ranked = []
    for alike in replicates.values():
        value = statistics.fmean(entry.curve[entry.epochs][metric] for entry in alike)
        if math.isfinite(value):
            ranked.append((value, alike[0].number, alike[0]))
    return [entry for *_, entry in sorted(ranked, key=lambda row: row[:2])[:count]]


def confirming(won: Iterable[Entry], confirm: Confirm) -> Iterator[Entry]:
    """Yield the trials that confirm an arm's winners, seed by seed: the same seeds for each.

    A trial is named after the one whose configuration it has, so that what was confirmed once stays confirmed.
    """
    won = list(won)
    for seed in range(confirm.seeds):
        for winner in won:
            yield Entry(
                trial=f"{winner.trial}-confirm-{seed:02d}",
                arm=winner.arm,
                number=seed,
                replicate=seed,
                control=False,
                params=winner.params,
                phase=CONFIRM,
                confirms=winner.trial,
            )
