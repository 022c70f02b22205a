"""What a data source must have before anything is trained on it: ``plan``, ``run`` and ``doctor`` ask the same."""

from __future__ import annotations

from trainables.data.sources.base import Source
from trainables.errors import UserError


def check_usable(source: Source) -> list[str]:
    """Check that a source can be read and has at least two classes; return what a user should know of its files.

    Raises:
        UserError: as :meth:`Source.check <trainables.data.sources.base.Source.check>`, or there is one class only.

    Examples:
        >>> from trainables.data.sources.registry import open_source
        >>> check_usable(open_source("digits"))
        []
    """
    source.check()
    counts = source.class_counts()
    n_classes = source.describe().n_classes if counts is None else len(counts)
    if n_classes < 2:
        name = source.classes()[0]
        raise UserError(
            f"{source.name}: the only class is '{name}': at least two classes are needed to classify images"
        )
    return source.notes()
