"""A recorded sweep as tidy frames, with the columns that most questions need already joined."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sweep.findings.confirmed import confirmed_ranks
from sweep.findings.summary import METRICS, final_epochs
from sweep.records.nested import flattened
from sweep.records.reader import read_sweep
from sweep.records.schema import CANCELLED, CONFIRM, STATUSES
from sweep.storage import local_folder

SWEEP_DIR = "CUTMIX_SWEEP_DIR"
"""Environment variable that names the folder of the sweep to analyse."""

_PARAMS = "params."


@dataclass(frozen=True)
class Sweep:
    """A sweep to analyse. In all frames, ``arm`` is an ordered category in the order of the study.

    Attributes:
        manifest: study, versions, hardware, seed, command and runs.
        trials: one row per trial, by arm and number, with columns ``params.*``, ``config.*`` and ``final_<metric>``.
            A final metric is the value at the last planned epoch, NaN for a trial that has not completed. The trials of
            the confirmation have a ``rank``: the present rank of their configuration in its search, from 1, higher for
            a former winner; NaN for a trial that has not completed.
        epochs: one row per trial and epoch, with ``params.*`` and ``status`` of the trial.
        decisions: one row per trial and rung.
        evaluations: one row per trial, axis, split, setting and metric, with ``arm`` of the trial.
    """

    manifest: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame


def load(sweep_dir: Path | str | None = None, *, phase: Literal["search", "confirm"] = "search") -> Sweep:
    """Load the records of one phase of a sweep. The sweep may still be running.

    Args:
        sweep_dir: folder of the sweep, or its address in an object store; None uses the environment variable
            ``CUTMIX_SWEEP_DIR``.
        phase: ``search``, with trials that were selected and stopped by their validation values; or ``confirm``, with
            the winners trained again on fresh seeds. Only a confirmation records test values.

    Raises:
        ValueError: no folder is given, or the folder contains no readable sweep.
    """
    folder = folder_of(sweep_dir)
    records = read_sweep(folder, phase)
    arms = _arms(records.manifest, records.trials)
    final = final_epochs(records.trials, records.epochs)[list(METRICS)].add_prefix("final_")
    trials = _join(records.trials, final)
    trials = trials.assign(arm=trials["arm"].astype(arms)).sort_values(["arm", "number"], ignore_index=True)
    if phase == CONFIRM:
        ranks = confirmed_ranks(read_sweep(folder), records)
        trials = trials.assign(rank=trials["trial"].map(ranks))
    of_trial = [*trials.filter(regex=f"^{re.escape(_PARAMS)}"), "status", "arm"]
    return Sweep(
        manifest=records.manifest,
        trials=trials,
        epochs=_join(records.epochs, trials.set_index("trial")[of_trial]),
        decisions=records.decisions.assign(arm=records.decisions["arm"].astype(arms)),
        evaluations=_join(records.evaluations, trials.set_index("trial")[["arm"]]),
    )


def folder_of(sweep_dir: Path | str | None) -> Path:
    """Return the folder of the sweep; None returns the folder in the environment variable ``CUTMIX_SWEEP_DIR``.

    Raises:
        ValueError: no folder is given in either way.

    Examples:
        >>> folder_of("sweeps/digits").name
        'digits'
    """
    folder = os.environ.get(SWEEP_DIR, "") if sweep_dir is None else sweep_dir
    if not folder:
        raise ValueError(f"no sweep to analyse: pass its folder or set the environment variable {SWEEP_DIR}")
    return local_folder(folder)


def _arms(manifest: Mapping[str, Any], trials: pd.DataFrame) -> pd.CategoricalDtype:
    declared = list(manifest.get("study", {}).get("arms", {}))
    return pd.CategoricalDtype(list(dict.fromkeys([*declared, *trials["arm"]])), ordered=True)


def _join(rows: pd.DataFrame, of_trial: pd.DataFrame) -> pd.DataFrame:
    """Join columns of trials to rows by trial. A column of both frames keeps its place and gets the trial's values."""
    numbers, names = pd.factorize(rows["trial"])  # one look-up per trial: a sweep has many rows per trial
    joined = of_trial.reindex(names).take(numbers).set_axis(rows.index)
    return rows.assign(**joined)


def varied(trials: pd.DataFrame, arm: str) -> list[str]:
    """List the dotted paths of the parameters that an arm samples, in the order of recording.

    Examples:
        >>> trials = pd.DataFrame({"arm": ["off", "cutmix"], "params.mix.size.alpha": [None, 1.0]})
        >>> varied(trials, "cutmix"), varied(trials, "off")
        (['mix.size.alpha'], [])
    """
    params = trials[trials["arm"] == arm].filter(regex=f"^{re.escape(_PARAMS)}")
    return [str(column).removeprefix(_PARAMS) for column in params.dropna(axis="columns", how="all")]


def drawn_in_logs(manifest: Mapping[str, Any], arm: str) -> list[str]:
    """List the dotted paths of the parameters that an arm samples log-uniformly, as the study declares them."""
    study = manifest.get("study", {})
    space = {**study.get("space", {}), **study.get("arms", {}).get(arm, {}).get("space", {})}
    return [path for path, domain in space.items() if domain.get("kind") == "loguniform"]


def facts(manifest: Mapping[str, Any]) -> pd.Series[Any]:
    """Return the facts of a run, one per row: study, command, seed, budget, versions, hardware. None: not recorded."""
    study = manifest.get("study", {})
    chosen = {
        **{key: manifest.get(key) for key in ("sweep", "command", "seed")},
        **{"study": study.get("name"), "arms": ", ".join(study.get("arms", {}))},
        **flattened(study.get("budget", {}), "budget."),
        **flattened(manifest.get("versions", {}), "versions."),
        **flattened(manifest.get("hardware", {}), "hardware."),
    }
    return pd.Series(chosen, dtype=object, name="value")


def statuses(trials: pd.DataFrame) -> pd.DataFrame:
    """Count the trials of each arm by status, its searches and its seeds.

    Returns:
        One row per arm (index): one column per status, ``cancelled`` only if a person stopped trials; ``failed (KIND)``
        per kind of failure that occurred;
        ``searches``, ``seeds`` (distinct), ``seed_min`` and ``seed_max``.
    """
    counts = pd.crosstab(trials["arm"], trials["status"]).reindex(columns=list(STATUSES), fill_value=0)
    if not counts[CANCELLED].any():
        counts = counts.drop(columns=CANCELLED)
    kinds = set(trials["fault"].dropna()) if "fault" in trials else set()  # results of other programs have none
    for kind in sorted(kinds):
        of_kind = trials[trials["fault"] == kind].groupby("arm", observed=True).size()
        counts[f"failed ({kind})"] = of_kind.reindex(counts.index, fill_value=0)
    counts = counts.join(trials.groupby("arm", observed=True)["search"].nunique().rename("searches"))
    seeds = trials.groupby("arm", observed=True)["seed"].agg(["nunique", "min", "max"])
    return counts.join(seeds.rename(columns={"nunique": "seeds", "min": "seed_min", "max": "seed_max"}))
