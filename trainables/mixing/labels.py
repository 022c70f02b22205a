"""What the network is asked to say about a mixed image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    from torch import Tensor


class Label(Frozen):
    """The rule that turns the share of pixels into the share of the label.

    The original's class gets ``w = lam^g / (lam^g + (1 - lam)^g)`` and the partner's ``1 - w``. Where only one image
    is left to see (lam is 0 or 1) the label is that image's whatever the exponent.

    Attributes:
        exponent: g. 1 is CutMix's area rule, 0 its ablation "Complete-label" (half and half), ``inf`` its "One-hot"
            (the larger share takes all, an even split stays half and half); Yun et al., ICCV 2019, section 4.1.
        lam: the ``realised`` share, counted on the mask, or the ``nominal`` one, drawn before anything was clipped.
        smoothing: share of every target spread evenly over all classes; applied once, to the mixed target.
    """

    exponent: Annotated[float, Field(ge=0)] | Literal["inf"] = 1.0
    lam: Literal["realised", "nominal"] = "realised"
    smoothing: float = Field(default=0.0, ge=0, lt=1)

    def weight(self, lam: Tensor) -> Tensor:
        """Return the original's share of the label, float32 [B], for its share of the image, float32 [B]."""
        if self.exponent == 1:
            return lam
        if self.exponent == "inf":
            return (lam > 0.5).float() + 0.5 * (lam == 0.5).float()
        weight = 1 / (1 + ((1 - lam) / lam) ** self.exponent)  # both powers apart would vanish for large exponents
        return weight.where(lam > 0, 0.0).where(lam < 1, 1.0)
