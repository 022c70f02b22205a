"""What the study ``compute`` says: errors against cost, of shallow networks with mixing and deeper ones without.

Costs are of whole trainings: ``train_s``, seconds of training alone, as recorded, which depend on the machine and on
what else ran there, and ``train_flops``, which do not, known once the axis ``cost`` has been evaluated.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.frames import Sweep
from analysis.measured import values_of
from analysis.statistics import paired_differences
from sweep.records.summary import Metric

FLOPS = "cost train_flops"
"""The quantity that evaluation measures."""

COSTS = {"train_s": "training seconds", "train_flops": "training FLOPs"}

MARGIN = 0.01
"""Difference in error that is called none: one point."""

ERROR = Metric("validation top-1 error", 100.0, "%")

NETWORK = "config.model.name"
UNIT = ("network", "replicate")


def costs(sweep: Sweep) -> pd.DataFrame:
    """Gather the final error of each arm, network and replicate, and what it cost.

    Args:
        sweep: from :func:`analysis.frames.load`.

    Returns:
        One row an arm, network and replicate with a completed trial (means where it has several): ``arm``,
        ``network`` (ordered from cheap to dear), ``replicate``, ``error`` (validation top-1, last epoch, a fraction),
        ``train_s``, ``images_per_s`` and ``train_flops`` (nan where not measured).
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
    return ordered.groupby(["arm", *UNIT], observed=True).mean().reset_index()


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise each arm and network.

    Args:
        table: from :func:`costs`.

    Returns:
        One row an arm and network: ``arm``, ``network``, ``n``, ``error`` (mean) with ``low`` and ``high`` of its 95 %
        t interval, and medians of ``train_s``, ``images_per_s`` and ``train_flops``.
    """
    found = statistics.means(table, value="error", by=("arm", "network")).rename(columns={"estimate": "error"})
    medians = table.groupby(["arm", "network"], observed=True)[["train_s", "images_per_s", "train_flops"]].median()
    return found.drop(columns="confidence").join(medians, on=["arm", "network"])


def first_arm(table: pd.DataFrame) -> str:
    """Return the arm that the others are compared with: the study's first."""
    return str(table["arm"].cat.categories[0])


def slow_downs(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the training time of each arm with that of the first one on the same network and seed.

    Args:
        table: from :func:`costs`.

    Returns:
        Paired differences of times relative to the first arm's: an ``estimate`` of 0.03 is 3 % more time.
    """
    baseline = first_arm(table)
    own = table[table["arm"] == baseline].set_index(list(UNIT))["train_s"]
    of_baseline = own.reindex(pd.MultiIndex.from_frame(table[list(UNIT)])).to_numpy()
    relative = table.assign(relative=table["train_s"] / of_baseline)
    return paired_differences(relative, value="relative", baseline=baseline, unit=UNIT)


def at_equal_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the error of each arm with the first one's on the same network and seed: paired differences."""
    return paired_differences(table, value="error", baseline=first_arm(table), unit=UNIT, margin=MARGIN)


def at_equal_cost(table: pd.DataFrame, *, cost: str = "train_s") -> pd.DataFrame:
    """Compare the error of each arm with what the first one has for the same cost.

    The first arm's error at a cost is read between its networks, along a straight line over the logarithm of the cost,
    on the same seed; an arm's cost with a network is its median over seeds. Beyond the first arm's cheapest and dearest
    networks nothing is said: dearest networks whose mixing takes time on top have no partner.

    Args:
        table: from :func:`costs`.
        cost: column of ``COSTS``.

    Returns:
        Paired differences, over networks and seeds.
    """
    baseline = first_arm(table)
    log_cost = np.log(table.groupby(["arm", "network"], observed=True)[cost].transform("median"))
    parts = [
        rows.assign(excess=rows["error"] - _read(rows["log_cost"], rows[rows["arm"] == baseline]))
        for _, rows in table.assign(log_cost=log_cost).groupby("replicate")
    ]
    excess = pd.concat(parts) if parts else table.assign(excess=table["error"])
    return paired_differences(excess, value="excess", baseline=baseline, unit=UNIT, margin=MARGIN)


def _read(log_cost: pd.Series[float], baseline: pd.DataFrame) -> np.ndarray:
    """Return the error of the first arm on one seed at these costs; nan outside of its own."""
    known = baseline.dropna(subset=["log_cost", "error"]).sort_values("log_cost")
    if known.empty:
        return np.full(len(log_cost), np.nan)
    errors = np.interp(log_cost, known["log_cost"], known["error"], left=np.nan, right=np.nan)
    return np.asarray(errors, dtype=np.float64)


def against_deeper(table: pd.DataFrame) -> pd.DataFrame:
    """Compare each arm on a network with the first arm on the next dearer network, seed by seed.

    Args:
        table: from :func:`costs`.

    Returns:
        Paired differences, a family a step: ``network``, ``deeper``, then as usual, and ``times_cheaper``: median
        training seconds of the first arm on the deeper network over those of the arm.
    """
    baseline, networks = first_arm(table), list(table["network"].cat.categories)
    median_s = table.groupby(["arm", "network"], observed=True)["train_s"].median()
    parts = [_step(table, network, deeper) for network, deeper in pairwise(networks)]
    steps = pd.concat(parts) if parts else table.assign(network="", deeper="").iloc[:0]
    found = paired_differences(steps, value="error", baseline=baseline, by=("network", "deeper"), margin=MARGIN)
    arms, deeper = (
        pd.MultiIndex.from_frame(rows) for rows in (found[["arm", "network"]], found[["baseline", "deeper"]])
    )
    return found.assign(times_cheaper=median_s.reindex(deeper).to_numpy() / median_s.reindex(arms).to_numpy())


def _step(table: pd.DataFrame, network: str, deeper: str) -> pd.DataFrame:
    is_baseline = table["arm"] == first_arm(table)
    chosen = np.where(is_baseline, table["network"] == deeper, table["network"] == network)
    return table[chosen].assign(network=network, deeper=deeper)


def verdict(table: pd.DataFrame) -> list[str]:
    """Answer the study's question in sentences.

    Args:
        table: from :func:`costs`.
    """
    if table.empty:
        return ["Undecided: no trial has completed yet."]
    slower, deeper = slow_downs(table), against_deeper(table)
    networks = table["network"].nunique()
    said = [
        f"Training time, relative to {first_arm(table)} on the same network and seed: {statistics.in_short(slower)} "
        f"(from {_percent(slower['estimate'].min())} to {_percent(slower['estimate'].max())}).",
        *(
            f"At equal {words}, over {networks} networks: {sentence}"
            for cost, words in COSTS.items()
            if table[cost].notna().any()
            for sentence in statistics.verdict(at_equal_cost(table, cost=cost), metric=ERROR)
        ),
    ]
    said += [
        f"{network} against {first_arm(table)} on {other}: {_passing(rows)}."
        for (network, other), rows in deeper.groupby(["network", "deeper"], sort=False)
    ]
    return said or ["Undecided: no trial has completed yet."]


def _percent(share: float) -> str:
    return "unknown" if np.isnan(share) else f"{100 * share:+.1f} %"


def _passing(rows: pd.DataFrame) -> str:
    cheaper = rows["times_cheaper"].min()
    price = "" if np.isnan(cheaper) else f", which takes at least {cheaper:.2g} times as long"
    return f"in error, {statistics.in_short(rows)}{price}"
