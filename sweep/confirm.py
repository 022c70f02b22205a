"""Confirmation: the winners of each arm, and their trials on fresh seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from search_spaces.budget import MAX_SEEDS, Confirm
from sweep.entry import Entry
from sweep.findings.confirmed import RankedTrial, ranked
from sweep.records.schema import COMPLETED, CONFIRM

_CONFIRM = "-confirm-"


def winners(entries: Iterable[Entry], *, metric: str, count: int) -> list[Entry]:
    """Return the first trial of each of the best configurations of one search, best first; see :func:`ranked`."""
    by_name = {entry.trial: entry for entry in entries}
    rows = [
        RankedTrial(
            trial=entry.trial,
            number=entry.number,
            configuration=json.dumps(entry.params, sort_keys=True),
            value=entry.curve[entry.epochs][metric] if entry.status == COMPLETED else None,
        )
        for entry in by_name.values()
    ]
    return [by_name[name] for name in ranked(rows)[:count]]


def confirming(first_trials: Iterable[Entry], confirm: Confirm) -> Iterator[Entry]:
    """Yield the trials that confirm the winners of a search, seed by seed: the same seeds for each winner."""
    first_trials = list(first_trials)
    for seed in range(confirm.seeds):
        for winner in first_trials:
            yield confirmation(winner, seed)


def confirmation(winner: Entry, seed: int) -> Entry:
    """Return the trial that confirms a winner on one seed.

    Each search has seeds of its own, the same in all arms. The name of a trial contains the search trial with its
    configuration, so that a confirmed configuration stays confirmed if the order of the winners changes.
    """
    return Entry(
        trial=f"{winner.trial}{_CONFIRM}{seed:02d}",
        arm=winner.arm,
        search=winner.search,
        number=seed,
        replicate=MAX_SEEDS * winner.search + seed,
        control=False,
        params=winner.params,
        phase=CONFIRM,
        confirms=winner.trial,
    )


def parse_confirmation(trial: str) -> tuple[str, int] | None:
    """Return winner and seed of the name of a confirmation trial; None for a search trial.

    Examples:
        >>> parse_confirmation("off-0004-confirm-02"), parse_confirmation("off-0004")
        (('off-0004', 2), None)
    """
    winner, confirm, seed = trial.partition(_CONFIRM)
    return (winner, int(seed)) if confirm and seed.isdecimal() else None
