"""Published numbers, and one's own beside them with what differs said in words.

A published number is one of another network, budget, number of seeds and choice of epoch until shown otherwise: see
the column ``differs`` of :func:`compare_to_published`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import pandas as pd

from analysis.data.frames import Sweep
from sweep.findings.confirmed import test_values
from sweep.findings.student_t import mean_interval
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.schema import COMPLETED

BASELINE = "off"
"""Arm that changes are measured from."""

PRESETS = {
    "scheduled": "cutmix_scheduled",
    "fixed_size": "cutmix_fixed_size",
    "complete_label": "cutmix_complete_label",
    "one_hot": "cutmix_one_hot",
    "center_gaussian": "cutmix_center_gaussian",
    "feature": "feature_cutmix",
}
"""Preset by the name that an arm has in the built-in study of the paper's ablation; others are called alike."""

_COMPARED = ["arm", "own", "low", "high", "seeds", "published", "published_model", "own_change", "published_change"]


def load_published() -> pd.DataFrame:
    """Load the published numbers.

    Returns:
        One row a number, as it stands in its source: ``dataset``, ``model`` and ``arm`` in the names of this program
        where it has them, ``metric``, ``unit``, ``value``, ``n_seeds`` (nan: not said), planned ``epochs``,
        ``selection`` (which epoch was reported), ``source`` and ``note``.
    """
    with files(__name__).joinpath("results.csv").open() as file:
        return pd.read_csv(file, keep_default_na=False, na_values={"n_seeds": [""], "epochs": [""]})


def compare_to_published(
    sweep: Sweep, *, dataset: str | None = None, published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Set test errors of a confirmation beside published ones of the same data set and arm.

    Absolute errors are seldom comparable; ``own_change`` and ``published_change``, each from the arm ``off`` trained
    alike, are more so.

    Args:
        sweep: a sweep, loaded with ``phase="confirm"``.
        dataset: its name in the published table; None takes that of the sweep's data source.
        published: from :func:`load_published`, or of the same columns; None loads it.

    Returns:
        One row a confirmed configuration and published network that has its arm, in the study's order: ``arm``,
        ``own`` (mean test top-1 error, %), ``low`` and ``high`` of its 95 % t interval, ``seeds``, ``published`` (%),
        ``published_model``, ``own_change`` and ``published_change`` (points, from ``off``; nan without it, and of an
        arm of which several configurations were confirmed the mean of ``off`` over its own), ``differs`` (what was
        done otherwise), ``source``. Only the sweep's own network, where it was published; empty if nothing is.

    Raises:
        ValueError: no test values, or trials of more than one data set.
    """
    own = _own(sweep)
    known = load_published() if published is None else published
    name = _dataset(own) if dataset is None else dataset
    known = known[(known["metric"] == "top1_error") & (known["dataset"] == name)]
    if (same := known["model"].isin(own["model"])).any():
        known = known[same]
    baseline = own.loc[own["arm"] == BASELINE, "own"].mean()
    rows = [
        {
            **configuration,
            **{"published": row["value"], "published_model": row["model"], "source": row["source"]},
            "own_change": configuration["own"] - baseline,
            "published_change": row["value"] - _published_baseline(known, row["model"]),
            "differs": "; ".join(_differences(configuration, row)),
        }
        for configuration in own.to_dict("records")
        for row in known[known["arm"] == preset_of(configuration["arm"])].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=[*_COMPARED, "differs", "source"])


def _own(sweep: Sweep) -> pd.DataFrame:
    """Return one row a confirmed configuration: its arm, error, seeds and what it was trained with."""
    tests = test_values(sweep.evaluations)
    errors = tests[tests["metric"] == "top1_error"].set_index("trial")[["value", "setting"]]
    trials = sweep.trials[sweep.trials["status"] == COMPLETED].join(errors, on="trial", how="inner")
    if trials.empty:
        raise ValueError("no test values: load a confirmed sweep with phase='confirm' (cutmix-sweep confirm DIR)")
    rows = []
    for (arm, _), group in trials.groupby(["arm", "confirms"], observed=True, sort=False):
        mean, low, high = mean_interval(100 * group["value"].to_numpy())
        first = group.iloc[0]
        rows.append(
            {
                **{"arm": arm, "own": mean, "low": low, "high": high, "seeds": len(group)},
                **{"dataset": first["config.data.source"], "model": first["config.model.name"]},
                **{"width": first.get("config.model.width", 1.0), "epochs": int(first[PLANNED_EPOCHS])},
                **{"share": _share(first), "weights": first["setting"]},
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(arm=frame["arm"].astype(sweep.trials["arm"].dtype)).sort_values("arm", kind="stable")


def _share(trial: pd.Series[Any]) -> float:
    """Return the share of the training images that a trial learned from: some are for validation."""
    return float(trial["config.data.train_frac"] * (1 - trial["config.data.val_frac"]))


def _dataset(own: pd.DataFrame) -> str:
    names = list(own["dataset"].unique())
    if len(names) > 1:
        raise ValueError(f"trials of several data sets, {', '.join(names)}: give dataset")
    return str(names[0])


def preset_of(arm: str) -> str:
    """Return the preset that an arm of the built-in ablation has, or the name itself."""
    return PRESETS.get(arm, arm)


def _published_baseline(known: pd.DataFrame, model: str) -> float:
    return float(known.loc[(known["arm"] == BASELINE) & (known["model"] == model), "value"].mean())


def _differences(own: Mapping[Any, Any], published: Mapping[Any, Any]) -> Iterator[str]:
    """Say what was done otherwise, ours first."""
    if own["model"] != published["model"]:
        yield f"network {own['model']}, not {published['model']}"
    if own["width"] != 1.0:
        yield f"width times {own['width']:g}"
    yield f"{100 * own['share']:.3g} % of the training images, not all"
    if own["epochs"] != published["epochs"]:
        yield f"{own['epochs']} epochs, not {published['epochs']:g}"
    weights = "averaged weights" if own["weights"] == "ema" else "weights"
    yield f"{weights} of the last epoch, not {published['selection']}"
    if own["seeds"] != published["n_seeds"]:
        known = published["n_seeds"] == published["n_seeds"]  # not nan
        yield f"{own['seeds']} seeds, " + (f"not {published['n_seeds']:g}" if known else "theirs not said")
    if published["note"]:
        yield f"theirs: {published['note']}"
