"""The section on what was evaluated: in the notebook of every study, absent if nothing was evaluated."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from analysis import plots
from analysis.data import frames
from analysis.data.measurements import (
    Sheet,
    measured_differences,
    measured_means,
    measured_values,
    sheets,
)
from analysis.questions import evaluated
from analysis.report.show import show, show_picture
from sweep.findings.summary import baseline_arm

N_STRIPS = 2
"""Trials per arm whose pictures are shown."""


def show_measurements(sweep_dir: Path | str | None = None, *, baseline: str | None = None) -> None:
    """Show what ``cutmix-sweep evaluate`` measured: table, figure, differences, pictures; nothing without it.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
        baseline: arm that the others are compared with; None uses the baseline of the study.
    """
    values = measured_values(sweep_dir)
    if values.empty:
        return
    study = frames.load(sweep_dir).manifest["study"]
    means = measured_means(values)
    headline = means[means["is_headline"]]
    display(
        Markdown(
            "## What was evaluated\n\n"
            "Mean per arm with its 95 % t interval (each alone). "
            f"{evaluated.describe_networks(means)} The table shows the main quantities of each axis. "
            "Its CSV file contains all measured quantities."
        )
    )
    show(evaluated.mean_table(headline), "evaluated", data=means)
    show(plots.measured(plots.first_quantities(headline)), "evaluated_figure")
    _show_differences(values, headline, baseline or baseline_arm(study))
    for (axis, kind), group in groupby(sheets(sweep_dir), key=lambda sheet: (sheet.axis, sheet.kind)):
        _show_sheets(axis, kind, list(group))


def _show_differences(values: pd.DataFrame, headline: pd.DataFrame, baseline: str) -> None:
    differences = measured_differences(values[values["is_headline"]], baseline=baseline)
    table = evaluated.difference_table(differences, headline)
    if table.empty:
        return
    display(
        Markdown(
            f"### Differences to `{baseline}`\n\n"
            f"Mean difference to `{baseline}` over pairs of equal searches, or of trials with the same seed if `n` "
            "counts seeds or trials; here `n` is the number of pairs. "
            "Intervals (Bonferroni) and decisions (Holm, marked by `*`) have a joint level of 95 % over the arms of "
            "one quantity. They are not corrected for the number of quantities."
        )
    )
    show(table, "evaluated_differences", data=differences)


def _show_sheets(axis: str, kind: str, group: list[Sheet]) -> None:
    display(
        Markdown(
            f"### Pictures: {axis}, {kind}\n\n"
            f"The first {N_STRIPS} networks of each arm, one row per network, the same images for all. "
            f"Files of all networks: `pictures/{axis}/` in the folder of the sweep."
        )
    )
    for sheet in group:
        name = re.sub(r"[^a-z0-9_]+", "_", f"{axis}_{kind}_{sheet.arm}".lower())
        display(Markdown(f"**{sheet.arm}**"))
        show_picture(sheet.strips[:N_STRIPS] or [sheet.path], name)
