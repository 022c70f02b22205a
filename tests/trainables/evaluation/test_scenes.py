from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainables.evaluation.scenes import COLOUR_JITTER, COLOURS, MAX_OVERLAP, SIZES, Scenes, draw_scenes

SIDE_PX = 64


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return draw_scenes("test", count=60, side_px=SIDE_PX)


def test_fewer_scenes_are_the_first_of_more_and_seeds_differ(scenes: Scenes) -> None:
    few = draw_scenes("test", count=3, side_px=SIDE_PX)
    assert (few.images == scenes.images[:3]).all()
    assert (few.boxes == scenes.boxes[: few.starts[-1]]).all()
    assert (few.images != draw_scenes("test", count=3, side_px=SIDE_PX, seed=1).images).any()
    assert (few.images != draw_scenes("train", count=3, side_px=SIDE_PX).images).any()


def test_no_scan_is_in_both_splits_and_none_in_other_classes(scenes: Scenes) -> None:
    train = draw_scenes("train", count=300, side_px=32)
    assert not set(train.scans) & set(scenes.scans)
    assert (load_digits().target[scenes.scans] == scenes.digits).all()
    assert set(train.digits) == set(range(10))
    assert set(train.colours) == set(range(len(COLOURS)))
    assert set(train.sizes) == set(range(len(SIZES)))


def test_numbers_of_digits_are_those_asked_for() -> None:
    assert set(np.diff(draw_scenes("test", count=40, side_px=96, n_digits=(2, 4)).starts)) == {2, 3, 4}
    crowded = draw_scenes("test", count=5, side_px=SIDE_PX, n_digits=(60, 60))
    assert 3 < np.diff(crowded.starts).max() < 60  # without room


def test_boxes_contain_ink_of_the_named_colour_up_to_their_edges(scenes: Scenes) -> None:
    reaches = []
    for number in range(len(scenes)):
        image = scenes.images[number] / 255
        for box, colour in zip(*(each[scenes.objects(number)] for each in (scenes.boxes, scenes.colours)), strict=True):
            y0, x0, y1, x1 = box
            assert 0 <= y0 < y1 <= SIDE_PX
            assert 0 <= x0 < x1 <= SIDE_PX
            crop = image[y0:y1, x0:x1]
            off = np.abs(crop - np.array(list(COLOURS.values())[colour])).max(axis=2)
            assert off.min() < COLOUR_JITTER + 0.1
            strong = np.argwhere(off < 0.35)  # half-covered edges are darker
            reaches.append(np.concatenate([strong.min(axis=0), crop.shape[:2] - strong.max(axis=0) - 1]))
    assert np.max(reaches) <= 4
    assert np.mean(reaches) < 0.6


def test_large_digits_are_larger_and_digits_hardly_overlap(scenes: Scenes) -> None:
    heights = (scenes.boxes[:, 2] - scenes.boxes[:, 0]) / SIDE_PX
    small, large = (heights[scenes.sizes == size] for size in range(2))
    assert small.max() <= SIZES["small"][1] + 1 / SIDE_PX < SIZES["large"][0] - 0.1 < large.mean()
    for number in range(len(scenes)):
        boxes = scenes.boxes[scenes.objects(number)]
        for first in range(len(boxes)):
            for second in range(first):
                common = (
                    np.minimum(boxes[first, 2:], boxes[second, 2:]) - np.maximum(boxes[first, :2], boxes[second, :2])
                ).clip(0)
                largest_px = SIDE_PX * SIZES["large"][1] + 1
                assert common.prod() <= MAX_OVERLAP * largest_px**2
