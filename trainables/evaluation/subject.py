"""The model that an axis measures, with its images and records."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData, prepare_data, prepare_test
from trainables.models.saved import SavedModel, as_pixels
from trainables.seeds import generator

LARGEST_BATCH_BYTES = 1 << 26
"""Memory of a batch of float32 images: 500 of 64 px, 111 of 224 px; feature maps need about ten times as much."""


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model and its images that are known before measuring.

    Attributes:
        config: configuration of its training.
        classes: names of its classes.
        height_px: height of its images.
        width_px: width of its images.
        n_test: number of test images.
        n_val: number of validation images.
        has_boxes: whether the images have the box of their object.
    """

    config: TrialConfig
    classes: tuple[str, ...]
    height_px: int
    width_px: int
    n_test: int
    n_val: int
    has_boxes: bool


class Subject:
    """A trained model to be measured: in evaluation mode, in float32, without mixing.

    Attributes:
        saved: the saved model: ``saved.model`` maps images in [0, 1], float32 [B, 3, H, W], to logits; ``saved.net`` is
            the network inside, whose input is normalised images.
        record: the sweep's record of the trial, for example ``seconds`` and ``images_per_s`` of its training.
        curve: results of each epoch by column of the table ``epochs``: lists with one item per epoch.
        device: device of the model.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from trainables.models.saved import model_state, read_model
        >>> from trainables.trial import Trial
        >>> config = TrialConfig.model_validate({"data": {"train_frac": 0.02}})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(model_state(Trial(config, prepare_data(config.data))), Path(folder) / "trial.pt")
        ...     subject = Subject(read_model(Path(folder) / "trial.pt"))
        >>> subject.logits(subject.test, subject.sample(100, seed=0)).shape
        torch.Size([100, 10])
    """

    def __init__(
        self,
        saved: SavedModel,
        *,
        record: Mapping[str, Any] | None = None,
        curve: Mapping[str, list[float]] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Take a model; its data is opened on first use."""
        self.device = torch.device(device)
        self.saved = saved.to(self.device)
        self.record = dict(record or {})
        self.curve = dict(curve or {})

    @functools.cached_property
    def data(self) -> TrialData:
        """The images that the model was trained and validated on."""
        return prepare_data(self.saved.config.data)

    @functools.cached_property
    def test(self) -> ImageSet:
        """The test images."""
        return prepare_test(self.saved.config.data)

    @functools.cached_property
    def about(self) -> ModelInfo:
        """Facts about the model that are known before measuring."""
        return about(self.saved.config, self.test, n_val=len(self.data.val_rows))

    def sample(self, count: int | None, *, seed: int) -> np.ndarray:
        """Draw rows of test images, int64 [n], sorted, equal for all models; None: all. See :func:`drawn_by_class`."""
        return drawn_by_class(self.test.labels, count, seed=seed)

    def logits(self, images: ImageSet, rows: np.ndarray) -> Tensor:
        """Return the logits of the images of some rows, float32 [n, C], on the host."""
        return self.over_batches(lambda pixels, _: self.saved.model(pixels), images, rows)

    def features(self, images: ImageSet, rows: np.ndarray) -> Tensor:
        """Return the input of the classifier, the means of the last maps, float32 [n, D], on the host."""

        def pooled(pixels: Tensor, _: Tensor) -> Tensor:
            maps: Tensor = self.saved.net.features(self.saved.normalize(pixels))
            return maps.mean(dim=(2, 3))

        return self.over_batches(pooled, images, rows)

    def over_batches(
        self, function: Callable[[Tensor, Tensor], Tensor], images: ImageSet, rows: np.ndarray, *, grad: bool = False
    ) -> Tensor:
        """Apply a function to images in batches that fit into memory, and concatenate its results on the host.

        Args:
            function: takes images in [0, 1], float32 [B, 3, H, W], and labels, int64 [B], both on the device.
            images: set of images.
            rows: rows of the images in the set, int64 [n], at least one.
            grad: whether the function needs gradients.

        Raises:
            torch.OutOfMemoryError: a single image does not fit into memory.
        """
        return self.over_rows(lambda chunk: function(*self.shown(images, chunk)), images, rows, grad=grad)

    def over_rows(
        self, function: Callable[[np.ndarray], Tensor], images: ImageSet, rows: np.ndarray, *, grad: bool = False
    ) -> Tensor:
        """Do the same as :meth:`over_batches` for a function of the rows, int64 [B].

        Use it for random draws and partners that belong to a row: they do not depend on the size of the batches.
        """
        results, start, size = [], 0, min(len(rows), self._batch_size(images))
        while start < len(rows):
            chunk = rows[start : start + size]
            try:
                with torch.inference_mode(not grad):
                    results.append(function(chunk).detach().cpu())
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                torch.cuda.empty_cache()
                size = size // 2
                continue
            start += len(chunk)
        return torch.cat(results)

    def batches(self, images: ImageSet, rows: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images in [0, 1], float32 [B, 3, H, W], and labels, int64 [B], on the device."""
        for chunk in np.array_split(rows, -(-len(rows) // self._batch_size(images))):
            yield self.shown(images, chunk)

    def shown(self, images: ImageSet, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return images in [0, 1], float32 [B, 3, H, W], and their labels, int64 [B], on the device."""
        return self.pixels(images.images[rows]), torch.from_numpy(images.labels[rows]).to(self.device)

    def pixels(self, images: np.ndarray) -> Tensor:
        """Turn uint8 [B, H, W, 3] into float32 [B, 3, H, W] in [0, 1] on the device."""
        return as_pixels(images, self.device)

    def _batch_size(self, images: ImageSet) -> int:
        image_bytes = 4 * int(np.prod(images.images.shape[1:]))
        return max(1, min(self.saved.config.evaluation.batch_size, LARGEST_BATCH_BYTES // image_bytes))


def about(config: TrialConfig, test: ImageSet, *, n_val: int) -> ModelInfo:
    """Return the facts about a model with this configuration, and its images, that are known before measuring."""
    return ModelInfo(
        config=config,
        classes=test.classes,
        height_px=test.images.shape[1],
        width_px=test.images.shape[2],
        n_test=len(test),
        n_val=n_val,
        has_boxes=test.boxes is not None,
    )


def drawn_by_class(labels: np.ndarray, count: int | None, *, seed: int) -> np.ndarray:
    """Draw rows of samples, int64 [n], sorted, with equal numbers per class up to one; smaller draws are subsets.

    Args:
        labels: int64 [N].
        count: number of samples; None or at least N: all.
        seed: seed of the draw.

    Examples:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> np.bincount(labels[drawn_by_class(labels, 4, seed=0)]).tolist()
        [2, 2]
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    rng = generator(seed, "evaluated images")
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    turn = np.concatenate([np.arange(size) for size in sizes])  # the first of each class, then the second, ...
    return np.sort(by_class[np.lexsort((labels[by_class], turn))[:count]])
