"""Placing rules: where a shape is in the image.

A rule draws the centre of a shape and measures the signed distance of every pixel to it. Pixel ``i`` has its centre
at ``i + 0.5``. A mask family pastes the pixels with their centres inside its shape. With real-valued centres the
expected pasted area is exact; integer sides, rounded down, would paste too little.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Numbers, beside
from trainables.strict import Frozen

if TYPE_CHECKING:
    from trainables.mixing.canvas import Canvas


class PlacingRule(Frozen, ABC):
    """How the centre of a shape is drawn. A subclass in this file is found without further entries.

    Attributes:
        kind: name in a study file; a subclass declares it as a ``Literal`` with a default.
        wraps: whether a shape that leaves the image on one side enters it again on the opposite side.
        needs: what it must know of the partners: ``images``, ``boxes`` or nothing.
    """

    wraps: ClassVar[bool] = False
    needs: ClassVar[Literal["images", "boxes"] | None] = None
    kind: str

    @abstractmethod
    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> Numbers:
        """Draw centres (y, x), float64 [2, B], of shapes of the given height and width, float64 [2, B]."""

    def offsets(self, centre_px: Numbers, length_px: int) -> Numbers:
        """Return the signed distance of each pixel's centre to a shape's along one axis: float64 [B, length_px]."""
        return beside(np.arange(0.5, length_px), centre_px) - centre_px[:, None]


class ClipPosition(PlacingRule):
    """Centre uniform over the image; the part of the shape outside the image is cut off: the paper's rule.

    It pastes less than the drawn fraction: with ``alpha = 1`` the mean pasted area is 0.3208, not 0.5.

    Examples:
        >>> import torch
        >>> from trainables.mixing.canvas import Canvas
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=20, position=ClipPosition(), rng=rng, device=cpu)
        >>> sides_px = np.array([[4.0, 4.0], [10.0, 10.0]])
        >>> ClipPosition().centres(sides_px, canvas).round(1).tolist()
        [[5.1, 2.2], [0.8, 0.3]]
    """

    kind: Literal["clip"] = "clip"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres anywhere in the image."""
        centres: np.ndarray = canvas.rng.random(sides_px.shape) * canvas.sides_px
        return centres


class InsidePosition(PlacingRule):
    """Uniform among the places where the whole shape is inside the image: exact area, centre-biased coverage.

    The centre stays half a side away from the borders, the side rounded down to whole pixels. The free room is then a
    whole number of pixels, each position relative to the pixels is equally likely, and the mean area is the drawn one.
    A shape may reach over a border by less than half a pixel, where no pixel has its centre. A shape as long as the
    image has one place only: ellipses above pi/4 of the image, and soft boxes whose edges reach both borders, may miss
    the drawn area (at 32 px by 0.003 at 0.95, and by 0.01 at 0.99).

    Examples:
        >>> import torch
        >>> from trainables.mixing.canvas import Canvas
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=20, position=InsidePosition(), rng=rng, device=cpu)
        >>> sides_px = np.array([[4.0, 8.0], [10.0, 20.0]])  # the second shape fills the image
        >>> InsidePosition().centres(sides_px, canvas).round(1).tolist()
        [[4.5, 4.0], [5.4, 10.0]]
    """

    kind: Literal["inside"] = "inside"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres at least half a side, rounded down, from the borders."""
        # not rounded, the room would leave out some positions between two pixels: boxes within half a pixel of the
        # whole image would always be the whole image, which takes 2 % of the exposure at alpha 0.2 and 32 px
        half = np.floor(np.minimum(sides_px, canvas.sides_px)) / 2
        centres: np.ndarray = half + canvas.rng.random(sides_px.shape) * (canvas.sides_px - 2 * half)
        return centres


class TorusPosition(PlacingRule):
    """Centre uniform; the shape wraps around the borders: exact area and uniform coverage.

    Examples:
        >>> TorusPosition().offsets(np.array([6.5]), 7).tolist()  # the first of 7 pixels is 1 away from the last
        [[1.0, 2.0, 3.0, -3.0, -2.0, -1.0, 0.0]]
    """

    kind: Literal["torus"] = "torus"
    wraps: ClassVar[bool] = True

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres anywhere in the image."""
        centres: np.ndarray = canvas.rng.random(sides_px.shape) * canvas.sides_px
        return centres

    def offsets(self, centre_px: Numbers, length_px: int) -> Numbers:
        """Return the signed distance on the circle of ``length_px`` pixels: float64 [B, length_px], in [-L/2, L/2]."""
        offsets: np.ndarray = super().offsets(centre_px, length_px)
        turns = offsets / length_px
        np.rint(turns, out=turns)
        turns *= length_px
        offsets -= turns
        return offsets


class SpillPosition(PlacingRule):
    """Uniform among the places where some of the shape is visible: uniform coverage, and the smallest dose.

    The centre may be up to half a side outside. Along an axis of ``L`` pixels every pixel is then covered by a side
    of ``s`` with probability ``s / (L + s)``.

    Examples:
        >>> import torch
        >>> from trainables.mixing.canvas import Canvas
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=20, position=SpillPosition(), rng=rng, device=cpu)
        >>> SpillPosition().centres(np.array([[4.0, 4.0], [10.0, 10.0]]), canvas).round(1).tolist()
        [[5.6, 1.2], [-3.8, -4.5]]
    """

    kind: Literal["spill"] = "spill"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres up to half a side outside the image."""
        centres: np.ndarray = canvas.rng.random(sides_px.shape) * (canvas.sides_px + sides_px) - sides_px / 2
        return centres


class GaussPosition(PlacingRule):
    """Centre normal around the image's centre, truncated to the image; the shape is clipped at the border.

    The paper's ablation "Center Gaussian CutMix" (Yun et al., ICCV 2019, section 4.1), of which the text does not give
    the standard deviation.

    Attributes:
        sigma_frac: standard deviation in units of the image's sides.

    Examples:
        >>> import torch
        >>> from trainables.mixing.canvas import Canvas
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=20, position=GaussPosition(), rng=rng, device=cpu)
        >>> GaussPosition(sigma_frac=0.1).centres(np.ones((2, 2)), canvas).round(1).tolist()
        [[4.3, 3.5], [6.5, 5.7]]
    """

    kind: Literal["gauss"] = "gauss"
    sigma_frac: float = Field(default=0.25, gt=0)

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres by the truncated normal distribution."""
        from scipy.special import ndtr, ndtri

        tail = ndtr(-0.5 / self.sigma_frac)
        deviation = self.sigma_frac * ndtri(tail + (1 - 2 * tail) * canvas.rng.random(sides_px.shape))
        centres: np.ndarray = (0.5 + np.clip(deviation, -0.5, 0.5)) * canvas.sides_px
        return centres


class SaliencyPosition(PlacingRule):
    """Centre in the partner's most salient pixel, clipped at the border (Uddin et al., ICLR 2021, section 3.2).

    Each sample has its own partner's peak, by spectral residual (see :mod:`trainables.mixing.saliency`). Within the
    pixel the centre is uniform: from the middle of the pixel every side would cover an odd number of pixels.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.canvas import Canvas
        >>> images = torch.zeros(1, 3, 16, 16)
        >>> images[0, :, 4, 9] = 5.0  # one bright pixel
        >>> batch = BatchView((1, 3, 16, 16), np.array([0]), images)
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=16, width_px=16, position=SaliencyPosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([0]))
        >>> np.floor(SaliencyPosition().centres(np.ones((2, 1)), canvas)).tolist()
        [[4.0], [9.0]]
    """

    kind: Literal["saliency"] = "saliency"
    needs: ClassVar[Literal["images", "boxes"] | None] = "images"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> Numbers:
        """Draw centres in the partners' peaks: on a GPU as tensors there, because reading them back would wait."""
        from trainables.mixing.saliency import peaks

        places, within = peaks(canvas.partner_images()), canvas.rng.random(sides_px.shape)
        return places.numpy() + within if canvas.on_host else places + canvas.on_device(within)


class ObjectPosition(PlacingRule):
    """Centre uniform in the partner's annotated box, clipped at the border.

    If the crop contains nothing of the object, the centre is uniform over the image.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.canvas import Canvas
        >>> boxes = np.array([[2, 10, 3, 11]])  # one pixel: (y0, x0, y1, x1)
        >>> batch = BatchView((1, 3, 16, 16), np.array([0]), boxes=boxes)
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=16, width_px=16, position=ObjectPosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([0]))
        >>> np.floor(ObjectPosition().centres(np.ones((2, 1)), canvas)).tolist()
        [[2.0], [10.0]]
    """

    kind: Literal["object"] = "object"
    needs: ClassVar[Literal["images", "boxes"] | None] = "boxes"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw centres in the partners' boxes."""
        boxes = canvas.partner_boxes().T.astype(np.float64)
        low, high = boxes[:2], boxes[2:]
        empty = (high <= low).any(axis=0)
        low, high = np.where(empty, 0.0, low), np.where(empty, canvas.sides_px, high)
        centres: np.ndarray = low + canvas.rng.random(sides_px.shape) * (high - low)
        return centres


class WholePosition(PlacingRule):
    """No place: the mask covers the whole image.

    Examples:
        >>> from trainables.mixing.masks import FAMILIES
        >>> FAMILIES["flat"].positions, FAMILIES["box"].positions
        (('whole',), ('clip', 'inside', 'torus', 'spill', 'gauss', 'saliency', 'object'))
    """

    kind: Literal["whole"] = "whole"

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Raise: no mask family that places a shape supports this rule."""
        raise TypeError("a mask that covers the whole image has no centre")


RULES: dict[str, type[PlacingRule]] = {
    str(rule.model_fields["kind"].default): rule for rule in PlacingRule.__subclasses__()
}
"""Placing rules by the name that a study file uses."""

PLACING = tuple(name for name in RULES if name != "whole")
"""Names of the rules that place a shape."""

if TYPE_CHECKING:
    Position = PlacingRule
else:
    Position = Annotated[Union[tuple(RULES.values())], Field(discriminator="kind")]  # noqa: UP007
