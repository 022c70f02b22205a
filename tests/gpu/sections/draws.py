"""A GPU draws what a CPU draws: masks, partners, lam, crops and flips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from tests.gpu.context import Context
from tests.gpu.trials import PAD_PX, SIDE_PX, describe_difference, noise_images
from trainables.data.batches import TrainBatches
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer
from trainables.mixing.presets import PRESETS
from trainables.seeds import generator

BATCH, BATCHES, CLASSES = 24, 3, 10
CPU = torch.device("cpu")


def run(context: Context) -> None:
    """Compare both devices for every preset, then crops and flips."""
    comparisons = {preset: partial(compare_mixing, preset) for preset in PRESETS}
    for name, compare in {**comparisons, "order, crops and flips": compare_batches}.items():
        title = f"CPU draws = GPU draws: {name}"
        context.part(title, partial(_compare, context, title, compare))


def _compare(context: Context, title: str, compare: Callable[[torch.device], str]) -> None:
    difference = compare(context.device)
    context.need_gpu()
    context.check(title, not difference, remark=difference)


def compare_mixing(preset: str, device: torch.device) -> str:
    """Return how draws, mixed images and mixed targets differ from those of the CPU; empty if they do not."""
    return describe_difference(list(_mixed(preset, CPU)), list(_mixed(preset, device)))


def _mixed(preset: str, device: torch.device) -> Iterator[dict[str, torch.Tensor | np.ndarray]]:
    """Yield draws and what they make of images, batch by batch, the last one smaller."""
    mix, inputs = Mix.model_validate(preset), generator(preset, "images")
    counts = [BATCH] * (BATCHES - 1) + [BATCH // 2 + 1]
    drawer = MixDrawer(mix, rng=generator(preset, "mix"), device=device, n_samples=sum(counts))
    for count in counts:
        pixels = inputs.random((count, SIDE_PX, SIDE_PX, 3), dtype=np.float32)
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
        labels = inputs.integers(CLASSES, size=count)
        corners = np.sort(inputs.integers(0, SIDE_PX + 1, (count, 2, 2)), axis=1).reshape(count, 4)
        draw = drawer.draw(BatchView((count, 3, SIDE_PX, SIDE_PX), labels, images, corners), t=0.6)
        targets = mix_targets(torch.from_numpy(labels).to(device), draw, n_classes=CLASSES)
        yield {
            "applied": draw.applied,
            "partner": draw.partner,
            "lam": draw.lam,
            "lam_nominal": draw.lam_nominal,
            "weight": draw.weight,
            "images": mix_images(images, draw),
            "targets": targets,
        }


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
