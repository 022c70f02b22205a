"""Images with several boxes each: generated scenes, or Pascal VOC, decoded one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from trainables.evaluation.scenes import Scenes, Split, draw_scenes

N_DIGITS = (2, 5)
"""Smallest and largest number of digits per scene."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one image.

    Attributes:
        boxes: (x0, y0, x1, y1) in half-open pixels of the stored image, as torchvision has them, float32 [k, 4].
        labels: classes, int64 [k].
        difficult: whether an object does not count in an evaluation, bool [k].
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]

    def easy(self) -> Objects:
        """Return the objects that are not difficult."""
        kept = ~self.difficult
        return Objects(self.boxes[kept], self.labels[kept], self.difficult[kept])


class BoxImages(ABC):
    """Images of one split, of any sizes, with their objects.

    Attributes:
        flips: whether the mirror image of an object has the same class.
        in_memory: whether :meth:`image` decodes no file.
        classes: names of the classes.
    """

    flips: ClassVar[bool]
    in_memory: ClassVar[bool]
    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the pixels of an image, uint8 [H, W, 3]."""

    @abstractmethod
    def objects(self, index: int) -> Objects:
        """Return the objects of an image."""


class SceneImages(BoxImages):
    """Generated scenes of digits.

    Examples:
        >>> scenes = SceneImages("test", count=3, side_px=64, seed=0)
        >>> scenes.image(0).shape, len(scenes.objects(0).labels) >= 1
        ((64, 64, 3), True)
    """

    flips = False
    in_memory = True
    classes = tuple("0123456789")

    def __init__(self, split: Split, *, count: int, side_px: int, seed: int) -> None:
        """Generate the scenes of a split, or take those that this process generated for another model."""
        self._scenes = _scenes(split, count, side_px, seed)

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self._scenes)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Return a scene, uint8 [side, side, 3]."""
        image: npt.NDArray[np.uint8] = self._scenes.images[index]
        return image

    def objects(self, index: int) -> Objects:
        """Return the digits of a scene; none is difficult."""
        some = self._scenes.objects(index)
        boxes = self._scenes.boxes[some][:, [1, 0, 3, 2]].astype(np.float32)
        return Objects(boxes, self._scenes.digits[some], np.zeros(len(boxes), dtype=np.bool_))


@lru_cache(maxsize=2)
def _scenes(split: Split, count: int, side_px: int, seed: int) -> Scenes:
    return draw_scenes(split, count=count, side_px=side_px, seed=seed, n_digits=N_DIGITS)
