"""Why a trial ended where it did, from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.records.schema import COMPLETED, PAUSED, RUNNING, SPARED, STOPPED


def explain(trial: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence how a trial stands and what early stopping had to do with it.

    Args:
        trial: its row of the trials.
        decisions: its rows of the decisions, in the order of the rungs.
    """
    name, status, epochs = trial["trial"], trial["status"], trial["epochs"]
    if status == STOPPED:
        never = ", and no later trial made room for it" if decisions[-1]["verdict"] == "pause" else ""
        words = f"{name} was stopped {_at_rung(decisions[-1])}{never}"
    elif status == PAUSED:
        words = f"{name} is paused {_at_rung(decisions[-1])}; it may still be promoted"
    elif status == COMPLETED:
        words = f"{name} completed its {epochs} epochs"
    elif status == RUNNING:
        words = f"{name} is running"
    else:  # diverged, failed
        words = f"{name} {status}: {trial['why'].splitlines()[-1]}"
    spared = [decision for decision in decisions if decision["verdict"] == SPARED]
    if trial["control"] == 1:  # null in records of older programs
        words += "; it belongs to the control cohort, which early stopping may not touch"
    if spared:
        words += f", else it would have ended {_at_rung(spared[0])}"
    return f"{words}."


def _at_rung(decision: Mapping[str, Any]) -> str:
    value = decision["value"]
    best = "best " if decision["rule"] == "median" else ""
    compared = f"{best}{decision['metric']} {value:.4g}"
    cutoff = "is not finite" if not math.isfinite(value) else f"> cutoff {decision['cutoff']:.4g}"
    return (
        f"at the rung at epoch {decision['rung_epochs']}: {compared} {cutoff} "
        f"of {decision['n_recorded']} recorded trials"
    )
