"""Class activation maps, boxes from maps, and the IoU of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainables.net_maps import activation_maps

if TYPE_CHECKING:
    from trainables.data.image_set import ImageSet
    from trainables.evaluation.subject import Subject

Boxes = npt.NDArray[np.int64]
"""[n, 4]: (y0, x0, y1, x1) in half-open pixels."""

Method = Literal["cam", "gradcam"]

NEIGHBOURS = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)
"""Pixels that touch at a side or a corner are connected; pixels of different images are not."""


def class_maps(subject: Subject, images: ImageSet, rows: np.ndarray, *, method: Method) -> Tensor:
    """Return the activation map of each image's true class, float32 [n, h, w], on the host.

    Args:
        subject: the model.
        images: set of images.
        rows: rows of the images in the set, int64 [n].
        method: ``cam``: channels of the last maps weighted by the classifier (Zhou et al., CVPR 2016, equation 2);
            ``gradcam``: weighted by the logit's gradient, negative sums set to zero (Selvaraju et al., ICCV 2017,
            equations 1 and 2).
    """
    net, normalize = subject.saved.net, subject.saved.normalize

    def by_weights(pixels: Tensor, labels: Tensor) -> Tensor:
        return activation_maps(net.features(normalize(pixels)), net.classifier, labels)

    if method == "cam":
        return subject.over_batches(by_weights, images, rows)

    from torchcam.methods import GradCAM

    def by_gradients(pixels: Tensor, labels: Tensor) -> Tensor:
        # weights have no gradients here, so that gradients of the maps need an input with a gradient
        logits = net(normalize(pixels).requires_grad_())
        (maps,) = extract(labels.tolist(), logits, normalized=False)
        return torch.as_tensor(maps)

    with GradCAM(net, net.stages[-1]) as extract:
        return subject.over_batches(by_gradients, images, rows, grad=True)


def score_maps(maps: Tensor, *, height_px: int, width_px: int) -> npt.NDArray[np.float32]:
    """Enlarge maps, float32 [n, h, w], bilinearly to the size of the images, and scale each to the range 0 to 1.

    Returns:
        float32 [n, H, W]; a constant map becomes zeros.

    Examples:
        >>> score_maps(torch.tensor([[[1.0, 3.0]]]), height_px=1, width_px=2)
        array([[[0., 1.]]], dtype=float32)
    """
    large = functional.interpolate(maps[:, None], (height_px, width_px), mode="bilinear", align_corners=False)[:, 0]
    lowest, highest = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    # checked on the small map too: scaling would amplify the rounding errors of enlarging a constant map
    is_flat = (maps.amin(dim=(1, 2), keepdim=True) == maps.amax(dim=(1, 2), keepdim=True)) | (lowest == highest)
    stretched: npt.NDArray[np.float32] = ((large - lowest) / (highest - lowest)).masked_fill_(is_flat, 0).numpy()
    return stretched


def largest_boxes(scores: npt.NDArray[np.float32], *, threshold: float) -> Boxes:
    """Return the box around the largest connected region above ``threshold``, int64 [n, 4]; empty if there is none.

    Among regions with equal numbers of pixels, the region with the higher first row counts.

    Args:
        scores: float32 [n, H, W] in [0, 1].
        threshold: a fraction of the maximum.

    Examples:
        >>> scores = np.zeros((1, 4, 4), np.float32)
        >>> scores[0, 1:3, 2:4] = 1
        >>> largest_boxes(scores, threshold=0.5)
        array([[1, 2, 3, 4]])
    """
    labels, owners, boxes = _regions(scores > threshold)
    areas_px = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    largest = np.zeros((len(scores), 4), dtype=np.int64)
    by_area = np.lexsort((-np.arange(len(boxes)), areas_px))
    largest[owners[by_area]] = boxes[by_area]  # the last assignment per image, the largest region, stays
    return largest


def best_ious(scores: npt.NDArray[np.float32], boxes: Boxes, *, thresholds: np.ndarray) -> npt.NDArray[np.float64]:
    """Return the largest IoU of any region above each threshold with the image's box, float64 [n, n_thresholds].

    Args:
        scores: float32 [n, H, W] in [0, 1].
        boxes: int64 [n, 4].
        thresholds: float64 [n_thresholds], fractions of the maximum.
    """
    best = np.zeros((len(thresholds), len(scores)))
    for row, threshold in zip(best, thresholds.tolist(), strict=True):
        _, owners, region_boxes = _regions(scores > threshold)
        np.maximum.at(row, owners, ious(region_boxes, boxes[owners]))
    return best.T


def ious(detected: Boxes, boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the intersection over union of pairs of boxes, float64 [n]; 0 for empty boxes.

    Examples:
        >>> ious(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3]])).round(3)
        array([0.333])
    """
    low, high = np.maximum(detected[:, :2], boxes[:, :2]), np.minimum(detected[:, 2:], boxes[:, 2:])
    shared_px = np.maximum(high - low, 0).prod(axis=1)
    covered_px = sum((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (detected, boxes)) - shared_px
    return np.asarray(shared_px / np.maximum(covered_px, 1))


def _regions(masks: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], Boxes]:
    """Return the connected regions of masks, bool [n, H, W].

    Returns:
        The region (from 1) of each pixel, int32 [n, H, W]; the image of each region, int64 [k]; its box, int64 [k, 4].
    """
    from scipy import ndimage

    labels, count = ndimage.label(masks, structure=NEIGHBOURS)
    bounds = [[image.start, *(span.start for span in box), *(span.stop for span in box)]
              for image, *box in ndimage.find_objects(labels)]  # fmt: skip
    regions = np.array(bounds, dtype=np.int64).reshape(count, 5)
    return labels, regions[:, 0], regions[:, 1:]
