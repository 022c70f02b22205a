"""What every source promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trainables.data.sources
from trainables.data.sources.base import Source
from trainables.data.sources.registry import SOURCES, open_source, source_help, source_table
from trainables.discovery import import_variants
from trainables.errors import UserError


@pytest.fixture(params=SOURCES)
def spelled(request: pytest.FixtureRequest) -> str:
    """Return a source as a user spells it; its folder is made by the fixture that is named after its module."""
    source = SOURCES[request.param]
    if not source.takes_path:
        return source.name
    return f"{source.name}:{request.getfixturevalue(source.__module__.rpartition('.')[2] + '_root')}"


@pytest.fixture
def source(spelled: str) -> Source:
    return open_source(spelled)


def test_check_and_describe_agree_with_what_is_read(source: Source) -> None:
    source.check()
    read = source.read("train")
    described = source.describe()
    assert (described.n_train, described.height_px, described.width_px, 3) == read.images.shape
    assert described.n_classes == len(read.classes)
    assert source.classes() == read.classes
    assert (read.boxes is not None) == source.has_boxes


@pytest.mark.parametrize("image_size_px", [None, 24])
def test_shapes_types_and_ranges(source: Source, image_size_px: int | None) -> None:
    train, test = source.read("train", image_size_px), source.read("test", image_size_px)
    assert train.classes == test.classes
    assert len(set(train.classes)) == len(train.classes)
    for read in (train, test):
        count, height_px, width_px, _ = read.images.shape
        assert image_size_px is None or (height_px, width_px) == (image_size_px, image_size_px)
        assert read.images.shape == (count, *train.images.shape[1:])
        assert (read.images.dtype, read.labels.dtype, read.labels.shape) == (np.uint8, np.int64, (count,))
        assert 0 <= read.labels.min() <= read.labels.max() < len(read.classes)
        if read.boxes is not None:
            y0, x0, y1, x1 = read.boxes.T
            assert (read.boxes.dtype, read.boxes.shape) == (np.int32, (count, 4))
            assert ((y0 >= 0) & (y0 < y1) & (y1 <= height_px)).all()
            assert ((x0 >= 0) & (x0 < x1) & (x1 <= width_px)).all()


def test_the_same_at_every_call(spelled: str) -> None:
    first, second = (open_source(spelled).read("test") for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert open_source(spelled).fingerprint("test") == open_source(spelled).fingerprint("test")


def test_no_image_in_both_splits(source: Source) -> None:
    train, test = ({image.tobytes() for image in source.read(split).images} for split in ("train", "test"))
    assert not train & test
    assert source.fingerprint("train") != source.fingerprint("test")


def test_decodes_into_the_array_it_is_given(source: Source) -> None:
    arrays = []

    def allocate(shape: tuple[int, int, int, int]) -> np.ndarray:
        arrays.append(np.empty(shape, np.uint8))
        return arrays[-1]

    assert source.read("test", allocate=allocate).images is arrays[0]


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.takes_path])
def test_a_missing_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    source = open_source(f"{name}:{tmp_path / 'absent'}")
    for use in (source.check, source.classes, source.describe, lambda: source.fingerprint("train")):
        with pytest.raises(UserError, match="absent"):
            use()


@pytest.mark.parametrize(
    ("name", "fixture", "changed"),
    [
        ("imagefolder", "imagefolder_root", "train/cat/0.png"),
        ("tiny-imagenet", "tiny_imagenet_root", "train/n01/n01_boxes.txt"),
        ("cub", "cub_root", "images/001.Black_footed_Albatross/0.jpg"),
        ("imagenet", "imagenet_root", "train/n01/n01_2.JPEG"),
        ("imagenet", "imagenet_root", "Annotations/CLS-LOC/train/n02/n02_0.xml"),
        ("cifar10", "cifar_root", "cifar-10-batches-py/data_batch_3"),
        ("cifar100", "cifar_root", "cifar-100-python/train"),
    ],
)
def test_the_fingerprint_follows_the_split_s_files(
    name: str, fixture: str, changed: str, request: pytest.FixtureRequest
) -> None:
    root: Path = request.getfixturevalue(fixture)
    source = open_source(f"{name}:{root}")
    before = source.fingerprint("train"), source.fingerprint("test")
    os.utime(root / changed, ns=(1, 1))
    assert source.fingerprint("train") != before[0]
    assert source.fingerprint("test") == before[1]


def test_an_unknown_source_is_refused_with_a_near_name() -> None:
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        open_source("cifar1O")


def test_no_two_sources_have_one_name() -> None:
    kinds = import_variants(trainables.data.sources.__name__, trainables.data.sources.__path__, Source)
    assert sorted(kind.name for kind in kinds if "name" in vars(kind)) == sorted(SOURCES)


def test_every_source_appears_in_help_and_table() -> None:
    """Help and table come from the classes; a source without a declaration fails here."""
    assert source_help().split(", ") == [source.spelling() for source in SOURCES.values()]
    for source, row in zip(SOURCES.values(), source_table().splitlines()[2:], strict=True):
        assert row.startswith(f"| `{source.spelling()}` | {source.reads} |")
        assert {"name", "reads", "needs_path", "has_boxes", "flips"} <= {*dir(source)}


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.needs_path])
def test_a_needed_path_is_asked_for(name: str) -> None:
    for spelling in (name, f"{name}:"):
        with pytest.raises(UserError, match=f"{name}:PATH"):
            open_source(spelling)


def test_sources_are_listed_without_heavy_imports() -> None:
    """The command line lists them in its help."""
    code = "import sys, trainables.data.sources.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "torchvision", "pandas", "sklearn", "ray"} & {*loaded}
