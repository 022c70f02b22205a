"""A sweep that was recorded before keys were renamed reads, resumes and adds up as any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.study import Study
from sweep.records.parts import live_parts
from sweep.records.reader import read_manifest, read_sweep
from sweep.records.schema import MANIFEST, RECORDS, TABLES
from trainables.strict import parse

OLD = {
    '"granularity"': '"share"',
    '"alternate"': '"other"',
    "mix.granularity": "mix.share",
    '"ramp_up_start"': '"on0"',
    '"ramp_up_end"': '"on1"',
    '"ramp_down_start"': '"off0"',
    '"ramp_down_end"': '"off1"',
    "schedule.ramp_down_start": "schedule.off0",
}


def old_text(text: str) -> str:
    for new, old in OLD.items():
        text = text.replace(new, old)
    return text


def as_before_the_rename(sweep_dir: Path) -> None:
    """Write the records again as the program before the rename did."""
    manifest = json.loads(old_text((sweep_dir / MANIFEST).read_text()))
    manifest |= {"schema_version": 1, "runs": [{**run, "study_sha256": None} for run in manifest["runs"]]}
    del manifest["sha256"]
    (sweep_dir / MANIFEST).write_text(json.dumps(manifest))
    for table in TABLES.values():
        for part in live_parts(sweep_dir / RECORDS / table.name):
            rows = pq.read_table(part.path)
            for name in {"params", "config"} & set(rows.column_names):
                texts = [old_text(text) for text in rows[name].to_pylist()]
                rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(texts, pa.string()))
            pq.write_table(rows, part.path.with_name(f"part-{part.first:012d}-{part.last:012d}.parquet"))
            part.path.unlink()
    shutil.rmtree(sweep_dir / RECORDS / "copies")
    for name in ("counts.json", MANIFEST):
        (sweep_dir / RECORDS / name).unlink()


@pytest.fixture
def study(study_of: Callable[..., Study]) -> Study:
    return study_of(
        arms={
            "off": {"mix": "off"},
            "cutmix": {
                "mix": "cutmix",
                "space": {
                    "mix.apply.schedule.ramp_down_start": {"kind": "uniform", "lo": 0.5, "hi": 1.0},
                    "mix.granularity": {"kind": "choice", "values": ["sample", "batch"]},
                },
            },
        },
        space={"mix.label.smoothing": {"kind": "uniform", "lo": 0.0, "hi": 0.2}},
        budget={"trials": 6, "max_epochs": 3},
        search="tpe",
        confirm={"searches": 1, "seeds": 2},
    )


@pytest.mark.parametrize("n_reports", [5, 25, None])
def test_goes_on_as_if_nothing_had_been_renamed(
    simulate: Any, study: Study, tmp_path: Path, n_reports: int | None
) -> None:
    simulate(study, tmp_path / "new", n_workers=1).run()
    simulate(study, tmp_path / "old", n_workers=1).run(n_reports).conductor.flush(force=True)
    as_before_the_rename(tmp_path / "old")
    recorded = parse(Study, read_manifest(tmp_path / "old")["study"], where="old")
    assert recorded == study
    resumed = simulate(recorded, tmp_path / "old", n_workers=1).run()
    assert (resumed.jobs == []) == (n_reports is None)
    for phase in ("search", "confirm"):
        new, old = (read_sweep(tmp_path / name, phase) for name in ("new", "old"))
        changing = ["time_s", "sweep", "attempts", "resumed_at_epoch"]
        trials = [sweep.trials.drop(columns=changing).sort_values("trial", ignore_index=True) for sweep in (new, old)]
        pd.testing.assert_frame_equal(*trials)
        assert len(new.epochs) == len(old.epochs)
        assert not [name for name in old.trials if "share" in name or ".off0" in name]
