"""Where the images of a recorded configuration lie now, and what they must contain.

A configuration names the folder in which the images were when the sweep started. It is part of the records and stays
the same when the folder moves.
"""

from __future__ import annotations

import json
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


def format_places(places: Mapping[str, Place]) -> str:
    """Return places as JSON, for the workers.

    Examples:
        >>> text = format_places({"imagefolder:/old": Place("imagefolder:/new", Contents(train="0" * 64))})
        >>> parse_places(text)["imagefolder:/old"].source
        'imagefolder:/new'
    """
    return json.dumps(
        {
            source: {"source": place.source, "train": place.contents.train, "test": place.contents.test}
            for source, place in places.items()
        }
    )


def parse_places(text: str) -> dict[str, Place]:
    """Return the places that :func:`format_places` has formatted."""
    return {
        source: Place(place["source"], Contents(place["train"], place["test"]))
        for source, place in json.loads(text).items()
    }


def place_of(source: str) -> Place:
    """Return the present place of a source that a configuration names."""
    return (_PLACES.get() or {}).get(source, Place(source))
