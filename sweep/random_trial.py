"""Trials on random images, whose speed and memory are measured: no data are read or decoded for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.config import TrialConfig

if TYPE_CHECKING:
    from trainables.data.config import Data
    from trainables.data.image_set import ImageArray
    from trainables.trial import Trial

N_JPEGS = 16
"""Different JPEGs of a measured trial, which are used again and again."""

GRAIN_PX = 5
"""Size of the details in these JPEGs: it decides how many bytes they have."""

_MANY_EPOCHS = 10_000
"""Planned epochs of a measured trial: its schedules stay at their middle, however long it is measured."""

_LOW_LR = 1e-4
"""Learning rate of a measured trial: random labels must not make its weights infinite."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of a data source that decide speed and memory.

    Attributes:
        n_classes: number of classes.
        height_px: height of the images.
        width_px: width of the images.
    """

    n_classes: int
    height_px: int
    width_px: int


def random_trial(config: TrialConfig, facts: ImageFacts, *, n_train: int, n_val: int, device: str) -> Trial:
    """Return a trial on random images, at the middle of its schedules.

    Args:
        config: configuration of the trial.
        facts: size of its images, and number of its classes.
        n_train: number of training images.
        n_val: number of validation images.
        device: device of the trial.

    Examples:
        >>> facts = ImageFacts(n_classes=3, height_px=8, width_px=8)
        >>> trial = random_trial(TrialConfig(), facts, n_train=64, n_val=8, device="cpu")
        >>> trial.run_epoch().lr
        5e-05
    """
    from trainables.data.image_set import ImageSet
    from trainables.data.prepared import TrialData
    from trainables.trial import Trial

    rng = np.random.default_rng(0)
    count, pad_px = n_train + n_val, config.data.pad_px
    height_px, width_px = facts.height_px, facts.width_px
    padded = _random_images(config.data, facts, count, rng)
    inner = padded
    if isinstance(padded, np.ndarray):
        inner = padded[:, pad_px : pad_px + height_px, pad_px : pad_px + width_px]
    box = [height_px // 4, width_px // 4, height_px - height_px // 4, width_px - width_px // 4]
    images = ImageSet(
        images=inner,
        labels=rng.integers(facts.n_classes, size=count),
        classes=tuple(str(index) for index in range(facts.n_classes)),
        boxes=np.tile(np.array(box, dtype=np.int32), (count, 1)) if "boxes" in config.mix.needs else None,
        mean=np.full(3, 0.5, dtype=np.float32),
        std=np.full(3, 0.25, dtype=np.float32),
    )
    values = config.model_dump()
    values["optimizer"] |= {"max_epochs": _MANY_EPOCHS, "lr": _LOW_LR}
    measured = TrialConfig.model_validate(values)
    rows = np.arange(count)
    trial = Trial(measured, TrialData(images, padded, rows[:n_train], rows[n_train:], flip=True), device=device)
    n_steps = -(-n_train // config.data.batch_size)
    trial.load_state_dict(trial.state_dict() | {"step": n_steps * _MANY_EPOCHS // 2})
    return trial


def _random_images(data: Data, facts: ImageFacts, count: int, rng: np.random.Generator) -> ImageArray:
    """Return random pixels with the border of the configuration, or JPEGs that take as long to decode as photographs.

    A JPEG has the proportions of most photographs, 4 to 3, and about 0.4 bytes per pixel, as photographs have that are
    reduced and stored at quality 90.
    """
    height_px, width_px = facts.height_px, facts.width_px
    short_px = data.stored_short_px
    if short_px is None:
        sides = height_px + 2 * data.pad_px, width_px + 2 * data.pad_px
        padded = rng.integers(256, size=(count, *sides, 3), dtype=np.uint8)
        padded.flags.writeable = False
        return padded
    from PIL import Image

    from trainables.data.jpegs.codec import encode_jpeg
    from trainables.data.jpegs.images import JpegImages

    sizes = (short_px, 4 * short_px // 3)
    contents = []
    for _ in range(N_JPEGS):
        coarse = rng.integers(256, size=(sizes[0] // GRAIN_PX + 1, sizes[1] // GRAIN_PX + 1, 3), dtype=np.uint8)
        enlarged = Image.fromarray(coarse).resize((sizes[1], sizes[0]), Image.Resampling.BICUBIC)
        contents.append(np.frombuffer(encode_jpeg(np.asarray(enlarged)), np.uint8))
    used = [contents[index % N_JPEGS] for index in range(count)]
    offsets = np.cumsum([0, *map(len, used)])
    stored = np.tile(np.array(sizes), (count, 1))
    return JpegImages(
        np.concatenate(used), offsets, stored, sides_px=(height_px, width_px), center_crop_frac=data.center_crop_frac
    )
