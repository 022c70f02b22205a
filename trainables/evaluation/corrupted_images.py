"""Images that are corrupted by a library, once a node: the same pixels for every model."""

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
"""Four more of theirs, meant for choosing settings by."""

FORMAT = 1
"""To be raised with every change of what is kept: older files are then unused."""


def corrupt(image: Images, kind: str, *, severity: int, seed: int) -> Images:
    """Corrupt an image.

    Args:
        image: uint8 [H, W, 3].
        kind: one of :data:`STANDARD` or :data:`EXTRA`.
        severity: 1 to 5, as the library has them: meant for images of 224 px.
        seed: of what is drawn.

    Returns:
        uint8 [H, W, 3], rounded.
    """
    import corrupt_tta

    with _seeded(seed):
        found = corrupt_tta.corrupt(image, severity=severity, corruption_name=kind)
    rounded: Images = np.rint(np.clip(found, 0, 255)).astype(np.uint8)
    return rounded


def corrupt_all(images: Images, rows: npt.NDArray[np.int64], kind: str, *, severity: int, seed: int) -> Images:
    """Corrupt some of the images, uint8 [n, H, W, 3]; a row's result does not depend on the other rows."""
    return np.stack(
        [
            corrupt(images[row], kind, severity=severity, seed=derive_seed(seed, kind, severity, int(row)))
            for row in rows
        ]
    )


class CorruptedImages:
    """Corrupted versions of some images, each made when it is first asked for and then read from the node's cache.

    Processes that ask at the same time wait for one another. A cache that cannot be written is done without.
    """

    def __init__(self, images: Images, rows: npt.NDArray[np.int64], *, seed: int, keep: bool) -> None:
        """Take the images, uint8 [N, H, W, 3], and which of them; ``keep``: whether they are written to the cache."""
        self._make = partial(corrupt_all, images, rows, seed=seed)
        digest = hashlib.sha256(repr((FORMAT, library("corrupt-tta"), seed, images.shape)).encode())
        digest.update(rows.tobytes())
        digest.update(images[rows].tobytes())
        self._folder = default_cache_dir() / f"corrupted-{digest.hexdigest()[:20]}" if keep else None

    def of(self, kind: str, *, severity: int) -> Images:
        """Return them corrupted, uint8 [n, H, W, 3]."""
        make = partial(self._make, kind, severity=severity)
        return make() if self._folder is None else _kept(self._folder / f"{kind}-{severity}.npy", make)


def _kept(path: Path, make: Callable[[], Images]) -> Images:
    """Read an array, made and written first if no process of this node has done so yet."""
    if not path.exists():
        try:
            _write_once(path, make)
        except (OSError, NotImplementedError):  # the latter: filelock, where locks are not supported
            return make()
    kept: Images = np.load(path, mmap_mode="r")
    return kept


def _write_once(path: Path, make: Callable[[], Images]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent.with_name(f"{path.parent.name}.lock")):
        if path.exists():  # written by the process that was waited for
            return
        with whole_file(path) as file:
            np.save(file, make())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what the library draws from, and give it back as it was.

    That is NumPy's global generator; but impulses are drawn by scikit-image, from a fresh one that nobody can seed.
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
