"""The section on published numbers, for studies without a notebook of their own; absent if none was published."""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown, display

from analysis.data import frames
from analysis.published import compare_to_published
from analysis.report.show import show

_ABOUT = """## Beside published numbers

Own values of the arms that Yun et al. (ICCV 2019) trained on the same data set, in percent, with their 95 % t intervals
over `seeds` trials. `own change` and `published change` are in points, from the arm `off`; the change of paired seeds
has its interval as well. `differs` lists what differs from the published training."""


def show_published(sweep_dir: Path | str | None = None) -> None:
    """Show own test values beside published ones; nothing if none was published, or nothing was measured.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    for phase in ("confirm", "search"):
        sweep = frames.load(sweep_dir, phase=phase)
        try:
            table = compare_to_published(sweep)
        except ValueError:  # no test values, or several data sets
            continue
        if table.empty:
            continue
        display(Markdown(_ABOUT))
        intervals = {"own": ("low", "high"), "own_change": ("change_low", "change_high")}
        columns = ["arm", "metric", "own", "seeds", "published", "published_model", "own_change", "published_change"]
        show(table[[*columns, "low", "high", "change_low", "change_high", "differs"]], "published", intervals=intervals)
        return
