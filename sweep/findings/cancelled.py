"""Trials that a person stopped: how many, in words. No result uses their values."""

from __future__ import annotations

import pandas as pd

from sweep.findings.summary import list_names
from sweep.records.schema import CANCELLED, CONFIRM


def describe_cancelled(trials: pd.DataFrame) -> str:
    """Return sentences about the trials that a person stopped; "" if there are none.

    Args:
        trials: rows of the table of trials, of one phase or both.

    Examples:
        >>> trials = pd.DataFrame({"arm": ["off", "off", "cutmix"], "phase": "search", "status": "cancelled"})
        >>> print(describe_cancelled(trials))
        A person stopped 3 search trials (off 2 and cutmix 1): they are left out, so the arms have unequal budgets.
        >>> print(describe_cancelled(trials.head(1).assign(phase="confirm")))
        A person stopped 1 confirmation trial (off 1): its seed is missing.
    """
    cancelled = trials[trials["status"] == CANCELLED]
    is_confirmation = cancelled["phase"] == CONFIRM
    search, confirm = cancelled[~is_confirmation], cancelled[is_confirmation]
    sentences = []
    if len(search):
        left_out = "it is" if len(search) == 1 else "they are"
        sentences.append(f"{_stopped(search, 'search')}: {left_out} left out, so the arms have unequal budgets.")
    if len(confirm):
        missing = "its seed is" if len(confirm) == 1 else "their seeds are"
        sentences.append(f"{_stopped(confirm, 'confirmation')}: {missing} missing.")
    return " ".join(sentences)


def _stopped(trials: pd.DataFrame, phase: str) -> str:
    counts = trials["arm"].value_counts(sort=False)
    arms = list_names([f"{arm} {count}" for arm, count in counts.items() if count])
    return f"A person stopped {len(trials)} {phase} trial{'' if len(trials) == 1 else 's'} ({arms})"
