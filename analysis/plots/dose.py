"""What an arm pastes, and where, against what it gains."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.style import (
    GREY,
    SMALL_PT,
    annotate_empty,
    by_arm,
    column_label,
    legend_entry,
    legend_outside,
    panelled,
    y_label,
)

COVERAGE = ("dose_coverage_centre", "dose_coverage_edge", "dose_coverage_corner")
"""Share of mixed samples whose pixel is foreign, at three places of the image."""

_WORDS = {
    **{name: f"foreign at the {name.rpartition('_')[2]}\n(share of mixed samples)" for name in COVERAGE},
    "dose_exposure": "exposure\n(smaller share of the label)",
    "dose_pasted_frac": "pasted area\n(share of all pixels)",
    "dose_label_entropy": "label entropy (nats)",
    "dose_boundary_px": "border (px)",
    "dose_mean_prob": "chance of being mixed",
    "dose_nothing_pasted": "nothing pasted\n(share of mixed samples)",
}


def dose_gain_info(trials: pd.DataFrame, differences: pd.DataFrame, *, doses: Sequence[str] = COVERAGE) -> pd.DataFrame:
    """Put each arm's dose beside its difference to the baseline.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        differences: one row an arm, as from ``forest_info``.
        doses: columns of ``trials``.

    Returns:
        One row an arm and dose: ``arm``, ``dose``, ``amount`` (mean over its trials), ``n_trials`` (that have it),
        and ``estimate``, ``low``, ``high``, ``n_pairs``, ``baseline``, ``confidence`` and ``metric`` of its difference.
        Arms without a dose, such as one that does not mix, or without a difference are left out.

    Raises:
        ValueError: there is no such column.
    """
    if missing := [dose for dose in doses if dose not in trials]:
        known = ", ".join(str(name) for name in trials if str(name).startswith("dose_"))
        raise ValueError(f"no dose is called {missing[0]!r}, choose among {known or 'none: none is recorded'}")
    long = trials.melt(id_vars="arm", value_vars=list(doses), var_name="dose", value_name="amount")
    amounts = long.astype({"amount": float}).groupby(["dose", "arm"], observed=True, sort=False)["amount"]
    info = amounts.agg(amount="mean", n_trials="count").reset_index()
    columns = ["arm", "estimate", "low", "high", "n_pairs", "baseline", "confidence", "metric"]
    joined = info.astype({"arm": str}).merge(differences[columns].astype({"arm": str}), on="arm")
    joined = joined.dropna(subset=["amount", "estimate"])
    return joined.assign(arm=joined["arm"].astype(trials["arm"].dtype)).reset_index(drop=True)


def dose_gain(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Draw each arm's difference to the baseline over its dose, a panel a dose, with the difference's interval.

    Args:
        info: from ``dose_gain_info``.
        into: figure to draw into; None makes one.
    """
    doses = list(dict.fromkeys(info["dose"]))
    drawn, panels = panelled(into, len(doses))
    if info.empty:
        annotate_empty("no arm has both a recorded dose and a difference to the baseline", panels[0])
        return drawn
    first = info.iloc[0]
    words = column_label(first["metric"])
    unit = f" ({words.difference_unit})" if words.difference_unit else ""
    for ax, dose in zip(panels, doses, strict=True):
        for _, style, rows in by_arm(info[info["dose"] == dose]):
            x, estimate, low, high = (float(rows[name].iloc[0]) for name in ("amount", "estimate", "low", "high"))
            ax.vlines(x, low * words.factor, high * words.factor, color=style.colour, linewidth=1.2)
            ax.plot(x, estimate * words.factor, marker=style.marker, color=style.colour, ms=7)
        ax.axhline(0, color=GREY, linewidth=1, zorder=0)
        y_label(ax, f"difference in {words.name} to {first['baseline']}{unit}")
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set_xlabel(_WORDS.get(dose, dose.replace("_", " ")), fontsize=SMALL_PT + 1)
    drawn.suptitle(f"Dose and gain, intervals of {first['confidence']:.0%} together", fontsize=10)
    keys = [
        legend_entry(f"{arm} (n = {rows['n_pairs'].iloc[0]} pairs)", style.colour, style.marker)
        for arm, style, rows in by_arm(info)
    ]
    legend_outside(drawn, keys)
    return drawn
