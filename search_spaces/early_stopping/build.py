"""The rule that a study declares."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.budget import (
    AshaStopping,
    EarlyStopping,
    HyperbandStopping,
    MedianStopping,
    NoStopping,
    halving_rungs,
)
from search_spaces.early_stopping.asha import Asha
from search_spaces.early_stopping.base import Rule
from search_spaces.early_stopping.hyperband import Hyperband
from search_spaces.early_stopping.median import Median
from search_spaces.early_stopping.promoting_asha import PromotingAsha


def new_rule(early_stopping: EarlyStopping, max_epochs: int) -> Rule | None:
    """Return a fresh rule for trials of ``max_epochs`` planned epochs; None: all run to the end."""
    match early_stopping:
        case NoStopping():
            return None
        case MedianStopping(grace_period_epochs=first, interval_epochs=step):
            return Median(range(first, max_epochs, step), min_recorded=early_stopping.min_recorded)
        case AshaStopping():
            return _halving(early_stopping, halving_rungs(early_stopping, max_epochs))
        case HyperbandStopping(brackets=brackets):
            rungs = halving_rungs(early_stopping, max_epochs)
            firsts = range(brackets or len(rungs))
            return Hyperband(
                [_halving(early_stopping, rungs[first:]) for first in firsts],
                reduction_factor=early_stopping.reduction_factor,
            )


def _halving(stopping: AshaStopping | HyperbandStopping, rungs: Sequence[int]) -> Asha:
    kind = PromotingAsha if stopping.mode == "promote" else Asha
    return kind(rungs, reduction_factor=stopping.reduction_factor, min_recorded=stopping.min_recorded)
