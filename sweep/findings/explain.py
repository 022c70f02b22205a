"""Why a trial ended at its last epoch, from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.early_stopping import RULES
from search_spaces.early_stopping.base import PAUSE, Stopping
from sweep.formats import reason_in_one_line
from sweep.records.schema import CANCELLED, COMPLETED, PAUSED, RUNNING, SPARED, STOPPED, WAITS


def explain(trial: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]) -> str:
    """Return one sentence: the status of a trial and what early stopping decided about it.

    Args:
        trial: the trial's row of the table of trials.
        decisions: the trial's rows of the table of decisions, in the order of the rungs.
    """
    name, status, epochs = trial["trial"], trial["status"], trial["epochs"]
    if status == STOPPED:
        never = ", and was never promoted" if decisions[-1]["verdict"] == PAUSE else ""
        sentence = f"{name} was stopped {_at_rung(decisions[-1])}{never}"
    elif status == PAUSED:
        sentence = f"{name} is paused {_at_rung(decisions[-1])}; it may still be promoted"
    elif status == COMPLETED:
        sentence = f"{name} completed its {epochs} epochs"
    elif status == RUNNING:
        why = str(trial["why"])
        sentence = f"{name} {why}" if why.startswith(WAITS) else f"{name} is running"
    elif status == CANCELLED:
        sentence = f"{name} was stopped {trial['why']}, after {epochs} epochs; no rule decided this"
    else:  # diverged, failed
        fault = f" ({trial['fault']})" if isinstance(trial["fault"], str) else ""
        sentence = f"{name} {status}{fault}: {reason_in_one_line(trial['why'])}"
    spared = [decision for decision in decisions if decision["verdict"] == SPARED]
    if trial["control"] == 1:  # null in records of older versions
        sentence += "; it is a control trial, which no rule may stop"
    if spared:
        sentence += f"; without that it would have ended {_at_rung(spared[0])}"
    return f"{sentence}."


def _at_rung(decision: Mapping[str, Any]) -> str:
    value = decision["value"]
    try:
        judged = RULES[decision["rule"]].judged_value
    except ValueError:  # a rule of one's own that cannot be imported here: the records suffice
        judged = Stopping.judged_value
    judged = judged.format(metric=decision["metric"])
    cutoff = "is not finite" if not math.isfinite(value) else f"> cutoff {decision['cutoff']:.4g}"
    return (
        f"at the rung at epoch {decision['rung_epochs']}: {judged} {value:.4g} {cutoff} "
        f"of {decision['n_recorded']} recorded trials of its search"
    )
