"""A sweep of version 0.1.0 (schema version 1), interrupted in its search, is read, exported and resumed.

``version_1/`` was written by that version from simulated curves. Its study uses every key that was renamed since:
``mix.share``, ``mix.other`` and ``on1`` and ``off0`` of a schedule. Its table of measurements is called ``axes``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from search_spaces.study import Study
from sweep.export.formats import export_sweep
from sweep.records import counts, manifest_file, writer
from sweep.records.errors import RecordsError
from sweep.records.reader import read_manifest, read_sweep
from sweep.records.repair import inspect_records, repair_records
from sweep.records.schema import CONFIRM, RECORDS, SCHEMA_VERSION
from trainables.intact import write_checked_json
from trainables.strict import parse

# what version 0.1.0 itself drew for trials that it had not begun when it was interrupted
DRAWN = {
    "ramped-0002": {"optimizer.lr": 0.14869083771120895},
    "either-0002": {"optimizer.lr": 0.14869083771120895, "mix.alternate.prob": 0.7139364494598344},
    "shared-0002": {
        "optimizer.lr": 0.14869083771120895,
        "mix.granularity": "batch",
        "mix.apply.schedule.ramp_up_end": 0.30960257112848943,
    },
}
WINNERS = ["ramped-0001", "either-0001", "shared-0000"]


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "version_1", tmp_path / "old")
    return tmp_path / "old"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_is_read_under_the_present_names(sweep_dir: Path) -> None:
    before = files(sweep_dir)
    records = read_sweep(sweep_dir)
    trials = records.trials.set_index("trial")
    assert trials["status"].to_dict() == {
        **dict.fromkeys(["ramped-0000", "either-0000", "shared-0000", "ramped-0001"], "completed"),
        **dict.fromkeys(["either-0001", "shared-0001"], "running"),
    }
    assert trials.loc["shared-0000", "params.mix.granularity"] == "batch"
    assert trials.loc["shared-0000", "config.mix.granularity"] == "batch"
    assert trials.loc["shared-0000", "params.mix.apply.schedule.ramp_up_end"] == 0.12391148104960836
    assert trials.loc["either-0000", "params.mix.alternate.prob"] == 0.6535952904454748
    assert trials.loc["either-0000", "config.mix.alternate.prob"] == 0.6535952904454748
    assert trials.loc["ramped-0000", "config.mix.apply.schedule.ramp_down_start"] == 0.5
    old = ("share", "other", "on0", "on1", "off0", "off1")
    assert [name for name in trials.columns if set(name.split(".")) & set(old)] == []
    assert len(records.epochs) == 14
    assert records.evaluations["value"].tolist() == [0.0625]
    assert records.measurements["status"].tolist() == ["completed", "failed"]
    assert files(sweep_dir) == before


def test_is_resumed_with_the_draws_of_the_old_program(sweep_dir: Path, simulate: Any) -> None:
    study = parse(Study, read_manifest(sweep_dir)["study"], where="study")
    assert study.n_searches == 1  # the default of a new study is another one
    before = read_sweep(sweep_dir)
    assert set(before.trials["search"]) == {0}
    simulate(study, sweep_dir).run()
    records, confirmed = read_sweep(sweep_dir), read_sweep(sweep_dir, CONFIRM)
    assert (records.trials["status"] == "completed").all()
    assert set(records.trials["epochs"]) == {3}
    rows = records.trials.set_index("trial")
    for trial, params in DRAWN.items():
        drawn = rows.loc[trial].filter(like="params.").dropna()
        assert drawn.to_dict() == {f"params.{path}": value for path, value in params.items()}
    assert sorted(confirmed.trials["confirms"]) == sorted(2 * WINNERS)
    pd.testing.assert_frame_equal(records.epochs.head(len(before.epochs)), before.epochs)
    pd.testing.assert_frame_equal(records.measurements, before.measurements)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("format_", ["csv", "parquet", "optuna", "tensorboard"])
def test_is_exported(sweep_dir: Path, simulate: Any, tmp_path: Path, format_: str, resumed: bool) -> None:
    if resumed:
        simulate(parse(Study, read_manifest(sweep_dir)["study"], where="study"), sweep_dir).run()
    paths = export_sweep(sweep_dir, tmp_path / "out", format_)
    assert all(path.exists() for path in paths)
    if format_ == "csv":
        trials = pd.read_csv(tmp_path / "out" / "trials.csv").set_index("trial")
        assert trials.loc["shared-0000", "params.mix.granularity"] == "batch"
    if format_ == "optuna":
        study = optuna.load_study(study_name="part/either", storage=f"sqlite:///{paths[0]}")
        assert study.trials[0].params["mix.alternate.prob"] == 0.6535952904454748


def test_a_writer_brings_it_to_the_present_schema(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.RecordsWriter(sweep_dir)
    assert sorted(path.name for path in (sweep_dir / RECORDS).iterdir()) == [
        "copies",
        "counts.json",
        "decisions",
        "epochs",
        "evaluations",
        "measurements",
        "sweep.json",
        "trials",
    ]
    assert inspect_records(sweep_dir) == []
    assert len(read_sweep(sweep_dir).measurements) == 2
    assert json.loads((sweep_dir / "sweep.json").read_text())["schema_version"] == SCHEMA_VERSION
    monkeypatch.setattr(manifest_file, "SCHEMA_VERSION", 1)
    for use in (read_sweep, writer.RecordsWriter):
        with pytest.raises(RecordsError, match=rf"written by a newer.*version is {SCHEMA_VERSION}.*update"):
            use(sweep_dir)


def test_a_repair_changes_nothing_that_its_study_says(sweep_dir: Path) -> None:
    """What reads the manifest and writes it again, as ``evaluate`` does, must not find another study."""
    study = read_manifest(sweep_dir)["study"]
    assert repair_records(sweep_dir) == []
    assert read_manifest(sweep_dir)["study"] == study
    assert study["confirm"]["searches"] == 1
    manifest_file.write_manifest(sweep_dir, {**read_manifest(sweep_dir), "headlines": {"calibration": [["ece"]]}})
    assert read_manifest(sweep_dir)["study"] == study
    assert inspect_records(sweep_dir) == []


@pytest.mark.parametrize("n_written", range(4))
def test_a_kill_while_it_is_brought_to_the_present_schema_is_no_damage(
    sweep_dir: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    """Between the counts, ``sweep.json`` and their copies: nothing is lost."""
    left = iter([False] * n_written)

    def write(*arguments: Any, **options: Any) -> None:
        if next(left, True):
            raise KeyboardInterrupt
        write_checked_json(*arguments, **options)

    for module in (counts, manifest_file):
        monkeypatch.setattr(module, "write_checked_json", write)
    with pytest.raises(KeyboardInterrupt):
        repair_records(sweep_dir)
    monkeypatch.undo()
    assert inspect_records(sweep_dir) == []
    assert repair_records(sweep_dir) == []
    assert inspect_records(sweep_dir) == []
    assert len(read_sweep(sweep_dir).epochs) == 14


def test_a_damaged_last_part_is_noticed_without_counts(sweep_dir: Path) -> None:
    [path], [trials] = ((sweep_dir / RECORDS / name).glob("part-*") for name in ("epochs", "trials"))
    whole = path.read_bytes()
    for content, reason in (
        (whole[:-20], "it cannot be read"),
        (trials.read_bytes(), "its columns are not those of the table 'epochs'"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordsError, match=rf"{path.name}' is damaged: {reason}.*--repair"):
            read_sweep(sweep_dir)
    (finding,) = repair_records(sweep_dir)
    assert finding.path == path
    assert path.with_name(f"{path.name}.damaged-1").exists()
    assert read_sweep(sweep_dir).epochs.empty


def test_two_tables_of_measurements_are_refused(sweep_dir: Path) -> None:
    shutil.copytree(sweep_dir / RECORDS / "axes", sweep_dir / RECORDS / "measurements")
    with pytest.raises(RecordsError, match="has 'axes' and 'measurements'"):
        writer.RecordsWriter(sweep_dir)
