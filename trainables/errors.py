"""Refusals that are the user's to mend: one message, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user asked for.

    The message names the path or option, the value given and what would be valid. The command line prints it
    and exits with status 2.
    """


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'? valid: x, y, z"`` for an unknown name, ready to end a message."""
    names = sorted(choices)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"{hint} valid: {', '.join(names)}"
