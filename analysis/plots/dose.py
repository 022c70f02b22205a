"""Dose of each arm (how much it pastes, and where) against its difference to the baseline."""

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
"""Fraction of mixed samples with a pixel of the partner, at three places of the image."""

_LABELS = {
    **{name: f"partner's pixel, {name.rpartition('_')[2]}\n(fraction of mixed samples)" for name in COVERAGE},
    "dose_exposure": "exposure\n(mean smaller label weight)",
    "dose_pasted_frac": "pasted area\n(fraction of all pixels)",
    "dose_label_entropy": "label entropy (nats)",
    "dose_boundary_px": "boundary (px)",
    "dose_mean_prob": "probability of mixing",
    "dose_nothing_pasted": "nothing pasted\n(fraction of mixed samples)",
}


def dose_gain_info(trials: pd.DataFrame, differences: pd.DataFrame, *, doses: Sequence[str] = COVERAGE) -> pd.DataFrame:
    """Join the doses of each arm to its difference to the baseline.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        differences: one row per arm, as from ``forest_info``.
        doses: columns of ``trials``.

    Returns:
        One row per arm and dose: ``arm``, ``dose``, ``amount`` (mean over its trials), ``n_trials`` (trials with the
        dose), and ``estimate``, ``low``, ``high``, ``n_pairs``, ``baseline``, ``confidence`` and ``metric`` of its
        difference. An arm without a dose, for example one that does not mix, or without a difference is left out.

    Raises:
        ValueError: an unknown dose.

    Examples:
        >>> trials = pd.DataFrame({"arm": ["off", "cutmix", "cutmix"], "dose_exposure": [None, 0.125, 0.25]})
        >>> columns = ["arm", "estimate", "low", "high", "n_pairs", "baseline", "confidence", "metric"]
        >>> row = ["cutmix", -0.02, -0.03, -0.01, 5, "off", 0.95, "val_top1_error"]
        >>> differences = pd.DataFrame([row], columns=columns)
        >>> info = dose_gain_info(trials, differences, doses=["dose_exposure"])
        >>> info[["arm", "dose", "amount", "n_trials", "estimate"]]
              arm           dose  amount  n_trials  estimate
        0  cutmix  dose_exposure  0.1875         2     -0.02
    """
    if missing := [dose for dose in doses if dose not in trials]:
        recorded = ", ".join(str(name) for name in trials if str(name).startswith("dose_"))
        choices = f"choose one of {recorded}" if recorded else "the trials have no recorded dose"
        raise ValueError(f"unknown dose {missing[0]!r}, {choices}")
    long = trials.melt(id_vars="arm", value_vars=list(doses), var_name="dose", value_name="amount")
    amounts = long.astype({"amount": float}).groupby(["dose", "arm"], observed=True, sort=False)["amount"]
    info = amounts.agg(amount="mean", n_trials="count").reset_index()
    columns = ["arm", "estimate", "low", "high", "n_pairs", "baseline", "confidence", "metric"]
    joined = info.astype({"arm": str}).merge(differences[columns].astype({"arm": str}), on="arm")
    joined = joined.dropna(subset=["amount", "estimate"])
    return joined.assign(arm=joined["arm"].astype(trials["arm"].dtype)).reset_index(drop=True)


def dose_gain(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Plot the difference of each arm to the baseline over its dose, one panel per dose, with its interval.

    Args:
        info: from ``dose_gain_info``.
        into: figure to plot into; None makes one.
    """
    doses = list(dict.fromkeys(info["dose"]))
    whole, panels = panelled(into, len(doses))
    if info.empty:
        annotate_empty("no arm has both a recorded dose and a difference to the baseline", panels[0])
        return whole
    first = info.iloc[0]
    label = column_label(first["metric"])
    unit = f" ({label.difference_unit})" if label.difference_unit else ""
    for ax, dose in zip(panels, doses, strict=True):
        for _, style, rows in by_arm(info[info["dose"] == dose]):
            x, estimate, low, high = (float(rows[name].iloc[0]) for name in ("amount", "estimate", "low", "high"))
            ax.vlines(x, low * label.factor, high * label.factor, color=style.colour, linewidth=1.2)
            ax.plot(x, estimate * label.factor, marker=style.marker, color=style.colour, ms=7)
        ax.axhline(0, color=GREY, linewidth=1, zorder=0)
        y_label(ax, f"difference in {label.name} to {first['baseline']}{unit}")
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set_xlabel(_LABELS.get(dose, dose.replace("_", " ")), fontsize=SMALL_PT + 1)
    whole.suptitle(
        f"Difference to the baseline over dose, joint {100 * first['confidence']:.0f} % intervals", fontsize=10
    )
    keys = [
        legend_entry(f"{arm} (n = {rows['n_pairs'].iloc[0]} pairs)", style.colour, style.marker)
        for arm, style, rows in by_arm(info)
    ]
    legend_outside(whole, keys)
    return whole
