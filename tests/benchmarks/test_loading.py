"""Time to load a sweep: the limits are seconds, because a person waits."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.data.frames import load
from search_spaces.study import Study
from sweep.manifest import new_manifest
from sweep.records.part_file import PartContent, write_part
from sweep.records.schema import EPOCHS, RECORDS, TRIALS, Table
from sweep.records.writer import MERGE_PARTS, write_manifest
from tests.sweep.conftest import DOSE_COLUMNS
from trainables.strict import parse

ARMS = ("off", "cutout", "mixup", "cutmix")
ROUNDS = 7


def study(n_trials: int, n_epochs: int) -> Study:
    lr = {"kind": "loguniform", "lo": 0.01, "hi": 1.0}
    prob = {"mix.apply.prob": {"kind": "uniform", "lo": 0.0, "hi": 1.0}}
    values = {
        "name": "loading",
        "question": "How long does the analysis wait?",
        "arms": {arm: {"mix": arm, "space": prob if arm == "cutmix" else {}} for arm in ARMS},
        "space": {"optimizer.lr": lr},
        "budget": {"trials": n_trials // len(ARMS), "max_epochs": n_epochs, "early_stopping": {"rule": "none"}},
    }
    return parse(Study, values, where="study 'loading'")


def trial_rows(study: Study) -> Iterator[dict[str, Any]]:
    """Return every trial as the conductor records it, with a whole configuration."""
    configs: dict[str, dict[str, Any]] = {}
    for number in range(study.trials_per_arm):
        for arm in study.arms:
            params = study.draw(arm, number)
            if arm not in configs:  # building one per trial would take most of the time
                configs[arm] = json.loads(study.trial_config(arm, params, replicate=number).model_dump_json())
            config = {**configs[arm], "seed": number}
            config["optimizer"] = {**config["optimizer"], "lr": params["optimizer.lr"]}
            row = {"sweep": "mine", "study": study.name, "phase": "search", "arm": arm, "trial": f"{arm}-{number:04d}"}
            row |= {"number": number, "replicate": number, "seed": number, "control": False, "attempts": 1}
            row |= {"params": json.dumps(params), "config": json.dumps(config), "seconds": 10.0, "images_per_s": 1e3}
            row |= dict.fromkeys(DOSE_COLUMNS, 0.25) | {"n_train": 8000, "n_val": 2000, "device": "cpu", "threads": 1}
            yield row | {"precision": "fp32", "node": "here", "time_s": float(number)}


def write(study: Study, sweep_dir: Path, *, n_parts: int) -> Path:
    """Write a finished sweep in the layout of the writer, which itself takes minutes: after a merge or before one."""
    sweep_dir.mkdir()
    write_manifest(sweep_dir, new_manifest(study, sweep_dir, "simulated", {}))
    trials = list(trial_rows(study))
    begun = [{**row, "status": "running", "epochs": 0} for row in trials]
    ended = [{**row, "status": "completed", "epochs": study.budget.max_epochs} for row in trials]
    rows = [{"seq": seq, **row} for seq, row in enumerate([*begun, *ended])]
    write_parts(sweep_dir, TRIALS, pa.Table.from_pylist(rows, schema=TRIALS.schema), n_parts)
    write_parts(sweep_dir, EPOCHS, epoch_rows(trials, study.budget.max_epochs), n_parts)
    return sweep_dir


def epoch_rows(trials: list[dict[str, Any]], n_epochs: int) -> pa.Table:
    """Return every epoch of trials that run one per arm at a time."""
    n_rows, side_by_side = len(trials) * n_epochs, len(ARMS)
    place = np.arange(n_rows)
    trial = place // (side_by_side * n_epochs) * side_by_side + place % side_by_side
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.random(n_rows) for name in EPOCHS.columns.names}
    columns |= {name: np.array([row[name] for row in trials])[trial] for name in ("trial", "arm")}
    columns |= {"seq": place, "epoch": place // side_by_side % n_epochs + 1, "attempt": np.ones(n_rows, int)}
    return pa.table({name: pa.array(columns[name]) for name in EPOCHS.schema.names}).cast(EPOCHS.schema)


def write_parts(sweep_dir: Path, table: Table, rows: pa.Table, n_parts: int) -> None:
    """Write one large part with 90 % of the rows, as after a merge, and small parts after it; or a single part."""
    folder = sweep_dir / RECORDS / table.name
    folder.mkdir(parents=True)
    first_small = len(rows) if n_parts == 1 else len(rows) * 9 // 10
    cuts = [0, *(int(cut) for cut in np.linspace(first_small, len(rows), n_parts))]
    for first, end in itertools.pairwise(cuts):
        write_part(folder, PartContent(rows.slice(first, end - first)), table, first, end - 1)


@pytest.mark.parametrize("n_parts", [1, MERGE_PARTS // 2])  # just after a merge, and the average case
@pytest.mark.parametrize(("n_trials", "n_epochs", "limit_s"), [(500, 50, 0.1), (10_000, 200, 3.0)])
def test_loading_a_sweep(  # type: ignore[no-untyped-def]
    benchmark,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    n_trials: int,
    n_epochs: int,
    limit_s: float,
    n_parts: int,
) -> None:
    sweep_dir = write(study(n_trials, n_epochs), tmp_path / "mine", n_parts=n_parts)
    seconds: list[float] = []

    def once() -> None:
        started_s = time.perf_counter()
        sweep = load(sweep_dir)
        seconds.append(time.perf_counter() - started_s)
        assert (len(sweep.trials), len(sweep.epochs)) == (n_trials, n_trials * n_epochs)

    benchmark.pedantic(once, rounds=ROUNDS, warmup_rounds=1)
    median_s = statistics.median(seconds[1:])
    with capsys.disabled():
        span = f"{min(seconds):.3f} to {max(seconds[1:]):.3f} in {ROUNDS} rounds"
        print(f"\n{n_trials} trials of {n_epochs} epochs in {n_parts} parts: {median_s:.3f} s ({span})")
    assert median_s < limit_s
