"""Where a model looks: does the class activation map show where the object is?"""

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
"""From here on a box is right: the localization challenge of ImageNet and Yun et al. (ICCV 2019)."""

MIN_IOUS = (0.3, 0.5, 0.7)
"""What MaxBoxAccV2 takes the mean over (Choe et al., CVPR 2020, and their code)."""

PIXELS_AT_ONCE = 1 << 21
"""Pixels of score maps in memory: regions are numbered in int32."""

N_PICTURED = 8


@dataclass(frozen=True, eq=False)
class _Found:
    """What is found in the maps of n images.

    Attributes:
        boxes: the largest region's at the set threshold, int64 [n, 4].
        ious: how well these fit, float64 [n].
        best: how well the best region fits at each threshold, float64 [n, n_thresholds].
    """

    boxes: Boxes
    ious: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]


class Localization(Axis):
    """Weakly supervised localization: boxes from the map of the true class, against the object's box.

    A map is enlarged bilinearly to the image and stretched to the range 0 to 1; regions are connected pixels above a
    threshold. Two protocols, both of which take a box for right from an IoU on:

    - Yun et al. (ICCV 2019, section 4.1): the box around the largest region above ``threshold``, IoU 0.5.
    - MaxBoxAccV2 (Choe et al., CVPR 2020, and their code): the best box of all regions, at the best threshold for
      each of the IoUs 0.3, 0.5 and 0.7; the mean of the three. Its threshold is chosen on the images that are then
      reported. Here it is chosen on half of them, by class, and reported on the other half; the published way is
      given beside it. Region by region instead of contour by contour: holes are no boxes of their own.

    ==================  =====================  ==================================================================
    metric              setting                meaning
    ==================  =====================  ==================================================================
    top1_loc_error      cam threshold=0.15     share of images with a wrong class or a wrong box
    gt_known_loc        cam threshold=0.15     share with a right box, whatever the class
    mean_iou            cam threshold=0.15     of the box
    gt_known_loc        whole image            the same of a box around the whole image, which needs no map
    top1_error                                 share with a wrong class, of the same images
    box_acc             cam iou=0.3 (.5, .7)   share with a right box, on the half that chose no threshold
    box_acc_v2          cam                    mean of the three
    box_acc_v2          whole image            the same of a box around the whole image, on all images
    best_threshold      cam iou=0.3 (.5, .7)   the threshold chosen on the other half, the lowest of equals
    max_box_acc_v2      cam                    as published: best thresholds of all images
    left_out                                   number of drawn images without a box: cropped off, not annotated
    ==================  =====================  ==================================================================

    The strip ``cam`` shows a few of the images, the same ones for every model.

    Attributes:
        n_images: test images at most, drawn by class; those whose box is empty are left out afterwards.
        seed: of the draws of images, halves and pictures.
        method: ``cam``, or ``gradcam``, which for networks that pool before one linear layer, as all here do, is the
            same without its negative part. Settings begin with it.
        threshold: of the paper's protocol, a share of the map's maximum.
        n_thresholds: thresholds tried for MaxBoxAccV2: 0, 1/n, 2/n, ... (the authors' code: 1,000).
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
                f"axis '{self.name}' needs images with boxes, but data.source '{name}' has none: "
                f"{', '.join(WITH_BOXES)} have"
            )

    def measure(self, subject: Subject) -> Measured:
        """Measure both protocols, and draw the strip.

        Raises:
            ValueError: fewer than two of the drawn images have a box.
        """
        images = subject.test
        drawn = subject.sample(self.n_images, seed=self.seed)
        rows, boxes = _with_boxes(images, drawn)
        maps = class_maps(subject, images, rows, method=self.method)
        predicted = subject.logits(images, rows).argmax(dim=1).numpy()
        found = self._found(maps, boxes, images)
        values = (
            *self._paper_values(found, predicted == images.labels[rows]),
            *_whole_image_values(boxes, images),
            *self._box_acc_values(found, images.labels[rows]),
            Value("left_out", len(drawn) - len(rows), len(drawn)),
        )
        shown = generator(self.seed, "pictured").permutation(len(rows))[:N_PICTURED]
        tiles = [
            Tile(
                image=images.images[rows[index]],
                scores=_scores(maps[index : index + 1], images)[0],
                box=boxes[index],
                found=found.boxes[index],
                true_class=images.classes[images.labels[rows[index]]],
                predicted_class=images.classes[predicted[index]],
                iou=float(found.ious[index]),
            )
            for index in shown.tolist()
        ]
        return Measured(values, {"cam": strip_png(tiles, threshold=self.threshold)})

    def _found(self, maps: Tensor, boxes: Boxes, images: ImageSet) -> _Found:
        """Look for boxes in maps, float32 [n, h, w], a few images at a time: the enlarged maps take memory."""
        thresholds = np.arange(self.n_thresholds) / self.n_thresholds
        size = max(1, PIXELS_AT_ONCE // int(np.prod(images.images.shape[1:3])))
        largest, best = [], []
        for start in range(0, len(maps), size):
            scores = _scores(maps[start : start + size], images)
            largest.append(largest_boxes(scores, threshold=self.threshold))
            best.append(best_ious(scores, boxes[start : start + size], thresholds=thresholds))
        found = np.concatenate(largest)
        return _Found(found, ious(found, boxes), np.concatenate(best))

    def _paper_values(self, found: _Found, right: npt.NDArray[np.bool_]) -> tuple[Value, ...]:
        setting, hit = f"{self.method} threshold={self.threshold:g}", found.ious >= MIN_IOU
        return (
            _mean("top1_loc_error", ~(right & hit), setting=setting),
            _mean("gt_known_loc", hit, setting=setting),
            _mean("mean_iou", found.ious, setting=setting),
            _mean("top1_error", ~right),
        )

    def _box_acc_values(self, found: _Found, labels: npt.NDArray[np.int64]) -> tuple[Value, ...]:
        chosen, reported = _halves(labels, seed=self.seed)
        hits = found.best[:, :, None] >= np.array(MIN_IOUS)  # [n, n_thresholds, 3]
        columns = hits[chosen].mean(axis=0).argmax(axis=0)
        settings = [f"{self.method} iou={min_iou:g}" for min_iou in MIN_IOUS]
        accuracies = [
            _mean("box_acc", hits[reported, column, index], setting=setting)
            for index, (column, setting) in enumerate(zip(columns, settings, strict=True))
        ]
        mean = float(np.mean([accuracy.value for accuracy in accuracies]))
        published = float(hits.mean(axis=0).max(axis=0).mean())
        return (
            *accuracies,
            _value("box_acc_v2", mean, len(reported), setting=self.method),
            *(
                _value("best_threshold", column / self.n_thresholds, len(chosen), setting=setting)
                for column, setting in zip(columns.tolist(), settings, strict=True)
            ),
            _value("max_box_acc_v2", published, len(labels), setting=self.method),
        )


def _with_boxes(images: ImageSet, drawn: np.ndarray) -> tuple[np.ndarray, Boxes]:
    """Return those of the drawn images, int64 [n], that have a box, and the boxes.

    Raises:
        ValueError: they are fewer than two: one half has to choose a threshold for the other.
    """
    assert images.boxes is not None  # held by refuse
    boxes = images.boxes[drawn].astype(np.int64)
    is_there = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    if is_there.sum() < 2:
        raise ValueError(
            f"localization needs two images with a box, but {is_there.sum()} of {len(drawn)} drawn have one"
        )
    return drawn[is_there], boxes[is_there]


def _scores(maps: Tensor, images: ImageSet) -> npt.NDArray[np.float32]:
    height_px, width_px = images.images.shape[1:3]
    return score_maps(maps, height_px=height_px, width_px=width_px)


def _whole_image_values(boxes: Boxes, images: ImageSet) -> tuple[Value, Value]:
    """Return what a box around the whole image would earn: large objects make any map look good."""
    whole = np.broadcast_to(np.array([0, 0, *images.images.shape[1:3]]), boxes.shape)
    fits = ious(whole, boxes)
    return (
        _mean("gt_known_loc", fits >= MIN_IOU, setting="whole image"),
        _mean("box_acc_v2", (fits[:, None] >= np.array(MIN_IOUS)).mean(axis=1), setting="whole image"),
    )


def _halves(labels: npt.NDArray[np.int64], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part samples at random into two halves, int64, sorted, that hold as many of each class, give or take one."""
    order = generator(seed, "halves").permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return np.sort(by_class[1::2]), np.sort(by_class[::2])


def _mean(metric: str, of: npt.NDArray[np.bool_] | npt.NDArray[np.float64], *, setting: str = "") -> Value:
    return _value(metric, float(of.mean()), len(of), setting=setting)


def _value(metric: str, value: float, n: int, *, setting: str) -> Value:
    return Value(metric, value, n, setting=setting, library=library("torchcam", "scipy"))
