from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from trainables.data.sources.registry import open_source
from trainables.errors import UserError


def test_classes_labels_and_half_open_boxes(tiny_imagenet_root: Path) -> None:
    source = open_source(f"tiny-imagenet:{tiny_imagenet_root}")
    train, test = source.read("train"), source.read("test")
    assert train.classes == ("goldfish", "crane")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.labels.tolist() == [1, 0]
    assert train.boxes is not None
    assert test.boxes is not None
    assert train.boxes[:3].tolist() == [[10, 0, 21, 64], [10, 1, 21, 64], [10, 2, 21, 64]]
    assert test.boxes.tolist() == [[0, 0, 64, 64], [6, 5, 9, 8]]


def test_boxes_are_resized_with_the_images(tiny_imagenet_root: Path) -> None:
    boxes = open_source(f"tiny-imagenet:{tiny_imagenet_root}").read("test", 32).boxes
    assert boxes is not None
    assert boxes.tolist() == [[0, 0, 32, 32], [3, 2, 5, 4]]


def test_a_name_shared_by_two_classes_gives_way_to_their_ids(tiny_imagenet_root: Path) -> None:
    (tiny_imagenet_root / "words.txt").write_text("n01\tcrane, bird\nn02\tcrane, machine\n")
    assert open_source(f"tiny-imagenet:{tiny_imagenet_root}").read("test").classes == ("n01", "n02")


@pytest.mark.parametrize("removed", ["wnids.txt", "words.txt", "train/n01/n01_boxes.txt", "val/val_annotations.txt"])
def test_missing_annotations_are_refused_by_name(tiny_imagenet_root: Path, removed: str) -> None:
    (tiny_imagenet_root / removed).unlink()
    with pytest.raises(UserError, match=f"{removed} does not exist; expected the official layout"):
        open_source(f"tiny-imagenet:{tiny_imagenet_root}").check()


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("train/n01/n01_boxes.txt", "a.JPEG 1 2 3", "line 1 of .* is not 'file x0 y0 x1 y1'"),
        ("val/val_annotations.txt", "a.JPEG n01 1 2 3 x", "is not 'file wnid x0 y0 x1 y1'"),
        ("val/val_annotations.txt", "a.JPEG n09 1 2 3 4", "n09, which is not in wnids.txt"),
        ("val/val_annotations.txt", "", "name no test image"),
        ("wnids.txt", "", "is empty"),
    ],
)
def test_senseless_annotations_are_refused(tiny_imagenet_root: Path, file: str, line: str, message: str) -> None:
    (tiny_imagenet_root / file).write_text(line)
    with pytest.raises(UserError, match=message):
        open_source(f"tiny-imagenet:{tiny_imagenet_root}").check()


def test_missing_images_are_refused(tiny_imagenet_root: Path) -> None:
    source = open_source(f"tiny-imagenet:{tiny_imagenet_root}")
    (tiny_imagenet_root / "train/n02/images/n02_1.JPEG").unlink()
    with pytest.raises(UserError, match=r"n02_1\.JPEG does not exist, but an annotation names it"):
        source.check()
    (tiny_imagenet_root / "val/images").rename(tiny_imagenet_root / "val/pictures")
    with pytest.raises(UserError, match=r"val/images does not exist"):
        source.check()


def test_real_archive(tmp_path: Path) -> None:
    folder = os.environ.get("CUTMIX_SWEEP_REAL_DATA")
    archive = Path(folder or "") / "tiny-imagenet-20.tar.xz"
    if folder is None or not archive.exists():
        pytest.skip("CUTMIX_SWEEP_REAL_DATA names no folder with tiny-imagenet-20.tar.xz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    source = open_source(f"tiny-imagenet:{tmp_path / 'tiny-imagenet-20'}")
    source.check()
    test = source.read("test")
    assert test.images.shape == (1000, 64, 64, 3)
    assert test.boxes is not None
    assert (test.boxes[:, :2] < test.boxes[:, 2:]).all()
    assert (np.bincount(test.labels) == 50).all()
    assert source.describe().n_train == 10_000
