"""Variants found by listing a folder: a new variant is one file, and no list names it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def import_variants(package: str, path: Iterable[str], base: type[T]) -> list[type[T]]:
    """Import every module of a folder and return its concrete classes derived from ``base``, in the order of import.

    Args:
        package: name of the package, for example ``trainables.mixing.masks``.
        path: its ``__path__``.
        base: class that the variants derive from, directly or through another class.

    Examples:
        >>> import trainables.mixing.masks as masks
        >>> from trainables.mixing.masks.base import Mask
        >>> "Box" in [mask.__name__ for mask in import_variants(masks.__name__, masks.__path__, Mask)]
        True
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    found = [variant for variant in _subclasses(base) if variant.__module__.startswith(f"{package}.")]
    return [variant for variant in found if not inspect.isabstract(variant)]


def _subclasses(parent: type[T]) -> Iterator[type[T]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)
