from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.conftest import annotation
from trainables.data.sources.registry import open_source
from trainables.errors import UserError

BOXES = "Annotations/CLS-LOC"


def boxes_of(root: Path, split: str, image_size_px: int | None = None) -> list[list[int]]:
    assert split in ("train", "test")
    boxes = open_source(f"imagenet:{root}").read(split, image_size_px).boxes  # type: ignore[arg-type]
    assert boxes is not None
    listed: list[list[int]] = boxes.tolist()
    return listed


def into_class_folders(root: Path) -> None:
    for index, wnid in enumerate(("n02", "n01")):
        (root / "val" / wnid).mkdir()
        (root / f"val/ILSVRC2012_val_{index}.JPEG").rename(root / f"val/{wnid}/ILSVRC2012_val_{index}.JPEG")


def test_classes_labels_pixels_and_half_open_boxes(imagenet_root: Path) -> None:
    source = open_source(f"imagenet:{imagenet_root}")
    train, test = source.read("train"), source.read("test")
    assert train.classes == ("n01", "n02")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.labels.tolist() == [1, 0]
    with Image.open(imagenet_root / "train/n02/n02_1.JPEG") as image:
        np.testing.assert_array_equal(train.images[4], np.asarray(image))
    assert boxes_of(imagenet_root, "train")[:3] == [[2, 10, 30, 40], [2, 11, 30, 40], [2, 12, 30, 40]]


def test_of_several_objects_the_largest_counts(imagenet_root: Path) -> None:
    assert boxes_of(imagenet_root, "test") == [[4, 12, 16, 36]] * 2


def test_boxes_are_cropped_and_resized_with_the_images(imagenet_root: Path) -> None:
    # 48 x 32 px at half the size lose four columns on each side
    assert boxes_of(imagenet_root, "test", 16) == [[2, 2, 8, 14]] * 2


def test_validation_images_in_class_folders_give_the_same(imagenet_root: Path) -> None:
    flat = open_source(f"imagenet:{imagenet_root}").read("test")
    into_class_folders(imagenet_root)
    folders = open_source(f"imagenet:{imagenet_root}").read("test")
    # sorted by class, then by name
    np.testing.assert_array_equal(folders.images, flat.images[::-1])
    assert folders.labels.tolist() == [0, 1]
    assert boxes_of(imagenet_root, "test") == [[4, 12, 16, 36]] * 2


def test_images_where_kaggle_puts_them_give_the_same(imagenet_root: Path) -> None:
    before = open_source(f"imagenet:{imagenet_root}").read("train")
    (imagenet_root / "Data/CLS-LOC").mkdir(parents=True)
    for split in ("train", "val"):
        (imagenet_root / split).rename(imagenet_root / "Data/CLS-LOC" / split)
    source = open_source(f"imagenet:{imagenet_root}")
    source.check()
    np.testing.assert_array_equal(source.read("train").images, before.images)
    assert source.fingerprint("train") != source.fingerprint("test")


def test_images_without_annotation_get_an_empty_box(imagenet_root: Path) -> None:
    (imagenet_root / BOXES / "train/n01/n01_1.xml").unlink()
    (imagenet_root / BOXES / "train/n02/n02_0.xml").write_text(annotation("n02"))
    (imagenet_root / BOXES / "train/n02/n02_1.xml").write_text(annotation("n02", (30, 5, 20, 9)))
    y0, x0, y1, x1 = np.array(boxes_of(imagenet_root, "train", 24)).T
    assert ((y0 == y1) & (x0 == x1)).tolist() == [False, True, False, True, True, False]


def test_classes_have_names_where_the_file_of_names_is(imagenet_root: Path) -> None:
    (imagenet_root / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 great white shark, man-eater\n")
    source = open_source(f"imagenet:{imagenet_root}")
    assert source.read("test").classes == ("tench", "great white shark")


def test_the_challenge_s_test_images_are_left_alone(imagenet_root: Path) -> None:
    shutil.copytree(imagenet_root / "val", imagenet_root / "test")
    assert len(open_source(f"imagenet:{imagenet_root}").read("test").images) == 2


@pytest.mark.parametrize("removed", ["train", "val", f"{BOXES}/train", f"{BOXES}/val"])
def test_missing_folders_are_refused_by_name(imagenet_root: Path, removed: str) -> None:
    shutil.rmtree(imagenet_root / removed)
    with pytest.raises(UserError, match=rf"{removed} does not exist; expected train/<wnid>"):
        open_source(f"imagenet:{imagenet_root}").check()


def test_a_class_without_images_is_refused(imagenet_root: Path) -> None:
    (imagenet_root / "train/n03").mkdir()
    with pytest.raises(UserError, match="train/n03 contains no image"):
        open_source(f"imagenet:{imagenet_root}").check()


def test_a_flat_image_whose_class_nothing_says_is_refused(imagenet_root: Path) -> None:
    (imagenet_root / BOXES / "val/ILSVRC2012_val_1.xml").unlink()
    with pytest.raises(UserError, match=r"val/ILSVRC2012_val_1.xml does not exist, but the class of"):
        open_source(f"imagenet:{imagenet_root}").check()


def test_classes_that_are_never_trained_on_are_refused(imagenet_root: Path) -> None:
    (imagenet_root / BOXES / "val/ILSVRC2012_val_1.xml").write_text(annotation("n09", (1, 2, 3, 4)))
    with pytest.raises(UserError, match=r"ILSVRC2012_val_1.xml names the class 'n09', which .*train does not have"):
        open_source(f"imagenet:{imagenet_root}").read("test")
    into_class_folders(imagenet_root)
    (imagenet_root / "val/n01").rename(imagenet_root / "val/n09")
    with pytest.raises(UserError, match=r"val/n09 is a class that .*train does not have"):
        open_source(f"imagenet:{imagenet_root}").check()


@pytest.mark.parametrize("text", ["<annotation>", annotation("n01", (1, 2, 3, 4)).replace("<xmax>3</xmax>", "")])
def test_an_unreadable_annotation_is_refused_by_name(imagenet_root: Path, text: str) -> None:
    (imagenet_root / BOXES / "train/n01/n01_1.xml").write_text(text)
    with pytest.raises(UserError, match=r"cannot read the annotation .*n01_1\.xml"):
        open_source(f"imagenet:{imagenet_root}").read("train")
