"""Disk that the stored images of a study need, and the time to write them: known before anything is decoded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from search_spaces.study import Study
from sweep.formats import format_duration
from trainables.data.cache_dir import CACHE_VARIABLE, default_cache_dir
from trainables.data.config import Data
from trainables.data.decoding import FILES_PER_TASK, decoding_threads
from trainables.data.entry_files import IMAGES
from trainables.data.jpegs.images import CONTENT
from trainables.data.places import place_of
from trainables.data.sample import sample_jpegs, sample_pixels
from trainables.data.sources.base import Source, Split
from trainables.data.sources.registry import open_source
from trainables.data.store import stored_folder
from trainables.errors import UserError
from trainables.units import format_bytes

SAMPLED_FILES = FILES_PER_TASK
"""Evenly spaced image files from which size and time are estimated."""


@dataclass(frozen=True)
class DiskRoom:
    """Disk that the images of one source need.

    Attributes:
        source: the source, as configurations spell it.
        store: ``pixels`` or ``jpeg``.
        n_bytes: size of all stored images; an estimate for JPEGs that are not written yet.
        missing_bytes: what of it is not written yet.
        seconds: time to write what is missing, estimated from some files on the cores of this machine.
        free_bytes: free space of the disk.
        memory_bytes: memory of this machine.
        folder: where the images are stored.

    Examples:
        >>> print(DiskRoom("imagenet:x", "jpeg", 64e9, 64e9, 5400, 71e9, 24e9, Path("/cache")).describe())
        Disk: 64 GB for JPEGs of imagenet:x, to be written once per node in about 1 h 30 min; 71 GB are free in /cache.
        They do not fit into the memory of this machine (24 GB): batches are read from the disk.
    """

    source: str
    store: str
    n_bytes: float
    missing_bytes: float
    seconds: float
    free_bytes: float
    memory_bytes: float
    folder: Path

    def describe(self) -> str:
        """Return what is needed, as one line or two."""
        kind = "JPEGs" if self.store == "jpeg" else "pixels"
        text = f"Disk: {format_bytes(self.n_bytes)} for {kind} of {self.source}"
        if self.missing_bytes:
            text += (
                f", to be written once per node in about {format_duration(self.seconds)}; "
                f"{format_bytes(self.free_bytes)} are free in {self.folder}."
            )
        else:
            text += f", written in {self.folder}."
        if self.n_bytes > self.memory_bytes:
            memory = format_bytes(self.memory_bytes)
            text += f"\nThey do not fit into the memory of this machine ({memory}): batches are read from the disk."
        return text


def disk_rooms(study: Study) -> tuple[DiskRoom, ...]:
    """Return the disk that the images of a study need, for each source whose images are files.

    Raises:
        UserError: the images that are missing do not fit on the disk of the cache, or a file cannot be read.
    """
    wanted = _stores(study)
    splits: tuple[Split, ...] = ("train",) if study.confirm is None else ("train", "test")
    folder = default_cache_dir()
    rooms = [room for data, pads_px in wanted.items() if (room := _room(data, pads_px, splits, folder)) is not None]
    _check_free(rooms, folder)
    return tuple(rooms)


def _stores(study: Study) -> dict[Data, set[int]]:
    """Return what decides the stored images, with the widths of their borders: what arms share is written once."""
    stores: dict[Data, set[int]] = {}
    for data in (config.data for arm in study.arms for config in study.extremes(arm)):
        if data.stored_short_px is not None:  # JPEGs have no border, and are independent of the size of their view
            stores.setdefault(
                Data(source=data.source, store=data.store, stored_px=data.stored_short_px, pad_px=0), set()
            )
            continue
        fields = ("source", "image_size_px", "center_crop_frac")
        pads_px = stores.setdefault(Data(**{name: getattr(data, name) for name in fields}, pad_px=0), set())
        pads_px.update({data.pad_px} - {0})
    return stores


def _room(data: Data, pads_px: Collection[int], splits: Iterable[Split], folder: Path) -> DiskRoom | None:
    placed = data.model_copy(update={"source": place_of(data.source).source})
    source = open_source(placed.source)
    if not source.lists_files():
        return None
    n_bytes = missing_bytes = seconds = 0.0
    for split in splits:
        written = stored_folder(placed, split)
        borders_px = pads_px if split == "train" else ()
        size, missing, time_s = (written and _present(written, placed, borders_px)) or _estimated(
            source, placed, split, borders_px
        )
        n_bytes, missing_bytes, seconds = n_bytes + size, missing_bytes + missing, seconds + time_s
    free_bytes = shutil.disk_usage(_existing(folder)).free
    memory_bytes = psutil.virtual_memory().total
    return DiskRoom(data.source, data.store, n_bytes, missing_bytes, seconds, free_bytes, memory_bytes, folder)


def _present(written: Path, data: Data, pads_px: Collection[int]) -> tuple[float, float, float] | None:
    """Return size, missing bytes and time of a split that is written: its images with a border may be missing.

    None: the images are missing, so that the entry will be written again.
    """
    images = written / (IMAGES if data.store == "pixels" else CONTENT)
    if not images.exists():
        return None
    n_bytes = images.stat().st_size
    padded = [written / f"images-padded-{pad_px}.npy" for pad_px in pads_px]
    border = sum(path.stat().st_size if path.exists() else n_bytes for path in padded)
    return n_bytes + border, float(n_bytes * sum(not path.exists() for path in padded)), 0.0


def _estimated(source: Source, data: Data, split: Split, pads_px: Collection[int]) -> tuple[float, float, float]:
    """Return size, missing bytes and time of a split that is not written, from some of its files."""
    files = _image_files(source, split)
    sampled = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    started_s = time.perf_counter()
    if data.stored_short_px is not None:
        n_bytes = sample_jpegs(sampled, data.stored_short_px)
    else:
        described = source.describe(data.image_size_px)
        sides = described.height_px, described.width_px
        started_s = time.perf_counter()
        sample_pixels(sampled, *sides, center_crop_frac=data.center_crop_frac)
        n_bytes = 3.0 * sum((sides[0] + 2 * pad_px) * (sides[1] + 2 * pad_px) for pad_px in (0, *pads_px))
    seconds = (time.perf_counter() - started_s) / len(sampled) / decoding_threads()  # so few files take one thread
    return len(files) * n_bytes, len(files) * n_bytes, len(files) * seconds


def _image_files(source: Source, split: Split) -> Sequence[str]:
    """Return the paths of the images of a split; their annotations are not read if the files' names show the images."""
    files = source.files(split)
    names = [] if files is None else [name for name in files.names if files.class_of(name) is not None]
    return [f"{files.root}/{name}" for name in names] if files and names else source.listed(split).files


def _check_free(rooms: list[DiskRoom], folder: Path) -> None:
    """Check that the images that are missing fit on the disk.

    Raises:
        UserError: they do not fit.
    """
    needed = sum(room.missing_bytes for room in rooms)
    if not rooms or needed <= rooms[0].free_bytes:
        return
    largest = max(rooms, key=lambda room: room.missing_bytes)
    remedy = "choose a smaller data.stored_px" if largest.store == "jpeg" else "set data.store to jpeg"
    raise UserError(
        f"the images of '{largest.source}' need {format_bytes(needed)}, but {format_bytes(rooms[0].free_bytes)} are "
        f"free in {folder}: {remedy}, or set {CACHE_VARIABLE} to a folder on a larger disk"
    )


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
