"""The trainable as Tune drives it, without a cluster: built, stepped and reset by hand."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sweep.ledger import EPOCH_COLUMNS
from sweep.records.schema import ABOUT_COLUMNS, TRIALS
from trainables import storage_url, store_clients, trial_files, tune_trainable
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.contents import Contents
from trainables.data.places import Place, format_places
from trainables.data.prepared import prepare_data, prepare_test
from trainables.data.store import open_split
from trainables.epoch_result import EpochResult
from trainables.intact import DamagedFile
from trainables.mixing.dose import measure_dose
from trainables.models.build import build_model
from trainables.object_store import ObjectStore
from trainables.saved_state import verify_state, write_state
from trainables.storage_url import StorageUrl
from trainables.trial import Trial
from trainables.trial_files import local_model
from trainables.tune_trainable import CutMixTrainable

EPOCHS = 3
COSTS = {"checkpoint_s"}
"""What a report has for the metrics only; it is not recorded."""

TIMES = {"seconds", "images_per_s", *COSTS}
BASE = {
    "data": {"train_frac": 0.04, "batch_size": 32, "pad_px": 2},
    "model": {"width": 0.25, "precision": "fp32"},
    "optimizer": {"max_epochs": EPOCHS, "lr": 0.05},
    "mix": "cutmix",
}

Row = dict[str, Any]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CutMixTrainable]:
    """Return what makes a trainable as Tune would, its files below ``tmp_path``."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    return lambda **changes: CutMixTrainable(orders(tmp_path, **changes))


def orders(
    folder: Path,
    *,
    trial: str = "t0",
    recorded: int = 0,
    last: int = EPOCHS,
    test: bool = False,
    config: str | None = None,
    images: str = "{}",
    model_sha256: str = "",
    sign: str = "",
    checkpoint_s: float | None = 0.0,
    pause_epochs: tuple[int, ...] = (),
    **parts: Any,
) -> Row:
    """What the sweep tells a worker; by default each epoch writes its state before it is reported."""
    return {
        "trial": trial,
        "config": TrialConfig.model_validate(BASE | parts).model_dump_json() if config is None else config,
        "recorded_epochs": recorded,
        "last_epoch": last,
        "test": test,
        "checkpoint_path": str(folder / f"checkpoints/{trial}.pt"),
        "weights_path": str(folder / f"weights/{trial}.pt"),
        "threads": 1,
        "device": "cpu",
        "images": images,
        "model_sha256": model_sha256,
        "sign_of_sweep": sign,
        "checkpoint_s": checkpoint_s,
        "pause_epochs": pause_epochs,
    }


def steps(trainable: CutMixTrainable, count: int) -> list[Row]:
    return [trainable.step() for _ in range(count)]


def without_times(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def without_costs(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in COSTS} for row in rows]


def straight(**parts: Any) -> Trial:
    """The same trial, run without Tune."""
    config = TrialConfig.model_validate(BASE | parts)
    trial = Trial(config, prepare_data(config.data))
    while not trial.done:
        trial.run_epoch()
    return trial


def same_weights(path: Path, trial: Trial) -> bool:
    saved = torch.load(path, weights_only=True)["weights"]
    return all(torch.equal(saved[name], value) for name, value in trial.weights().items())


@pytest.fixture
def trained_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the epochs that are really trained."""
    numbers: list[int] = []
    run_epoch = Trial.run_epoch

    def counting(self: Trial) -> EpochResult:
        result = run_epoch(self)
        numbers.append(result.epoch)
        return result

    monkeypatch.setattr(Trial, "run_epoch", counting)
    return numbers


def test_epochs_are_reported_in_order(build: Callable[..., CutMixTrainable], tmp_path: Path) -> None:
    rows = steps(build(), EPOCHS)
    trial = straight()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1].pop("model_sha256") == verify_state(tmp_path / "weights/t0.pt")
    for row, result in zip(rows, trial.history, strict=True):
        assert set(row) - COSTS == {
            "trial",
            "node_id",
            *EPOCH_COLUMNS,
            *ABOUT_COLUMNS,
        }  # nothing that the records would lose
        assert {"trial": "t0", "n_train": trial.n_train, "n_val": trial.n_val}.items() <= row.items()
        assert {"device": "cpu", "precision": "fp32", "threads": 1}.items() <= row.items()
        for name, value in vars(result).items():
            assert name in TIMES or row[name] == value
    json.dumps(rows, allow_nan=False)
    assert same_weights(tmp_path / "weights/t0.pt", trial)


def test_the_dose_is_reported_with_every_epoch(build: Callable[..., CutMixTrainable]) -> None:
    """Under the names that the records have for it."""
    mix = {"preset": "cutmix", "position": {"kind": "object"}}  # looks at the images' boxes
    rows = steps(build(mix=mix), 2)
    reported = [{name: value for name, value in row.items() if name.startswith("dose_")} for row in rows]
    config = TrialConfig.model_validate(BASE | {"mix": mix})
    images = prepare_data(config.data).images
    dose = measure_dose(config.mix, height_px=32, width_px=32, data=images)
    assert reported == [dose.as_columns()] * 2
    assert reported[0].keys() == {name for name in TRIALS.columns.names if name.startswith("dose_")}
    assert reported[0]["dose_mean_prob"] == 0.5


def test_saved_epochs_are_reported_without_training(
    build: Callable[..., CutMixTrainable], trained_epochs: list[int]
) -> None:
    first = steps(build(), 2)  # both saved, none recorded before the worker was lost
    again = build()
    assert without_costs(steps(again, 2)) == without_costs(first)  # the times too: they come from the history
    assert trained_epochs == [1, 2]
    assert again.step()["epoch"] == 3
    assert trained_epochs == [1, 2, 3]


def test_test_images_are_measured_after_the_last_epoch_of_who_may_see_them(
    build: Callable[..., CutMixTrainable],
) -> None:
    *before, last = steps(build(test=True), EPOCHS)
    assert all("test" not in row for row in [*before, *steps(build(trial="search"), EPOCHS)])
    tested = json.loads(last["test"])
    config = TrialConfig.model_validate(BASE)
    images = prepare_test(config.data)
    assert tested["n"] == len(images.labels)
    trial = Trial(config, prepare_data(config.data))
    for _ in range(EPOCHS):
        trial.run_epoch()
    assert tested["metrics"] == trial.measure(images, np.arange(len(images.labels)))
    # taken up again for want of the test values alone: the last epoch is reported once more, not trained
    (again,) = steps(build(test=True, recorded=EPOCHS - 1), 1)
    assert json.loads(again["test"]) == tested


class TestWithoutAnEpochToRun:
    """All epochs are recorded: only other values are lost."""

    @pytest.mark.parametrize("ema_decay", [None, 0.9])
    def test_a_model_is_measured_without_training(
        self,
        build: Callable[..., CutMixTrainable],
        tmp_path: Path,
        trained_epochs: list[int],
        ema_decay: float | None,
    ) -> None:
        optimizer = BASE["optimizer"] | {"ema_decay": ema_decay}
        *_, last = steps(build(test=True, optimizer=optimizer), EPOCHS)
        shutil.rmtree(tmp_path / "checkpoints")
        trained_epochs.clear()
        facts = build(test=True, recorded=EPOCHS, optimizer=optimizer).step()
        assert facts == {name: value for name, value in last.items() if name not in {*EPOCH_COLUMNS, *COSTS}}
        assert trained_epochs == []

    @pytest.mark.parametrize("damage", ["flipped", "missing", "another"])
    def test_a_model_that_cannot_be_used_is_trained_again(
        self, build: Callable[..., CutMixTrainable], tmp_path: Path, damage: str
    ) -> None:
        before, path = steps(build(test=True), EPOCHS), tmp_path / "weights/t0.pt"
        steps(build(trial="t1", mix="mixup"), EPOCHS)
        shutil.rmtree(tmp_path / "checkpoints")
        content = path.read_bytes()
        if damage == "flipped":
            flip(path)
        elif damage == "another":
            path.write_bytes((tmp_path / "weights/t1.pt").read_bytes())
        else:
            path.unlink()
        rows = steps(build(test=True, recorded=EPOCHS), EPOCHS)
        warnings = [row.pop("warning") for row in rows if "warning" in row]
        assert without_times(rows) == without_times(before)
        assert path.read_bytes() == content
        assert bool(warnings) == path.with_name("t0.pt.damaged-1").exists() == (damage != "missing")

    def test_a_stopped_trial_reports_about_itself(
        self, build: Callable[..., CutMixTrainable], trained_epochs: list[int]
    ) -> None:
        assert build(recorded=1, last=1).step().keys() == {"trial", "node_id", *ABOUT_COLUMNS}
        assert trained_epochs == []

    def test_a_state_after_the_last_epoch_replaces_a_damaged_model(
        self, build: Callable[..., CutMixTrainable], tmp_path: Path, trained_epochs: list[int]
    ) -> None:
        last, path = steps(build(), EPOCHS)[-1], tmp_path / "weights/t0.pt"
        path.write_bytes(b"damaged")
        trained_epochs.clear()
        assert build(recorded=EPOCHS).step()["model_sha256"] == last["model_sha256"] == verify_state(path)
        assert trained_epochs == []


@pytest.mark.parametrize("damage", [False, True])
def test_epochs_that_are_regained_replace_a_recorded_model_only_if_it_is_damaged(
    build: Callable[..., CutMixTrainable], tmp_path: Path, damage: bool
) -> None:
    """Another machine has computed it: its recorded test values belong to it."""
    steps(build(), EPOCHS)
    path = tmp_path / "weights/t0.pt"
    recorded = write_state(path, torch.load(path, weights_only=True) | {"machine": "another"})
    shutil.rmtree(tmp_path / "checkpoints")
    if damage:
        flip(path)
    last = steps(build(recorded=1, model_sha256=recorded), EPOCHS)[-1]
    assert last["model_sha256"] == verify_state(path)
    assert (last["model_sha256"] == recorded) == ("is intact and kept" in last.get("warning", "")) == (not damage)


def test_a_worker_goes_on_after_the_recorded_epochs(
    build: Callable[..., CutMixTrainable], trained_epochs: list[int], tmp_path: Path
) -> None:
    whole = steps(build(trial="whole"), EPOCHS)
    steps(build(), 2)
    trained_epochs.clear()
    (row,) = steps(build(recorded=2), 1)
    assert trained_epochs == [3]
    assert without_times([row | {"trial": "whole"}]) == without_times(whole[2:])
    assert same_weights(tmp_path / "weights/t0.pt", straight())


class TestAStateByTime:
    """By default a state is written every 30 s: here only before a pause and at the end."""

    def test_epochs_after_the_state_are_computed_and_reported_again(
        self, build: Callable[..., CutMixTrainable], trained_epochs: list[int], tmp_path: Path
    ) -> None:
        """The sweep compares them with its records; the end is that of an undisturbed trial."""
        whole = steps(build(trial="whole"), EPOCHS)
        first = build(checkpoint_s=None)
        steps(first, 1)
        first.keep_state()
        steps(first, 1)  # recorded, and the worker is lost
        trained_epochs.clear()
        rows = steps(build(recorded=2, checkpoint_s=None), 2)
        assert trained_epochs == [2, 3]
        assert without_times([row | {"trial": "whole"} for row in rows]) == without_times(whole[1:])
        assert same_weights(tmp_path / "weights/t0.pt", straight())

    def test_only_a_pause_and_the_end_write_at_once(
        self, build: Callable[..., CutMixTrainable], tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoints/t0.pt"
        trainable, saved = build(checkpoint_s=None, pause_epochs=(2,)), []
        for _ in range(EPOCHS):
            trainable.step()
            saved.append(torch.load(path, weights_only=True)["step"] if path.exists() else None)
        n_steps = saved[2] // EPOCHS
        assert saved == [None, 2 * n_steps, EPOCHS * n_steps]

    def test_a_trial_that_ended_needs_no_training_to_report_about_itself(
        self, build: Callable[..., CutMixTrainable], trained_epochs: list[int], tmp_path: Path
    ) -> None:
        """Its state is older than its records: it was stopped by a rule, or its last state is lost."""
        trainable = build(pause_epochs=(1,), checkpoint_s=None)
        trainable.step()
        old = (tmp_path / "checkpoints/t0.pt").read_bytes()
        last = steps(trainable, EPOCHS - 1)[-1]
        (tmp_path / "checkpoints/t0.pt").write_bytes(old)
        trained_epochs.clear()
        assert build(recorded=2, last=2).step().keys() == {"trial", "node_id", *ABOUT_COLUMNS}
        assert build(recorded=EPOCHS).step()["model_sha256"] == last["model_sha256"]
        assert trained_epochs == []

    def test_a_full_disk_that_the_writer_meets_ends_the_next_step(
        self, build: Callable[..., CutMixTrainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        trainable = build(checkpoint_s=1e-9)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert trainable.step()["epoch"] == 1
            assert trainable._checkpoints._writing.exception()  # type: ignore[union-attr]
        path = str(tmp_path / "checkpoints/t0.pt")
        assert trainable.step()["disk_fault"] == (errno.ENOSPC, "No space left on device", path)
        assert trainable.step()["epoch"] == 2  # for a test: the sweep has ended

    def test_a_trial_that_fails_in_an_epoch_keeps_the_state_before_it(
        self, build: Callable[..., CutMixTrainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainable = build(checkpoint_s=None)
        trainable.step()

        def broken(self: Trial) -> EpochResult:
            raise RuntimeError("broken")

        monkeypatch.setattr(Trial, "run_epoch", broken)
        assert "failed" in trainable.step()
        trainable.keep_state()
        assert not (tmp_path / "checkpoints/t0.pt").exists()


def flip(path: Path, place: int = 99) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("damage", ["missing", "flipped", "cut", "of another trial", "of another configuration"])
def test_a_trial_without_a_usable_state_begins_again(
    build: Callable[..., CutMixTrainable], trained_epochs: list[int], tmp_path: Path, damage: str
) -> None:
    """Recorded epochs are reported once more: the sweep compares them with its records."""
    before = steps(build(), EPOCHS)
    path = tmp_path / "checkpoints/t0.pt"
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        flip(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        steps(build(trial="t1", **({} if "trial" in damage else {"seed": 7})), 2)
        state = torch.load(tmp_path / "checkpoints/t1.pt", weights_only=True)
        write_state(path, state if "trial" in damage else state | {"trial": "t0"})
    trained_epochs.clear()
    rows = steps(build(recorded=2), EPOCHS)
    assert trained_epochs == [1, 2, 3]
    warning = rows[0].pop("warning", "")
    assert without_times(rows) == without_times(before)
    assert same_weights(tmp_path / "weights/t0.pt", straight())
    assert path.with_name("t0.pt.damaged-1").exists() == (damage != "missing")
    if damage != "missing":
        assert str(path) in warning
        assert "kept as 't0.pt.damaged-1', and trial t0 begins at epoch 1 again" in warning


def test_a_state_in_another_precision_stays_and_is_refused(
    build: Callable[..., CutMixTrainable], tmp_path: Path
) -> None:
    """It can be resumed on the kind of device on which it was computed."""
    steps(build(), 1)
    path = tmp_path / "checkpoints/t0.pt"
    write_state(path, torch.load(path, weights_only=True) | {"precision": "bf16"})
    assert "was computed in bf16, and this device computes in fp32" in build(recorded=1).step()["failed"]
    assert path.exists()


def test_damaged_images_do_not_cost_the_state(
    build: Callable[..., CutMixTrainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps(build(), 1)
    images, states = tmp_path / "meta.json", [tmp_path / "checkpoints/t0.pt"]
    images.touch()

    def prepare_data(_: object) -> None:
        raise DamagedFile(images, "it is not JSON")

    monkeypatch.setattr("trainables.data.prepared.prepare_data", prepare_data)
    assert "meta.json' is damaged" in build(recorded=1).step()["failed"]
    assert (list(states[0].parent.iterdir()), images.exists()) == (states, True)


def test_weights_are_written_when_the_trial_is_complete(build: Callable[..., CutMixTrainable], tmp_path: Path) -> None:
    trainable = build(optimizer=BASE["optimizer"] | {"ema_decay": 0.9})
    path = tmp_path / "weights/t0.pt"
    steps(trainable, EPOCHS - 1)
    assert not path.exists()
    trainable.step()
    saved = torch.load(path, weights_only=True)
    config = TrialConfig.model_validate_json(json.dumps(saved["config"]))
    assert config.optimizer.ema_decay == 0.9
    net = build_model(config.model, n_classes=10, height_px=32, width_px=32, seed=0)
    net.load_state_dict(saved["weights"])
    assert same_weights(path, straight(optimizer=BASE["optimizer"] | {"ema_decay": 0.9}))
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_diverged_trial_leaves_no_weights(build: Callable[..., CutMixTrainable], tmp_path: Path) -> None:
    rows = steps(build(optimizer={"max_epochs": 2, "lr": 1e6}), 2)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert not np.isfinite(rows[-1]["train_loss"])
    assert "failed" not in rows[-1]
    # its epochs were recorded, and a kill came before its end was
    again = build(optimizer={"max_epochs": 2, "lr": 1e6}, recorded=2, last=2).step()
    assert again.keys() & {"failed", "epoch", "model_sha256"} == set()
    assert not (tmp_path / "weights/t0.pt").exists()


def test_a_node_that_loses_the_folder_of_the_sweep_is_unfit(
    build: Callable[..., CutMixTrainable], tmp_path: Path
) -> None:
    """Nothing is written there any more; on another node the trial continues after its last saved epoch."""
    sweep_dir = tmp_path / "box"
    (sweep_dir / "records").mkdir(parents=True)
    told = orders(sweep_dir, sign=str(sweep_dir / "records"))
    trainable = build()
    trainable.reset_config(told)
    assert trainable.step()["epoch"] == 1
    sweep_dir.rename(tmp_path / "elsewhere")
    for mounted in (False, True):  # gone, then an empty folder in its place
        if mounted:
            sweep_dir.mkdir()
        row = trainable.step()
        assert row.keys() == {"trial", "unfit", "node", "node_id"}
        assert row["unfit"].startswith(f"it does not see '{sweep_dir / 'records'}' (No such file or directory): the")
        assert trainable.reset_config(told)  # another trial there
        assert "unfit" in trainable.step()
    assert list(sweep_dir.iterdir()) == []
    sweep_dir.rmdir()
    (tmp_path / "elsewhere").rename(sweep_dir)
    again = build()
    again.reset_config({**told, "recorded_epochs": 1})
    assert again.step()["epoch"] == 2


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "JSON"),
        ('{"seeed": 1}', "seeed"),
        ('{"data": {"source": "imagefolder:/nowhere/at/all"}}', "/nowhere/at/all"),
        ('{"data": {"train_frac": 1e-9}}', "train_frac"),
    ],
)
def test_a_trial_that_cannot_run_reports_why(
    config: str, reason: str, build: Callable[..., CutMixTrainable], tmp_path: Path
) -> None:
    trainable = build(config=config)
    for _ in range(2):
        row = trainable.step()
        assert row.keys() == {"trial", "failed", "fault", "node", "node_id"}
        assert row["trial"] == "t0"
        assert reason in row["failed"]
    assert not (tmp_path / "weights/t0.pt").exists()
    assert trainable.reset_config(orders(tmp_path, trial="t1"))  # the worker itself is sound
    assert trainable.step()["epoch"] == 1


def test_a_fault_while_training_is_reported(
    build: Callable[..., CutMixTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = build()
    trainable.step()

    def broken(self: Trial) -> EpochResult:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Trial, "run_epoch", broken)
    row = trainable.step()
    assert "RuntimeError: out of memory" in row["failed"]
    assert row["fault"] == "memory"


def test_a_trial_without_gpu_memory_is_released_and_continues_elsewhere(
    build: Callable[..., CutMixTrainable], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainable = build()
    rows = [trainable.step()]
    trial = weakref.ref(trainable._trial)

    def fails(self: Trial) -> EpochResult:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "run_epoch", fails)
        row = trainable.step()
    assert row.keys() == {"trial", "out_of_memory", "node", "node_id"}
    assert "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB" in row["out_of_memory"]
    gc.collect()
    assert trial() is None
    assert trainable.reset_config(orders(tmp_path, trial="other"))  # the worker is sound, and trains another trial
    assert trainable.step()["epoch"] == 1
    rows += steps(build(recorded=1), EPOCHS - 1)
    undisturbed = [row | {"trial": "t0"} for row in steps(build(trial="undisturbed"), EPOCHS)]
    assert without_times(rows) == without_times(undisturbed)
    assert same_weights(tmp_path / "weights/t0.pt", straight())


def test_the_memory_of_a_gpu_is_bounded_before_anything_is_there(
    build: Callable[..., CutMixTrainable], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainable, claimed = build(), list[float | bool]()
    monkeypatch.setattr("trainables.tune_trainable.claim_memory", claimed.append)
    monkeypatch.setattr("trainables.data.resident.set_streaming", claimed.append)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(Trial, "__init__", lambda *_, **__: pytest.fail(f"built after {claimed}"))
    trainable.reset_config({**orders(tmp_path), "device": "cuda", "gpus": 0.25, "streams": True})
    with pytest.raises(pytest.fail.Exception, match=r"built after \[0\.25, True\]"):
        trainable.step()


def test_an_error_of_a_library_of_the_gpu_ends_the_process(
    build: Callable[..., CutMixTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Trial) -> EpochResult:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(Trial, "run_epoch", fails)
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        build().step()


def test_a_worker_that_is_killed_while_saving_leaves_the_old_state(
    build: Callable[..., CutMixTrainable], monkeypatch: pytest.MonkeyPatch, trained_epochs: list[int]
) -> None:
    trainable = build()
    first = trainable.step()
    with monkeypatch.context() as patch:

        def killed(descriptor: int) -> None:
            os.ftruncate(descriptor, 100)  # half a state
            raise KeyboardInterrupt

        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            trainable.step()
    again = build()
    assert without_costs([again.step()]) == without_costs([first])
    assert trained_epochs == [1, 2]
    second = again.step()
    expected = vars(straight().history[1])
    assert {name: second[name] for name in expected.keys() - TIMES} == {
        name: expected[name] for name in expected.keys() - TIMES
    }


def test_a_reused_worker_starts_afresh(build: Callable[..., CutMixTrainable], tmp_path: Path) -> None:
    reused = build(trial="before", mix="mixup", seed=5)
    steps(reused, 2)
    assert reused.reset_config(orders(tmp_path, trial="reused"))
    rows = steps(reused, EPOCHS)
    fresh = steps(build(trial="fresh"), EPOCHS)
    renamed = [row | {"trial": "fresh"} for row in rows]
    assert without_times(renamed) == without_times(fresh)
    assert same_weights(tmp_path / "weights/reused.pt", straight())
    assert not (tmp_path / "weights/before.pt").exists()
    reused.cleanup()
    assert reused._trial is None


def test_the_actor_names_no_trial_because_ray_asks_once(build: Callable[..., CutMixTrainable]) -> None:
    assert repr(build(trial="alpha-3")) == f"cutmix-sweep worker {os.getpid()}"


def test_the_process_shows_the_trial_that_it_runs(
    build: Callable[..., CutMixTrainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(tune_trainable.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(tune_trainable.ray._raylet, "setproctitle", titles.append)
    monkeypatch.setattr(tune_trainable, "_place", lambda: {"node": "here", "node_id": ""})
    trainable = build(trial="alpha-3")
    steps(trainable, 2)
    assert trainable.reset_config(orders(tmp_path, trial="beta-4"))
    steps(trainable, 1)
    shown = ("alpha-3 after epoch 0", "alpha-3 after epoch 1", "beta-4 after epoch 0")
    assert titles == [f"ray::cutmix-sweep {text}" for text in shown]


def test_a_report_says_how_long_the_state_took_to_write(build: Callable[..., CutMixTrainable]) -> None:
    first, second = steps(build(), 2)
    assert 0 < first["checkpoint_s"] < 60
    assert second["checkpoint_s"] > 0
    assert "gpu_memory_bytes" not in first


def test_images_lie_where_the_sweep_says_and_are_those_that_it_was_started_with(
    build: Callable[..., CutMixTrainable], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in (
        f"{split}/{label}/{number}.png" for split in ("train", "test") for label in "ab" for number in range(4)
    ):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    present, recorded = f"imagefolder:{tmp_path / 'photos'}", "imagefolder:/where/they/were"
    train, test = (open_split(Data(source=present), split).content for split in ("train", "test"))
    parts = {"data": BASE["data"] | {"source": recorded, "train_frac": 1.0, "val_frac": 0.5}}
    parts |= {"optimizer": BASE["optimizer"] | {"max_epochs": 1}}

    def report(train: str, test: str) -> Row:
        images = format_places({recorded: Place(present, Contents(train, test))})
        return build(test=True, images=images, trial=f"t{train[:1]}{test[:1]}", **parts).step()

    row = report(train, test)
    assert json.loads(row["test"])["n"] == 8
    saved = torch.load(tmp_path / f"weights/{row['trial']}.pt", weights_only=True)
    assert saved["config"]["data"]["source"] == recorded  # the study stays as it was
    assert "the training images of 'imagefolder' differ" in report("0" * 64, test)["failed"]
    assert "the test images of 'imagefolder' differ" in report(train, "0" * 64)["failed"]


def test_a_trial_in_an_object_store_continues_on_another_node(
    build: Callable[..., CutMixTrainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is sent when the node is about to end, the model before the end is reported."""
    memory = pytest.importorskip("obstore.store").MemoryStore()
    monkeypatch.setattr(storage_url, "SCHEMES", (*storage_url.SCHEMES, "memory"))
    monkeypatch.setitem(store_clients.OPENERS, "memory", lambda url: memory)
    store = ObjectStore(StorageUrl("memory", "bucket", "box"))
    expected = without_times(steps(build(), EPOCHS))
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, _: ended.append(signum))  # Ray's own handler
    try:
        rows: list[Row] = []
        for node, recorded, count in (("a", 0, 2), ("b", 2, 1)):
            monkeypatch.setattr(trial_files, "default_cache_dir", lambda node=node: tmp_path / node)
            told = {"storage": str(store.url), "sweep_key": "0", "checkpoint_s": 1000.0}
            worker = CutMixTrainable({**orders(tmp_path, recorded=recorded), **told})
            rows += steps(worker, count)
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [signal.SIGTERM] * 2
    assert json.loads(rows[-1].pop("requests"))["n_written"] == 2  # the model and the log
    assert without_times([{**row, "requests": ""} for row in rows]) == [{**row, "requests": ""} for row in expected]
    assert list(store.list()) == ["checkpoints/t0.pt", "logs/t0.txt", "models/t0.pt"]
    lines = [line for line in store.read("logs/t0.txt")[0].decode().splitlines() if not line.startswith("trial")]
    assert [line.split(" ", 3)[3].partition(":")[0] for line in lines] == [
        *("begins, 0 epochs recorded", "epoch 1", "epoch 2", "begins, 2 epochs recorded", "epoch 3"),
    ]
    assert local_model(f"{store.url}/models/t0.pt").read_bytes() == (tmp_path / "weights/t0.pt").read_bytes()
