"""Names in the records of a sweep: of its study, arms and trials.

The files of a trial have its name. A folder may come from somebody else, so a name that could mean another folder, or
that a terminal or a shell would not show as it is, is refused when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sweep.records.errors import RecordsError
from trainables.errors import format_value, shorten_path

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
"""What versions so far have written: the present version writes small letters, digits, ``_`` and ``-`` only."""


def is_name(text: object) -> bool:
    """Return whether a text may be the name of a study, an arm or a trial.

    Examples:
        >>> is_name("cutmix-0004-confirm-01"), is_name("../cutmix-0004"), is_name("=cmd()")
        (True, False, False)
    """
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def check_names(names: Iterable[object], *, kind: str, where: object) -> None:
    """Check names that were read from ``where``.

    Raises:
        RecordsError: one of them is not the name of a ``kind``, for example of an arm.
    """
    for name in names:
        if not is_name(name):
            raise RecordsError(
                f"'{shorten_path(where)}' names the {kind} {format_value(name)}: cutmix-sweep writes no such name, so "
                "the folder was changed by another program"
            )
