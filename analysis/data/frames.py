"""A recorded sweep as tidy frames, with the columns that every question needs already joined."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sweep.findings.summary import METRICS, final_epochs
from sweep.records.nested import flattened
from sweep.records.reader import read_sweep
from sweep.records.schema import STATUSES

SWEEP_DIR = "CUTMIX_SWEEP_DIR"
"""Environment variable that names the folder of the sweep to analyse."""

_PARAMS = "params."


@dataclass(frozen=True)
class Sweep:
    """A sweep to analyse; ``arm`` is everywhere an ordered category, in the order of the study.

    Attributes:
        manifest: study, versions, hardware, seed, command and runs.
        trials: one row a trial, by arm and number, with ``params.*``, ``config.*`` and ``final_<metric>`` columns, the
            last its metrics at the last planned epoch, nan where it is not completed.
        epochs: one row a trial and epoch, with the trial's ``params.*`` and ``status``.
        decisions: one row a trial and rung.
        evaluations: one row a trial, axis, split, setting and metric, with the trial's ``arm``.
    """

    manifest: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame


def load(sweep_dir: Path | str | None = None, *, phase: Literal["search", "confirm"] = "search") -> Sweep:
    """Load what is recorded of a phase of a sweep, at any instant of it.

    Args:
        sweep_dir: its folder; None takes the environment variable ``CUTMIX_SWEEP_DIR``.
        phase: the search, whose trials were chosen and stopped by what they showed, or the confirmation of its
            winners on fresh seeds, which alone has test values.

    Raises:
        ValueError: neither is given, or the folder holds no readable sweep.
    """
    records = read_sweep(folder_of(sweep_dir), phase)
    arms = _arms(records.manifest, records.trials)
    final = final_epochs(records.trials, records.epochs)[list(METRICS)].add_prefix("final_")
    trials = _join(records.trials, final)
    trials = trials.assign(arm=trials["arm"].astype(arms)).sort_values(["arm", "number"], ignore_index=True)
    of_trial = [*trials.filter(regex=f"^{re.escape(_PARAMS)}"), "status", "arm"]
    return Sweep(
        manifest=records.manifest,
        trials=trials,
        epochs=_join(records.epochs, trials.set_index("trial")[of_trial]),
        decisions=records.decisions.assign(arm=records.decisions["arm"].astype(arms)),
        evaluations=_join(records.evaluations, trials.set_index("trial")[["arm"]]),
    )


def folder_of(sweep_dir: Path | str | None) -> Path:
    """Return the folder itself, or that of the environment variable where it is None.

    Raises:
        ValueError: neither is given.
    """
    folder = os.environ.get(SWEEP_DIR, "") if sweep_dir is None else sweep_dir
    if not folder:
        raise ValueError(f"no sweep to analyse: pass its folder or set the environment variable {SWEEP_DIR}")
    return Path(folder)


def _arms(manifest: Mapping[str, Any], trials: pd.DataFrame) -> pd.CategoricalDtype:
    declared = list(manifest.get("study", {}).get("arms", {}))
    return pd.CategoricalDtype(list(dict.fromkeys([*declared, *trials["arm"]])), ordered=True)


def _join(rows: pd.DataFrame, of_trial: pd.DataFrame) -> pd.DataFrame:
    """Join on the trial, one look-up a trial; a column that both have is the trial's, where the rows have it."""
    numbers, names = pd.factorize(rows["trial"])
    joined = of_trial.reindex(names).take(numbers).set_axis(rows.index)
    return rows.assign(**joined)


def varied(trials: pd.DataFrame, arm: str) -> list[str]:
    """List the dotted paths that ``arm`` draws, in the order of recording; empty where it draws nothing."""
    own = trials[trials["arm"] == arm].filter(regex=f"^{re.escape(_PARAMS)}")
    return [str(column).removeprefix(_PARAMS) for column in own.dropna(axis="columns", how="all")]


def drawn_in_logs(manifest: Mapping[str, Any], arm: str) -> list[str]:
    """List the dotted paths that ``arm`` draws evenly in logarithms, as the study declares them."""
    study = manifest.get("study", {})
    space = {**study.get("space", {}), **study.get("arms", {}).get(arm, {}).get("space", {})}
    return [path for path, domain in space.items() if domain.get("kind") == "loguniform"]


def facts(manifest: Mapping[str, Any]) -> pd.Series[Any]:
    """Return what was run and where, one line a fact: study, command, seed, budget, versions, hardware."""
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
    """Count trials: one row an arm, one column a status, and the range of seeds."""
    counts = pd.crosstab(trials["arm"], trials["status"]).reindex(columns=list(STATUSES), fill_value=0)
    seeds = trials.groupby("arm", observed=True)["seed"].agg(["nunique", "min", "max"])
    return counts.join(seeds.rename(columns={"nunique": "seeds", "min": "seed_min", "max": "seed_max"}))
