"""Answers of the study ``compute``: error against cost, for shallow networks with mixing and deeper ones without.

Costs belong to a whole training. ``train_s`` is the recorded time of training alone, in seconds; it depends on the
machine and on its other work. ``train_flops`` does not, and is known once the axis ``cost`` has been evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.interpolate import make_interp_spline

from analysis import statistics
from analysis.data.evaluations import values_of
from analysis.data.frames import Sweep
from analysis.statistics import paired_differences
from sweep.findings.summary import Metric, baseline_arm

FLOPS = "cost train_flops"
"""Quantity that the evaluation measures."""

COSTS = {"train_s": "training seconds", "train_flops": "training FLOPs"}

MARGIN = 0.005
"""Largest difference in error that counts as none: half a point."""

BEYOND = 1.25
"""Factor beyond its smallest and its largest cost, up to which the error of the baseline is extrapolated."""

EQUAL_ERROR = Metric("validation top-1 error at equal training time", 100.0, "%")

NETWORK = "config.model.name"
UNIT = ("network", "replicate")


def costs(sweep: Sweep) -> pd.DataFrame:
    """Gather the final error and the cost of each arm, network and replicate.

    Args:
        sweep: from :func:`analysis.data.frames.load`.

    Returns:
        One row per arm, network and replicate with a completed trial (the mean of several): ``arm``, ``network``
        (ordered by increasing cost), ``replicate``, ``error`` (validation top-1, last epoch, a fraction),
        ``train_s``, ``images_per_s``, ``train_flops`` (NaN if not measured) and ``baseline``, the study's baseline arm.
    """
    flops = values_of(sweep, [FLOPS]).set_index("trial")[FLOPS]
    done = sweep.trials[sweep.trials["final_val_top1_error"].notna()]
    done = done.assign(**{NETWORK: done.get(NETWORK, "")})  # no column before the first trial
    images = done["epochs"] * done["n_train"].astype(float)
    rows = pd.DataFrame(
        {
            **{"arm": done["arm"], "network": done[NETWORK].astype(str), "replicate": done["replicate"]},
            **{"error": done["final_val_top1_error"], "images_per_s": done["images_per_s"].astype(float)},
            "train_s": (images / done["images_per_s"]).fillna(done["seconds"]).astype(float),
            "train_flops": done["trial"].map(flops).astype(float),
        }
    )
    networks = rows.groupby("network")["train_s"].median().sort_values().index
    ordered = rows.assign(network=rows["network"].astype(pd.CategoricalDtype(list(networks), ordered=True)))
    means = ordered.groupby(["arm", *UNIT], observed=True).mean().reset_index()
    return means.assign(baseline=baseline_arm(sweep.manifest["study"]))


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise each arm and network.

    Args:
        table: from :func:`costs`.

    Returns:
        One row per arm and network: ``arm``, ``network``, ``n``, ``error`` (mean) with ``low`` and ``high`` of its 95 %
        t interval, and medians of ``train_s``, ``images_per_s`` and ``train_flops``.
    """
    means = statistics.means(table, value="error", by=("arm", "network")).rename(columns={"estimate": "error"})
    medians = table.groupby(["arm", "network"], observed=True)[["train_s", "images_per_s", "train_flops"]].median()
    return means.drop(columns="confidence").join(medians, on=["arm", "network"])


def baseline_of(table: pd.DataFrame) -> str:
    """Return the arm that the others are compared with; "" before any trial has completed."""
    return str(table["baseline"].iloc[0]) if len(table) else ""


def slow_downs(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the training time of each arm with that of the baseline on the same network and seed.

    Args:
        table: from :func:`costs`.

    Returns:
        Paired differences of times relative to the baseline's: an ``estimate`` of 0.03 is 3 % more time.
    """
    baseline = baseline_of(table)
    times = table[table["arm"] == baseline].set_index(list(UNIT))["train_s"]
    of_baseline = times.reindex(pd.MultiIndex.from_frame(table[list(UNIT)])).to_numpy()
    relative = table.assign(relative=table["train_s"] / of_baseline)
    return paired_differences(relative, value="relative", baseline=baseline, unit=UNIT)


def at_equal_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the error of each arm with the baseline's on the same network and seed: paired differences."""
    return paired_differences(table, value="error", baseline=baseline_of(table), unit=UNIT, margin=MARGIN)


def at_equal_cost(table: pd.DataFrame, *, cost: str = "train_s") -> pd.DataFrame:
    """Compare the error of each arm with the error of the baseline at the same cost.

    The error of the baseline at a cost is interpolated between its networks on the same seed, along a straight line
    over the logarithm of the cost. The cost of an arm with a network is its median over seeds. The line is extrapolated
    up to ``BEYOND`` times the largest cost of the baseline, and down to its smallest cost divided by ``BEYOND``.

    Args:
        table: from :func:`costs`.
        cost: column of ``COSTS``.

    Returns:
        Paired differences, over networks and seeds.
    """
    baseline = baseline_of(table)
    log_cost = np.log(table.groupby(["arm", "network"], observed=True)[cost].transform("median"))
    parts = [
        rows.assign(excess=rows["error"] - _read(rows["log_cost"], rows[rows["arm"] == baseline]))
        for _, rows in table.assign(log_cost=log_cost).groupby("replicate")
    ]
    excess = pd.concat(parts) if parts else table.assign(excess=table["error"])
    return paired_differences(excess, value="excess", baseline=baseline, unit=UNIT, margin=MARGIN)


def _read(log_cost: pd.Series[float], baseline: pd.DataFrame) -> np.ndarray:
    """Return the error of the baseline on one seed at these costs; NaN far outside its range."""
    points = baseline.dropna(subset=["log_cost", "error"]).sort_values("log_cost").drop_duplicates("log_cost")
    if len(points) < 2:
        return np.full(len(log_cost), np.nan)
    x, y, at = (values.to_numpy(float) for values in (points["log_cost"], points["error"], log_cost))
    errors = make_interp_spline(x, y, k=1)(at)
    is_near = (at >= x[0] - np.log(BEYOND)) & (at <= x[-1] + np.log(BEYOND))
    return np.where(is_near, errors, np.nan)


def by_measure(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join comparisons, with the column ``at_equal`` for the name of each; a cost that is not known is left out."""
    named = [rows.assign(at_equal=name) for name, rows in parts.items()]
    return pd.concat([rows for rows in named if rows["estimate"].notna().any()] or named[:1], ignore_index=True)


def against_deeper(table: pd.DataFrame) -> pd.DataFrame:
    """Compare each arm on a network with the baseline on the network of the next larger cost, seed by seed.

    Args:
        table: from :func:`costs`.

    Returns:
        Paired differences, one family per step: ``network``, ``deeper``, then the usual columns, and
        ``times_cheaper``: median training seconds of the baseline on the deeper network, divided by those of the arm.
    """
    baseline, networks = baseline_of(table), list(table["network"].cat.categories)
    median_s = table.groupby(["arm", "network"], observed=True)["train_s"].median()
    parts = [_step(table, network, deeper) for network, deeper in pairwise(networks)]
    steps = pd.concat(parts) if parts else table.assign(network="", deeper="").iloc[:0]
    rows = paired_differences(steps, value="error", baseline=baseline, by=("network", "deeper"), margin=MARGIN)
    arms, deeper = (pd.MultiIndex.from_frame(rows[names]) for names in (["arm", "network"], ["baseline", "deeper"]))
    rows = rows.assign(times_cheaper=median_s.reindex(deeper).to_numpy() / median_s.reindex(arms).to_numpy())
    return rows.sort_values("network", key=lambda names: names.map(networks.index), kind="stable", ignore_index=True)


def _step(table: pd.DataFrame, network: str, deeper: str) -> pd.DataFrame:
    is_baseline = table["arm"] == baseline_of(table)
    chosen = np.where(is_baseline, table["network"] == deeper, table["network"] == network)
    return table[chosen].assign(network=network, deeper=deeper)


def verdict(table: pd.DataFrame) -> list[str]:
    """Return the sentences that answer the study's question.

    Args:
        table: from :func:`costs`.
    """
    if table.empty:
        return ["Undecided: no trial has completed yet."]
    baseline, deeper, timed = baseline_of(table), against_deeper(table), COSTS["train_s"]
    n_networks = table["network"].nunique()
    over = f"over {n_networks} network{'s' * (n_networks > 1)}"
    equal = {"depth": at_equal_depth(table)}
    equal |= {name: at_equal_cost(table, cost=cost) for cost, name in COSTS.items() if table[cost].notna().any()}
    return [
        f"Training time, relative to {baseline} on the same network and seed: {_slower(slow_downs(table))}.",
        *(statistics.verdict(equal[timed], metric=EQUAL_ERROR) if timed in equal else []),
        *(f"At equal {name}, {over}: {statistics.summary_line(rows)}." for name, rows in equal.items()),
        *(
            f"{network} against {baseline} on {other}: {_against_deeper(rows)}."
            for (network, other), rows in deeper.groupby(["network", "deeper"], sort=False)
        ),
    ]


def _slower(rows: pd.DataFrame) -> str:
    changes = rows["estimate"].dropna()
    ends = f" (from {100 * changes.min():+.1f} to {100 * changes.max():+.1f} %)" if len(changes) else ""
    return f"{statistics.summary_line(rows)}{ends}"


def _against_deeper(rows: pd.DataFrame) -> str:
    cheaper = rows["times_cheaper"].min()
    price = "" if np.isnan(cheaper) else f", which takes at least {cheaper:.2g} times as long"
    return f"in error, {statistics.summary_line(rows)}{price}"
