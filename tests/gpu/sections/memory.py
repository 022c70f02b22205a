"""Memory of the GPU: how much a network needs, the limit of a trial, and what is left after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch

from tests.gpu.context import Context
from tests.gpu.sections.speed import NETWORKS, model_of
from tests.gpu.trials import describe_difference, new_trial, noise_images, run_epochs, saved_state
from trainables.data.resident import release_images, set_streaming
from trainables.gpu_memory import claim_memory, is_out_of_gpu_memory, memory_fraction, release_memory
from trainables.trial import Trial

GIB = 2**30
SMALL_SHARE = 0.05
"""Share of the GPU in the test of the limit."""
MOST_LEFT_BYTES = 128 * 2**20
"""Largest memory that the allocator may keep after a trial; cuBLAS keeps its workspaces."""


def run(context: Context) -> None:
    """Measure the peak of each network, then check the limit and what happens beyond it."""
    for network in NETWORKS:
        for batch in (context.scale.batch, context.scale.large_batch):
            title = f"peak, {network}, batch {batch}"
            context.part(title, partial(_measure_peak, context, title, network, batch))
    for title, check in (
        ("images shared by two trials", _check_shared_images),
        ("released after a trial", _check_released),
        ("the share of a trial is its limit", _check_limit),
        ("out of memory, then alone", _check_out_of_memory),
    ):
        context.part(title, partial(check, context, title))


def _measure_peak(context: Context, title: str, network: str, batch: int) -> None:
    peak_bytes = _peak_bytes(context, network, batch)
    context.need_gpu()
    context.info(title, peak_bytes / GIB, "GiB")


def _peak_bytes(context: Context, network: str, batch: int) -> int:
    """Return the largest memory of all tensors of a trial, images included, in one epoch."""
    _release()
    if context.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    _small_trial(context, network, batch).run_epoch()
    return torch.cuda.max_memory_allocated() if context.on_gpu else 0


def _check_shared_images(context: Context, title: str) -> None:
    """A second trial of a process does not copy the images again."""
    _release()
    trials, used_bytes = [], []
    for _ in range(2):
        trials.append(run_epochs(_small_trial(context, "tiny", context.scale.batch, context.scale.n_train), 1))
        used_bytes.append(torch.cuda.memory_allocated() if context.on_gpu else 0)
    context.need_gpu()
    more_bytes, image_bytes = used_bytes[1] - used_bytes[0], trials[0].images.images.nbytes
    context.check(title, more_bytes < image_bytes, more_bytes / 2**20, "MiB", f"images: {image_bytes / 2**20:.0f} MiB")


def _check_released(context: Context, title: str) -> None:
    """A worker that goes to the next trial keeps no memory of the last one."""
    _small_trial(context, "resnet18", context.scale.batch).run_epoch()
    _release()
    context.need_gpu()
    left_bytes = torch.cuda.memory_reserved()
    context.check(title, left_bytes <= MOST_LEFT_BYTES, left_bytes / 2**20, "MiB")


def _check_limit(context: Context, title: str) -> None:
    """Tensors are allocated until the limit of a small share: the error comes at it, not before and not after."""
    blocks: list[torch.Tensor] = []
    _release()
    with _limited(context, SMALL_SHARE):
        context.need_gpu()
        total_bytes = torch.cuda.get_device_properties(0).total_memory
        limit_bytes = memory_fraction(SMALL_SHARE, total_bytes) * total_bytes
        try:
            while torch.cuda.memory_reserved() <= 2 * limit_bytes:
                blocks.append(torch.empty(2**26, dtype=torch.uint8, device=context.device))
        except torch.OutOfMemoryError:
            pass
        used_bytes = torch.cuda.memory_reserved()
        blocks.clear()
        holds = 0.9 * limit_bytes <= used_bytes <= limit_bytes
        context.check(title, holds, used_bytes / GIB, "GiB", f"the limit is {limit_bytes / GIB:.2f} GiB")


def _check_out_of_memory(context: Context, title: str) -> None:
    """A trial in a share that is too small fails by a real allocation; alone it computes what it computes anyway."""
    batch = context.scale.large_batch
    peak_bytes = _peak_bytes(context, "resnet18", batch)
    state = saved_state(run_epochs(_small_trial(context, "resnet18", batch), 1))
    _release()
    total_bytes = torch.cuda.get_device_properties(0).total_memory if context.on_gpu else 1
    error: BaseException | None = None
    with _limited(context, peak_bytes / total_bytes / 4):
        try:
            _small_trial(context, "resnet18", batch).run_epoch()
        except RuntimeError as raised:
            error = raised.with_traceback(None)  # its frames hold tensors
    _release()
    left_bytes = torch.cuda.memory_reserved() if context.on_gpu else 0
    set_streaming(True)  # as the product does for a trial that runs again
    alone = run_epochs(_small_trial(context, "resnet18", batch), 1)
    set_streaming(False)
    difference = describe_difference(state, saved_state(alone))
    is_seen = error is not None and is_out_of_gpu_memory(error)
    context.check(
        title,
        is_seen and not difference and (left_bytes <= MOST_LEFT_BYTES),
        left_bytes / 2**20,
        "MiB left",
        f"{'' if context.on_gpu else 'simulated: '}{'out of memory' if is_seen else error!r}, then"
        f" {difference or 'the same bits alone'}",
    )


@contextlib.contextmanager
def _limited(context: Context, share: float) -> Iterator[None]:
    """Bound the memory as the worker of a trial with a share of the GPU does; a CPU raises the error at once."""
    if not context.on_gpu:
        with mock.patch.object(Trial, "run_epoch", side_effect=torch.OutOfMemoryError("CUDA out of memory")):
            yield
        return
    claim_memory(share)
    try:
        yield
    finally:
        claim_memory(1.0)


def _small_trial(context: Context, network: str, batch: int, n_train: int | None = None) -> Trial:
    """Return a trial, by default with an epoch of four batches."""
    model = model_of(network, context)
    return new_trial(
        noise_images(n_train or 4 * batch, batch),
        context.device,
        model=model.name,
        width=model.width,
        batch=batch,
        sections={"mix": "cutmix"},
    )


def _release() -> None:
    release_images()
    release_memory()
