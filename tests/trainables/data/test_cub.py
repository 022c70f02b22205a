from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data.sources.registry import open_source
from trainables.errors import UserError


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines))


def test_classes_splits_and_half_open_boxes(cub_root: Path) -> None:
    source = open_source(f"cub:{cub_root}")
    train, test = source.read("train"), source.read("test")
    assert train.classes == ("Black footed Albatross", "Fish Crow")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1, 1], [0, 1])
    assert train.images.shape[1:3] == (40, 30)
    with Image.open(cub_root / "images/002.Fish_Crow/2.jpg") as image:
        np.testing.assert_array_equal(test.images[1], np.asarray(image))
    assert train.boxes is not None
    assert test.boxes is not None
    # x 4 + index, width 15.5: from 4 to 19.5, that is to the pixel before 20
    assert train.boxes.tolist() == [[8, 4, 32, 20], [8, 6, 32, 22], [8, 7, 32, 23], [8, 8, 32, 24]]
    assert test.boxes.tolist() == [[8, 5, 32, 21], [8, 9, 32, 25]]


def test_boxes_are_cropped_with_the_images(cub_root: Path) -> None:
    boxes = open_source(f"cub:{cub_root}").read("test", 15).boxes
    assert boxes is not None
    # half the size; 20 rows become 15, two and a half cut off on each side
    assert boxes.tolist() == [[1, 2, 14, 11], [1, 4, 14, 13]]


def test_classes_are_in_the_order_of_their_numbers(cub_root: Path) -> None:
    (cub_root / "classes.txt").write_text("10 010.Crow\n9 009.Gull\n")
    (cub_root / "image_class_labels.txt").write_text("".join(f"{image} {9 + image // 4}\n" for image in range(1, 7)))
    test = open_source(f"cub:{cub_root}").read("test")
    assert test.classes == ("Gull", "Crow")
    assert test.labels.tolist() == [0, 1]


def test_names_that_would_coincide_stay_as_they_are(cub_root: Path) -> None:
    (cub_root / "classes.txt").write_text("1 001.Crow\n2 002.Crow\n")
    assert open_source(f"cub:{cub_root}").read("test").classes == ("001.Crow", "002.Crow")


@pytest.mark.parametrize(
    "removed", ["classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_missing_tables_are_refused_by_name(cub_root: Path, removed: str) -> None:
    (cub_root / removed).unlink()
    with pytest.raises(UserError, match=f"{removed} does not exist; expected the official layout"):
        open_source(f"cub:{cub_root}").check()


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("bounding_boxes.txt", "2 1.0 2.0 3.0", "line 2 of .* is not 'number x y width height'"),
        ("bounding_boxes.txt", "2 1.0 2.0 3.0 -4.0", "line 2 of .* is not 'number x y width height'"),
        ("bounding_boxes.txt", "9 1.0 2.0 3.0 4.0", "bounding_boxes.txt has no line for image 2"),
        ("train_test_split.txt", "2 yes", "line 2 of .* is not 'number is_training_image'"),
        ("image_class_labels.txt", "2 7", "gives image 2 the class 7, not in classes.txt"),
        ("images.txt", "", "line 2 of .* is not 'number file'"),
        ("images.txt", "2 none.jpg", "none.jpg does not exist, but images.txt names it"),
    ],
)
def test_senseless_tables_are_refused(cub_root: Path, table: str, line: str, message: str) -> None:
    replace_line(cub_root / table, 2, line)
    with pytest.raises(UserError, match=message):
        open_source(f"cub:{cub_root}").check()


def test_a_split_without_images_is_refused(cub_root: Path) -> None:
    (cub_root / "train_test_split.txt").write_text("".join(f"{image} 1\n" for image in range(1, 7)))
    with pytest.raises(UserError, match="marks no image as a test image"):
        open_source(f"cub:{cub_root}").check()
