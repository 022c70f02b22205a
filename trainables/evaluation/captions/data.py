"""Images with several captions each: generated scenes, or MS-COCO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainables.errors import UserError
from trainables.evaluation.captions import coco
from trainables.evaluation.captions.scene_captions import captions_of
from trainables.evaluation.scenes import draw_scenes
from trainables.seeds import generator

Split = Literal["train", "test"]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CaptionedImages:
    """Images of one split with their reference captions.

    Attributes:
        references: the captions of each image, at least one.
        pixels: maps rows, int64 [B], to images, uint8 [B, side, side, 3].
    """

    references: Sequence[Sequence[str]]
    pixels: Callable[[Rows], npt.NDArray[np.uint8]]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.references)


def check_caption_data(data: str, *, n_train: int | None, n_test: int | None, karpathy: bool) -> None:
    """Check that captions and folders of images are there; no image is opened.

    Raises:
        UserError: ``data`` is neither ``scenes`` nor ``coco:PATH``, or files are missing.
    """
    name, path = _parsed(data)
    if name == "coco":
        coco.check_layout(path, karpathy=karpathy)
    elif karpathy:
        raise UserError("captioning.karpathy is a split of MS-COCO: give captioning.data=coco:PATH, or leave it out")
    elif n_train is None or n_test is None:
        key = "n_train" if n_train is None else "n_images"
        raise UserError(f"captioning.{key} is null, but scenes are generated: give the number of scenes")


def open_captions(
    data: str, split: Split, *, count: int | None, side_px: int, seed: int, karpathy: bool = False
) -> CaptionedImages:
    """Return the images of a split with their captions.

    Args:
        data: ``scenes`` or ``coco:PATH``.
        split: ``train`` or ``test``.
        count: largest number of images; those of MS-COCO are drawn by the seed; None: all of MS-COCO.
        side_px: side of the images.
        seed: seed of scenes and captions, or of the drawn images.
        karpathy: whether MS-COCO is split as by Karpathy and Fei-Fei (CVPR 2015).

    Raises:
        UserError: see :func:`check_caption_data`.
    """
    name, path = _parsed(data)
    if name == "scenes":
        assert count is not None  # see check_caption_data
        scenes = draw_scenes(split, count=count, side_px=side_px, seed=seed)
        return CaptionedImages(captions_of(scenes, split, seed=seed), lambda rows: scenes.images[rows])
    files, references = coco.read_captions(path, split, karpathy=karpathy)
    rows = np.sort(generator(seed, "captioned images", split).permutation(len(files))[:count])
    drawn = [files[row] for row in rows]
    return CaptionedImages(
        [references[row] for row in rows],
        lambda some: coco.read_images([drawn[row] for row in some], side_px=side_px),
    )


def _parsed(data: str) -> tuple[Literal["scenes", "coco"], Path]:
    """Return the name and the path of ``scenes`` or ``coco:PATH``."""
    name, _, path = data.partition(":")
    if data == "scenes":
        return "scenes", Path()
    if name == "coco" and path:
        return "coco", Path(path)
    if name == "coco":
        raise UserError("captioning.data 'coco' needs the folder of MS-COCO: coco:PATH")
    raise UserError(f"captioning.data is '{data}'; valid: scenes, coco:PATH")
