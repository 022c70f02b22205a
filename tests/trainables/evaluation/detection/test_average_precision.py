"""Average precision on a handful of boxes, computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from trainables.evaluation.detection.average_precision import Detections, coco_maps, voc07_map
from trainables.evaluation.detection.box_images import Objects

Box = tuple[float, float, float, float]
A, B, C, FAR = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0), (60.0, 60.0, 70.0, 70.0)
HALF_OF_A = (0.0, 0.0, 10.0, 5.0)
"""Its IoU with A is exactly 0.5."""

LESS_OF_A = (0.0, 0.0, 10.0, 4.9)


def found(*rows: tuple[Box, float, int]) -> Detections:
    boxes = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], dtype=np.float32)
    return Detections(boxes, scores, np.array([label for *_, label in rows], dtype=np.int64))


def true(*rows: tuple[Box, int], difficult: Sequence[int] = ()) -> Objects:
    boxes = np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
    hard = np.isin(np.arange(len(rows)), difficult)
    return Objects(boxes, np.array([label for _, label in rows], dtype=np.int64), hard)


@pytest.mark.parametrize(
    ("detections", "objects", "expected"),
    [
        # right, wrong, right: precision 1 up to recall 1/2 (six of the eleven recalls), then 2/3
        ([found((A, 0.9, 0), (FAR, 0.8, 0), (B, 0.7, 0))], [true((A, 0), (B, 0))], (6 + 5 * 2 / 3) / 11),
        # the second box on an object is wrong, and comes before the last right one
        ([found((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0))], [true((A, 0), (B, 0))], (6 + 5 * 2 / 3) / 11),
        # never found: no precision at recalls above 1/2
        ([found((A, 0.9, 0))], [true((A, 0), (B, 0))], 6 / 11),
        # an IoU of exactly 0.5 counts, a smaller one does not
        ([found((HALF_OF_A, 0.9, 0))], [true((A, 0))], 1.0),
        ([found((LESS_OF_A, 0.9, 0))], [true((A, 0))], 0.0),
        # ranks go over all images: the wrong box of the second image comes first
        ([found((A, 0.5, 0)), found((FAR, 0.9, 0))], [true((A, 0)), true()], 0.5),
        # equal scores: the order of the images decides
        ([found((FAR, 0.5, 0)), found((A, 0.5, 0))], [true(), true((A, 0))], 0.5),
        ([found((A, 0.5, 0)), found((FAR, 0.5, 0))], [true((A, 0)), true()], 1.0),
        # a difficult object neither counts nor harms, however often it is found
        ([found((B, 0.9, 0), (B, 0.8, 0), (A, 0.7, 0))], [true((A, 0), (B, 0), difficult=[1])], 1.0),
        ([found((B, 0.9, 0))], [true((A, 0), (B, 0), difficult=[1])], 0.0),
        # the mean over classes: the second one is not found, the third has no object
        ([found((A, 0.9, 0), (FAR, 0.9, 2))], [true((A, 0), (C, 1))], 0.5),
        # a box of another class is no duplicate
        ([found((A, 0.9, 1), (A, 0.8, 0))], [true((A, 0))], 1.0),
    ],
)
def test_voc07_map_equals_that_by_hand(detections: list[Detections], objects: list[Objects], expected: float) -> None:
    assert voc07_map(detections, objects, n_classes=3) == pytest.approx(expected)


def test_without_an_object_there_is_no_precision() -> None:
    detections, objects = [found((A, 0.9, 0))], [true((A, 0), difficult=[0])]
    assert math.isnan(voc07_map(detections, objects, n_classes=3))
    assert all(map(math.isnan, coco_maps(detections, objects).values()))


def test_coco_maps_equal_those_by_hand() -> None:
    """101 recalls: precision 1 at recalls up to 1/2 (51 of them), 2/3 above; the boxes fit at all ten IoUs."""
    detections = [found((A, 0.9, 0), (FAR, 0.8, 0), (B, 0.7, 0))]
    by_hand = pytest.approx((51 + 50 * 2 / 3) / 101)
    assert coco_maps(detections, [true((A, 0), (B, 0))]) == {"map_50": by_hand, "map": by_hand}
    # an IoU of 0.72 counts at 0.5, 0.55, 0.6, 0.65 and 0.7: five of ten thresholds
    part = (0.0, 0.0, 10.0, 7.2)
    assert coco_maps([found((part, 0.9, 0))], [true((A, 0))]) == {"map_50": 1.0, "map": pytest.approx(0.5)}
    # a difficult object neither counts nor harms
    hard = [true((A, 0), (B, 0), difficult=[1])]
    for detections in ([found((A, 0.7, 0))], [found((B, 0.9, 0), (A, 0.7, 0))]):
        assert coco_maps(detections, hard)["map_50"] == 1.0
