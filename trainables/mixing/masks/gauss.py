"""A soft Gaussian bump: the masks of GMix and SmoothMix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Gauss(Mask):
    """A Gaussian bump with peak 1: ``exp(-(y/sigma_y)^2 / 2 - (x/sigma_x)^2 / 2)`` around the centre.

    The part beyond a border is lost, and on the torus the bump ends half a side from its centre. So less is pasted than
    requested up to f = 0.5 (at f = 0.5 at most 0.43), and more for f > 0.5. Two kinds of placing rules do not apply:
    those that need to know where a shape ends (inside, spill), and those that aim at the partner's content (saliency,
    object), because for f > 0.5 the mask would leave out just this content.

    Attributes:
        sigma: the meaning of the pasted fraction f.

            - ``area`` (GMix: Park et al., NeurIPS 2022, arXiv 2208.09913, and their code): the image with the smaller
              fraction m = min(f, 1 - f) is seen through the bump. The bump's integral over the plane is m:
              ``sigma = side * sqrt(m / (2 pi))``. For f > 0.5 the mask is 1 minus the bump.
            - ``side`` (SmoothMix: Lee et al., CVPR 2020 Workshops): f is sigma in units of the side, and the partner
              is always in the bump. Their ``sigma ~ U(0.25, 0.5)`` is thus a size that is uniform from 0.25 to 0.5.
              f is then not a fraction of the image: only labels by the realised lam make sense.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import TorusPosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=32, width_px=32, position=TorusPosition(), rng=rng, device=cpu)
        >>> mask = Gauss().draw(np.array([0.2]), canvas)
        >>> round(mask.mean().item(), 2), round(mask.max().item(), 1)
        (0.2, 1.0)
    """

    family: Literal["gauss"] = "gauss"
    positions: ClassVar[tuple[str, ...]] = ("clip", "torus", "gauss")
    exact_area: ClassVar[bool] = False
    sigma: Literal["area", "side"] = "area"

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw one bump per sample: a factor per row, one per column, and what is added to their product."""
        inverted = (pasted_frac > 0.5) & (self.sigma == "area")
        size = np.where(inverted, 1 - pasted_frac, pasted_frac)
        sigma = np.sqrt(size / (2 * math.pi)) if self.sigma == "area" else size
        sigmas_px = np.maximum(sigma, 1e-9) * canvas.sides_px
        offsets = canvas.offsets(canvas.position.centres(sigmas_px, canvas))
        rows, columns = (_bell(along, sigma_px) for along, sigma_px in zip(offsets, sigmas_px, strict=True))
        rows *= np.where(inverted, -1, size > 0).astype(np.float32)[:, None]
        return {"rows": rows, "columns": columns, "base": inverted.astype(np.float32)}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the bumps: float32 [B, 1, H, W]."""
        bumps = parameters["rows"][:, None, :, None] * parameters["columns"][:, None, None, :]
        return bumps.add_(parameters["base"][:, None, None, None])


def _bell(offsets: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Return ``exp(-(offset / sigma)^2 / 2)`` for offsets [B, L] and sigmas [B]: float32 [B, L]."""
    exponent = (offsets * (math.sqrt(0.5) / sigma_px)[:, None]).astype(np.float32)
    bell: np.ndarray = np.exp(-exponent * exponent)  # in float32: a tenth of the time of float64
    return bell
