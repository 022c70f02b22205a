"""What every source promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trainables.data.sources
from tests.trainables.data.drawn_once import DrawnOnce
from trainables.contracts.law import Law, judge
from trainables.contracts.sources import (
    LAWS,
    SourceCase,
    check_decodes_into_the_given_array,
    check_same_at_every_call,
)
from trainables.data.contents import SplitContent
from trainables.data.sources.base import SPLITS, Allocate, Decoded, Source, Split, in_memory
from trainables.data.sources.digits import Digits
from trainables.data.sources.registry import SOURCES, open_source, source_help, source_table, split_source
from trainables.discovery import import_variants
from trainables.errors import UserError


@pytest.fixture(params=SOURCES)
def spelled(request: pytest.FixtureRequest) -> str:
    """Return a source as a user spells it; its folder is made by the fixture that is named after its module."""
    source = SOURCES[request.param]
    if not source.takes_path:
        return source.name
    return f"{source.name}:{request.getfixturevalue(source.__module__.rpartition('.')[2] + '_root')}"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[SourceCase], spelled: str) -> None:
    name, path = split_source(spelled)
    kind = SOURCES[name]
    if kind is Digits and law not in (check_same_at_every_call, check_decodes_into_the_given_array):
        kind = DrawnOnce
    law(SourceCase(kind, path))


class Careless(Digits):
    """Images that differ at each call, of which some are in both splits."""

    takes_path = True
    images_per_original = 3

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        images = np.full((8, 4, 4, 3), 7, np.uint8)
        images[4:] = np.random.default_rng().integers(0, 256, (4, 4, 4, 3))
        return Decoded(images, np.arange(8), self.classes(), None)


def test_a_source_that_breaks_laws_is_told_which() -> None:
    reasons = {verdict.law: verdict.reason for verdict in judge(LAWS, SourceCase(Careless, None))}
    text = " | ".join(reasons.values())
    for reason in (
        "read returned (8, ",
        "images differ",
        "1 images are in both",
        "another array",
        "is 3",
        "accepts '/no/",
    ):
        assert reason in text, reason


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
def test_the_content_is_that_of_the_split_s_files(
    name: str, fixture: str, changed: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root: Path = request.getfixturevalue(fixture)
    source = open_source(f"{name}:{root}")

    def contents() -> list[str | None]:
        return [SplitContent(source, split, tmp_path).computed() for split in SPLITS]

    before = contents()
    os.utime(root / changed, ns=(1, 1))
    assert contents() == before  # times are no content
    content = bytearray((root / changed).read_bytes())
    content[-1] ^= 1
    (root / changed).write_bytes(content)
    os.utime(root / changed, ns=(1, 1))
    assert (contents()[0] == before[0], contents()[1] == before[1]) == (False, True)


def test_each_file_is_read_once_while_it_is_decoded(spelled: str) -> None:
    """The digests that ``read`` returns are those of the files, so that images are not read again for them."""
    source = DrawnOnce() if spelled == "digits" else open_source(spelled)
    for split in SPLITS:
        files, digests = source.files(split), source.read(split, 8).digests
        if files is None:
            assert digests == source.read(split).digests
            continue
        assert {f"{files.root}/{name}": digest for name, digest in files.digests().items()}.items() >= digests.items()
        assert {*digests} == {f"{files.root}/{name}" for name in files.names if files.class_of(name) is not None}


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
