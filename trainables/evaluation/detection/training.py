"""Training a detector, and finding objects with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trainables.evaluation.detection.average_precision import Detections
from trainables.evaluation.detection.backbone_maps import freeze_norms
from trainables.evaluation.detection.box_images import BoxImages, Objects
from trainables.evaluation.own_generators import own_generators
from trainables.seeds import derive_seed, generator

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""Of both original papers (Liu et al., ECCV 2016, section 3; Ren et al., NeurIPS 2015, section 3.1.3)."""

WARMUP_FRAC = 0.05
"""Fraction of the steps in which the learning rate rises linearly from zero."""

DECAY = 0.1
MAX_GRADIENT_NORM = 10.0
"""Norm to which longer gradients are cut: single steps from scratch are otherwise large enough to end in NaN."""


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained: stochastic gradient descent with momentum.

    Attributes:
        steps: number of steps.
        batch_size: images per step.
        lr: peak learning rate.
        decay_at: fractions of the steps after which the rate falls to a tenth.
    """

    steps: int
    batch_size: int
    lr: float
    decay_at: tuple[float, ...]

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, from 0.

        Examples:
            >>> recipe = Recipe(steps=100, batch_size=8, lr=0.1, decay_at=(0.8,))
            >>> [round(recipe.lr_at(step), 4) for step in (0, 4, 50, 80)]
            [0.02, 0.1, 0.1, 0.01]
        """
        warm = min(1.0, (step + 1) / max(1.0, WARMUP_FRAC * self.steps))
        return self.lr * warm * DECAY ** sum(step >= round(part * self.steps) for part in self.decay_at)


class Diverged(ValueError):
    """A training ended in weights that are no numbers."""


def train_detector(
    detector: nn.Module,
    images: BoxImages,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    augmented: str | None = None,
    frozen: nn.Module | None = None,
) -> None:
    """Train a detector of torchvision, in float32; objects that are difficult are left out.

    The result depends on the arguments alone. torchvision samples proposals with torch's global generators, which are
    seeded for the training and restored afterwards. On a GPU, the sums of RoIAlign's backward pass have no fixed
    order: Faster R-CNN then differs from call to call.

    Args:
        detector: the detector, on the device.
        images: training images.
        recipe: the schedule.
        seed: seed of the order of the images, of augmentation and of sampled proposals.
        device: device of the training.
        augmented: name of the detector whose augmentation is used, see :func:`augmentation`; None: no augmentation.
        frozen: the part whose batch norms stay as they are; None: all norms are trained.

    Raises:
        Diverged: weights are no longer finite.
    """
    drawn = _Drawn(images, recipe, seed=seed, augmented=augmented)
    detector.train()
    if frozen is not None:
        freeze_norms(frozen)
    parameters = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    with own_generators(derive_seed(seed, "proposals"), device):
        for step, batch in enumerate(_loader(drawn, recipe.batch_size, in_memory=images.in_memory)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step)
            pixels = [_as_input(image, device) for image, _ in batch]
            targets = [{key: value.to(device) for key, value in target.items()} for _, target in batch]
            losses = detector(pixels, targets)
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
            optimizer.step()
    detector.eval()
    if not all(bool(parameter.isfinite().all()) for parameter in parameters):
        raise Diverged("the training diverged")


def find_objects(
    detector: nn.Module, images: BoxImages, rows: Sequence[int], *, batch_size: int, device: torch.device
) -> list[Detections]:
    """Return the detections in images, in the order of ``rows``; images are decoded some at a time."""
    found: list[Detections] = []
    loader = _loader(_Stored(images, rows), batch_size, in_memory=images.in_memory)
    with torch.inference_mode():
        for batch in loader:
            for each in detector.eval()([_as_input(image, device) for image in batch]):
                boxes, scores, labels = (each[key].cpu().numpy() for key in ("boxes", "scores", "labels"))
                found.append(Detections(boxes, scores, labels - 1))  # class 0 is the background
    return found


class _Drawn(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """The training images in the order of a training, augmented by the seed and their place in this order."""

    def __init__(self, images: BoxImages, recipe: Recipe, *, seed: int, augmented: str | None) -> None:
        self.images, self.seed = images, seed
        self.augment = augmentation(augmented, flips=images.flips) if augmented else None
        rng, count = generator(seed, "order"), recipe.steps * recipe.batch_size
        self.order = np.concatenate([rng.permutation(len(images)) for _ in range(-(-count // len(images)))])[:count]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        row = int(self.order[place])
        image = torch.from_numpy(self.images.image(row).transpose(2, 0, 1).copy())
        objects = self.images.objects(row).easy()
        if self.augment is not None:
            with own_generators(derive_seed(self.seed, "augmentation", place)):
                image, objects = _augmented(self.augment, image, objects)
        target = {"boxes": torch.from_numpy(objects.boxes), "labels": torch.from_numpy(objects.labels + 1)}
        return image, target


class _Stored(Dataset[Tensor]):
    """Some images as they are stored."""

    def __init__(self, images: BoxImages, rows: Sequence[int]) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Tensor:
        return torch.from_numpy(self.images.image(int(self.rows[place])).transpose(2, 0, 1).copy())


def _loader(images: Dataset[Any], batch_size: int, *, in_memory: bool) -> DataLoader[Any]:
    """Return batches as lists; files are decoded by processes beside the training, as many as there are spare cores."""
    workers = 0 if in_memory else torch.get_num_threads() - 1
    return DataLoader(
        images, batch_size=batch_size, num_workers=workers, collate_fn=list, generator=torch.Generator().manual_seed(0)
    )


def _as_input(image: Tensor, device: torch.device) -> Tensor:
    return image.to(device, non_blocking=True).float().div_(255)


def augmentation(detector: str, *, flips: bool) -> Any:
    """Return torchvision's augmentation of images with boxes; it draws from torch's global generator.

    ``ssd``: colours, enlarged canvas, crop with a least IoU, flip (Liu et al., ECCV 2016, section 2.2).
    ``faster_rcnn``: flip (Ren et al., NeurIPS 2015).
    """
    from torchvision.transforms import v2

    steps: list[Any] = [v2.RandomHorizontalFlip()] if flips else []
    if detector == "ssd":
        crop = [v2.RandomZoomOut(fill=FILL), v2.RandomIoUCrop()]
        steps = [v2.RandomPhotometricDistort(), *crop, *steps]
    return v2.Compose([*steps, v2.SanitizeBoundingBoxes()])


FILL = (124, 116, 104)
"""Colour of an enlarged canvas: the mean of ImageNet, in 8 bits."""


def _augmented(augment: Any, image: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
    from torchvision import tv_tensors

    height_px, width_px = image.shape[1:]
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(objects.boxes), format="XYXY", canvas_size=(height_px, width_px))
    sample = {"boxes": boxes, "labels": torch.from_numpy(objects.labels)}
    changed, kept = augment(tv_tensors.Image(image), sample)
    boxes_left, labels = kept["boxes"].as_subclass(Tensor).numpy(), kept["labels"].numpy()
    return changed.as_subclass(Tensor), Objects(boxes_left, labels, np.zeros(len(labels), dtype=np.bool_))
