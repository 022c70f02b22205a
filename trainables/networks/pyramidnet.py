"""Pyramidal residual networks for small images, of any depth and widening factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Family, check_depth

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class PyramidNet(Family):
    """Three stages whose channels grow by the same number in each block (Han, Kim and Kim, CVPR 2017, equation 3).

    ``pyramidnet110_a48`` has depth 110 and widening factor alpha 48; ``_bn`` at the end of a name means bottleneck
    blocks. Yun et al. (ICCV 2019) train ``pyramidnet200_a240_bn`` (26.8 million weights) and, by its 1.7 million
    weights, ``pyramidnet110_a64_bn``. ``model.width`` is a factor on alpha; the stem always has 16 channels.

    Attributes:
        depth: number of weight layers.
        alpha: channels that all blocks together add.
        bottleneck: whether blocks have three convolutions instead of two.
    """

    form = "pyramidnetDEPTH_aALPHA[_bn]"
    pattern = r"pyramidnet(?P<depth>\d{1,4})_a(?P<alpha>\d{1,4})(?P<bottleneck>_bn)?"
    common = ("pyramidnet110_a48", "pyramidnet110_a270", "pyramidnet110_a64_bn", "pyramidnet200_a240_bn")
    n_stages = 3
    residuals = r"stages\.\d+\.\d+\.bn"
    depth: ClassVar[int]
    alpha: ClassVar[int]
    bottleneck: ClassVar[bool]

    @classmethod
    def check_sizes(cls) -> None:
        """Check that the depth fits the blocks."""
        check_depth(cls.depth, per_block=3 if cls.bottleneck else 2, others=2)

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.pytorchcv_nets import pyramidnet

        return pyramidnet(
            depth=self.depth,
            alpha=self.alpha * width,
            bottleneck=self.bottleneck,
            n_classes=n_classes,
            side_px=side_px,
        )
