"""Weakly supervised localization: does the class activation map show the object?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from trainables.data.image_set import ImageSet
from trainables.data.sources.registry import WITH_BOXES, split_source
from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.cam_strip import Tile, strip_png
from trainables.evaluation.score_maps import Boxes, Method, best_ious, class_maps, ious, largest_boxes, score_maps
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.seeds import generator

MIN_IOU = 0.5
"""Smallest IoU of a correct box: the ImageNet localization challenge and Yun et al. (ICCV 2019)."""

MIN_IOUS = (0.3, 0.5, 0.7)
"""IoU thresholds of MaxBoxAccV2 (Choe et al., CVPR 2020, and their code)."""

PIXELS_AT_ONCE = 1 << 21
"""Largest number of pixels of score maps in memory; regions are numbered in int32."""

N_PICTURED = 8


@dataclass(frozen=True, eq=False)
class _Detections:
    """Boxes in the maps of n images.

    Attributes:
        boxes: box of the largest region above the threshold of the setting, int64 [n, 4].
        ious: IoU of these boxes with the objects, float64 [n].
        best: largest IoU of any region at each threshold, float64 [n, n_thresholds].
    """

    boxes: Boxes
    ious: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]


class Localization(Axis):
    """Weakly supervised localization: boxes from the activation map of the true class, compared with the object's box.

    A map is enlarged bilinearly to the image and scaled to the range 0 to 1. Regions are connected pixels above a
    threshold. A box is correct if its IoU with the object's box is large enough. There are two protocols:

    - Yun et al. (ICCV 2019, section 4.1): the box around the largest region above ``threshold``, IoU 0.5.
    - MaxBoxAccV2 (Choe et al., CVPR 2020, and their code): the best box of all regions, at the best threshold for
      each of the IoUs 0.3, 0.5 and 0.7; the mean of the three. The published method chooses the threshold on the images
      that it reports. Here the threshold is chosen on half of the images, split by class, and the result is reported on
      the other half; the published value is also recorded.

    The authors' evaluator (wsolevaluation, with several contours) gives higher values of MaxBoxAccV2. Measured on the
    activation maps of two networks for ``digits``: by 6.1 and 6.2 points at 32 px (600 images), and by 2.2 and 1.3
    points for the same maps enlarged to 224 px (150 images). It differs in four steps:

    - Found and annotated boxes count as one pixel longer on each axis: 5.4 and 5.4 points at 32 px, 1.1 and 1.3 at
      224 px. Here a box has its own pixels, because this step depends on the size of the image. If that evaluator gets
      the object's last pixel as the end of its box, only found boxes are longer. Its values are then 1.6 and 1.7 points
      below those here at 32 px.
    - Maps are enlarged by cubic instead of linear interpolation: 0.8 and 0.6 points at 32 px, 0.9 and 0.4 at 224 px.
    - Maps are rounded to 8 bits: 0.0 and 0.1 points at 32 px, 0.0 and -0.7 at 224 px.
    - A hole in a region has a box too: 0.0 points at 32 px, 0.2 at 224 px. The paper defines boxes by regions alone.

    Without these steps the values are equal.

    ==================  =====================  ==================================================================
    metric              condition              meaning
    ==================  =====================  ==================================================================
    top1_loc_error      cam threshold=0.15     fraction of images with a wrong class or a wrong box
    gt_known_loc        cam threshold=0.15     fraction with a correct box, for any predicted class
    mean_iou            cam threshold=0.15     mean IoU of the box
    gt_known_loc        whole image            the same for a box around the whole image, which needs no map
    top1_error                                 fraction with a wrong class, on the same images
    box_acc             cam iou=0.3 (.5, .7)   fraction with a correct box, on the half that chose no threshold
    box_acc_v2          cam                    mean of these three
    box_acc_v2          whole image            the same for a box around the whole image, on all images
    best_threshold      cam iou=0.3 (.5, .7)   threshold chosen on the other half; of equal ones the lowest
    max_box_acc_v2      cam                    published method: best thresholds on all images
    left_out                                   number of drawn images without a box: cropped off or not annotated
    ==================  =====================  ==================================================================

    The picture ``cam`` shows a few of the images, the same images for each model.

    Attributes:
        n_images: largest number of test images, drawn by class; images with an empty box are left out afterwards.
        seed: seed of the draws of images, halves and pictures.
        method: ``cam`` or ``gradcam``. All networks here pool before one linear layer; for them ``gradcam`` is ``cam``
            without its negative part. Conditions begin with the method.
        threshold: threshold of the first protocol, a fraction of the map's maximum.
        n_thresholds: number of thresholds for MaxBoxAccV2: 0, 1/n, 2/n, ... (1,000 in the authors' code).

    Examples:
        >>> Localization(method="gradcam", threshold=0.2).n_images
        1000
    """

    name: ClassVar[str] = "localization"
    packages: ClassVar[tuple[str, ...]] = ("torchcam",)
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("cam threshold=0.15", "top1_loc_error"),
        ("cam threshold=0.15", "gt_known_loc"),
        ("whole image", "gt_known_loc"),
        ("cam", "box_acc_v2"),
        ("cam", "max_box_acc_v2"),
        ("whole image", "box_acc_v2"),
    )

    n_images: int | None = Field(default=1000, ge=1)
    method: Method = "cam"
    threshold: float = Field(default=0.15, ge=0, lt=1)
    n_thresholds: int = Field(default=100, ge=1)

    def check(self, about: ModelInfo) -> None:
        """Refuse images without boxes."""
        if not about.has_boxes:
            name, _ = split_source(about.config.data.source)
            raise UserError(
                f"axis '{self.name}' needs images with boxes, but data.source '{name}' has none; sources with boxes: "
                f"{', '.join(WITH_BOXES)}"
            )

    def measure(self, subject: Subject) -> Measured:
        """Measure both protocols, and plot the picture.

        Raises:
            ValueError: fewer than two of the drawn images have a box.
        """
        images = subject.test
        drawn = subject.sample(self.n_images, seed=self.seed)
        rows, boxes = _with_boxes(images, drawn)
        maps = class_maps(subject, images, rows, method=self.method)
        predicted = subject.logits(images, rows).argmax(dim=1).numpy()
        detections = self._detections(maps, boxes, images)
        values = (
            *self._paper_values(detections, predicted == images.labels[rows]),
            *_whole_image_values(boxes, images),
            *self._box_acc_values(detections, images.labels[rows]),
            Value("left_out", len(drawn) - len(rows), len(drawn)),
        )
        pictured = generator(self.seed, "pictured").permutation(len(rows))[:N_PICTURED]
        tiles = [
            Tile(
                image=images.images[rows[index]],
                scores=_scores(maps[index : index + 1], images)[0],
                box=boxes[index],
                detected=detections.boxes[index],
                true_class=images.classes[images.labels[rows[index]]],
                predicted_class=images.classes[predicted[index]],
                iou=float(detections.ious[index]),
            )
            for index in pictured.tolist()
        ]
        return Measured(values, {"cam": strip_png(tiles, threshold=self.threshold)})

    def _detections(self, maps: Tensor, boxes: Boxes, images: ImageSet) -> _Detections:
        """Find boxes in maps, float32 [n, h, w], some images at a time, because enlarged maps need much memory."""
        thresholds = np.arange(self.n_thresholds) / self.n_thresholds
        size = max(1, PIXELS_AT_ONCE // int(np.prod(images.images.shape[1:3])))
        largest, best = [], []
        for start in range(0, len(maps), size):
            scores = _scores(maps[start : start + size], images)
            largest.append(largest_boxes(scores, threshold=self.threshold))
            best.append(best_ious(scores, boxes[start : start + size], thresholds=thresholds))
        detected = np.concatenate(largest)
        return _Detections(detected, ious(detected, boxes), np.concatenate(best))

    def _paper_values(self, detections: _Detections, right: npt.NDArray[np.bool_]) -> tuple[Value, ...]:
        condition, hit = f"{self.method} threshold={self.threshold:g}", detections.ious >= MIN_IOU
        return (
            _mean("top1_loc_error", ~(right & hit), condition=condition),
            _mean("gt_known_loc", hit, condition=condition),
            _mean("mean_iou", detections.ious, condition=condition),
            _mean("top1_error", ~right),
        )

    def _box_acc_values(self, detections: _Detections, labels: npt.NDArray[np.int64]) -> tuple[Value, ...]:
        chosen, reported = _halves(labels, seed=self.seed)
        hits = detections.best[:, :, None] >= np.array(MIN_IOUS)  # [n, n_thresholds, 3]
        columns = hits[chosen].mean(axis=0).argmax(axis=0)
        conditions = [f"{self.method} iou={min_iou:g}" for min_iou in MIN_IOUS]
        accuracies = [
            _mean("box_acc", hits[reported, column, index], condition=condition)
            for index, (column, condition) in enumerate(zip(columns, conditions, strict=True))
        ]
        mean = float(np.mean([accuracy.value for accuracy in accuracies]))
        published = float(hits.mean(axis=0).max(axis=0).mean())
        return (
            *accuracies,
            _value("box_acc_v2", mean, len(reported), condition=self.method),
            *(
                _value("best_threshold", column / self.n_thresholds, len(chosen), condition=condition)
                for column, condition in zip(columns.tolist(), conditions, strict=True)
            ),
            _value("max_box_acc_v2", published, len(labels), condition=self.method),
        )


def _with_boxes(images: ImageSet, drawn: np.ndarray) -> tuple[np.ndarray, Boxes]:
    """Return the drawn images that have a box, int64 [n], and the boxes.

    Raises:
        ValueError: fewer than two have one, but one half chooses the threshold for the other.
    """
    assert images.boxes is not None  # see check
    boxes = images.boxes[drawn].astype(np.int64)
    has_box = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    if has_box.sum() < 2:
        raise ValueError(
            f"localization needs two images with a box, but {has_box.sum()} of {len(drawn)} drawn images have one"
        )
    return drawn[has_box], boxes[has_box]


def _scores(maps: Tensor, images: ImageSet) -> npt.NDArray[np.float32]:
    height_px, width_px = images.images.shape[1:3]
    return score_maps(maps, height_px=height_px, width_px=width_px)


def _whole_image_values(boxes: Boxes, images: ImageSet) -> tuple[Value, Value]:
    """Return the values for a box around the whole image: for large objects any map gives good values."""
    whole = np.broadcast_to(np.array([0, 0, *images.images.shape[1:3]]), boxes.shape)
    whole_ious = ious(whole, boxes)
    return (
        _mean("gt_known_loc", whole_ious >= MIN_IOU, condition="whole image"),
        _mean("box_acc_v2", (whole_ious[:, None] >= np.array(MIN_IOUS)).mean(axis=1), condition="whole image"),
    )


def _halves(labels: npt.NDArray[np.int64], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split samples at random into two halves, int64, sorted, with equal numbers per class up to one."""
    order = generator(seed, "halves").permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return np.sort(by_class[1::2]), np.sort(by_class[::2])


def _mean(metric: str, values: npt.NDArray[np.bool_] | npt.NDArray[np.float64], *, condition: str = "") -> Value:
    return _value(metric, float(values.mean()), len(values), condition=condition)


def _value(metric: str, value: float, n: int, *, condition: str) -> Value:
    used = "torchcam" if condition.startswith("gradcam") else "torch"
    return Value(metric, value, n, setting=condition, library=library(used, "scipy"))
