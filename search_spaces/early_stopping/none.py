"""No early stopping."""

from __future__ import annotations

from typing import Literal

from search_spaces.early_stopping.base import Stopping


class NoStopping(Stopping):
    """All trials run to the end.

    Examples:
        >>> NoStopping().build(max_epochs=30) is None
        True
    """

    rule: Literal["none"] = "none"

    def build(self, max_epochs: int) -> None:
        """Return None: no trial is ever stopped."""

    def describe(self) -> str:
        """Return the rule in words."""
        return "no early stopping"
