"""Trials that did not fit in the memory of their share of a GPU: how many ran again alone, in words."""

from __future__ import annotations

import pandas as pd

from sweep.records.schema import GPU_OUT_OF_MEMORY, PAUSED, RUNNING

_NOT_ENDED = "not ended"


def describe_gpu_memory(trials: pd.DataFrame) -> str:
    """Return a sentence about the trials that ran out of GPU memory; "" if there are none.

    Args:
        trials: rows of the table of trials, of one phase or both.

    Examples:
        >>> trials = pd.DataFrame({"status": ["completed", "running", "failed"], "gpu_out_of_memory": [0, 1, 2]})
        >>> describe_gpu_memory(trials)
        '2 trials did not fit in the memory of their share of a GPU; with a whole GPU: 1 failed, 1 not ended.'
    """
    status = trials["status"][trials[GPU_OUT_OF_MEMORY] > 0]
    if status.empty:
        return ""
    counts = status.replace(dict.fromkeys((RUNNING, PAUSED), _NOT_ENDED)).value_counts().sort_index()
    outcomes = ", ".join(f"{number} {name}" for name, number in counts.items())
    noun, whose = ("trial", "its") if len(status) == 1 else ("trials", "their")
    return f"{len(status)} {noun} did not fit in the memory of {whose} share of a GPU; with a whole GPU: {outcomes}."
