"""What the steps wait for and copy on the real device, as CUDA itself reports it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tests.gpu.cases import CASES
from tests.gpu.context import Context, NotRun
from tests.gpu.trials import Way, new_trial, noise_images, run_epochs

MOST_PER_EPOCH = 4
"""Waits, and copies, of the training of an epoch: its table is copied, and its sums are read. Steps add nothing."""


def run(context: Context) -> None:
    """Count waits for every case, in captured steps where there are any; copies, which take longer, for CutMix."""
    for name, sections in CASES.items():
        title = f"waits of an epoch: {name}"
        context.part(title, partial(_count, context, title, sections, Way(), _waits))
    for step in ("eager", "auto"):
        title = f"copies to the device in an epoch: cutmix, {step}"
        context.part(title, partial(_count, context, title, CASES["cutmix"], Way(step), _copies))


def _count(
    context: Context, title: str, sections: dict[str, Any], way: Way, count: Callable[[Callable[[], Any]], int]
) -> None:
    """Count in the second epoch of a trial, and leave out what its validation does."""
    batch, steps = context.scale.check_batch, context.scale.check_steps
    data = noise_images(n_train=steps * batch, n_val=batch)
    trial = run_epochs(new_trial(data, context.device, batch=batch, way=way, sections=sections), 1)
    counted = count(trial.run_epoch) - count(trial.validate)
    context.need_gpu()
    context.check(title, counted <= MOST_PER_EPOCH, counted, "", f"{steps} steps, {trial.step_kind}")


def _waits(function: Callable[[], Any]) -> int:
    """Return how often CUDA makes the host wait."""
    if not torch.cuda.is_available():
        function()
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught)


def _copies(function: Callable[[], Any]) -> int:
    """Return the number of copies from the host to the device."""
    if not torch.cuda.is_available():
        function()
        return 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        function()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events()]
    if not names:
        raise NotRun("the profiler reports nothing: it has no access to the counters of the GPU")
    return sum("Memcpy HtoD" in name for name in names)
