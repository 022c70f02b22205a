"""What the steps wait for and copy on the real device, as CUDA itself reports it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tests.gpu.cases import CASES
from tests.gpu.context import Context, NotRun
from tests.gpu.trials import Way, new_trial, noise_images
from trainables.trial import Trial

LONGER = 2
"""Steps of two epochs, as a ratio: the difference of their counts belongs to the steps alone."""


def run(context: Context) -> None:
    """Count waits for every case, in captured steps where there are any; copies, which take longer, for CutMix."""
    for name, sections in CASES.items():
        title = f"waits per step: {name}"
        context.part(title, partial(_count, context, title, sections, Way(), _waits, most=0))
    for step in ("eager", "auto"):
        title = f"copies to the device per step: cutmix, {step}"
        context.part(title, partial(_count, context, title, CASES["cutmix"], Way(step), _copies, most=0))


def _count(
    context: Context, title: str, sections: dict[str, Any], way: Way, count: Callable[[Trial], int], *, most: float
) -> None:
    """Count in the second epochs of two trials, which differ in their number of steps."""
    batch, counts = context.scale.check_batch, []
    shorter = context.scale.check_steps
    for steps in (shorter, LONGER * shorter):
        data = noise_images(n_train=steps * batch, n_val=batch)
        trial = new_trial(data, context.device, batch=batch, way=way, sections=sections)
        trial.run_epoch()
        counts.append(count(trial))
    context.need_gpu()
    per_step = (counts[1] - counts[0]) / ((LONGER - 1) * shorter)
    context.check(title, per_step <= most, per_step, remark=f"{trial.step_kind}, {counts[0]} in the shorter epoch")


def _waits(trial: Trial) -> int:
    """Return how often CUDA makes the host wait in an epoch."""
    if not torch.cuda.is_available():
        trial.run_epoch()
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trial.run_epoch()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def _copies(trial: Trial) -> int:
    """Return the number of copies from the host to the device in an epoch."""
    if not torch.cuda.is_available():
        trial.run_epoch()
        return 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        trial.run_epoch()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events()]
    if not names:
        raise NotRun("the profiler reports nothing: it has no access to the counters of the GPU")
    return sum("Memcpy HtoD" in name for name in names)
