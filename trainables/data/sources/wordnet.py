"""Names of ImageNet's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def class_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first name of each class, or its WordNet id where it has none or shares it with another class.

    Args:
        wnids: WordNet ids of the classes, in their order.
        words: names by WordNet id, separated by commas.
    """
    names = [words.get(wnid, wnid).split(",")[0] for wnid in wnids]
    # ImageNet has two cranes: a name shared by two classes is no name
    return tuple(name if names.count(name) == 1 else wnid for name, wnid in zip(names, wnids, strict=True))
