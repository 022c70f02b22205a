"""Label rules: from image fractions to label weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    from torch import Tensor


TIE = 5e-7
"""Fractions of several images that differ by less are equal: by rounding errors, and by less than half a pixel of 1,000
by 1,000."""


def _is_area(value: object) -> bool:
    return value == "area"


class Label(Frozen):
    """The rule that turns the original's fraction of the image (lam) into its fraction of the label (weight).

    The original's class gets ``w = lam^g / (lam^g + (1 - lam)^g)`` and the partner's ``1 - w``. If only one image is
    visible (lam is 0 or 1), the label is that image's class for every exponent. With several partners, an image that
    shows the fraction f gets ``f^g / (sum of all f^g)``; an image that is not visible gets nothing.

    Attributes:
        exponent: g. 1 is CutMix's area rule, 0 its ablation "Complete-label" (one half each), ``inf`` its "One-hot"
            (the largest fraction gets the whole label; equal fractions share it); Yun et al., ICCV 2019, section 4.1.
        lam: the ``realised`` fraction, counted on the mask, or the ``nominal`` one, drawn before clipping.
        by: what decides the weights: the ``area`` that each image shows, or the part of its ``class_map`` that is seen
            (SnapMix; Huang, Wang and Tao, AAAI 2021; see :func:`~trainables.mixing.class_shares.class_shares`). Class
            maps are those of the network in training. Such weights do not sum to 1, and ``exponent`` and ``lam`` have
            no effect on them.
        smoothing: fraction of every target that is spread evenly over all classes; applied once, to the mixed target.

    Examples:
        >>> import torch
        >>> lam = torch.tensor([0.0, 0.25, 0.5, 1.0])
        >>> Label().weight(lam).tolist()
        [0.0, 0.25, 0.5, 1.0]
        >>> Label(exponent=0.0).weight(lam).tolist()
        [0.0, 0.5, 0.5, 1.0]
        >>> Label(exponent="inf").weight(lam).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """

    exponent: Annotated[float, Field(ge=0)] | Literal["inf"] = 1.0
    lam: Literal["realised", "nominal"] = "realised"
    # left out of the dump with its default: what older versions recorded stays equal
    by: Literal["area", "class_map"] = Field(default="area", exclude_if=_is_area)
    smoothing: float = Field(default=0.0, ge=0, lt=1)

    def weight(self, lam: Tensor) -> Tensor:
        """Return the original's fraction of the label, float32 [B], from its fraction of the image, float32 [B]."""
        if self.exponent == 1:
            return lam
        if self.exponent == "inf":
            return (lam > 0.5).float() + 0.5 * (lam == 0.5).float()
        # as a ratio: for a large exponent both powers of the formula would underflow to 0
        weight = 1 / (1 + ((1 - lam) / lam) ** self.exponent)
        return weight.where(lam > 0, 0.0).where(lam < 1, 1.0)

    def weights(self, lam: Tensor, partner_fracs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the original's fraction of the label, float32 [B], and each partner's, float32 [K, B].

        Args:
            lam: the original's fraction of the image, float32 [B].
            partner_fracs: each partner's, float32 [K, B].

        Examples:
            >>> import torch
            >>> thirds = torch.tensor([[0.25], [0.25]])
            >>> Label(exponent="inf").weights(torch.tensor([0.5]), thirds)
            (tensor([1.]), tensor([[0.], [0.]]))
            >>> weight, partner_weights = Label(exponent=0.0).weights(torch.tensor([0.5]), torch.tensor([[0.5], [0.0]]))
            >>> weight.tolist(), partner_weights.tolist()  # the last image is not visible
            ([0.5], [[0.5], [0.0]])
        """
        if self.exponent == 1:
            return lam, partner_fracs
        if len(partner_fracs) == 1:
            weight = self.weight(lam)
            return weight, (1 - weight)[None]
        import torch

        fracs = torch.cat([lam[None], partner_fracs])
        largest = fracs.amax(dim=0)
        if self.exponent == "inf":
            powers = (fracs > largest - TIE).float()
        else:
            # relative to the largest fraction: for a large exponent all powers would underflow to 0
            powers = ((fracs / largest) ** self.exponent).where(fracs > 0, 0.0)
        weights = powers / powers.sum(dim=0)
        return weights[0], weights[1:]
