"""Residual networks with grouped convolutions: for small images, and torchvision's for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Family, check_depth

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class ResNeXt(Family):
    """Networks with a cardinality and a width per group, for example 32x4d (Xie et al., CVPR 2017).

    Attributes:
        depth: number of weight layers.
        cardinality: number of groups of the 3x3 convolutions.
        group_width: channels per group in the first stage; they double with each stage.
    """

    form = "resnextDEPTH_GROUPSxWIDTHd"
    depth: ClassVar[int]
    cardinality: ClassVar[int]
    group_width: ClassVar[int]

    @classmethod
    def check_sizes(cls) -> None:
        """Check that there is a channel in each group."""
        if min(cls.cardinality, cls.group_width) < 1:
            raise ValueError(f"cardinality and width must be at least 1, got {cls.cardinality} and {cls.group_width}")


class LargeResNeXt(ResNeXt):
    """Four stages, torchvision's network at width 1 and more than 96 px, for example ``resnext50_32x4d``."""

    pattern = r"resnext(?P<depth>50|101|152)_(?P<cardinality>\d{1,3})x(?P<group_width>\d{1,3})d"
    common = ("resnext50_32x4d", "resnext101_32x4d")
    n_stages = 4
    has_last_stride = True
    residuals = r"stages\.\d+\.\d+\.bn3"

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.torchvision_resnet import torchvision_resnet

        return torchvision_resnet(
            depth=self.depth,
            n_classes=n_classes,
            side_px=side_px,
            width=width,
            groups=self.cardinality,
            group_width=self.group_width,
        )


class CifarResNeXt(ResNeXt):
    """Three stages with 256, 512 and 1024 channels, for example ``resnext29_32x4d`` (section 5.2 of the paper)."""

    pattern = r"resnext(?!(50|101|152)_)(?P<depth>\d{1,4})_(?P<cardinality>\d{1,3})x(?P<group_width>\d{1,3})d"
    common = ("resnext29_32x4d", "resnext29_8x64d", "resnext29_16x64d")
    n_stages = 3
    residuals = r"stages\.\d+\.\d+\.body"

    @classmethod
    def check_sizes(cls) -> None:
        """Check that the depth fits the blocks, and there is a channel in each group."""
        check_depth(cls.depth, per_block=3, others=2)
        super().check_sizes()

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.pytorchcv_nets import cifar_resnext

        return cifar_resnext(
            depth=self.depth,
            cardinality=self.cardinality,
            group_width=self.group_width,
            n_classes=n_classes,
            side_px=side_px,
            width=width,
        )
