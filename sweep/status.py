"""Progress and results of a sweep at any instant: what ``status`` prints, and what ``status --json`` contains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from sweep.driver import Driver, find_driver
from sweep.endings import FAILED_CODE, NO_RESULT_CODE
from sweep.findings.cancelled import describe_cancelled
from sweep.findings.confirmed import (
    COLUMNS,
    WINNER_COLUMNS,
    UnequalTestSets,
    search_winners,
    summarise_confirmed,
    verdict_confirmed,
)
from sweep.findings.searches import n_searches
from sweep.findings.summary import baseline_arm, summarise_arms, verdict
from sweep.manifest import command_to_resume
from sweep.records.reader import SweepRecords, read_both_phases, read_manifest, read_table
from sweep.records.schema import COMPLETED, CONFIRM, DIVERGED, FAILED, LIVING, TRIALS
from sweep.remaining import Remaining, read_remaining

State = Literal["ended", "running", "interrupted"]

ENDED: State = "ended"
"""State: all trials have ended."""

ACTIVE: State = "running"
"""State: a process runs the sweep."""

INTERRUPTED: State = "interrupted"
"""State: trials are left, and no process runs them."""

FindDriver = Callable[[Path], Driver | None]
"""Function from the folder of a sweep to the process that runs it."""


class Progress(NamedTuple):
    """How far a sweep is.

    Attributes:
        remaining: number of trials that are left.
        state: ``ended``, ``running`` or ``interrupted``.
        driver: process that runs the sweep; None unless the state is ``running``.
    """

    remaining: Remaining
    state: State
    driver: Driver | None


def read_progress(sweep_dir: Path, manifest: Mapping[str, Any], *, find: FindDriver | None = None) -> Progress:
    """Read how far a sweep is, given the content of its ``sweep.json``; ``find``: as in :func:`read_status`."""
    remaining = read_remaining(sweep_dir, manifest)
    driver = (find or find_driver)(sweep_dir) if remaining.n_left else None
    state: State = ENDED if not remaining.n_left else INTERRUPTED if driver is None else ACTIVE
    return Progress(remaining, state, driver)


@dataclass(frozen=True)
class SweepStatus:
    """Progress and results of a sweep.

    Attributes:
        search: records of the search.
        confirm: records of the confirmation.
        remaining: number of trials that are left.
        state: ``ended``, ``running`` or ``interrupted``.
        driver: process that runs the sweep; None unless the state is ``running``.
        baseline: arm that the others are compared with.
        arms: from ``summarise_arms``, in the order of the study.
        confirmed: from ``summarise_confirmed``.
        winners: from ``search_winners``.
        verdict: sentences about the confirmation; before its first test values, about the search.
        is_comparable: whether all confirmation trials were measured on equally many test images.
    """

    search: SweepRecords
    confirm: SweepRecords
    remaining: Remaining
    state: State
    driver: Driver | None
    baseline: str
    arms: pd.DataFrame
    confirmed: pd.DataFrame
    winners: pd.DataFrame
    verdict: str
    is_comparable: bool = True

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial of both phases."""
        trials = self.search.trials
        return pd.concat([trials, self.confirm.trials]) if len(self.confirm.trials) else trials

    @cached_property
    def unconfirmed(self) -> list[tuple[str, int]]:
        """Arm and index of each search of the study without a completed confirmation trial of its winner."""
        study = self.search.manifest["study"]
        if study.get("confirm") is None or not self.is_comparable:
            return []
        first = self.winners[self.winners["rank"] == 1]
        confirmed = set(zip(first["arm"], first["search"], strict=True))
        searches = [(arm, index) for arm in study["arms"] for index in range(n_searches(study))]
        return [search for search in searches if search not in confirmed]

    @property
    def exit_code(self) -> int:
        """Exit code of the command that ran the sweep, once it has ended."""
        if self.state == ENDED and (self.arms["n_completed"] == 0).any():
            return NO_RESULT_CODE
        return FAILED_CODE if (self.trials["status"] == FAILED).any() else 0

    @property
    def training_s(self) -> float:
        """Seconds of all recorded epochs."""
        return float(self.search.epochs["seconds"].sum() + self.confirm.epochs["seconds"].sum())

    @cached_property
    def failures(self) -> list[dict[Any, Any]]:
        """Rows of the failed trials, and of the confirmation trials that diverged: these have no test value."""
        phase, status = self.trials["phase"], self.trials["status"]
        failed = (status == FAILED) | ((phase == CONFIRM) & (status == DIVERGED))
        return self.trials[failed].to_dict("records")


def read_status(sweep_dir: Path, *, find: FindDriver | None = None) -> SweepStatus:
    """Read the progress and the results of a sweep.

    Args:
        sweep_dir: folder of the sweep.
        find: returns the process that runs the sweep; None: it is looked for, which may take ``EXPIRY_S``.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
    """
    search, confirm = read_both_phases(sweep_dir)
    study = search.manifest["study"]
    place = {arm: number for number, arm in enumerate(study["arms"])}
    arms = summarise_arms(search.trials, search.epochs).sort_values("arm", key=lambda names: names.map(place))
    (remaining, state, driver), baseline = read_progress(sweep_dir, search.manifest, find=find), baseline_arm(study)
    try:
        confirmed, winners = summarise_confirmed(search, confirm), search_winners(search, confirm)
        if confirmed.empty:
            sentence = verdict(arms, unfinished=remaining.n_left > 0)
        else:
            sentence = verdict_confirmed(confirmed, study, unfinished=remaining.n_left > 0)
        is_comparable = True
    except UnequalTestSets as error:
        confirmed, winners = pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=WINNER_COLUMNS)
        sentence, is_comparable = f"There is no result: {error}.", False
    if cancelled := describe_cancelled(pd.concat([search.trials, confirm.trials])):
        sentence = f"{sentence} {cancelled}"
    return SweepStatus(
        search, confirm, remaining, state, driver, baseline, arms, confirmed, winners, sentence, is_comparable
    )


def describe_unfinished(sweep_dir: Path) -> str:
    """Return what a result of the sweep lacks: trials that are left with the command that continues them, and more.

    Returns:
        Sentences; "" if all trials have ended and no confirmation is missing.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.

    Examples:
        >>> describe_unfinished(Path("sweeps/box"))  # doctest: +SKIP
        'So far: 5 of 8 trials have ended. 3 trials are left: 3 of the search. The sweep was interrupted; ...'
    """
    manifest = read_manifest(sweep_dir)
    progress = read_progress(sweep_dir, manifest)
    if progress.state != ENDED:
        return " ".join(_describe_left(sweep_dir, manifest, progress))
    problem = progress.remaining.problem
    unknown = [f"The number of trials left is not known: {problem}."] if problem else []
    return " ".join([*unknown, *_describe_unconfirmed(read_table(sweep_dir, TRIALS), progress.remaining.dropped)])


def _describe_left(sweep_dir: Path, manifest: Mapping[str, Any], progress: Progress) -> Iterator[str]:
    remaining, driver = progress.remaining, progress.driver
    ended, left = remaining.n_trials - remaining.n_left, _trials(remaining.n_left)
    yield f"So far: {ended} of {_trials(remaining.n_trials)} {'has' if remaining.n_trials == 1 else 'have'} ended."
    phases = {"search": remaining.n_left - remaining.n_to_confirm, "confirmation": remaining.n_to_confirm}
    counts = [f"{number} of the {phase}" for phase, number in phases.items() if number]
    yield f"{left} {'is' if remaining.n_left == 1 else 'are'} left: {', '.join(counts)}."
    if remaining.problem:
        yield f"Trials that have not begun are not counted: {remaining.problem}."
    if driver is None:
        yield f"The sweep was interrupted; resume with: {command_to_resume(sweep_dir, manifest)}"
        return
    yield f"The sweep is running: {driver.describe()}."
    if driver.stalled:
        yield f"It is stalled: {driver.stalled}."


def _describe_unconfirmed(trials: pd.DataFrame, dropped: Mapping[str, int]) -> Iterator[str]:
    """Yield which confirmation trials of a finished sweep have no test value."""
    confirming = trials[trials["phase"] == CONFIRM]
    missing = confirming["status"][~confirming["status"].isin((COMPLETED, *LIVING))].value_counts()
    if len(missing):
        counts = ", ".join(f"{count} {status}" for status, count in missing.items())
        yield f"{missing.sum()} of {_trials(len(confirming), 'confirmation trial')} without a test value: {counts}."
    if dropped:
        counts = ", ".join(f"{count} of {arm}" for arm, count in dropped.items())
        yield f"Confirmation trials that are left out, because too few search trials completed: {counts}."


def _trials(number: int, noun: str = "trial") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
