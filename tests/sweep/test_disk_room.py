from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.discover import load_study
from sweep.disk_room import DiskRoom, disk_rooms
from sweep.random_trial import ImageFacts, random_trial
from tests.trainables.data.mini_imagenet import write_mini_imagenet
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.jpegs.images import JpegImages
from trainables.data.sources.imagenet import ImageNet
from trainables.data.store import open_split, open_train
from trainables.errors import UserError

N_TRAIN, N_VAL = 12, 6


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "cache"))
    return write_mini_imagenet(tmp_path / "imagenet")


def rooms_of(source: str, *, off: Any = (), **data: Any) -> tuple[DiskRoom, ...]:
    study = {
        "question": "How much?",
        "arms": {"off": {"mix": "off", "base": {"data": dict(off)}}, "cutmix": {"mix": "cutmix"}},
        "base": {"data": {"source": source, "image_size_px": 32, **data}},
        "budget": {"trials": 2, "max_epochs": 1},
        "confirm": {"searches": 1, "seeds": 2},
    }
    return disk_rooms(load_study(study))


def test_pixels_are_counted_with_their_border(source: str) -> None:
    (room,) = rooms_of(source)
    assert room.n_bytes == room.missing_bytes == 3 * ((N_TRAIN + N_VAL) * 32 * 32 + N_TRAIN * 40 * 40)
    assert room.seconds > 0
    open_train(Data(source=source, image_size_px=32))
    (room,) = rooms_of(source)
    assert room.missing_bytes == 3 * N_VAL * 32 * 32
    assert room.n_bytes == pytest.approx(3 * ((N_TRAIN + N_VAL) * 32 * 32 + N_TRAIN * 40 * 40), abs=500)


@pytest.mark.parametrize("stored_px", [None, 32])
def test_jpegs_are_estimated_until_they_are_written(source: str, stored_px: int | None) -> None:
    (estimated,) = rooms_of(source, store="jpeg", stored_px=stored_px)
    data = Data(source=source, image_size_px=32, store="jpeg", stored_px=stored_px)
    for split in ("train", "test"):
        open_split(data, split)  # type: ignore[arg-type]
    (written,) = rooms_of(source, store="jpeg", stored_px=stored_px)
    assert (written.missing_bytes, written.seconds) == (0, 0)
    assert estimated.missing_bytes == estimated.n_bytes == written.n_bytes  # so few files are all in the sample
    assert "written in" in written.describe()
    # another size of the same JPEGs needs no more disk
    (room,) = rooms_of(source, store="jpeg", stored_px=stored_px, image_size_px=24)
    assert room.missing_bytes == 0


def test_images_that_arms_share_are_counted_once(source: str) -> None:
    (room,) = rooms_of(source, off={"pad_px": 2})
    assert room.n_bytes == 3 * ((N_TRAIN + N_VAL) * 32 * 32 + N_TRAIN * (36 * 36 + 40 * 40))
    (alone,) = rooms_of(source, store="jpeg")
    (shared,) = rooms_of(source, store="jpeg", off={"image_size_px": 24, "pad_px": 0, "stored_px": 320})
    assert shared.missing_bytes == alone.missing_bytes
    assert len(rooms_of(source, store="jpeg", off={"stored_px": 32})) == 2


def test_a_source_that_does_not_tell_its_images_from_other_files_is_estimated(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (told,) = rooms_of(source)
    files = ImageNet.files
    monkeypatch.setattr(ImageNet, "files", lambda *args: replace(files(*args), class_of=lambda _: None))
    assert rooms_of(source)[0].n_bytes == told.n_bytes


def test_images_that_were_copied_are_written_already(source: str, tmp_path: Path) -> None:
    """Otherwise their store, which fills the disk, would be counted twice, and a sweep could not be resumed."""
    for split in ("train", "test"):
        open_split(Data(source=source, image_size_px=32, store="jpeg"), split)  # type: ignore[arg-type]
    shutil.copytree(source.partition(":")[2], tmp_path / "elsewhere")
    (room,) = rooms_of(f"imagenet:{tmp_path / 'elsewhere'}", store="jpeg")
    assert room.missing_bytes == 0


def test_images_that_were_deleted_are_missing(source: str) -> None:
    open_split(Data(source=source, image_size_px=32), "test")
    (room,) = rooms_of(source)
    assert room.missing_bytes < room.n_bytes
    for path in Path(os.environ["CUTMIX_SWEEP_CACHE"]).glob("*/images.npy"):
        path.unlink()
    (room,) = rooms_of(source)
    assert room.missing_bytes == room.n_bytes


def test_what_does_not_fit_is_refused_before_it_is_decoded(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"need 113 kB, but 1 kB are free in .*: set data.store to jpeg, or set"):
        rooms_of(source)
    with pytest.raises(UserError, match=r"choose a smaller data.stored_px"):
        rooms_of(source, store="jpeg")


def test_images_that_exceed_the_memory_are_said_to_be_read_from_the_disk(source: str) -> None:
    (room,) = rooms_of(source)
    assert "batches are read from the disk" not in room.describe()
    assert "batches are read from the disk" in replace(room, memory_bytes=1e3).describe()


def test_sources_without_files_need_no_line() -> None:
    study = {"question": "?", "arms": {"off": {"mix": "off"}}, "budget": {"trials": 1, "max_epochs": 1}}
    assert disk_rooms(load_study(study)) == ()


def test_a_measured_trial_decodes_jpegs_of_the_stored_size() -> None:
    data = {"source": "imagenet:/none", "store": "jpeg", "stored_px": 320, "batch_size": 8}
    config = TrialConfig.model_validate({"data": data, "augment": {"resized_crop": {}}, "model": {"width": 0.25}})
    facts = ImageFacts(n_classes=2, height_px=24, width_px=24)
    trial = random_trial(config, facts, n_train=8, n_val=2, device="cpu")
    images = trial.images.images
    assert isinstance(images, JpegImages)
    assert images.sizes_px.tolist() == [[320, 426]] * 10
    assert 0.3 < images.n_bytes / (10 * 320 * 426) < 0.5  # as photographs
    assert trial.run_epoch().images_per_s > 0
