"""A soft Gaussian bump: the masks of GMix and SmoothMix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Gauss(Mask):
    """A Gaussian bump that peaks at 1: ``exp(-(y/sigma_y)^2 / 2 - (x/sigma_x)^2 / 2)`` about the centre.

    What a border cuts off is lost, and on the torus the bump ends half a side from its centre; so less is pasted than
    was asked for (up to f = 0.5, where it is 0.43 at most), and for f > 0.5 more. The rules that need to know where a
    shape ends (inside, spill), and those that aim at the partner's content (saliency, object), which would leave just
    that out for f > 0.5, do not apply.

    Attributes:
        sigma: what the pasted fraction f means.

            - ``area`` (GMix: Park et al., NeurIPS 2022, arXiv 2208.09913, and their code): of the two images the one
              with the smaller share m = min(f, 1 - f) is seen through the bump, whose integral over the plane is m:
              ``sigma = side * sqrt(m / (2 pi))``. For f > 0.5 the mask is 1 minus the bump.
            - ``side`` (SmoothMix: Lee et al., CVPR 2020 Workshops): f is sigma itself in units of the side, and the
              partner is always in the bump. Their ``sigma ~ U(0.25, 0.5)`` is thus a size that is uniform from 0.25
              to 0.5. f is then no share of anything: only labels by the realised lam make sense.
    """

    family: Literal["gauss"] = "gauss"
    positions: ClassVar[tuple[str, ...]] = ("clip", "torus", "gauss")
    exact_area: ClassVar[bool] = False
    sigma: Literal["area", "side"] = "area"

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one bump a sample: float32 [B, 1, H, W]."""
        inverted = (pasted_frac > 0.5) & (self.sigma == "area")
        size = np.where(inverted, 1 - pasted_frac, pasted_frac)
        sigma = np.sqrt(size / (2 * math.pi)) if self.sigma == "area" else size
        sigmas_px = np.maximum(sigma, 1e-9) * canvas.sides_px
        offsets = canvas.offsets(canvas.position.centres(sigmas_px, canvas))
        rows, columns = (_bell(along, sigma_px) for along, sigma_px in zip(offsets, sigmas_px, strict=True))
        rows *= np.where(inverted, -1, size > 0).astype(np.float32)[:, None]
        bumps = canvas.on_device(rows)[:, None, :, None] * canvas.on_device(columns)[:, None, None, :]
        return bumps.add_(canvas.on_device(inverted.astype(np.float32))[:, None, None, None])


def _bell(offsets: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Return ``exp(-(offset / sigma)^2 / 2)`` of offsets [B, L] for sigmas [B]: float32 [B, L]."""
    exponent = (offsets * (math.sqrt(0.5) / sigma_px)[:, None]).astype(np.float32)
    bell: np.ndarray = np.exp(-exponent * exponent)  # in 32 bits a tenth of the time
    return bell
