"""What is known of one trial of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from search_spaces.early_stopping.base import CONTINUE
from search_spaces.study import Phase
from sweep.records.schema import RUNNING, SEARCH
from trainables.config import TrialConfig


@dataclass
class Entry:
    """What is known of one trial.

    Attributes:
        trial: its name.
        arm: condition that it belongs to.
        number: its number within the arm's search, or of its seed in a confirmation.
        replicate: decides on its seed, together with the phase.
        control: whether early stopping may not touch it.
        params: what was drawn, by dotted path.
        phase: ``search`` or ``confirm``.
        confirms: trial of the search whose configuration it has.
        status: as in the records.
        why: why it ended or waits.
        attempts: how often it was begun.
        resumed_at_epoch: epoch after which it was last taken up again.
        curve: what it reported, by epoch.
        about: what it reported of itself.
        verdict: of early stopping on its last epoch.
        tested: whether its test values are recorded.
        config: its whole configuration, once that was needed.
    """

    trial: str
    arm: str
    number: int
    replicate: int
    control: bool
    params: dict[str, Any]
    phase: Phase = SEARCH
    confirms: str | None = None
    status: str = RUNNING
    why: str = ""
    attempts: int = 0
    resumed_at_epoch: int | None = None
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    verdict: str = CONTINUE
    tested: bool = False
    config: TrialConfig | None = None

    @property
    def epochs(self) -> int:
        """Epochs recorded."""
        return len(self.curve)
