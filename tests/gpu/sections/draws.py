"""A GPU draws what a CPU draws: masks, partners, lam, crops and flips; a CPU stands in with the GPU's operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from tests.gpu.cases import CASES
from tests.gpu.context import Context
from tests.gpu.trials import PAD_PX, SIDE_PX, Way, describe_difference, new_trial, noise_images
from trainables.data.batches import TrainBatches
from trainables.device_paths import tensor_operations
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer, describe_why_not
from trainables.mixing.presets import PRESETS
from trainables.seeds import generator

COUNTS, CLASSES, T = (24, 24, 13), 10, 0.6
"""Samples of each batch, classes, and the time of the schedule."""
BATCH = COUNTS[0]
MOST_LOSS_GAP = 1e-3
"""Largest relative difference of the loss: devices round differently."""
CPU = torch.device("cpu")


def run(context: Context) -> None:
    """Compare both devices for every preset, then crops and flips, then whole steps."""
    comparisons = {preset: partial(compare_mixing, preset) for preset in PRESETS}
    for name, compare in {**comparisons, "order, crops and flips": compare_batches}.items():
        title = f"CPU draws = GPU draws: {name}"
        context.part(title, partial(_compare, context, title, compare))
    for name, sections in CASES.items():
        if "model" not in sections:  # the generators of networks are on the device
            title = f"steps on a CPU and on a GPU: {name}"
            context.part(title, partial(_compare_steps, context, title, sections))


def _compare(context: Context, title: str, compare: Callable[[torch.device], str]) -> None:
    difference = compare(context.device)
    on_cpu = "" if context.on_gpu else "by the GPU's operations on a CPU"
    context.check(title, not difference, remark=difference or on_cpu)


def _compare_steps(context: Context, title: str, sections: dict[str, Any]) -> None:
    """Train for three steps on both: what is drawn is equal, what is computed nearly."""
    data = noise_images(n_train=3 * BATCH, n_val=BATCH)
    way = Way(precision="fp32")
    of_cpu, result = (
        new_trial(data, device, batch=BATCH, way=way, sections=sections).run_epoch() for device in (CPU, context.device)
    )
    context.need_gpu()
    loss_gap = abs(result.train_loss / of_cpu.train_loss - 1)
    area_gap = abs(result.pasted_frac - of_cpu.pasted_frac)
    holds = result.effective_prob == of_cpu.effective_prob and area_gap < 1e-6 and loss_gap < MOST_LOSS_GAP
    context.check(title, holds, loss_gap, "", f"relative gap of the loss; gap of the pasted area {area_gap:.1e}")


def compare_mixing(preset: str, device: torch.device) -> str:
    """Return how draws, mixed images and mixed targets differ from those of the CPU; empty if they do not."""
    of_cpu = list(_mixed(preset, CPU))
    with tensor_operations():  # a GPU has no others
        difference = describe_difference(of_cpu, list(_mixed(preset, device)))
        if difference or describe_why_not(Mix.model_validate(preset), boxes=True):
            return difference
        planned = list(_mixed(preset, device, ahead=True))
    common = [{name: batch[name] for name in planned[0]} for batch in of_cpu]
    return describe_difference(common, planned)


def _mixed(preset: str, device: torch.device, *, ahead: bool = False) -> Iterator[dict[str, Any]]:
    """Yield draws and what they make of images, batch by batch, the last one smaller.

    Args:
        preset: the policy.
        device: where it is drawn.
        ahead: draw the numbers of all batches before the first is rendered.
    """
    mix, inputs = Mix.model_validate(preset), generator(preset, "images")
    drawer = MixDrawer(mix, rng=generator(preset, "mix"), device=device, n_samples=sum(COUNTS))
    views = [_view(count, inputs, device) for count in COUNTS]
    plans = [drawer.plan(view, T) for view in views] if ahead else []
    for number, view in enumerate(views):
        facts: dict[str, Any] = {}
        if ahead:
            numbers = {name: torch.from_numpy(values).to(device) for name, values in plans[number].items()}
            draw = drawer.render(numbers, view)
        else:
            draw = drawer.draw(view, T)
            facts = {"applied": draw.applied, "lam_nominal": draw.lam_nominal}
        targets = mix_targets(torch.from_numpy(view.labels).to(device), draw, n_classes=CLASSES)
        images = mix_images(view.images, draw)
        yield facts | {"lam": draw.lam, "weight": draw.weight, "images": images, "targets": targets}


def _view(count: int, inputs: np.random.Generator, device: torch.device) -> BatchView:
    """Return a batch with images and boxes."""
    pixels = inputs.random((count, SIDE_PX, SIDE_PX, 3), dtype=np.float32)
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    corners = np.sort(inputs.integers(0, SIDE_PX + 1, (count, 2, 2)), axis=1).reshape(count, 4)
    maps = torch.from_numpy(inputs.random((count, 4, 4), dtype=np.float32)).to(device)
    shape, labels = (count, 3, SIDE_PX, SIDE_PX), inputs.integers(CLASSES, size=count)
    return BatchView(shape, labels, images, corners, lambda _: maps)


def compare_batches(device: torch.device) -> str:
    """Return how the batches of two epochs differ from those of the CPU; empty if they do not."""
    return describe_difference(list(_batches(CPU)), list(_batches(device)))


def _batches(device: torch.device) -> Iterator[dict[str, torch.Tensor | np.ndarray | None]]:
    data = noise_images(n_train=50, n_val=14)
    batches = TrainBatches(
        data.padded,
        data.images.labels,
        data.train_rows,
        pad_px=PAD_PX,
        batch_size=BATCH,
        flip=True,
        device=device,
        boxes=data.images.boxes,
    )
    order, augment = generator("order"), generator("augment")
    for _ in range(2):
        for batch in batches.epoch(order_rng=order, augment_rng=augment):
            yield {"images": batch.images, "labels": batch.labels, "classes": batch.classes, "boxes": batch.boxes}
