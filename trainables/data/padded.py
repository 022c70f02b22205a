"""Training images with a zero border, in the entry of the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.entries import (
    IMAGES_AT_ONCE,
    Entry,
    blaming,
    check_array,
    describe_array,
    locked,
    mapped,
    read_meta,
    warn,
    write_meta,
)
from trainables.intact import DamagedFile


def padded_images(entry: Entry, images: npt.NDArray[np.uint8], pad_px: int) -> npt.NDArray[np.uint8]:
    """Return the images of an entry with a border, which is made if it is missing or damaged."""
    path = entry.path / f"images-padded-{pad_px}.npy"
    if not _is_intact(path, entry.meta):
        with locked(entry.path):
            _ensure_padded(path, images, pad_px)
    padded: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return padded


def _ensure_padded(path: Path, images: npt.NDArray[np.uint8], pad_px: int) -> None:
    meta = read_meta(path.parent)
    if _is_intact(path, meta):  # another process has written it while this one waited for the lock
        return
    was_written = path.name in meta["padded"]
    _write_padded(images, pad_px, path)
    with blaming(path.parent.parent):
        facts = describe_array(path)
        write_meta(path.parent, {**meta, "padded": {**meta["padded"], path.name: facts}})
        check_array(path, facts)
    if was_written:
        warn(f"the padded images in '{path}' were damaged or missing: they were made again")


def _is_intact(path: Path, meta: Mapping[str, Any]) -> bool:
    """Return whether padded images are recorded in the meta data and as they were written."""
    if path.name not in meta["padded"]:
        return False
    try:
        check_array(path, meta["padded"][path.name])
    except DamagedFile:
        return False
    return True


def _write_padded(images: npt.NDArray[np.uint8], pad_px: int, path: Path) -> None:
    unfinished = path.with_suffix(".partial")
    count, height_px, width_px, channels = images.shape
    padded = mapped(unfinished, (count, height_px + 2 * pad_px, width_px + 2 * pad_px, channels))
    with blaming(path.parent.parent):
        inner = padded[:, pad_px : pad_px + height_px, pad_px : pad_px + width_px]
        for start in range(0, count, IMAGES_AT_ONCE):
            inner[start : start + IMAGES_AT_ONCE] = images[start : start + IMAGES_AT_ONCE]
        padded.flush()  # type: ignore[attr-defined]
        unfinished.rename(path)
