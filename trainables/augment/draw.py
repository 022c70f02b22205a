"""Random draws of the changes of an epoch's images, and the numbers of a batch that a device renders them from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainables.augment.config import Augment, ColorJitter
from trainables.augment.crops import mirrored_windows
from trainables.augment.operations import CODES

POLICY, JITTER, SHIFTS, WINDOWS = "policy.", "jitter.", "shifts", "windows"
"""Names, or beginnings of names, of the arrays."""

EIGENVALUES = (0.2175, 0.0188, 0.0045)
"""Standard deviations of ImageNet's colours along their principal components, in units of 255 grey levels."""

EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
"""Principal components, one per column; rows are red, green, blue.

Both tables are those of ``fb.resnet.torch`` (file ``datasets/imagenet.lua``) and of the authors' code of CutMix.
"""


def draw_changes(
    augment: Augment, count: int, *, height_px: int, width_px: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw policy, then color jitter, then lighting of some images; what is not set draws nothing.

    Args:
        augment: the configuration.
        count: number of images.
        height_px: height of the images after the crop.
        width_px: width of the images after the crop.
        rng: generator of the draws.

    Returns:
        Arrays with one row per image, in few bytes: they are kept for a whole epoch.

    Examples:
        >>> augment = Augment.model_validate({"color_jitter": {}, "lighting": {}})
        >>> drawn = draw_changes(augment, 5, height_px=32, width_px=32, rng=np.random.default_rng(0))
        >>> {name: values.shape for name, values in drawn.items()}
        {'jitter.codes': (5, 3), 'jitter.amounts': (5, 3), 'shifts': (5, 3)}
    """
    drawn: dict[str, np.ndarray] = {}
    if augment.policy is not None:
        of_policy = augment.policy.draw(count, height_px=height_px, width_px=width_px, rng=rng)
        drawn |= {POLICY + name: values for name, values in of_policy.items()}
    if augment.color_jitter is not None:
        drawn |= {JITTER + name: values for name, values in _draw_jitter(augment.color_jitter, count, rng).items()}
    if augment.lighting is not None:
        strengths = rng.normal(0, augment.lighting.sd, size=(count, 3)) * EIGENVALUES
        drawn[SHIFTS] = (255 * strengths @ np.transpose(EIGENVECTORS)).astype(np.float32)
    return drawn


def jitter_operations(jitter: ColorJitter) -> dict[str, float]:
    """Return the largest amount of each operation that a color jitter applies.

    Examples:
        >>> jitter_operations(ColorJitter(contrast=0.0))
        {'brightness': 0.4, 'color': 0.4}
    """
    largest = {
        "brightness": jitter.brightness,
        "contrast": jitter.contrast,
        "color": jitter.saturation,
        "hue": jitter.hue,
    }
    return {name: amount for name, amount in largest.items() if amount}


def device_arrays(
    augment: Augment,
    changes: Mapping[str, np.ndarray],
    *,
    windows: np.ndarray | None,
    flipped: np.ndarray,
    height_px: int,
    width_px: int,
) -> dict[str, np.ndarray]:
    """Return all numbers that a device needs to change a batch of images that are flipped already.

    Args:
        augment: the configuration.
        changes: rows of :func:`draw_changes`.
        windows: windows of the images before the flip, int64 [B, 4]; None: the images are cropped already.
        flipped: whether each image is mirrored left to right, bool [B].
        height_px: height of the images.
        width_px: width of the images.
    """
    arrays: dict[str, np.ndarray] = {}
    if windows is not None:
        arrays[WINDOWS] = mirrored_windows(windows, flipped, width_px)
    arrays |= {name: values for name, values in changes.items() if not name.startswith(POLICY)}
    if augment.policy is not None:
        drawn = {name.removeprefix(POLICY): values for name, values in changes.items() if name.startswith(POLICY)}
        ready = augment.policy.parameters(drawn, height_px=height_px, width_px=width_px)
        arrays |= {POLICY + name: values for name, values in ready.items()}
    return arrays


def _draw_jitter(jitter: ColorJitter, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the order of the operations per image, then their amounts: uint8 and float32, both [count, n]."""
    largest = jitter_operations(jitter)
    order = np.argsort(rng.random((count, len(largest))), axis=1)
    codes = np.array([CODES[name] for name in largest], np.uint8)[order]
    high = np.array(list(largest.values()))
    low = np.array([-amount if name == "hue" else -min(amount, 1.0) for name, amount in largest.items()])
    amounts = np.take_along_axis(rng.uniform(low, high, size=(count, len(largest))), order, axis=1)
    return {"codes": codes, "amounts": amounts.astype(np.float32)}
