"""Errors that the user can fix: one message, no traceback."""

from __future__ import annotations

import bisect
import difflib
import itertools
import math
import reprlib
from collections.abc import Iterable
from typing import Any

QUOTED_CHARS = 80
"""Longest quotation of one value in a message."""

PATH_CHARS = 200
"""Largest number of characters of a path that a message quotes."""

LINE_CHARS = 1_200
"""Largest number of characters of one line of a message, whatever it quotes."""

MAX_LINES = 10
"""Largest number of lines of a message."""

LISTED_CHARS = 340
"""Largest length of the valid names in a message, which has at most 500 characters in all."""


class OneLineError(Exception):
    """An error of which a notebook shows the message alone: a traceback would not help."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class UserError(OneLineError):
    """A mistake in a study, an option or a path.

    The message names the path or option, its value and the valid choices. The command line prints the message and exits
    with status 2.
    """


class DataWarning(UserWarning):
    """Something about images that the user should know, for example that damaged files were made again."""


class _ShortRepr(reprlib.Repr):
    """Python's text of a value, cut while it is built: nested values may be much longer than the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple, self.maxset = 4, 8, 8, 8, 8
        self.maxstring = self.maxother = QUOTED_CHARS

    def repr_int(self, x: int, level: int) -> str:
        """Return the text of an integer; Python refuses to print thousands of digits."""
        n_bits = x.bit_length()
        return repr(x) if n_bits <= 128 else f"an integer of about {round(n_bits * math.log10(2)):,} digits"


def format_value(value: Any) -> str:
    """Return a value as Python writes it, cut to at most 80 characters.

    Examples:
        >>> format_value({"mix": "off"})
        "{'mix': 'off'}"
        >>> format_value(list(range(200_000)))
        '[0, 1, 2, 3, 4, 5, 6, 7, ...]'
    """
    return shorten(_ShortRepr().repr(value))


def shorten(text: str, n_chars: int = QUOTED_CHARS) -> str:
    """Return a text, cut to at most ``n_chars`` characters.

    Examples:
        >>> shorten("a" * 100, 10)
        'aaaaaaa...'
    """
    return text if len(text) <= n_chars else f"{text[: n_chars - 3]}..."


def shorten_message(message: str) -> str:
    """Return a message with at most 10 lines; a long line keeps its beginning and its end.

    Examples:
        >>> len(shorten_message(f"cannot read '{'x' * 9_000}': File name too long"))
        1200
        >>> shorten_message(f"cannot read '{'x' * 9_000}': File name too long")[-22:]
        "x': File name too long"
    """
    half = LINE_CHARS // 2
    lines = message.splitlines()[:MAX_LINES]
    return "\n".join(line if len(line) <= LINE_CHARS else f"{line[: half - 5]} ... {line[-half:]}" for line in lines)


def shorten_path(path: object, n_chars: int = PATH_CHARS) -> str:
    """Return a path, of which at most the last ``n_chars`` characters are kept: its end names the file.

    Examples:
        >>> shorten_path("sweeps/alpha/prob/studies/small.yaml", 20)
        '...dies/small.yaml'
    """
    text = str(path)
    return text if len(text) <= n_chars else f"...{text[3 - n_chars :]}"


def did_you_mean(name: str, choices: Iterable[str], *, listed: Iterable[str] | None = None) -> str:
    """Return the end of a message about an unknown name: the closest valid name, if any, and all valid names.

    Args:
        name: the unknown name.
        choices: valid names.
        listed: what the message lists; None: all valid names.

    Examples:
        >>> did_you_mean("cutmx", ["cutmix", "mixup"])
        "; did you mean 'cutmix'? valid: cutmix, mixup"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(name[:QUOTED_CHARS], names, n=1, cutoff=0.6)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    names = names if listed is None else list(listed)
    n_listed = bisect.bisect(list(itertools.accumulate(len(name) + 2 for name in names)), LISTED_CHARS)
    rest = f" and {len(names) - n_listed:,} more" if len(names) > n_listed else ""
    return f"{hint} valid: {', '.join(names[:n_listed])}{rest}"
