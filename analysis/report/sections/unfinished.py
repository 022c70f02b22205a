"""The line on trials that are left: in each notebook, absent in a report, whose page says it above the verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from IPython.display import Markdown, display

from analysis.data.frames import folder_of
from analysis.report.show import REPORT_DIR, plain_text


class Loaded(Protocol):
    """A sweep that knows what its results lack, as from ``cutmix_sweep.load``."""

    @property
    def unfinished(self) -> str:
        """Return sentences; "" if nothing is missing."""


def show_unfinished(load: Callable[[Path], Loaded], sweeps: Mapping[str, Path] | None = None) -> None:
    """Show what the results of sweeps lack, one paragraph per sweep; nothing if nothing is missing.

    Args:
        load: ``cutmix_sweep.load``: the analysis itself reads only records.
        sweeps: folders by the names of the sweeps; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    if os.environ.get(REPORT_DIR):
        return
    for name, folder in ({"": folder_of(None)} if sweeps is None else sweeps).items():
        if unfinished := load(folder).unfinished:
            text = f"{name}: {unfinished}" if name else unfinished
            display(Markdown(f"**{plain_text(text)}**"))
