"""Where the images of a recorded configuration lie now, and what they must contain.

A configuration names the folder in which the images were when the sweep started. It is part of the records and stays
the same when the folder moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from trainables.data.contents import ANY, Contents


@dataclass(frozen=True)
class Place:
    """Present place of a data source.

    Attributes:
        source: the source as ``--data`` spells it, with its present folder.
        contents: fingerprints that its splits must have.
    """

    source: str
    contents: Contents = ANY


_PLACES: ContextVar[Mapping[str, Place] | None] = ContextVar("places", default=None)


@contextmanager
def images_at(places: Mapping[str, Place]) -> Iterator[None]:
    """Read images from other places within the block.

    Args:
        places: present place of each source by its spelling in configurations; sources that are missing are where their
            configurations say.

    Examples:
        >>> with images_at({"imagefolder:/old": Place("imagefolder:/new")}):
        ...     place_of("imagefolder:/old").source
        'imagefolder:/new'
    """
    token = _PLACES.set(places)
    try:
        yield
    finally:
        _PLACES.reset(token)


def place_of(source: str) -> Place:
    """Return the present place of a source that a configuration names."""
    return (_PLACES.get() or {}).get(source, Place(source))
