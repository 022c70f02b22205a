"""Results that print as text in a terminal and as tables or a picture in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces.study import Study
from sweep.documents import status_document
from sweep.notebook.printed import printed_html, printed_text
from sweep.plan import Plan
from sweep.terminal.status import print_status
from sweep.terminal.study import print_plan


@dataclass(frozen=True, repr=False)
class PlanView(Plan):
    """A plan that is shown as by the command ``plan``.

    Attributes:
        study: the study that is planned.
    """

    study: Study

    def __repr__(self) -> str:
        """Return the plan as text."""
        return printed_text(self._print_to)

    def _repr_html_(self) -> str:
        return printed_html(self._print_to)

    def _print_to(self, console: Console) -> None:
        print_plan(self.study, self, console)


class StatusView(dict[str, Any]):
    """The facts that ``status --json`` prints, as a dict; it is shown as by the command ``status``."""

    def __init__(self, sweep_dir: Path) -> None:
        """Read the records of a sweep."""
        super().__init__(status_document(sweep_dir))
        self._text = printed_text(lambda console: print_status(sweep_dir, console))
        self._html = printed_html(lambda console: print_status(sweep_dir, console))

    def __repr__(self) -> str:
        """Return the status as text."""
        return self._text

    def _repr_html_(self) -> str:
        return self._html


@dataclass(frozen=True)
class PreviewView:
    """A PNG picture, which a notebook shows.

    Attributes:
        path: the file.
    """

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()
