from __future__ import annotations

import time

import numpy as np

from tests.trainables.data.drawn_once import DrawnOnce
from trainables.data.sources.digits import SIDE_PX, Digits, _draw, _scans


def test_made_in_seconds_and_balanced() -> None:
    start = time.process_time()
    train = Digits().read("train")
    assert time.process_time() - start < 30  # 1-2 s on an idle machine
    counts = np.bincount(train.labels)
    assert counts.max() < 1.06 * counts.min()


def test_no_test_scan_is_trained_on() -> None:
    scans, labels = _scans()
    train, test = DrawnOnce().read("train"), DrawnOnce().read("test")
    assert len(train.images) + len(test.images) == 4 * len(scans)
    assert (np.bincount(train.labels) + np.bincount(test.labels) == 4 * np.bincount(labels)).all()


def test_boxes_hold_exactly_the_painted_digit() -> None:
    rng = np.random.default_rng
    scans, _ = _scans()
    blank = np.zeros_like(scans)
    # the same draws with and without ink: what differs by more than rounding is the digit
    with_ink, boxes = _draw(scans[:1], blank, rng(3))
    without, _ = _draw(blank[:1], blank, rng(3))
    changed = (np.abs(with_ink[0].astype(int) - without[0]) > 0).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    np.testing.assert_array_equal(boxes[0], [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def test_boxes_scale_with_the_images() -> None:
    boxes, doubled = DrawnOnce().read("test").boxes, DrawnOnce().read("test", 2 * SIDE_PX).boxes
    assert boxes is not None
    assert doubled is not None
    np.testing.assert_array_equal(2 * boxes, doubled)
    heights = boxes[:, 2] - boxes[:, 0]
    assert heights.min() >= 9
    assert heights.max() <= 26
