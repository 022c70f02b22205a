from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.processes import PATIENCE_S, wait_until
from trainables.data import entry_files
from trainables.data.cache_dir import default_cache_dir
from trainables.data.config import Data
from trainables.data.image_set import ImageSet
from trainables.data.sources.imagefolder import ImageFolder
from trainables.data.store import open_split
from trainables.errors import UserError

ROOT = Path(__file__).parents[3]

# argv: data source, cache folder, log to which each decoding adds a line
OPEN_IN_A_PROCESS = """
import hashlib, sys, time
from pathlib import Path
from trainables.data.config import Data
from trainables.data.sources.imagefolder import ImageFolder
from trainables.data.store import open_split

source, cache, log = sys.argv[1:]
read = ImageFolder.read

def slow_read(self, split, *args, **kwargs):
    decoded = read(self, split, *args, **kwargs)
    with open(log, "a") as file:
        file.write(split + "\\n")
    time.sleep({seconds})
    return decoded

ImageFolder.read = slow_read
images = open_split(Data(source=source), "train", cache_dir=Path(cache))
print(hashlib.sha256(images.images.tobytes() + images.labels.tobytes() + images.mean.tobytes()).hexdigest())
"""


def start(root: Path, cache: Path, log: Path, *, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            OPEN_IN_A_PROCESS.format(seconds=seconds),
            f"imagefolder:{root}",
            str(cache),
            str(log),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def data(imagefolder_root: Path) -> Data:
    return Data(source=f"imagefolder:{imagefolder_root}")


def entries(cache: Path, pattern: str = "*") -> list[Path]:
    return [path for path in cache.glob(pattern) if path.is_dir() and path.name != "contents"]


def test_what_is_opened_is_what_was_read(data: Data, imagefolder_root: Path, tmp_path: Path) -> None:
    read = ImageFolder(imagefolder_root).read("train")
    for _ in range(2):  # written, then found
        opened = open_split(data, "train", cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(opened.images, read.images)
        np.testing.assert_array_equal(opened.labels, read.labels)
        assert opened.classes == read.classes
        assert opened.boxes is None
        assert len(opened) == 10


def test_boxes_are_kept(tiny_imagenet_root: Path, tmp_path: Path) -> None:
    opened = open_split(Data(source=f"tiny-imagenet:{tiny_imagenet_root}"), "test", cache_dir=tmp_path)
    assert opened.boxes is not None
    assert opened.boxes.tolist() == [[0, 0, 64, 64], [6, 5, 9, 8]]


def test_statistics_are_of_the_training_images(data: Data, imagefolder_root: Path, tmp_path: Path) -> None:
    pixels = ImageFolder(imagefolder_root).read("train").images.reshape(-1, 3) / 255
    for split in ("train", "test"):
        opened = open_split(data, split, cache_dir=tmp_path)
        np.testing.assert_allclose(opened.mean, pixels.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(opened.std, pixels.std(axis=0), rtol=1e-6)


def test_a_channel_without_contrast_can_be_divided_by() -> None:
    mean, std = entry_files.statistics_of(np.zeros((100, 4, 4, 3), dtype=np.uint8))
    assert mean.tolist() == [0, 0, 0]
    np.testing.assert_allclose(std, 1 / 255)


def test_nothing_can_be_written_to(data: Data, tmp_path: Path) -> None:
    opened = open_split(data, "train", cache_dir=tmp_path)
    for array in (opened.images, opened.labels, opened.mean, opened.std):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        opened.images.flags.writeable = True


def test_the_test_split_is_left_alone(
    data: Data, imagefolder_root: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    write_image(imagefolder_root / "test/dog/0.png").write_bytes(b"decoding this would fail")
    open_split(data, "train", cache_dir=tmp_path / "cache")
    assert [path.name.split("-")[1] for path in entries(tmp_path / "cache")] == ["train"]
    with pytest.raises(UserError, match=r"test/dog/0\.png"):
        open_split(data, "test", cache_dir=tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 1  # a refused split leaves nothing


def test_changes_make_another_entry(
    data: Data, imagefolder_root: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    cache = tmp_path / "cache"
    open_split(data, "test", cache_dir=cache)
    open_split(data.model_copy(update={"image_size_px": 8}), "test", cache_dir=cache)
    assert len(entries(cache)) == 4
    open_split(data.model_copy(update={"batch_size": 3, "val_frac": 0.5}), "test", cache_dir=cache)
    assert len(entries(cache)) == 4
    # a new training class shifts the labels of the test images, whose files are the same
    write_image(imagefolder_root / "train/aardvark/0.png")
    assert open_split(data, "test", cache_dir=cache).labels.tolist() == [1, 1]
    assert len(entries(cache)) == 6


def test_processes_that_open_at_once_decode_once(imagefolder_root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(imagefolder_root, tmp_path / "cache", log, seconds=1) for _ in range(3)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(outputs)) == 1
    assert log.read_text() == "train\n"
    assert len(entries(tmp_path / "cache")) == 1


def test_a_killed_writer_leaves_nothing_that_is_read(data: Data, imagefolder_root: Path, tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    writer = start(imagefolder_root, cache, log, seconds=600)
    assert wait_until(log.exists, within_s=240)
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=PATIENCE_S)
    assert [path.name.split(".")[1][:8] for path in entries(cache)] == ["partial-"]
    opened = open_split(data, "train", cache_dir=cache)
    np.testing.assert_array_equal(opened.images, ImageFolder(imagefolder_root).read("train").images)
    assert [path.suffix for path in entries(cache)] == [""]


def test_an_entry_is_on_the_disk_before_it_has_its_name(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, named, fsync = set[int](), tmp_path.glob, os.fsync

    def noted(descriptor: int) -> None:
        if not list(named("imagefolder-train-" + "[0-9a-f]" * 20)):
            synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    open_split(data, "train", cache_dir=tmp_path)
    [entry] = named("imagefolder-train-" + "[0-9a-f]" * 20)
    assert {path.stat().st_ino for path in entry.iterdir()} <= synced


def test_a_full_disk_is_refused(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=rf"{tmp_path}/cache: .*No space left.*CUTMIX_SWEEP_CACHE"):
        open_split(data, "train", cache_dir=tmp_path / "cache")
    assert not entries(tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_refused(data: Data, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: .*CUTMIX_SWEEP_CACHE"):
        open_split(data, "train", cache_dir=tmp_path / "file")


def test_default_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUTMIX_SWEEP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache/cutmix-sweep"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg/cutmix-sweep"
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "own"))
    assert default_cache_dir() == tmp_path / "own"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", np.zeros((2, 3, 4, 4), np.uint8), "N, H, W, 3"),
        ("images", np.zeros((2, 4, 4, 3), np.float32), "images must be uint8"),
        ("labels", np.zeros(3, np.int64), "labels must be int64"),
        ("labels", np.array([0, 2]), "indices of the 2 classes"),
        ("boxes", np.zeros((2, 4), np.int64), "boxes must be int32"),
        ("boxes", np.array([[0, 0, 5, 4]] * 2, np.int32), "inside images of 4 x 4 px"),
        ("std", np.zeros(3), "std must be float32"),
    ],
)
def test_an_image_set_checks_itself(field: str, value: np.ndarray, message: str) -> None:
    fields = {
        "images": np.zeros((2, 4, 4, 3), np.uint8),
        "labels": np.array([0, 1]),
        "classes": ("a", "b"),
        "boxes": None,
        "mean": np.zeros(3, np.float32),
        "std": np.ones(3, np.float32),
    }
    ImageSet(**fields)
    with pytest.raises(ValueError, match=message):
        ImageSet(**fields | {field: value})
