"""State of one trial of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.early_stopping.base import CONTINUE
from search_spaces.study import Phase
from sweep.curve import Curve
from sweep.records.schema import GPU_OUT_OF_MEMORY, NEIGHBOUR_FAULTS, RUNNING, SEARCH, TEST_METRICS
from trainables.config import TrialConfig

MAX_NEIGHBOUR_FAULTS = 3
"""Number of times that errors of other trials on its GPU may end a trial's worker before the trial gets a whole GPU."""


@dataclass(frozen=True)
class End:
    """How a trial ended or paused.

    Attributes:
        status: status as in the records.
        why: its reason; "" if there is none.
        fault: kind of the failure; None if it has not failed.
    """

    status: str
    why: str
    fault: str | None = None


@dataclass(slots=True)
class Entry:
    """State of one trial.

    Attributes:
        trial: name of the trial.
        arm: name of its arm.
        search: index, from 0, of the search of the arm that the trial belongs to or confirms.
        number: index of the trial within the arm, over all its searches; in a confirmation, index of the seed.
        replicate: number from which, together with the phase, the seed is derived.
        control: whether no rule may stop the trial.
        params: sampled values by dotted path.
        phase: ``search`` or ``confirm``.
        confirms: search trial with the same configuration; None in the search.
        status: status as in the records.
        why: reason of the end or of the pause; "" if there is none.
        fault: kind of the failure, one of ``trainables.faults``; None if the trial has not failed.
        attempts: number of starts: 1, plus 1 per resumption or restart.
        resumed_at_epoch: recorded epochs when the trial was last resumed; None if never. Its state may be older.
        losses: how often the trial has lost its worker, or its GPU memory, by kind of the loss; kinds that it has not
            met are missing.
        curve: reported values by epoch, from 1.
        about: facts that the trial reported about itself: dose, images, device.
        verdict: verdict of early stopping after the last epoch.
        tests: recorded test values by metric.
        model_sha256: checksum of the model; None if the trial has not completed, or an older version recorded it.
        known_epochs: number of epochs that the records mention; rows of some of them may be lost.
        beyond: values of recorded epochs after a lost one, by epoch; they join the curve when it is regained.
        end: how the trial had ended before it was run again to regain what is lost; None if it is not.
        lacks_facts: whether the trial must report about itself or its model again before it ends.
        config: whole configuration while the trial runs; None before and after.
    """

    trial: str
    arm: str
    search: int
    number: int
    replicate: int
    control: bool
    params: dict[str, Any]
    phase: Phase = SEARCH
    confirms: str | None = None
    status: str = RUNNING
    why: str = ""
    fault: str | None = None
    attempts: int = 0
    resumed_at_epoch: int | None = None
    losses: dict[str, int] = field(default_factory=dict)
    curve: MutableMapping[int, Mapping[str, float]] = field(default_factory=Curve)
    about: dict[str, Any] = field(default_factory=dict)
    verdict: str = CONTINUE
    tests: dict[str, float] = field(default_factory=dict)
    model_sha256: str | None = None
    known_epochs: int = 0
    beyond: dict[int, dict[str, float]] = field(default_factory=dict)
    end: End | None = None
    lacks_facts: bool = False
    config: TrialConfig | None = None

    @property
    def epochs(self) -> int:
        """Number of recorded epochs."""
        return len(self.curve)

    def values_of(self, column: str) -> dict[int, float]:
        """Return one of the reported values by epoch."""
        if isinstance(self.curve, Curve):
            return self.curve.column(column)
        return {epoch: row[column] for epoch, row in self.curve.items()}

    @property
    def tested(self) -> bool:
        """Whether all test values are recorded."""
        return self.tests.keys() >= set(TEST_METRICS)

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether the trial does not fit beside others on a GPU, or may be the one whose errors end them."""
        n_faults = self.losses.get(NEIGHBOUR_FAULTS, 0)
        return bool(self.losses.get(GPU_OUT_OF_MEMORY)) or n_faults > MAX_NEIGHBOUR_FAULTS

    @property
    def is_behind(self) -> bool:
        """Whether epochs are lost that the trial had reported."""
        return self.epochs < self.known_epochs
