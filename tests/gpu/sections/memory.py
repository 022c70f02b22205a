"""Memory of the GPU: how much a network needs, the limit of a trial, and what is left after it."""

from __future__ import annotations

import gc
from functools import partial

import torch

from tests.gpu.context import Context
from tests.gpu.sections.speed import NETWORKS, model_of
from tests.gpu.trials import new_trial, noise_images

GIB = 2**30


def run(context: Context) -> None:
    """Measure the peak of each network."""
    for network in NETWORKS:
        for batch in (context.scale.batch, context.scale.large_batch):
            title = f"peak, {network}, batch {batch}"
            context.part(title, partial(_measure_peak, context, title, network, batch))


def _measure_peak(context: Context, title: str, network: str, batch: int) -> None:
    peak = _peak_bytes(context, network, batch)
    context.need_gpu()
    context.info(title, peak / GIB, "GiB")


def _peak_bytes(context: Context, network: str, batch: int) -> int:
    model = model_of(network, context)
    data = noise_images(context.scale.n_train, context.scale.batch)
    if context.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trial = new_trial(
        data, context.device, model=model.name, width=model.width, batch=batch, sections={"mix": "cutmix"}
    )
    trial.run_epoch()
    del trial
    gc.collect()
    return torch.cuda.max_memory_allocated() if context.on_gpu else 0
