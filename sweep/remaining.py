"""Number of trials that a sweep has left: one count for the conductor, the display and ``status``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.study import Study
from sweep.confirm import confirming, winners
from sweep.entry import Entry
from sweep.ledger import read_entries
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
    """

    n_left: int
    n_trials: int
    problem: str = ""


def planned_confirmation(study: Study, entries: Mapping[str, Entry], arm: str) -> list[Entry] | None:
    """Return the confirmation trials of an arm; None before the end of its search."""
    if study.confirm is None:
        return []
    search = [entry for entry in entries.values() if (entry.arm, entry.phase) == (arm, SEARCH)]
    if len(search) < study.trials_per_arm or any(entry.status in LIVING for entry in search):
        return None
    return list(confirming(winners(search, metric=study.metric, count=study.confirm.configs), study.confirm))


def n_unbegun(study: Study, entries: Mapping[str, Entry]) -> int:
    """Return the number of search trials, in all arms, that have not begun."""
    return len(study.arms) * study.trials_per_arm - sum(entry.phase == SEARCH for entry in entries.values())


def n_unconfirmed(study: Study, entries: Mapping[str, Entry], planned: list[Entry] | None) -> int:
    """Return the number of an arm's confirmation trials that have not begun; the winners may not be known yet."""
    if planned is None:
        return study.confirming_per_arm
    return sum(entry.trial not in entries for entry in planned)


def count_remaining(
    study: Study, entries: Mapping[str, Entry], planned: Callable[[str], list[Entry] | None]
) -> Remaining:
    """Count the trials of a sweep.

    Args:
        study: the study.
        entries: trials that have begun, by name.
        planned: returns the confirmation trials of an arm, as :func:`planned_confirmation` does.
    """
    n_living = sum(entry.status in LIVING for entry in entries.values())
    n_unconfirmed_trials = sum(n_unconfirmed(study, entries, planned(arm)) for arm in study.arms)
    n_left = n_living + n_unbegun(study, entries) + n_unconfirmed_trials
    return Remaining(n_left, len(entries) - n_living + n_left)


def count_epochs_left(study: Study, entries: Mapping[str, Entry], planned: Callable[[str], list[Entry] | None]) -> int:
    """Return the number of epochs that are left if no further trial stops early; see ``count_remaining``."""
    planned_epochs = study.max_epochs_of
    living = sum(planned_epochs(entry.params) - entry.epochs for entry in entries.values() if entry.status in LIVING)
    begun = sum(planned_epochs(entry.params) for entry in entries.values() if entry.phase == SEARCH)
    n_confirming = sum(n_unconfirmed(study, entries, planned(arm)) for arm in study.arms)
    return living + sum(map(study.max_epochs_in, study.arms)) - begun + study.budget.max_epochs * n_confirming


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
    entries = {entry.trial: entry for entry in read_entries(sweep_dir, study)}
    for row in read_table(sweep_dir, EPOCHS)[["trial", "epoch", study.metric]].to_dict("records"):
        if row["trial"] in entries:
            entries[row["trial"]].curve[row["epoch"]] = {study.metric: float(row[study.metric])}
    return count_remaining(study, entries, lambda arm: planned_confirmation(study, entries, arm))
