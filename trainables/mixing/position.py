"""Where a shape lies in the image.

A position draws the centre of a shape and measures every pixel's signed distance to it. Pixel ``i`` has its centre
at ``i + 0.5``; a mask family pastes the pixels whose centres lie inside its shape. With real-valued centres the
expected pasted area is then exact, where integer sides rounded down would paste too little.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    from trainables.mixing.canvas import Canvas


class PlacingRule(Frozen, ABC):
    """How the centre of a shape is drawn.

    Attributes:
        wraps: whether a shape that leaves the image on one side comes in on the other.
        looks_at: what of the partners it needs to see: ``images``, ``boxes`` or nothing.
    """

    wraps: ClassVar[bool] = False
    looks_at: ClassVar[Literal["images", "boxes"] | None] = None

    @abstractmethod
    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres (y, x), float64 [2, B], of shapes of the given height and width, float64 [2, B]."""

    def offsets(self, centre_px: np.ndarray, length_px: int) -> np.ndarray:
        """Signed distance of each pixel's centre to the shape's along one axis: float64 [B, length_px]."""
        offsets: np.ndarray = np.arange(0.5, length_px) - centre_px[:, None]
        return offsets


class ClipPosition(PlacingRule):
    """Centre uniform over the image, what hangs over the border is cut off: the paper's rule.

    It pastes less than was drawn: with ``alpha = 1`` the mean pasted area is 0.3208, not 0.5.
    """

    kind: Literal["clip"] = "clip"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres anywhere in the image."""
        return _anywhere(sides_px, canvas)


class InsidePosition(PlacingRule):
    """Uniform among the places where the whole shape lies inside the image: exact area, centre-biased coverage."""

    kind: Literal["inside"] = "inside"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres at least half a side from the borders."""
        half = np.minimum(sides_px, canvas.sides_px) / 2
        centres: np.ndarray = half + canvas.rng.random(sides_px.shape) * (canvas.sides_px - 2 * half)
        return centres


class TorusPosition(PlacingRule):
    """Centre uniform, the shape wraps around the borders: exact area and uniform coverage."""

    kind: Literal["torus"] = "torus"
    wraps: ClassVar[bool] = True

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres anywhere in the image."""
        return _anywhere(sides_px, canvas)

    def offsets(self, centre_px: np.ndarray, length_px: int) -> np.ndarray:
        """Signed distance on the circle of ``length_px`` pixels: float64 [B, length_px], in [-L/2, L/2]."""
        offsets = super().offsets(centre_px, length_px)
        turns = offsets / length_px
        np.rint(turns, out=turns)
        turns *= length_px
        offsets -= turns
        return offsets


class SpillPosition(PlacingRule):
    """Uniform among the places where any of the shape is visible: uniform coverage, and the smallest dose.

    The centre may lie up to half a side outside; along an axis of ``L`` pixels every pixel is then covered by a
    side of ``s`` with probability ``s / (L + s)``.
    """

    kind: Literal["spill"] = "spill"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres up to half a side outside the image."""
        centres: np.ndarray = canvas.rng.random(sides_px.shape) * (canvas.sides_px + sides_px) - sides_px / 2
        return centres


class GaussPosition(PlacingRule):
    """Centre normal about the image's, redrawn until it lies in the image, clipped at the border.

    The paper's ablation "Center Gaussian CutMix" (Yun et al., ICCV 2019, section 4.1), whose text does not give the
    deviation.

    Attributes:
        sigma_frac: standard deviation in units of the image's sides.
    """

    kind: Literal["gauss"] = "gauss"
    sigma_frac: float = Field(default=0.25, gt=0)

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres by the truncated normal law."""
        from scipy.special import ndtr, ndtri

        tail = ndtr(-0.5 / self.sigma_frac)
        drawn = self.sigma_frac * ndtri(tail + (1 - 2 * tail) * canvas.rng.random(sides_px.shape))
        centres: np.ndarray = (0.5 + np.clip(drawn, -0.5, 0.5)) * canvas.sides_px
        return centres


class SaliencyPosition(PlacingRule):
    """Centre in the most salient pixel of the partner, clipped at the border (Uddin et al., ICLR 2021, section 3.2).

    Each sample has its own partner's peak, by spectral residual (see :mod:`trainables.mixing.saliency`). Within the
    pixel the centre is uniform: from its middle every side would cover an odd number of pixels.
    """

    kind: Literal["saliency"] = "saliency"
    looks_at: ClassVar[Literal["images", "boxes"] | None] = "images"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres in the partners' peaks."""
        from trainables.mixing.saliency import peaks

        centres: np.ndarray = peaks(canvas.partner_images()) + canvas.rng.random(sides_px.shape)
        return centres


class ObjectPosition(PlacingRule):
    """Centre uniform in the partner's annotated box, clipped at the border.

    Where the crop cut the object off, it is uniform over the image.
    """

    kind: Literal["object"] = "object"
    looks_at: ClassVar[Literal["images", "boxes"] | None] = "boxes"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres in the partners' boxes."""
        boxes = canvas.partner_boxes().T.astype(np.float64)
        low, high = boxes[:2], boxes[2:]
        empty = (high <= low).any(axis=0)
        low, high = np.where(empty, 0.0, low), np.where(empty, canvas.sides_px, high)
        centres: np.ndarray = low + canvas.rng.random(sides_px.shape) * (high - low)
        return centres


class WholePosition(PlacingRule):
    """No place at all: the mask covers the whole image."""

    kind: Literal["whole"] = "whole"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Refuse: no mask family that places a shape accepts this rule."""
        raise TypeError("a mask that covers the whole image has no centre")


def _anywhere(sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
    centres: np.ndarray = canvas.rng.random(sides_px.shape) * canvas.sides_px
    return centres


RULES: dict[str, type[PlacingRule]] = {
    str(rule.model_fields["kind"].default): rule for rule in PlacingRule.__subclasses__()
}
"""Placing rules by name."""

PLACING = tuple(name for name in RULES if name != "whole")
"""Names of the rules that place a shape."""

Position = Annotated[
    ClipPosition
    | InsidePosition
    | TorusPosition
    | SpillPosition
    | GaussPosition
    | SaliencyPosition
    | ObjectPosition
    | WholePosition,
    Field(discriminator="kind"),
]
