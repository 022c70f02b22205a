"""From class activation maps to boxes, and how well a box fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from trainables.data.image_set import ImageSet
    from trainables.evaluation.subject import Subject

Boxes = npt.NDArray[np.int64]
"""[n, 4]: (y0, x0, y1, x1) in half-open pixels."""

Method = Literal["cam", "gradcam"]

NEIGHBOURS = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)
"""Pixels that touch by a side or a corner belong together; those of different images never do."""


def class_maps(subject: Subject, images: ImageSet, rows: np.ndarray, *, method: Method) -> Tensor:
    """Return where a model sees the class that each image is labelled with, float32 [n, h, w], on the host.

    Args:
        subject: the model.
        images: where the images come from.
        rows: which of them, int64 [n].
        method: ``cam``: channels of the last maps weighted by the classifier (Zhou et al., CVPR 2016, equation 2);
            ``gradcam``: weighted by the logit's gradient, negative sums set to zero (Selvaraju et al., ICCV 2017,
            equations 1 and 2).
    """
    from torchcam.methods import CAM, GradCAM

    net, normalize = subject.saved.net, subject.saved.normalize
    last = net.stages[-1]

    def of_batch(pixels: Tensor, labels: Tensor) -> Tensor:
        # the weights want no gradients: those of the maps need an input that does
        logits = net(normalize(pixels).requires_grad_(method == "gradcam"))
        (maps,) = extract(labels.tolist(), logits, normalized=False)
        return torch.as_tensor(maps)

    with CAM(net, last, net.classifier) if method == "cam" else GradCAM(net, last) as extract:
        return subject.over_batches(of_batch, images, rows, grad=method == "gradcam")


def score_maps(maps: Tensor, *, height_px: int, width_px: int) -> npt.NDArray[np.float32]:
    """Enlarge maps, float32 [n, h, w], bilinearly to the images' size and stretch each to the range 0 to 1.

    Returns:
        float32 [n, H, W]; zeros where a map is the same everywhere.
    """
    large = functional.interpolate(maps[:, None], (height_px, width_px), mode="bilinear", align_corners=False)[:, 0]
    lowest, highest = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    # asked of the small map: enlarging leaves rounding errors, which stretching would blow up
    is_flat = (maps.amin(dim=(1, 2), keepdim=True) == maps.amax(dim=(1, 2), keepdim=True)) | (lowest == highest)
    stretched: npt.NDArray[np.float32] = ((large - lowest) / (highest - lowest)).masked_fill_(is_flat, 0).numpy()
    return stretched


def largest_boxes(scores: npt.NDArray[np.float32], *, threshold: float) -> Boxes:
    """Return the box around the largest connected region above ``threshold``, int64 [n, 4]; without one an empty box.

    Of regions with equally many pixels the one whose first row is higher counts.

    Args:
        scores: float32 [n, H, W] in [0, 1].
        threshold: a share of the maximum.
    """
    labels, owners, boxes = _regions(scores > threshold)
    areas_px = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    largest = np.zeros((len(scores), 4), dtype=np.int64)
    by_area = np.lexsort((-np.arange(len(boxes)), areas_px))
    largest[owners[by_area]] = boxes[by_area]  # of several for one image the last one stays
    return largest


def best_ious(scores: npt.NDArray[np.float32], boxes: Boxes, *, thresholds: np.ndarray) -> npt.NDArray[np.float64]:
    """Return how well the best fitting region above each threshold fits an image's box, float64 [n, n_thresholds].

    Args:
        scores: float32 [n, H, W] in [0, 1].
        boxes: int64 [n, 4].
        thresholds: float64 [n_thresholds], shares of the maximum.
    """
    best = np.zeros((len(thresholds), len(scores)))
    for row, threshold in zip(best, thresholds.tolist(), strict=True):
        _, owners, found = _regions(scores > threshold)
        np.maximum.at(row, owners, ious(found, boxes[owners]))
    return best.T


def ious(found: Boxes, boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the area that two boxes share, over the area that they cover together, float64 [n]; 0 for empty ones."""
    low, high = np.maximum(found[:, :2], boxes[:, :2]), np.minimum(found[:, 2:], boxes[:, 2:])
    shared_px = np.maximum(high - low, 0).prod(axis=1)
    covered_px = sum((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (found, boxes)) - shared_px
    return np.asarray(shared_px / np.maximum(covered_px, 1))


def _regions(masks: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], Boxes]:
    """Return connected regions of masks, bool [n, H, W].

    Returns:
        The region (from 1) of each pixel, int32 [n, H, W]; the image of each region, int64 [k]; its box, int64 [k, 4].
    """
    from scipy import ndimage

    labels, count = ndimage.label(masks, structure=NEIGHBOURS)
    bounds = [[image.start, *(axis.start for axis in box), *(axis.stop for axis in box)]
              for image, *box in ndimage.find_objects(labels)]  # fmt: skip
    regions = np.array(bounds, dtype=np.int64).reshape(count, 5)
    return labels, regions[:, 0], regions[:, 1:]
