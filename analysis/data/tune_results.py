"""Results of plain Ray Tune, without this program, as the frames of a recorded sweep; read without Ray."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.frames import Sweep
from analysis.data.tune_folder import STATUSES, TuneTrial, read_trials
from sweep.findings.summary import METRICS, PLANNED_EPOCHS, final_epochs
from sweep.records.schema import (
    ABOUT_EPOCH,
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

MAPPABLE = [name for name in EPOCHS.columns.names if name not in ABOUT_EPOCH]
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

    Snapshots are read in their present form (since Ray 2.4) and in the forms of Ray 0.8 to 2.3. The status of a trial
    is that of the newest snapshot (``experiment_state*.json``), so a trial that failed, was retried and ended well is
    completed. What cannot be read as it is, for example a line that a kill cut or a snapshot, is named in a warning.

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
        ValueError: the folder contains no results, two folders are of one trial, a column is unknown, or a trial lacks
            a parameter.
    """
    folder = Path(folder).expanduser()
    if unknown := sorted(set(metrics) - set(MAPPABLE)):
        raise ValueError(f"metrics: unknown column '{unknown[0]}', choose one of {', '.join(MAPPABLE)}")
    runs, notes = read_trials(folder)
    for note in notes:
        warnings.warn(note, stacklevel=2)
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


def _check_columns(runs: Sequence[TuneTrial], columns: Sequence[str]) -> None:
    reported = dict.fromkeys(str(name) for run in runs for name in run.results)
    if missing := [name for name in columns if name not in reported]:
        raise ValueError(f"no trial reported '{missing[0]}'; reported: {', '.join(reported) or 'nothing'}")


def _at(run: TuneTrial, path: str, what: str) -> Any:
    if path not in run.params:
        raise ValueError(f"{what}: trial '{run.name}' has no parameter '{path}'; it has: {', '.join(run.params)}")
    return run.params[path]


def _epochs(runs: Sequence[TuneTrial], arms: Mapping[str, str], columns: Mapping[str, str], epoch: str) -> pd.DataFrame:
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
    runs: Sequence[TuneTrial],
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
            **_ending(run, done.get(run.name, 0), planned),
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


def _differing(runs: Sequence[TuneTrial]) -> list[str]:
    """List the parameters that differ between trials."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for path, value in run.params.items():
            values.setdefault(path, set()).add(repr(value))
    return [path for path, texts in values.items() if len(texts) > 1 or any(path not in run.params for run in runs)]


def _ending(run: TuneTrial, n_epochs: int, planned: int) -> dict[str, str]:
    """Return status and reason; an error after which Tune retried the trial is no reason."""
    ended = COMPLETED if n_epochs >= planned else STOPPED
    unknown = FAILED if run.error else ended
    status = _STATUS.get(run.status, ended) if run.status in STATUSES else unknown
    return {"status": status, "why": run.error if status == FAILED else ""}


def _last(run: TuneTrial, column: str) -> Any:
    return run.results[column].iloc[-1] if column in run.results and len(run.results) else None


def _manifest(name: str, arms: Iterable[str], planned: int) -> dict[str, Any]:
    study = {"name": name, "arms": {arm: {} for arm in arms}, "budget": {"max_epochs": planned}}
    return {"schema_version": SCHEMA_VERSION, "sweep": name, "study": study}
