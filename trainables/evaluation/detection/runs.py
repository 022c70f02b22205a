"""Downstream trainings of one detector on one backbone: fine-tuned, or from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config import Model
from trainables.evaluation.detection.average_precision import Detections, coco_maps, voc07_map
from trainables.evaluation.detection.box_images import BoxImages
from trainables.evaluation.detection.detectors import DETECTORS
from trainables.evaluation.detection.training import Recipe, find_objects, train_detector
from trainables.evaluation.own_generators import own_generators
from trainables.models.build import build_model
from trainables.seeds import derive_seed

METRICS = ("map_50", "map", "voc07_map")

MEASURED_ROWS = 200
"""Most training images whose pixels decide the statistics of a network that starts from random weights."""


@dataclass(frozen=True)
class Backbone:
    """What decides the layers of a network.

    Attributes:
        model: its configuration.
        n_classes: number of classes that it was trained on.
        height_px: height of the images that it was trained on: they decide its strides.
        width_px: width of these images.
    """

    model: Model
    n_classes: int
    height_px: int
    width_px: int


@dataclass(frozen=True, eq=False)
class Start:
    """Weights that a training starts from, and the statistics of the images that they know.

    Attributes:
        weights: weights of the network; None: random ones.
        mean: mean of red, green and blue in [0, 1].
        std: their standard deviations.
    """

    weights: Mapping[str, Tensor] | None
    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True, eq=False)
class Task:
    """Images to train a detector on and to test it on.

    Attributes:
        detector: a name in :data:`DETECTORS`.
        side_px: side of the images in the detector.
        recipe: the training.
        train: training images.
        test: test images.
        rows: rows of the test images that are used.
        freeze_norms: whether the batch norms of weights that are given stay as they are.
    """

    detector: str
    side_px: int
    recipe: Recipe
    train: BoxImages
    test: BoxImages
    rows: Sequence[int]
    freeze_norms: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """One trained and tested detector.

    Attributes:
        scores: each of :data:`METRICS`.
        found: detections in the test images.
    """

    scores: Mapping[str, float]
    found: Sequence[Detections]


def run(task: Task, backbone: Backbone, start: Start, *, seed: int, device: torch.device) -> Run:
    """Train a detector and test it; the result depends on the arguments alone.

    Trainings with the same seed have the same new layers, order of images and augmentation: fine-tuning and training
    from scratch are paired.

    Raises:
        Diverged: the training ended in weights that are no numbers.
    """
    net = build_model(
        backbone.model,
        n_classes=backbone.n_classes,
        height_px=backbone.height_px,
        width_px=backbone.width_px,
        seed=derive_seed(seed, "weights"),
    )
    if start.weights is not None:
        net.load_state_dict(dict(start.weights))
    classes = task.train.classes
    with own_generators(derive_seed(seed, "heads")):
        detector = DETECTORS[task.detector](
            net, side_px=task.side_px, n_classes=len(classes), mean=start.mean, std=start.std
        ).to(device)
    train_detector(
        detector,
        task.train,
        task.recipe,
        seed=seed,
        device=device,
        augmented=None if task.train.in_memory else task.detector,
        frozen=net if task.freeze_norms and start.weights is not None else None,
    )
    found = find_objects(detector, task.test, task.rows, batch_size=task.recipe.batch_size, device=device)
    true = [task.test.objects(row) for row in task.rows]
    scores = {**coco_maps(found, true), "voc07_map": voc07_map(found, true, n_classes=len(classes))}
    return Run(scores, found)


def own_statistics(images: BoxImages) -> Start:
    """Return random weights, with mean and standard deviation of up to 200 evenly spaced images."""
    rows = np.linspace(0, len(images) - 1, min(MEASURED_ROWS, len(images))).astype(int)
    sums, squares, count = np.zeros(3), np.zeros(3), 0
    for row in rows:
        pixels = images.image(int(row)).reshape(-1, 3) / 255
        sums, squares, count = sums + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0), count + len(pixels)
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return Start(None, mean.tolist(), std.tolist())
