"""Names of the classes of ImageNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def class_names(wnids: Sequence[str], names_by_wnid: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first name of each class, or its WordNet id if the name is missing or shared by two classes.

    Args:
        wnids: WordNet ids of the classes, in the order of the labels.
        names_by_wnid: names of each class, separated by commas.

    Examples:
        >>> class_names(["n01", "n02", "n03"], {"n01": "goldfish, Carassius", "n02": "crane", "n03": "crane"})
        ('goldfish', 'n02', 'n03')
    """
    names = [names_by_wnid.get(wnid, wnid).split(",")[0] for wnid in wnids]
    # ImageNet has two classes named crane, a bird and a machine
    return tuple(name if names.count(name) == 1 else wnid for name, wnid in zip(names, wnids, strict=True))
