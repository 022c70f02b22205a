"""Errors that the user can fix: one message, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the closest valid name, if any, and all valid names.

    Examples:
        >>> did_you_mean("cutmx", ["cutmix", "mixup"])
        "; did you mean 'cutmix'? valid: cutmix, mixup"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"{hint} valid: {', '.join(names)}"
