"""Image files in folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

IMAGE_SUFFIXES = frozenset({"bmp", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"})
"""Endings of image files, in lower case; case is ignored."""


def image_files(folder: Path) -> list[str]:
    """Return the image files below ``folder`` at any depth: names relative to it, sorted, without hidden files."""
    return sorted(_files_below(str(folder), "", IMAGE_SUFFIXES))


def annotation_files(folder: Path) -> list[str]:
    """Return the XML files below ``folder`` at any depth: names relative to it, sorted, without hidden files."""
    return sorted(_files_below(str(folder), "", frozenset({"xml"})))


def _files_below(folder: str, prefix: str, suffixes: frozenset[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files_below(entry.path, f"{prefix}{entry.name}/", suffixes)
            elif entry.name.rpartition(".")[2].lower() in suffixes:
                yield prefix + entry.name
