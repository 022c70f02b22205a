"""Names of studies and arms."""

from __future__ import annotations

import re
import unicodedata

from trainables.errors import format_value

NAME = r"[a-z][a-z0-9_]{0,63}"
"""Name of a study or arm. Names of trials, files and folders begin with it; a file's name has at most 255 bytes."""


def check_name(name: str) -> str:
    """Return the name of a study or arm.

    Raises:
        ValueError: proposes a valid name.

    Examples:
        >>> check_name("Mask-Shape")
        Traceback (most recent call last):
        ValueError: a name has small letters, digits and '_', a letter first, and at most 64 characters, \
got 'Mask-Shape': write for example 'mask_shape'
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(
            "a name has small letters, digits and '_', a letter first, and at most 64 characters, got "
            f"{format_value(name)}: write for example '{proposed_name(name)}'"
        )
    return name


def proposed_name(text: str) -> str:
    """Return a valid name that resembles a text.

    Examples:
        >>> proposed_name("2nd-Study"), proposed_name("größe")
        ('study_2nd_study', 'groe')
    """
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")
    return (name if name[:1].isalpha() else f"study_{name}".rstrip("_"))[:64]
