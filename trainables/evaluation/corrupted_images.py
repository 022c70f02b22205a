"""Corrupted images, made once per node: all models see the same pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.data.cache_dir import default_cache_dir
from trainables.data.image_set import ImageArray
from trainables.evaluation.base import library
from trainables.seeds import derive_seed, generator
from trainables.whole_file import whole_file

Images = npt.NDArray[np.uint8]

STANDARD = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""Corruptions of Hendrycks and Dietterich (ICLR 2019), section 3."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more corruptions by the same authors, reserved for tuning."""

FORMAT = 1
"""Version of the cached files. Raise it with each change: older files are then ignored."""


def corrupt(image: Images, kind: str, *, severity: int, seed: int) -> Images:
    """Corrupt an image.

    Args:
        image: uint8 [H, W, 3].
        kind: one of :data:`STANDARD` or :data:`EXTRA`.
        severity: 1 to 5; the strengths are meant for images of 224 px.
        seed: seed of all random draws.

    Returns:
        uint8 [H, W, 3], rounded.

    Examples:
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> corrupt(grey, "brightness", severity=3, seed=0)[0, 0].tolist()
        [205, 205, 205]
    """
    import corrupt_tta

    with _seeded(seed):
        corrupted = corrupt_tta.corrupt(image, severity=severity, corruption_name=kind)
    rounded: Images = np.rint(np.clip(corrupted, 0, 255)).astype(np.uint8)
    return rounded


def corrupt_all(images: ImageArray, rows: npt.NDArray[np.int64], kind: str, *, severity: int, seed: int) -> Images:
    """Corrupt the images of some rows, uint8 [n, H, W, 3]; the result of a row does not depend on other rows."""
    return np.stack(
        [
            corrupt(images[row], kind, severity=severity, seed=derive_seed(seed, kind, severity, int(row)))
            for row in rows
        ]
    )


class CorruptedImages:
    """Corrupted versions of images, made on first use and then read from the node's cache.

    If several processes need a version, one makes it and the others wait. Without a writable cache, each process makes
    its own.
    """

    def __init__(self, images: ImageArray, rows: npt.NDArray[np.int64], *, seed: int, keep: bool) -> None:
        """Take images, uint8 [N, H, W, 3], and rows, int64 [n]; ``keep``: whether to write results to the cache."""
        self._make = partial(corrupt_all, images, rows, seed=seed)
        digest = hashlib.sha256(repr((FORMAT, library("corrupt-tta"), seed, images.shape)).encode())
        digest.update(rows.tobytes())
        digest.update(images[rows].tobytes())
        self._folder = default_cache_dir() / f"corrupted-{digest.hexdigest()[:20]}" if keep else None

    def of(self, kind: str, *, severity: int) -> Images:
        """Return the corrupted images, uint8 [n, H, W, 3]."""
        make = partial(self._make, kind, severity=severity)
        return make() if self._folder is None else _kept(self._folder / f"{kind}-{severity}.npy", make)


def _kept(path: Path, make: Callable[[], Images]) -> Images:
    """Read an array; the first process of the node that needs it makes and writes it."""
    if not path.exists():
        try:
            _write_once(path, make)
        except (OSError, NotImplementedError):  # NotImplementedError: filelock, if the file system has no locks
            return make()
    kept: Images = np.load(path, mmap_mode="r")
    return kept


def _write_once(path: Path, make: Callable[[], Images]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent.with_name(f"{path.parent.name}.lock")):
        if path.exists():  # another process wrote it while this one waited for the lock
            return
        with whole_file(path) as file:
            np.save(file, make())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that the library draws from, and restore them afterwards.

    The library uses NumPy's global generator. Impulse noise is drawn by scikit-image from a new unseeded generator, so
    that its function is replaced for the time of the call.
    """
    from corrupt_tta import corruptions

    state, random_noise = np.random.get_state(), corruptions.random_noise  # noqa: NPY002 (the library's own)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    corruptions.random_noise = partial(random_noise, rng=generator(seed, "impulses"))
    try:
        yield
    finally:
        corruptions.random_noise = random_noise
        np.random.set_state(state)  # noqa: NPY002
