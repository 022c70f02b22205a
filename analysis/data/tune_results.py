"""Results of plain Ray Tune, without this program, as the frames of a recorded sweep; read without Ray."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.frames import Sweep
from sweep.findings.summary import METRICS, PLANNED_EPOCHS, final_epochs
from sweep.records.nested import flattened
from sweep.records.schema import (
    COMPLETED,
    DECISIONS,
    EPOCHS,
    EVALUATIONS,
    FAILED,
    PAUSED,
    RUNNING,
    SCHEMA_VERSION,
    SEARCH,
    STOPPED,
    TRIALS,
)

MAPPABLE = [name for name in EPOCHS.columns.names if name not in ("trial", "arm", "epoch", "attempt")]
"""Columns of the epochs that a reported column can be mapped to."""

_STATUS = {"PENDING": RUNNING, "RUNNING": RUNNING, "PAUSED": PAUSED, "ERROR": FAILED}
_OWN_TIMES = {"seconds": "time_this_iter_s"}


def load_tune(
    folder: Path | str,
    *,
    metrics: Mapping[str, str],
    epoch: str = "training_iteration",
    arm: str | None = None,
    seed: str | None = None,
    max_epochs: int | None = None,
) -> Sweep:
    """Load a folder of Tune's results: ``experiment_state-*.json`` and one folder per trial with its results.

    Each parameter becomes a ``config.*`` column. A parameter that differs between trials also becomes a ``params.*``
    column. Columns that Tune does not record are NaN or None: dose, rungs, test values, and each metric that is not
    mapped. Values are not converted: this program expects errors as fractions.

    Args:
        folder: folder that ``tune.run`` or ``Tuner`` wrote for one experiment (``storage_path / name``).
        metrics: reported column per column of the epochs, for example ``{"val_top1_error": "error"}``. A trial that
            did not report the column has NaN.
        epoch: reported column that counts epochs from 1. If an epoch was reported twice, after a restart, the later
            report counts.
        arm: dotted path of the parameter that is the arm; None: all trials are one arm.
        seed: dotted path of the parameter that is the seed.
        max_epochs: planned epochs; None: the epochs of the longest trial. Tune does not record whether a trial was
            stopped early. A trial that ended without an error after fewer epochs counts as stopped, any other as
            completed.

    Raises:
        ValueError: the folder contains no results, a column is unknown, or a trial lacks a parameter.
    """
    folder = Path(folder).expanduser()
    if unknown := sorted(set(metrics) - set(MAPPABLE)):
        raise ValueError(f"metrics: unknown column '{unknown[0]}', choose one of {', '.join(MAPPABLE)}")
    runs = _runs(folder)
    _check_columns(runs, [*metrics.values(), epoch])
    arms = {run.name: str(_at(run, arm, "arm")) if arm else folder.name for run in runs}
    epochs = _epochs(runs, arms, {**_OWN_TIMES, **metrics}, epoch)
    planned = max_epochs or int(epochs["epoch"].max())
    trials = _trials(runs, arms, epochs, sweep=folder.name, planned=planned, seed=seed)
    final = final_epochs(trials, epochs)[list(METRICS)].add_prefix("final_")
    trials = trials.join(final.reindex(trials["trial"]).reset_index(drop=True))
    kind = pd.CategoricalDtype(list(dict.fromkeys(arms.values())), ordered=True)
    trials = trials.assign(arm=trials["arm"].astype(kind))
    of_trial = trials.set_index("trial").filter(regex=r"^(params\.|status$)")
    return Sweep(
        manifest=_manifest(folder.name, kind.categories, planned),
        trials=trials,
        epochs=epochs.assign(arm=epochs["arm"].astype(kind)).join(of_trial, on="trial"),
        decisions=pd.DataFrame(columns=DECISIONS.columns.names),
        evaluations=pd.DataFrame(columns=EVALUATIONS.columns.names),
    )


@dataclass(frozen=True)
class _Run:
    """One trial's folder.

    Attributes:
        name: Tune's id of the trial.
        params: values of its parameters by dotted path.
        results: all reported values, one row per report.
        status: status of the trial in Tune.
        why: last line of its error.
    """

    name: str
    params: Mapping[str, Any]
    results: pd.DataFrame
    status: str
    why: str


def _runs(folder: Path) -> list[_Run]:
    """Read all trials that have begun, in the order of Tune's ids."""
    statuses = _statuses(folder)
    folders = sorted({path.parent for path in folder.glob("*/params.json")}, key=lambda path: path.name)
    if not folders:
        raise ValueError(f"no results of Ray Tune in '{folder}': it has no folder with a params.json")
    return [_run(path, statuses.get(path.name, "TERMINATED")) for path in folders]


def _run(folder: Path, status: str) -> _Run:
    results = _results(folder)
    ids = list(results["trial_id"].dropna()) if "trial_id" in results else []
    error = folder / "error.txt"
    lines = error.read_text(encoding="utf-8").strip().splitlines() if error.exists() else []
    return _Run(
        name=str(ids[0]) if ids else folder.name,
        params=flattened(json.loads((folder / "params.json").read_text(encoding="utf-8"))),
        results=results,
        status=status,
        why=lines[-1] if lines else "",
    )


def _statuses(folder: Path) -> dict[str, str]:
    """Read the status of each trial, by the name of its folder, from the newest snapshot of the experiment."""
    snapshots = sorted(folder.glob("experiment_state-*.json"))
    if not snapshots:
        return {}
    rows = json.loads(snapshots[-1].read_text(encoding="utf-8")).get("trial_data", [])
    states = [json.loads(row[0]) for row in rows]  # a row has the trial and its last report, both as JSON text
    return {state["relative_logdir"]: state["status"] for state in states}


def _results(folder: Path) -> pd.DataFrame:
    """Read ``result.json``, one report per line, or ``progress.csv``, the same reports without the parameters."""
    lines, table = folder / "result.json", folder / "progress.csv"
    if lines.exists():
        return pd.DataFrame(list(_reports(lines.read_text(encoding="utf-8").splitlines())))
    try:
        return pd.read_csv(table)
    except (FileNotFoundError, pd.errors.EmptyDataError):  # the trial has begun but not reported
        return pd.DataFrame()


def _reports(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            report = json.loads(line)
        except ValueError:  # the process was killed while it wrote the last line
            return
        report.pop("config", None)
        yield flattened(report)


def _check_columns(runs: Sequence[_Run], columns: Sequence[str]) -> None:
    reported = dict.fromkeys(str(name) for run in runs for name in run.results)
    if missing := [name for name in columns if name not in reported]:
        raise ValueError(f"no trial reported '{missing[0]}'; reported: {', '.join(reported) or 'nothing'}")


def _at(run: _Run, path: str, what: str) -> Any:
    if path not in run.params:
        raise ValueError(f"{what}: trial '{run.name}' has no parameter '{path}'; it has: {', '.join(run.params)}")
    return run.params[path]


def _epochs(runs: Sequence[_Run], arms: Mapping[str, str], columns: Mapping[str, str], epoch: str) -> pd.DataFrame:
    rows = []
    for run in runs:
        if epoch not in run.results:
            continue
        reports = run.results.dropna(subset=epoch).drop_duplicates(epoch, keep="last").sort_values(epoch)
        # some versions of Tune write NaN to JSON as text
        mapped = {
            ours: pd.to_numeric(reports.get(theirs, pd.Series(np.nan, index=reports.index)), errors="coerce").to_numpy()
            for ours, theirs in columns.items()
        }
        rows.append(pd.DataFrame({"trial": run.name, "arm": arms[run.name], "epoch": reports[epoch], **mapped}))
    return pd.concat(rows, ignore_index=True).reindex(columns=EPOCHS.columns.names).astype({"epoch": int})


def _trials(
    runs: Sequence[_Run],
    arms: Mapping[str, str],
    epochs: pd.DataFrame,
    *,
    sweep: str,
    planned: int,
    seed: str | None,
) -> pd.DataFrame:
    done = epochs.groupby("trial")["epoch"].max()
    seconds = epochs.groupby("trial")["seconds"].sum()
    varied = _differing(runs)
    rows = [
        {
            **{"sweep": sweep, "study": sweep, "phase": SEARCH, "arm": arms[run.name], "trial": run.name},
            **{"number": number, "seed": _at(run, seed, "seed") if seed else np.nan},
            **{"status": _status(run, done.get(run.name, 0), planned), "why": run.why},
            **{"epochs": done.get(run.name, 0), "seconds": seconds.get(run.name, 0.0)},
            **{name: _last(run, theirs) for name, theirs in (("node", "hostname"), ("time_s", "timestamp"))},
            **{f"params.{path}": run.params.get(path) for path in varied},
            **{f"config.{path}": value for path, value in run.params.items()},
            PLANNED_EPOCHS: planned,
        }
        for number, run in enumerate(runs)
    ]
    frame = pd.DataFrame(rows)
    columns = [name for name in TRIALS.columns.names if name not in ("params", "config")]
    return frame.reindex(columns=[*columns, *(name for name in frame if name not in columns)])


def _differing(runs: Sequence[_Run]) -> list[str]:
    """List the parameters that differ between trials."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for path, value in run.params.items():
            values.setdefault(path, set()).add(repr(value))
    return [path for path, texts in values.items() if len(texts) > 1 or any(path not in run.params for run in runs)]


def _status(run: _Run, n_epochs: int, planned: int) -> str:
    ended = COMPLETED if n_epochs >= planned else STOPPED
    return _STATUS.get(run.status, FAILED if run.why else ended)


def _last(run: _Run, column: str) -> Any:
    return run.results[column].iloc[-1] if column in run.results and len(run.results) else None


def _manifest(name: str, arms: Iterable[str], planned: int) -> dict[str, Any]:
    study = {"name": name, "arms": {arm: {} for arm in arms}, "budget": {"max_epochs": planned}}
    return {"schema_version": SCHEMA_VERSION, "sweep": name, "study": study}
