"""Wide residual networks for small images, of any depth and width factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Family, check_depth

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class WideResNet(Family):
    """Three stages with 16, 32 and 64 channels times a factor (Zagoruyko and Komodakis, BMVC 2016, table 1).

    ``wrn28_10`` has depth 28 and width factor 10. ``model.width`` is one more factor; the stem always has 16 channels.

    Attributes:
        depth: number of weight layers.
        factor: width factor k.
    """

    form = "wrnDEPTH_FACTOR"
    pattern = r"wrn(?P<depth>\d{1,4})_(?P<factor>\d{1,3})"
    common = ("wrn16_8", "wrn28_10", "wrn40_2")
    n_stages = 3
    residuals = r"stages\.\d+\.\d+\.body\.conv2"
    depth: ClassVar[int]
    factor: ClassVar[int]

    @classmethod
    def check_sizes(cls) -> None:
        """Check that the depth fits the blocks, and there are channels."""
        check_depth(cls.depth, per_block=2, others=4)
        if cls.factor < 1:
            raise ValueError(f"its width factor must be at least 1, got {cls.factor}")

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.pytorchcv_nets import wide_resnet

        return wide_resnet(depth=self.depth, factor=self.factor * width, n_classes=n_classes, side_px=side_px)
