"""Where an image draws the eye, without a network.

Spectral residual (Hou and Zhang, CVPR 2007, equations 4 to 8): what remains of the log spectrum after its local
average is what is unusual in the image. A few FFTs of a whole batch serve all samples at once and depend on nothing
but the image. The alternative, the gradient of the loss with respect to the input (Kim et al., ICML 2020), costs a
backward pass a step and moves with the weights, so that the arm would differ from others in compute and over time.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

ANALYSIS_PX = 64
"""Sides are reduced to this before the analysis, as in the paper: the scale of whole objects."""

SMOOTHING_FRAC = 1 / 16
"""Standard deviation of the Gaussian that smooths the map, of the analysed side: at 64 px the paper's 8 / 2."""


def saliency_map(images: Tensor) -> Tensor:
    """Return the saliency of normalised images [B, C, H, W]: float32 [B, h, w], sides at most ``ANALYSIS_PX``."""
    grey: Tensor = images.float().mean(dim=1, keepdim=True)
    height, width = (min(side, ANALYSIS_PX) for side in grey.shape[2:])
    if (height, width) != tuple(grey.shape[2:]):
        grey = torch.nn.functional.adaptive_avg_pool2d(grey, (height, width))
    spectrum = torch.fft.fft2(grey)
    log_amplitude = (spectrum.abs() + 1e-8).log()
    around = torch.nn.functional.pad(log_amplitude, (1, 1, 1, 1), mode="circular")
    residual = log_amplitude - torch.nn.functional.avg_pool2d(around, 3, stride=1)
    unusual = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs().square()
    for length, equation in ((height, "bchw,hk->bckw"), (width, "bchw,wk->bchk")):
        unusual = torch.einsum(equation, unusual, _blur(length).to(unusual))
    smooth: Tensor = unusual[:, 0]
    return smooth


def peaks(images: Tensor) -> np.ndarray:
    """Return the (y, x) of each image's most salient pixel, int64 [2, B], on the host.

    Of a map that was analysed at a lower resolution it is the middle of the cell.
    """
    height_px, width_px = images.shape[2:]
    saliency = saliency_map(images)
    rows, columns = saliency.shape[1:]
    flat = saliency.flatten(1).argmax(dim=1).cpu().numpy()
    y = ((flat // columns + 0.5) * height_px / rows).astype(np.int64)
    x = ((flat % columns + 0.5) * width_px / columns).astype(np.int64)
    return np.stack([y, x])


@functools.lru_cache(maxsize=8)
def _blur(length: int) -> Tensor:
    """Return a matrix [length, length] that smooths along an axis; what falls outside is left out, not wrapped."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    sigma = max(1e-3, length * SMOOTHING_FRAC)
    weights = torch.exp(-(distance.double() ** 2) / (2 * sigma**2))
    return (weights / (sigma * math.sqrt(2 * math.pi))).float()
