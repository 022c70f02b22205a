"""A sweep as event files, read back by TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.export.tensorboard import export_tensorboard
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM

plugin = pytest.importorskip("tensorboard.plugins.hparams.metadata")
event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

MakeStudy = Callable[..., Study]


@pytest.fixture
def sweep_dir(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    """Return a confirmed sweep in which a parameter of one arm is a number in some trials and None in others."""
    lr = {"kind": "loguniform", "lo": 0.01, "hi": 1.0}
    space = {"optimizer.ema_decay": {"kind": "choice", "values": [None, 0.9]}}
    arms = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix", "space": space}}
    study = study_of(arms=arms, space={"optimizer.lr": lr}, confirm={"configs": 1, "searches": 2, "seeds": 2})
    simulate(study, tmp_path / "mine").run()
    return tmp_path / "mine"


def read(folder: Path) -> Any:
    """Return a run with all its points."""
    run = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    return run.Reload()


def curve(run: Any, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in run.Scalars(tag)}


def hparams(run: Any) -> dict[str, Any]:
    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = plugin.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_a_run_a_trial_of_both_phases(sweep_dir: Path, tmp_path: Path) -> None:
    path = export_tensorboard(sweep_dir, tmp_path / "out")
    assert path == tmp_path / "out" / "tensorboard"
    runs = {str(file.parent.relative_to(path)) for file in path.rglob("events.out.tfevents.*")}
    trials = [row for phase in ("search", CONFIRM) for row in read_sweep(sweep_dir, phase).trials.itertuples()]
    assert runs == {".", *(f"{row.arm}/{row.trial}" for row in trials)}
    assert len(runs) == 1 + 8 + 8


def test_every_column_of_an_epoch_is_a_curve(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    records = read_sweep(sweep_dir)
    tags = {
        **{"train_loss": "train/loss", "lr": "train/lr", "val_nll": "val/nll", "val_ece": "val/ece"},
        **{"val_top1_error": "val/top1_error", "val_top5_error": "val/top5_error"},
        **{"effective_prob": "mixing/effective_prob", "pasted_frac": "mixing/pasted_frac"},
        **{"seconds": "run/seconds", "images_per_s": "run/images_per_s", "attempt": "run/attempt"},
    }
    assert {*tags, "trial", "arm", "epoch", "node"} == set(records.epochs.columns)
    for row in records.trials.itertuples():
        run = read(path / row.arm / row.trial)
        recorded = records.epochs[records.epochs["trial"] == row.trial].set_index("epoch")
        assert set(run.Tags()["scalars"]) == set(tags.values())
        for column, tag in tags.items():
            assert curve(run, tag) == pytest.approx(recorded[column].to_dict(), rel=1e-6)


def test_times_lie_between_start_and_end(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    for row in read_sweep(sweep_dir).trials.itertuples():
        times = [event.wall_time for event in read(path / row.arm / row.trial).Scalars("val/nll")]
        assert times == sorted(times)
        assert times[-1] <= row.time_s


def test_test_values_stand_at_the_last_epoch(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    records = read_sweep(sweep_dir, CONFIRM)
    for row in records.evaluations.itertuples():
        run = read(path / row.trial.rsplit("-")[0] / row.trial)
        assert curve(run, f"test/{row.metric}") == {5: pytest.approx(row.value, rel=1e-6)}


def test_parameters_are_in_each_run(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    for row in read_sweep(sweep_dir).trials.itertuples():
        shown = hparams(read(path / row.arm / row.trial))
        assert (shown["arm"], shown["phase"], shown["seed"]) == (row.arm, "search", str(row.seed))
        assert (shown["status"], shown["search"]) == (row.status, row.search)
        assert shown["optimizer.lr"] in read_sweep(sweep_dir).trials["params.optimizer.lr"].tolist()
        if row.arm == "cutmix":
            assert shown["optimizer.ema_decay"] in ("None", "0.9")  # text in all trials, because it is None in some


def test_parameters_of_all_arms_are_announced_once(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    content = read(path).SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin.parse_experiment_plugin_data(content)
    params = ["optimizer.lr", "optimizer.ema_decay"]
    about = {"arm", "phase", "search", "replicate", "seed", "status"}
    assert {info.name for info in experiment.hparam_infos} == {*about, *params}
    assert {"val/nll", "val/top1_error", "test/top1_error"} <= {info.name.tag for info in experiment.metric_infos}
    for run in path.glob("*/*"):
        assert "_hparams_/experiment" not in read(run).summary_metadata


def test_a_second_export_takes_the_place_of_the_first(sweep_dir: Path) -> None:
    path = export_tensorboard(sweep_dir, sweep_dir / "export")
    (path / "off" / "gone").mkdir()
    (sweep_dir / "export" / "tensorboard.unfinished").mkdir()
    assert export_tensorboard(sweep_dir, sweep_dir / "export") == path
    assert not (path / "off" / "gone").exists()
    assert [folder.name for folder in (sweep_dir / "export").iterdir()] == ["tensorboard"]


def test_of_a_sweep_without_a_report(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    conductor = simulate(study_of(), tmp_path / "mine").conductor
    conductor.next_job()
    conductor.flush(force=True)
    path = export_tensorboard(tmp_path / "mine", tmp_path)
    assert hparams(read(path / "off" / "off-0000"))["status"] == "running"
