"""Data sources by their short names, known without importing their readers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from trainables.data.sources.base import Source

SOURCES = {
    "digits": False,
    "cifar10": False,
    "cifar100": False,
    "imagefolder": True,
    "tiny-imagenet": True,
    "cub": True,
    "imagenet": True,
}
"""Whether a source needs a path, by its name."""

WITH_BOXES = ("digits", "tiny-imagenet", "cub", "imagenet")
"""Sources that say where in the image the object is."""

_READERS = {
    "digits": "digits.Digits",
    "cifar10": "cifar.Cifar10",
    "cifar100": "cifar.Cifar100",
    "imagefolder": "imagefolder.ImageFolder",
    "tiny-imagenet": "tiny_imagenet.TinyImageNet",
    "cub": "cub.Cub",
    "imagenet": "imagenet.ImageNet",
}
"""Module and class of a source, imported only when the source is opened."""


def split_source(source: str) -> tuple[str, Path | None]:
    """Split ``"imagefolder:PATH"`` into its name and path (None where there is none).

    Raises:
        ValueError: the name is unknown, or its path is missing or empty.
    """
    name, colon, path = source.partition(":")
    if name not in SOURCES:
        raise ValueError(f"unknown data source {name!r}{did_you_mean(name, SOURCES)}")
    if (SOURCES[name] or colon) and not path:
        raise ValueError(f"data source {name!r} needs a path: '{name}:PATH'")
    if path and name == "digits":
        raise ValueError(f"data source 'digits' takes no path, got {path!r}")
    return name, Path(path).expanduser() if path else None


def open_source(source: str) -> Source:
    """Return the reader of ``"digits"``, ``"cifar10[:PATH]"``, ``"imagefolder:PATH"`` and so on.

    Nothing is read yet: see :meth:`~trainables.data.sources.base.Source.check`.

    Raises:
        UserError: the name is unknown (the message says which one is near), or its path is missing or empty.
    """
    try:
        name, path = split_source(source)
    except ValueError as error:
        raise UserError(str(error)) from None
    module, reader = _READERS[name].split(".")
    opened: Source = getattr(import_module(f"trainables.data.sources.{module}"), reader)(path)
    return opened
