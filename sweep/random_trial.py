"""Trials on random images, whose speed and memory are measured: no data are read or decoded for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.config import TrialConfig

if TYPE_CHECKING:
    from trainables.trial import Trial

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
    padded = rng.integers(256, size=(count, height_px + 2 * pad_px, width_px + 2 * pad_px, 3), dtype=np.uint8)
    padded.flags.writeable = False
    box = [height_px // 4, width_px // 4, height_px - height_px // 4, width_px - width_px // 4]
    images = ImageSet(
        images=padded[:, pad_px : pad_px + height_px, pad_px : pad_px + width_px],
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
