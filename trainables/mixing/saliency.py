"""Saliency of images, without a network.

Spectral residual (Hou and Zhang, CVPR 2007, equations 4 to 8): the log spectrum minus its local average is what is
unusual in the image. A few FFTs of a whole batch compute it for all samples at once, from the image alone. The
alternative, the gradient of the loss with respect to the input (Kim et al., ICML 2020), costs one backward pass per
step and changes with the weights. The arm would then differ from the others in compute and over time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.mixing.batch_view import MapKind

ANALYSIS_PX = 64
"""Sides are reduced to this length before the analysis, as in the paper: the scale of whole objects."""

SMOOTHING_FRAC = 1 / 16
"""Standard deviation of the Gaussian that smooths the map, in units of the analysed side; 8 / 2 at 64 px (paper)."""

FAINTEST = 1e-3
"""Least amplitude: above the rounding errors of frequencies that an image lacks, below the frequencies that it has."""


def saliency_map(images: Tensor) -> Tensor:
    """Return the saliency of normalised images [B, C, H, W]: float32 [B, h, w], sides at most ``ANALYSIS_PX``.

    With the log spectrum ``L``, its local average ``A`` and the phase ``P`` the paper transforms ``exp(L - A + iP)``
    back. That is the spectrum itself times ``exp(-A)``, so the phase is never computed.
    """
    grey = _grey(images)
    height, width = grey.shape[1:]
    spectrum = torch.fft.rfft2(grey)
    squares = torch.view_as_real(spectrum).square()  # log of the squared modulus: a fifth of the time of torch's abs
    average = _local_mean(torch.log(squares[..., 0] + squares[..., 1] + FAINTEST**2) / 2, width)
    unusual = torch.fft.irfft2(spectrum * (-average).exp(), s=(height, width)).square()
    smooth: Tensor = _blur(height, images.device) @ unusual @ _blur(width, images.device)
    return smooth


def stand_in_maps(images: Tensor) -> Callable[[MapKind], Tensor]:
    """Return what gives the saliency of images in place of maps of a network, of any kind.

    The dose of a policy and its preview are computed before any network is trained.

    Examples:
        >>> stand_in_maps(torch.zeros(2, 3, 8, 8))("cam").shape
        torch.Size([2, 8, 8])
    """
    return lambda _: saliency_map(images)


def peaks(images: Tensor) -> Tensor:
    """Return the (y, x) of each image's most salient pixel, int64 [2, B], on the device of the images.

    If the map has a lower resolution than the image, the middle of the map's cell is returned.

    Examples:
        >>> images = torch.zeros(1, 3, 16, 16)
        >>> images[0, :, 4, 9] = 5.0  # one bright pixel
        >>> peaks(images).tolist()
        [[4], [9]]
    """
    height_px, width_px = images.shape[2:]
    saliency = saliency_map(images)
    rows, columns = saliency.shape[1:]
    cell = saliency.flatten(1).argmax(dim=1)
    # the middle of cell i, (i + 1 / 2) * pixels / cells, rounded down: in whole numbers, equal on all devices
    y = (2 * (cell // columns) + 1) * height_px // (2 * rows)
    x = (2 * (cell % columns) + 1) * width_px // (2 * columns)
    return torch.stack([y, x])


def _grey(images: Tensor) -> Tensor:
    """Return the mean over channels at the resolution of the analysis, float32 [B, h, w]."""
    channels = images.shape[1]
    # product with a vector: torch's own mean over three adjacent channels takes four times as long
    grey = images.permute(0, 2, 3, 1).float() @ torch.full((channels,), 1 / channels, device=images.device)
    if max(grey.shape[1:]) <= ANALYSIS_PX:
        return grey
    height, width = (min(side, ANALYSIS_PX) for side in grey.shape[1:])
    return torch.nn.functional.adaptive_avg_pool2d(grey, (height, width))


def _local_mean(half: Tensor, width: int) -> Tensor:
    """Return the mean over 3 by 3 frequencies, around the borders, of a symmetric spectrum.

    Args:
        half: the half that rfft2 returns, float32 [B, h, width // 2 + 1].
        width: columns of the whole spectrum.
    """
    rows = half + half.roll(1, dims=1) + half.roll(-1, dims=1)
    columns = rows.shape[2]
    # the neighbours beyond the half are in it at the opposite frequency: (-y, 1) for (y, -1)
    # slices: a GPU would wait for the copy of a list of indices
    ends = (min(1, columns - 1), width - columns)
    beyond = torch.cat([rows[:, :, end : end + 1] for end in ends], dim=2).flip(1).roll(1, dims=1)
    padded = torch.cat([beyond[:, :, :1], rows, beyond[:, :, 1:]], dim=2)
    return (padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]) / 9


@functools.lru_cache(maxsize=8)
def _blur(length: int, device: torch.device) -> Tensor:
    """Return a matrix [length, length] that smooths along an axis; values outside the border are left out."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    sigma = max(1e-3, length * SMOOTHING_FRAC)
    kernel = torch.exp(-(distance.double() ** 2) / (2 * sigma**2))
    return (kernel / (sigma * math.sqrt(2 * math.pi))).float().to(device)
