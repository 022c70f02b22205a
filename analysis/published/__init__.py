"""Published numbers, and a comparison of the test errors of a sweep with them.

A published number may come from another network, budget, number of seeds or selection of the epoch. The column
``differs`` of :func:`compare_to_published` lists these differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import pandas as pd

from analysis.data.frames import Sweep
from sweep.findings.bounds import cut
from sweep.findings.confirmed import test_values
from sweep.findings.searches import unit_of
from sweep.findings.student_t import mean_interval
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.schema import COMPLETED

UNKNOWN = "not known"
"""Text of ``selection`` and ``start`` where it was not found in the source."""

BASELINE = "off"
"""Arm that changes of the error are measured from."""

PRESETS = {
    "scheduled": "cutmix_scheduled",
    "fixed_size": "cutmix_fixed_size",
    "complete_label": "cutmix_complete_label",
    "one_hot": "cutmix_one_hot",
    "center_gaussian": "cutmix_center_gaussian",
    "feature": "feature_cutmix",
}
"""Preset of each arm of the built-in study ``paper_ablation``. Other arms have the name of their preset."""

_NUMBERS = ["n_seeds", "epochs", "batch_size"]
_COMPARED = ["arm", "own", "low", "high", "seeds", "published", "published_model", "own_change", "published_change"]


def load_published() -> pd.DataFrame:
    """Load the published numbers.

    Returns:
        One row per number, unchanged from its source: ``dataset``, ``model`` and ``arm`` (in the names of this program
        if it has one), ``metric``, ``unit``, ``value``, ``n_seeds``, planned ``epochs`` and ``batch_size`` (NaN: not
        known), ``selection`` (the reported epoch), ``start`` (the initial weights), ``source`` (with its table),
        ``taken_from`` (the paper from which the source copied the number, trained by another recipe; otherwise empty)
        and ``note``. Text is ``not known`` where we did not find it in the source.

    Examples:
        >>> published = load_published()
        >>> published.columns.tolist()[:6]
        ['dataset', 'model', 'arm', 'metric', 'unit', 'value']
    """
    with files(__name__).joinpath("results.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})


def compare_to_published(
    sweep: Sweep, *, dataset: str | None = None, published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Compare the test errors of a confirmation with published errors of the same data set and arm.

    Absolute errors are rarely comparable. The changes ``own_change`` and ``published_change``, each from the arm
    ``off`` that was trained in the same way, are more comparable. Numbers that the source copied from another paper
    have no such ``off``.

    Args:
        sweep: a sweep, loaded with ``phase="confirm"``.
        dataset: name of the data set in the published table; None uses the data source of the sweep.
        published: published numbers with the columns of :func:`load_published`; None loads them.

    Returns:
        One row per confirmed configuration and published network with its arm, in the study's order; with several
        searches per arm, one row per arm, over the winners of its searches. Columns: ``arm``, ``own`` (mean test top-1
        error, %), ``low`` and ``high`` (its 95 % t interval over seeds, or over searches, cut at 0 and 100), ``seeds``,
        ``published`` (%), ``published_model``, ``own_change`` and ``published_change`` (points, from ``off``; NaN
        without that arm), ``differs`` (differences in training), ``source``. If several configurations of ``off`` were
        confirmed, ``own_change`` is from their mean. If the network of the sweep was published, only its rows are
        returned. Empty if no number was published.

    Raises:
        ValueError: no test values, or trials of several data sets.
    """
    confirmed = _confirmed(sweep)
    published = load_published() if published is None else published
    name = _dataset(confirmed) if dataset is None else dataset
    published = published[(published["metric"] == "top1_error") & (published["dataset"] == name)]
    if (same := published["model"].isin(confirmed["model"])).any():
        published = published[same]
    baseline = confirmed.loc[confirmed["arm"] == BASELINE, "own"].mean()
    own_recipe = published[(published["arm"] == BASELINE) & (published["taken_from"] == "")]
    baselines = own_recipe.groupby("model")["value"].mean()
    rows = [
        {
            **configuration,
            **{"published": row["value"], "published_model": row["model"], "source": row["source"]},
            "own_change": configuration["own"] - baseline,
            "published_change": math.nan if row["taken_from"] else row["value"] - baselines.get(row["model"], math.nan),
            "differs": "; ".join(_differences(configuration, row)),
        }
        for configuration in confirmed.to_dict("records")
        for row in published[published["arm"] == preset_of(configuration["arm"])].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=[*_COMPARED, "differs", "source"])


def _confirmed(sweep: Sweep) -> pd.DataFrame:
    """Return one row per confirmed configuration: its arm, error, seeds and training."""
    tests = test_values(sweep.evaluations)
    errors = tests[tests["metric"] == "top1_error"].set_index("trial")[["value", "setting"]]
    trials = sweep.trials[sweep.trials["status"] == COMPLETED].join(errors, on="trial", how="inner")
    if trials.empty:
        raise ValueError("no test values: load a confirmed sweep with phase='confirm' (cutmix-sweep confirm DIR)")
    rows = []
    by_search = unit_of(sweep.manifest["study"]) == "search"  # then an arm has one row, with a value per search
    keys = ["arm"] if by_search else ["arm", "confirms"]
    trials = trials[trials["rank"] == 1] if by_search else trials
    for (arm, *_), group in trials.groupby(keys, observed=True, sort=False):
        values = group.groupby("search")["value"].mean() if by_search else group["value"]
        mean, low, high = mean_interval(100 * values.to_numpy())
        low, high = cut(low, high, (0.0, 100.0))
        first = group.iloc[0]
        rows.append(
            {
                **{"arm": arm, "own": mean, "low": low, "high": high, "seeds": len(group)},
                **{"dataset": first["config.data.source"], "model": first["config.model.name"]},
                **{"width": first.get("config.model.width", 1.0), "epochs": int(first[PLANNED_EPOCHS])},
                **{"train_frac": _train_frac(first), "batch_size": first.get("config.data.batch_size", math.nan)},
                "weights": first["setting"],
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(arm=frame["arm"].astype(sweep.trials["arm"].dtype)).sort_values("arm", kind="stable")


def _train_frac(trial: pd.Series[Any]) -> float:
    """Return the fraction of the training images that a trial was trained on, without its validation images."""
    return float(trial["config.data.train_frac"] * (1 - trial["config.data.val_frac"]))


def _dataset(confirmed: pd.DataFrame) -> str:
    names = list(confirmed["dataset"].unique())
    if len(names) > 1:
        raise ValueError(f"the trials have several data sets ({', '.join(names)}): pass dataset")
    return str(names[0])


def preset_of(arm: str) -> str:
    """Return the preset of an arm of the built-in study ``paper_ablation``; the name itself for other arms.

    Examples:
        >>> preset_of("scheduled"), preset_of("cutmix")
        ('cutmix_scheduled', 'cutmix')
    """
    return PRESETS.get(arm, arm)


def _differences(confirmed: Mapping[Any, Any], published: Mapping[Any, Any]) -> Iterator[str]:
    """Describe the differences in training, that of the sweep first."""
    if confirmed["model"] != published["model"]:
        yield f"network {confirmed['model']}, not {published['model']}"
    if confirmed["width"] != 1.0:
        yield f"width times {confirmed['width']:g}"
    yield f"{100 * confirmed['train_frac']:.3g} % of the training images, not all"
    yield from _different_number(confirmed["epochs"], published["epochs"], "epochs")
    yield from _different_number(confirmed["batch_size"], published["batch_size"], "images per batch")
    weights = "averaged weights" if confirmed["weights"] == "ema" else "weights"
    selection = published["selection"]
    yield f"{weights} of the last epoch, {'published epoch unknown' if selection == UNKNOWN else f'not {selection}'}"
    yield from _different_number(confirmed["seeds"], published["n_seeds"], "seeds")
    if published["taken_from"]:
        yield f"published: number from {published['taken_from']}"
    if published["note"]:
        yield f"published: {published['note']}"


def _different_number(own: float, published: float, unit: str) -> Iterator[str]:
    if own != published and not math.isnan(own):
        yield f"{own:g} {unit}, {'published number unknown' if math.isnan(published) else f'not {published:g}'}"
