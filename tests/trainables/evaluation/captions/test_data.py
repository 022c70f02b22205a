from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.errors import UserError
from trainables.evaluation.captions.data import check_caption_data, open_captions
from trainables.evaluation.captions.scene_captions import DIGITS, RELATIONS, captions_of
from trainables.evaluation.scenes import COLOURS, SIZES, draw_scenes

TRAIN, VAL = ("one", "two", "three"), ("four", "five")


def write_coco(folder: Path, *, year: str = "2014") -> Path:
    """The official layout with five images: each is of one grey, 10 times the number of its name, and 40 x 20 px."""
    (folder / "annotations").mkdir(parents=True)
    number = 0
    for part, names in (("train", TRAIN), ("val", VAL)):
        (folder / f"{part}{year}").mkdir()
        images, annotations = [], []
        for name in names:
            number += 1
            Image.new("RGB", (40, 20), (10 * number,) * 3).save(folder / f"{part}{year}" / f"{name}.png")
            images.append({"id": number, "file_name": f"{name}.png"})
            annotations += [{"image_id": number, "caption": f"{name} {word}"} for word in ("A", "b")[: 1 + number % 2]]
        content = {"images": images, "annotations": annotations}
        (folder / "annotations" / f"captions_{part}{year}.json").write_text(json.dumps(content))
    return folder


def opened(folder: Path, split: Any, **options: Any) -> dict[int, list[str]]:
    """Captions by the grey of their image, divided by 10."""
    images = open_captions(f"coco:{folder}", split, **{"count": None, "side_px": 8, "seed": 0, **options})
    pixels = images.pixels(np.arange(len(images)))
    assert pixels.shape == (len(images), 8, 8, 3)
    assert (pixels == pixels[:, :1, :1, :1]).all()
    return dict(zip((pixels[:, 0, 0, 0] // 10).tolist(), map(list, images.references), strict=True))


# ---------------------------------------------------------------- MS-COCO


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_captions_belong_to_their_images(tmp_path: Path, year: str) -> None:
    folder = write_coco(tmp_path / "coco", year=year)
    check_caption_data(f"coco:{folder}", n_train=None, n_test=None, karpathy=False)
    assert opened(folder, "train") == {1: ["one A", "one b"], 2: ["two A"], 3: ["three A", "three b"]}
    assert opened(folder, "test") == {4: ["four A"], 5: ["five A", "five b"]}
    drawn = {tuple(sorted(opened(folder, "train", count=2, seed=seed))) for seed in range(8)}
    assert drawn == {(1, 2), (1, 3), (2, 3)}


def test_the_split_of_karpathy(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    with pytest.raises(UserError, match=r"captioning.karpathy needs the file '.*dataset_coco\.json'"):
        check_caption_data(f"coco:{folder}", n_train=None, n_test=None, karpathy=True)
    splits = {"one": "train", "two": "train", "three": "restval", "four": "test", "five": "val"}
    images = [
        {
            "filepath": "train2014" if name in TRAIN else "val2014",
            "filename": f"{name}.png",
            "split": split,
            "sentences": [{"raw": f"{name} k"}],
        }
        for name, split in splits.items()
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images}))
    check_caption_data(f"coco:{folder}", n_train=None, n_test=None, karpathy=True)
    assert opened(folder, "train", karpathy=True) == {1: ["one k"], 2: ["two k"], 3: ["three k"]}
    assert opened(folder, "test", karpathy=True) == {4: ["four k"]}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    def refusal(data: str, **options: Any) -> str:
        with pytest.raises(UserError) as refused:
            check_caption_data(data, **{"n_train": 9, "n_test": 9, "karpathy": False, **options})
        return str(refused.value)

    assert "valid: scenes, coco:PATH" in refusal("scene")
    assert "needs the folder of MS-COCO: coco:PATH" in refusal("coco")
    assert "does not exist; it must contain annotations/captions_train2014.json" in refusal(f"coco:{tmp_path}/none")
    assert "give the number of scenes" in refusal("scenes", n_train=None)
    assert "captioning.n_images is null" in refusal("scenes", n_test=None)
    assert "captioning.karpathy is a split of MS-COCO" in refusal("scenes", karpathy=True)
    folder = write_coco(tmp_path / "coco")
    (folder / "annotations" / "captions_val2014.json").unlink()
    assert "captions_val2014.json' does not exist" in refusal(f"coco:{folder}")
    broken = write_coco(tmp_path / "broken")
    for text, reason in (("[]", "is not a file of captions"), ("{", "is not JSON")):
        (broken / "annotations" / "captions_train2014.json").write_text(text)
        with pytest.raises(UserError, match=reason):
            opened(broken, "train")


# ---------------------------------------------------------------- generated scenes


def test_captions_say_what_is_in_the_scene() -> None:
    scenes = draw_scenes("train", count=60, side_px=48)
    kinds = set()
    for number, captions in enumerate(captions_of(scenes, "train", seed=0)):
        objects = scenes.objects(number)
        true = {
            (tuple(COLOURS)[colour], DIGITS[digit]): tuple(SIZES)[size]
            for colour, digit, size in zip(
                scenes.colours[objects], scenes.digits[objects], scenes.sizes[objects], strict=True
            )
        }
        boxes = scenes.boxes[objects]
        centres = dict(zip(true, (boxes[:, :2] + boxes[:, 2:]) / 2, strict=False))
        assert len(set(captions)) == 5
        for caption in captions:
            words = caption.split()
            named = [pair for pair in pairwise(words) if pair[0] in COLOURS]
            assert set(named) == set(true)
            for before, colour, digit in zip(words, words[1:], words[2:], strict=False):
                if before in SIZES:
                    assert len(set(scenes.sizes[objects])) > 1 or true[colour, digit] == before
            for relation in (*RELATIONS, *RELATIONS.values()):
                if f" {relation} " in caption and len(centres) == 2:
                    kinds.add(relation)
                    first, second = (centres[name] for name in named)
                    axis = 0 if relation in ("above", "below") else 1
                    assert (first[axis] < second[axis]) == (relation in RELATIONS)
                    assert abs(first[axis] - second[axis]) >= abs(first[1 - axis] - second[1 - axis])
    assert kinds == {*RELATIONS, *RELATIONS.values()}


def test_scenes_and_captions_depend_on_seed_and_split_alone() -> None:
    few, more = (open_captions("scenes", "test", count=count, side_px=32, seed=3) for count in (4, 9))
    assert list(few.references) == list(more.references)[:4]
    assert (few.pixels(np.arange(4)) == more.pixels(np.arange(4))).all()
    assert few.references != open_captions("scenes", "test", count=4, side_px=32, seed=4).references
    assert few.references != open_captions("scenes", "train", count=4, side_px=32, seed=3).references
