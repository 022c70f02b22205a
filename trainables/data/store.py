"""Splits that are prepared once per node: memory-mapped files that all processes of the node share.

An entry of the cache is a folder with ``labels.npy``, ``boxes.npy`` (for data with boxes), ``meta.json`` (checksum of
each file; for the training split also classes, means and standard deviations of the channels), and the images:
``images.npy`` has their pixels, all of one size; ``images.jpegs`` has JPEGs, with ``offsets.npy``, ``sizes.npy`` and
``original-sizes.npy``. The name of an entry depends on the content of the files that it was made from, not on their
folder. It is written under another name and renamed when complete. An entry that was damaged later is made again.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from trainables.data.cache_dir import default_cache_dir
from trainables.data.config import Data
from trainables.data.contents import ANY, Contents, SplitContent, source_type
from trainables.data.entries import Entry, blaming, locked, read_entry, warn
from trainables.data.entry_files import FORMAT, complete_entry, load_entry, storage_key, write_images
from trainables.data.image_set import ImageArray, ImageSet
from trainables.data.padded import padded_images
from trainables.data.sources.base import Source, Split
from trainables.data.sources.registry import open_source
from trainables.errors import UserError
from trainables.intact import DAMAGED, DamagedFile, set_aside

_Opened = TypeVar("_Opened")


def open_split(data: Data, split: Split, *, contents: Contents = ANY, cache_dir: Path | None = None) -> ImageSet:
    """Open a split; the first process of a node that asks for it decodes it while the others wait.

    Opening ``train`` does not read a test image. Opening ``test`` needs the training split as well, for its classes,
    image size and channel statistics.

    Args:
        data: the source, the size of its images, and how they are stored; other fields are ignored.
        split: ``train`` (including the images that later validate) or ``test``.
        contents: fingerprints that the splits must have. The source's files are not looked at if these contents are in
            the cache.
        cache_dir: folder of the cache; None: :func:`trainables.data.cache_dir.default_cache_dir`.

    Returns:
        The split. Its images are mapped read-only: writing to them raises an error, and writing through a raw pointer
        kills the process.

    Raises:
        UserError: the source is missing, incomplete, unreadable or has another content, or the cache cannot be
            written; the message names the folder and says what to do.

    Examples:
        >>> digits = open_split(Data(source="digits"), "test")
        >>> digits.images.shape, digits.classes[:3]
        ((1436, 32, 32, 3), ('0', '1', '2'))
    """
    return _again_if_replaced(lambda: _open_split(data, split, contents, cache_dir))


def _open_split(data: Data, split: Split, contents: Contents, cache_dir: Path | None) -> ImageSet:
    train = _open_train(data, contents, cache_dir)
    if split == "train":
        return load_entry(train, train, data)
    folder, basis = train.path.parent, train.path.name
    test = _Opening(open_source(data.source), "test", data, folder, basis, contents.test).entry()
    return load_entry(test, train, data)


def stored_folder(data: Data, split: Split, *, cache_dir: Path | None = None) -> Path | None:
    """Return the folder in the cache with the images of a split; None if they are not written.

    Nothing is written, and no image is read. Files that were moved or copied are recognised by their names and sizes.

    Args:
        data: as for :func:`open_split`.
        split: ``train`` or ``test``.
        cache_dir: as for :func:`open_split`.

    Raises:
        UserError: the source is missing.
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir
    source = open_source(data.source)
    train = _Opening(source, "train", data, folder, "", None).present()
    if split == "train" or train is None:
        return train
    return _Opening(source, "test", data, folder, train.name, None).present()


def open_train(data: Data, *, contents: Contents = ANY, cache_dir: Path | None = None) -> tuple[ImageSet, ImageArray]:
    """Open the training images without and with a zero border, of the same content.

    Args:
        data: the source, the size of its images, and the border ``pad_px``.
        contents: as for :func:`open_split`.
        cache_dir: as for :func:`open_split`.

    Returns:
        The training split, and its images with the border: uint8 [N, H + 2 pad_px, W + 2 pad_px, 3], mapped read-only.
        They are made once per node and shared like the images. JPEGs have no border: they are returned twice.

    Raises:
        UserError: as :func:`open_split`.
    """
    return _again_if_replaced(lambda: _open_padded(data, contents, cache_dir))


def _open_padded(data: Data, contents: Contents, cache_dir: Path | None) -> tuple[ImageSet, ImageArray]:
    entry = _open_train(data, contents, cache_dir)
    images = load_entry(entry, entry, data)
    if isinstance(images.images, np.ndarray) and data.pad_px:
        return images, padded_images(entry, images.images, data.pad_px)
    return images, images.images


def _again_if_replaced(open_images: Callable[[], _Opened]) -> _Opened:
    """Open images; once more if another process has replaced a damaged entry after it was found here."""
    try:
        return open_images()
    except FileNotFoundError:
        return open_images()


def _open_train(data: Data, contents: Contents, cache_dir: Path | None) -> Entry:
    folder = default_cache_dir() if cache_dir is None else cache_dir
    return _Opening(open_source(data.source), "train", data, folder, "", contents.train).entry()


class _Opening:
    """The search for the entry of one split, which is decoded if there is none or if it is damaged."""

    def __init__(self, source: Source, split: Split, data: Data, cache: Path, basis: str, wanted: str | None) -> None:
        """Take what decides the entry.

        Args:
            source: where the images come from.
            split: which of its splits.
            data: size of the images, and how they are stored.
            cache: folder of the cache.
            basis: name of the entry that classes and image size come from; "" for the training split.
            wanted: fingerprint that the content must have; None: any.
        """
        self._source, self._split, self._data = source, split, data
        self._cache, self._basis, self._wanted = cache, basis, wanted
        self._damage: DamagedFile | None = None

    def entry(self) -> Entry:
        """Return the intact entry.

        Raises:
            UserError: see :func:`open_split`.
        """
        found = self._intact(self._wanted)
        if found is not None:
            return found
        content = SplitContent(self._source, self._split, self._cache)
        fingerprint = content.known
        if fingerprint is None and content.possible:  # reading the files is faster than decoding them
            fingerprint = content.computed()
        found = self._intact(self._checked(fingerprint))
        if found is not None:
            return found
        name = f"{self._source.name}-{self._split}-{content.snapshot.listing[:20]}"
        with locked(self._cache / name):  # by names and sizes: before the images are decoded no more is known
            content = SplitContent(self._source, self._split, self._cache)
            # another process may have written the entry while this one waited for the lock
            return self._intact(self._checked(content.known)) or self._decode(content, name)

    def present(self) -> Path | None:
        """Return the folder of the entry if there is one, of the known content or of one with the same file sizes."""
        content = SplitContent(self._source, self._split, self._cache)
        fingerprints = content.possible if content.known is None else [content.known]
        return next((path for path in map(self._path, fingerprints) if path.is_dir()), None)

    def _intact(self, fingerprint: str | None) -> Entry | None:
        """Return the entry of a content if there is one and it is not damaged."""
        if fingerprint is None:
            return None
        try:
            return read_entry(self._path(fingerprint))
        except DamagedFile as error:
            self._damage = error
            return None

    def _path(self, fingerprint: str) -> Path:
        key = repr((FORMAT, source_type(self._source), self._split, storage_key(self._data), fingerprint, self._basis))
        return self._cache / f"{self._source.name}-{self._split}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"

    def _checked(self, fingerprint: str | None) -> str | None:
        """Return the fingerprint of the present files.

        Raises:
            UserError: it is not the one that is wanted.
        """
        if None not in (fingerprint, self._wanted) and fingerprint != self._wanted:
            raise UserError(
                f"the {'training' if self._split == 'train' else 'test'} images of '{self._source.name}' differ from "
                "the images that the sweep was started with: restore them"
            )
        return fingerprint

    def _decode(self, content: SplitContent, name: str) -> Entry:
        """Decode the split under another name, and rename it to its entry when it is complete."""
        unfinished = self._cache / f"{name}.partial-{uuid.uuid4().hex}"
        with blaming(self._cache):
            for left_over in self._cache.glob(f"{name}.partial-*"):  # left by a process that was killed
                shutil.rmtree(left_over)
            unfinished.mkdir()
        try:
            written = write_images(self._source, self._split, self._data, unfinished)
            fingerprint = content.record(written.digests)
            self._checked(fingerprint)
            with blaming(self._cache):
                complete_entry(unfinished, written, self._split, fingerprint)
            return self._replace(self._path(fingerprint), unfinished, fingerprint)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _replace(self, entry: Path, unfinished: Path, fingerprint: str) -> Entry:
        """Rename a complete folder to its entry; a damaged entry is deleted after the new one was read back.

        Processes that have mapped a damaged entry keep its files until they end.
        """
        with locked(entry), blaming(self._cache):
            found = self._intact(fingerprint)
            if found is not None:  # from a folder that lists the same files in another order
                return found
            aside = set_aside(entry) if entry.exists() else None
            unfinished.rename(entry)
            written = read_entry(entry)
            assert written is not None
            for damaged in self._cache.glob(f"{entry.name}{DAMAGED}-*"):  # also that of a process that was killed here
                shutil.rmtree(damaged)
        if aside is not None:
            warn(f"the decoded images in '{entry}' were damaged ({self._damage}): they were decoded again")
        return written
