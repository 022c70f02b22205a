"""Pascal VOC in the official layout, on a small copy that the test writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.errors import UserError
from trainables.evaluation.detection.voc import VocImages, check_voc, voc_name

OBJECT = """<object><name>{name}</name>{part}<difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""
HEAD = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"


def an_object(name: str, *box: float, difficult: int = 0, part: str = "") -> str:
    return OBJECT.format(*box, name=name, difficult=difficult, part=part)


def write(folder: Path, split: str, images: dict[str, list[str]]) -> None:
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
    for name, objects in images.items():
        Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """2007 and 2012, with a difficult object, an image of difficult objects only, and one without objects."""
    kit = tmp_path / "VOCdevkit"
    dog, person = an_object("dog", 1, 1, 40, 30), an_object("person", 5, 6, 20, 25, part=HEAD)
    hard = an_object("cat", 2, 3, 4, 5, difficult=1)
    write(kit / "VOC2007", "trainval", {"000001": [dog, hard], "000003": [hard], "000004": []})
    write(kit / "VOC2007", "test", {"000002": [person, hard], "000005": []})
    write(kit / "VOC2012", "trainval", {"2008_000008": [an_object("cow", 1.5, 2, 11.5, 12)]})
    return tmp_path


def test_reads_both_years_for_training_and_2007_for_testing(root: Path) -> None:
    for place in (root, root / "VOCdevkit"):
        check_voc(place)
        assert voc_name(place) == "voc07+12"
    train, test = VocImages(root, "train"), VocImages(root, "test")
    assert (len(train), len(test)) == (2, 2)  # images without a usable object are left out of training alone
    assert [train.classes[train.objects(row).easy().labels[0]] for row in range(2)] == ["dog", "cow"]
    assert train.image(0).shape == (30, 40, 3)
    # pixels count from 1 and the last one belongs to the box: this object fills the image
    np.testing.assert_array_equal(train.objects(0).boxes[0], [0, 0, 40, 30])
    np.testing.assert_array_equal(train.objects(1).boxes[0], [0.5, 1, 11.5, 12])
    person = test.objects(0)
    np.testing.assert_array_equal(person.boxes[0], [4, 5, 20, 25])  # not that of the head
    assert person.difficult.tolist() == [False, True]
    assert len(person.easy().labels) == 1
    assert test.objects(1).boxes.shape == (0, 4)
    assert len(test.of_rows(np.array([1])).objects(0).labels) == 0


def test_2012_is_optional(root: Path) -> None:
    (root / "VOCdevkit" / "VOC2012").rename(root / "elsewhere")
    assert voc_name(root) == "voc07"
    assert len(VocImages(root, "train")) == 1


def test_mistakes_are_named(root: Path, tmp_path: Path) -> None:
    year = root / "VOCdevkit" / "VOC2007"

    def refuses(reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            check_voc(root)

    annotation = year / "Annotations" / "000002.xml"
    text = annotation.read_text()
    for broken, reason in (
        (text.replace("person", "wizard"), r"000002\.xml': an object has the class 'wizard', which is none"),
        (text.replace("<xmin>5<", "<xmin>50<"), r"the box of a 'person' is \[50\.0, 6\.0, 20\.0, 25\.0\], but xmin <="),
        ("<annotation>", r"cannot use the annotation '.*000002\.xml'"),
    ):
        annotation.unlink()
        annotation.write_text(broken)
        refuses(reason)
    annotation.unlink()
    refuses(r"Annotations/000002\.xml', which '.*test\.txt' lists, is missing")
    (year / "ImageSets" / "Main" / "test.txt").unlink()
    refuses(r"ImageSets/Main/test\.txt' is missing; expected: the official layout")
    with pytest.raises(UserError, match="none' does not exist; expected"):
        check_voc(tmp_path / "none")
    with pytest.raises(UserError, match="Annotations' does not contain VOC2007"):
        check_voc(year / "Annotations")
