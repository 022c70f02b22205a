"""Mean average precision of detections: Pascal VOC's of 2007, and COCO's by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainables.evaluation.detection.box_images import Objects

MIN_IOU = 0.5
"""Least IoU of a detection and its object (Everingham et al., IJCV 2010, section 4.2.2)."""

RECALLS = np.arange(11) / 10
"""Recalls at which VOC 2007 reads the precision (section 4.2.1)."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes that a detector found in one image.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of the stored image, float32 [k, 4].
        scores: confidences, float32 [k].
        labels: classes, int64 [k].
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def voc07_map(found: Sequence[Detections], true: Sequence[Objects], *, n_classes: int) -> float:
    """Return the mean average precision of VOC 2007, the metric of the paper on CutMix: area under eleven points.

    Detections of a class are matched in the order of their scores, equal ones in the order of the images. Each looks at
    the object with the largest IoU. It is right if that is at least 0.5 and the object was not found before, ignored if
    the object is difficult, and wrong otherwise. The precision at a recall is the largest one at that recall or more.
    Classes without an object that counts are left out; NaN if there is none.

    Args:
        found: detections by image.
        true: objects by image.
        n_classes: number of classes.

    Examples:
        >>> box = np.array([[0, 0, 10, 10]], dtype=np.float32)
        >>> true = [Objects(box, np.array([0]), np.array([False]))]
        >>> voc07_map([Detections(box, np.array([0.9], dtype=np.float32), np.array([0]))], true, n_classes=1)
        1.0
    """
    precisions = [_class_ap(found, true, label) for label in range(n_classes)]
    known = [each for each in precisions if each is not None]
    return float(np.mean(known)) if known else float("nan")


def _class_ap(found: Sequence[Detections], true: Sequence[Objects], label: int) -> float | None:
    n_objects = sum(int(((each.labels == label) & ~each.difficult).sum()) for each in true)
    if not n_objects:
        return None
    scores, verdicts = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for detections, objects in zip(found, true, strict=True):
        of_class = np.flatnonzero(detections.labels == label)
        order = of_class[np.argsort(-detections.scores[of_class], kind="stable")]
        kept = objects.labels == label
        scores.append(detections.scores[order])
        verdicts.append(_match(detections.boxes[order], objects.boxes[kept], objects.difficult[kept]))
    ranked = np.concatenate(verdicts)[np.argsort(-np.concatenate(scores), kind="stable")]
    right = np.cumsum(ranked == 1)
    recall, precision = right / n_objects, right / np.maximum(1, np.cumsum(ranked != 0))
    reached = [precision[recall >= level - 1e-12] for level in RECALLS]
    return float(np.mean([each.max() if len(each) else 0.0 for each in reached]))


def _match(
    boxes: npt.NDArray[np.float32], objects: npt.NDArray[np.float32], difficult: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return 1 for each box that is right, -1 if it is wrong and 0 if it is ignored; boxes by falling score."""
    verdicts = np.full(len(boxes), -1)
    if not len(objects):
        return verdicts
    ious = box_ious(boxes, objects)
    is_found = np.zeros(len(objects), dtype=np.bool_)
    for index, nearest in enumerate(ious.argmax(axis=1)):
        if ious[index, nearest] < MIN_IOU:
            continue
        if difficult[nearest]:
            verdicts[index] = 0
        elif not is_found[nearest]:
            verdicts[index], is_found[nearest] = 1, True
    return verdicts


def box_ious(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the IoU of each box in ``one``, [n, 4], with each in ``two``, [m, 4], float64 [n, m].

    Examples:
        >>> box_ious(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]])).round(3).tolist()
        [[0.333]]
    """
    first, second = one.astype(np.float64)[:, None], two.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = sides.clip(0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (first, second)]
    return np.asarray(common / (areas[0] + areas[1] - common), dtype=np.float64)


def coco_maps(found: Sequence[Detections], true: Sequence[Objects]) -> dict[str, float]:
    """Return ``map_50`` and ``map`` by torchmetrics, as in the evaluation of COCO: area under 101 points.

    ``map`` is the mean over the IoU thresholds 0.5 to 0.95 in steps of 0.05. Difficult objects are passed as crowds:
    they do not count, and detections inside them are ignored. Classes without an object are left out; NaN if there is
    none, as in :func:`voc07_map`.

    Examples:
        >>> box = np.array([[0, 0, 10, 10]], dtype=np.float32)
        >>> true = [Objects(box, np.array([0]), np.array([False]))]
        >>> coco_maps([Detections(box, np.array([0.9], dtype=np.float32), np.array([0]))], true)
        {'map_50': 1.0, 'map': 1.0}
    """
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(backend="faster_coco_eval")
    metric.update(
        [
            {
                "boxes": torch.from_numpy(each.boxes),
                "scores": torch.from_numpy(each.scores),
                "labels": torch.from_numpy(each.labels),
            }
            for each in found
        ],
        [
            {
                "boxes": torch.from_numpy(each.boxes),
                "labels": torch.from_numpy(each.labels),
                "iscrowd": torch.from_numpy(each.difficult.astype(np.int64)),
            }
            for each in true
        ],
    )
    result = metric.compute()
    values = {name: float(result[name]) for name in ("map_50", "map")}
    return {name: value if value >= 0 else float("nan") for name, value in values.items()}  # -1: no object counts
