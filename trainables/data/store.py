"""Decoded splits, written once per node: memory-mapped files that all processes of the node share.

An entry of the cache is a folder with ``images.npy``, ``labels.npy``, ``boxes.npy`` (for data with boxes) and, for the
training split, ``meta.json`` (classes, means and standard deviations of the channels). It is written under another name
and renamed when complete, so that an entry is never partial.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.data.cache_dir import CACHE_VARIABLE, default_cache_dir
from trainables.data.config import Data
from trainables.data.image_set import ImageSet
from trainables.data.sources.base import Decoded, Source, Split
from trainables.data.sources.registry import open_source
from trainables.errors import UserError
from trainables.parts import import_path, is_outside

FORMAT = 1
"""Version of the files and of the decoding. Raise it with each change: older entries are then ignored."""

STATISTICS_CHUNK = 64


def open_split(data: Data, split: Split, *, cache_dir: Path | None = None) -> ImageSet:
    """Open a split; the first process of a node that asks for it decodes it while the others wait.

    Opening ``train`` does not read a test image. Opening ``test`` needs the training split as well, for its classes,
    image size and channel statistics.

    Args:
        data: the source and the size of its images; other fields are ignored.
        split: ``train`` (including the images that later validate) or ``test``.
        cache_dir: folder of the cache; None: :func:`trainables.data.cache_dir.default_cache_dir`.

    Returns:
        The split. Its images are mapped read-only: writing to them raises an error, and writing through a raw pointer
        kills the process.

    Raises:
        UserError: the source is missing, incomplete or unreadable, or the cache cannot be written; the message names
            the folder and says what to do.

    Examples:
        >>> digits = open_split(Data(source="digits"), "test")
        >>> digits.images.shape, digits.classes[:3]
        ((1436, 32, 32, 3), ('0', '1', '2'))
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir
    source = open_source(data.source)
    train = _entry(source, "train", data.image_size_px, folder, basis="")
    _ensure(train, source, "train", data.image_size_px)
    entry = train
    if split == "test":
        entry = _entry(source, "test", data.image_size_px, folder, basis=train.name)
        _ensure(entry, source, "test", data.image_size_px)
    return _load(entry, json.loads((train / "meta.json").read_text(encoding="utf-8")))


def open_padded(data: Data, *, cache_dir: Path | None = None) -> npt.NDArray[np.uint8]:
    """Open the training images with a zero border of ``data.pad_px``, made once per node and shared like the images.

    Returns:
        uint8 [N, H + 2 pad_px, W + 2 pad_px, 3], mapped read-only.

    Raises:
        UserError: as :func:`open_split`.
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir
    images = open_split(data, "train", cache_dir=folder).images
    if not data.pad_px:
        return images
    entry = _entry(open_source(data.source), "train", data.image_size_px, folder, basis="")
    path = entry / f"images-padded-{data.pad_px}.npy"
    if not path.exists():
        with _locked(entry):
            if not path.exists():
                _write_padded(images, data.pad_px, path)
    padded: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return padded


def _write_padded(images: npt.NDArray[np.uint8], pad_px: int, path: Path) -> None:
    unfinished = path.with_suffix(".partial")
    count, height_px, width_px, channels = images.shape
    padded = _mapped(unfinished, (count, height_px + 2 * pad_px, width_px + 2 * pad_px, channels))
    with _blaming(path.parent.parent):
        inner = padded[:, pad_px : pad_px + height_px, pad_px : pad_px + width_px]
        for start in range(0, count, STATISTICS_CHUNK):
            inner[start : start + STATISTICS_CHUNK] = images[start : start + STATISTICS_CHUNK]
        padded.flush()  # type: ignore[attr-defined]
        unfinished.rename(path)


def _entry(source: Source, split: Split, image_size_px: int | None, folder: Path, *, basis: str) -> Path:
    """Return the folder of a split; ``basis`` is the name of the entry that its classes and size come from."""
    name = import_path(type(source)) if is_outside(type(source)) else source.name  # two packages may use one name
    key = repr((FORMAT, name, split, image_size_px, source.fingerprint(split), basis))
    return folder / f"{source.name}-{split}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def _ensure(entry: Path, source: Source, split: Split, image_size_px: int | None) -> None:
    if entry.is_dir():  # checked without the lock: a cache that cannot be written can still be read
        return
    with _locked(entry):
        if not entry.is_dir():  # another process may have written it while this one waited for the lock
            _write(entry, source, split, image_size_px)


def _write(entry: Path, source: Source, split: Split, image_size_px: int | None) -> None:
    unfinished = entry.with_name(f"{entry.name}.partial-{uuid.uuid4().hex}")
    with _blaming(entry.parent):
        for left_over in entry.parent.glob(f"{entry.name}.partial-*"):  # left by a process that was killed
            shutil.rmtree(left_over)
        unfinished.mkdir()
    try:
        decoded = source.read(split, image_size_px, allocate=partial(_mapped, unfinished / "images.npy"))
        with _blaming(entry.parent):
            _save_rest(unfinished, decoded, split)
            unfinished.rename(entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _save_rest(folder: Path, decoded: Decoded, split: Split) -> None:
    """Write all but the images and flush them: the files must be on the disk before the entry is renamed."""
    np.save(folder / "labels.npy", decoded.labels)
    if decoded.boxes is not None:
        np.save(folder / "boxes.npy", decoded.boxes)
    if split == "train":
        mean, std = _statistics(decoded.images)
        meta = {"classes": decoded.classes, "mean": mean.tolist(), "std": std.tolist()}
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _mapped(path: Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Make a file-backed array whose space on the disk is reserved."""
    with _blaming(path.parent.parent):
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if sys.platform == "linux":  # writing to a mapped file on a full disk kills the process without a message
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _statistics(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each channel's mean and standard deviation in [0, 1] units, from exact sums of integers in float64.

    A standard deviation is at least one grey level, so that a constant channel can be divided by it.
    """
    total = np.zeros(3)
    squares = np.zeros(3)
    for start in range(0, len(images), STATISTICS_CHUNK):
        pixels = images[start : start + STATISTICS_CHUNK].reshape(-1, 3).astype(np.float64)
        total += np.ones(len(pixels)) @ pixels  # a matrix product is faster than a sum over three columns
        squares += np.diagonal(pixels.T @ pixels)
    count = images.size / 3
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)


def _load(entry: Path, meta: dict[str, list[str] | list[float]]) -> ImageSet:
    boxes = entry / "boxes.npy"
    return ImageSet(
        images=np.load(entry / "images.npy", mmap_mode="r"),
        labels=np.load(entry / "labels.npy"),
        classes=tuple(map(str, meta["classes"])),
        boxes=np.load(boxes) if boxes.exists() else None,
        mean=np.array(meta["mean"], dtype=np.float32),
        std=np.array(meta["std"], dtype=np.float32),
    )


@contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """Hold the entry's lock; the system releases the lock of a killed process."""
    lock = FileLock(entry.with_name(f"{entry.name}.lock"))
    with _blaming(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into a UserError that names the cache folder."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # NotImplementedError: filelock, if the file system has no locks
        raise UserError(
            f"cannot write the image cache {folder}: {error}; set {CACHE_VARIABLE} to a writable folder with free "
            "space and support for locks, or choose a smaller data.image_size_px"
        ) from error
