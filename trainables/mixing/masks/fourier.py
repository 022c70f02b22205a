"""Masks from low-frequency random fields, as in FMix."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.torus_bank import below, maps_that_fit, places, shift_windows
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch

LOWEST = -(2**15)
"""The number stored for the first rank: the ranks of up to 65535 pixels then fit into two bytes."""


class Fourier(Mask):
    """The top pixels of a smooth random field: blobs of any shape (Harris et al., 2020, arXiv 2002.12047, section 4).

    The field is white noise with every frequency ``f`` (cycles per pixel) damped by ``f^decay``; frequencies below one
    cycle along the longer side are not damped further. The field is periodic in both directions, so the mask wraps
    around and has the same distribution at every pixel. The mask contains the ``f * H * W`` highest pixels. This number
    is rounded up or down at random so that the mean is exact.

    The published code differs: it places the real and imaginary parts of the spectrum side by side, as columns of a
    real one. Its fields are therefore symmetric about a point and twice as smooth along one axis. The paper's text does
    not ask for this, and masks here are not symmetric. The published code also draws one mask per batch.

    Attributes:
        decay: power of the damping; 3 in the paper, larger is smoother, 0 is noise.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import TorusPosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=16, width_px=16, position=TorusPosition(), rng=rng, device=cpu)
        >>> Fourier(decay=3.0).draw(np.array([0.25, 0.5]), canvas).sum(dim=(1, 2, 3)).tolist()  # of 256 pixels
        [64, 128]
    """

    family: Literal["fourier"] = "fourier"
    positions: ClassVar[tuple[str, ...]] = ("torus",)
    decay: float = Field(default=3.0, ge=0)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw a field of the bank and its shift, int64 [B, 3], and the rank that ends the mask, int64 [B]."""
        uniform = canvas.rng.random((4, len(pasted_frac)))
        pixels = canvas.height_px * canvas.width_px
        n_maps = maps_that_fit(canvas.height_px, canvas.width_px, _rank_type(pixels).itemsize)
        n_pasted = np.ceil(pasted_frac * pixels - uniform[3]).astype(np.int64)
        return {"place": places(uniform[:3], n_maps, canvas), "limit": n_pasted + LOWEST}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Shift the fields and apply the threshold: bool [B, 1, H, W]."""
        return below(parameters["windows"], parameters["place"], parameters["limit"])

    def constants(self, height_px: int, width_px: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the bank of ranked fields."""
        return {"windows": _bank(height_px, width_px, self.decay, device)}


@functools.lru_cache(maxsize=8)
def _bank(height_px: int, width_px: int, decay: float, device: torch.device) -> torch.Tensor:
    return shift_windows(_rank_fields(height_px, width_px, decay), device)


def _rank_type(pixels: int) -> np.dtype[Any]:
    return np.dtype(np.int16 if pixels < 2**16 else np.int32)


def _rank_fields(height_px: int, width_px: int, decay: float) -> np.ndarray:
    """Return the rank of each field's pixels, ``LOWEST`` for the highest pixel: int16 or int32 [N, H, W].

    Ranks are stored instead of fields: a threshold on ranks gives the exact number of pixels without sorting per mask.
    """
    pixels = height_px * width_px
    kind = _rank_type(pixels)
    count = maps_that_fit(height_px, width_px, kind.itemsize)
    fields = _fields(count, height_px, width_px, decay).reshape(count, pixels)
    ranks = np.empty((count, pixels), dtype=kind)
    np.put_along_axis(ranks, np.argsort(-fields, axis=1), np.arange(LOWEST, LOWEST + pixels, dtype=kind)[None], axis=1)
    return ranks.reshape(count, height_px, width_px)


def _fields(count: int, height_px: int, width_px: int, decay: float) -> np.ndarray:
    """Return periodic Gaussian fields, float32 [count, H, W]."""
    frequency = np.hypot(np.fft.fftfreq(height_px)[:, None], np.fft.rfftfreq(width_px)[None, :])
    lowest = 1 / max(height_px, width_px)
    damping = (lowest / np.maximum(frequency, lowest)) ** decay
    noise = generator("fourier bank").standard_normal((count, height_px, width_px), dtype=np.float32)
    fields: np.ndarray = np.fft.irfft2(np.fft.rfft2(noise) * damping.astype(np.float32), s=(height_px, width_px))
    return fields
