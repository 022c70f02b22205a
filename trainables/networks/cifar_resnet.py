"""Residual networks for small images, by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Family, Network, check_depth

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class CifarResNet(Network):
    """Three stages with 16, 32 and 64 channels (He et al., CVPR 2016, section 4.2).

    Attributes:
        depth: number of weight layers.
    """

    n_stages = 3
    residuals = r"stages\.\d+\.\d+\.norm2"
    depth: ClassVar[int]

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.cifar_resnet import cifar_resnet

        return cifar_resnet(depth=self.depth, n_classes=n_classes, side_px=side_px, width=width)


class CifarResNet8(CifarResNet):
    """CIFAR ResNet-8."""

    name = "cifar_resnet8"
    depth = 8


class CifarResNet14(CifarResNet):
    """CIFAR ResNet-14."""

    name = "cifar_resnet14"
    depth = 14


class CifarResNet20(CifarResNet):
    """CIFAR ResNet-20."""

    name = "cifar_resnet20"
    depth = 20


class CifarResNet32(CifarResNet):
    """CIFAR ResNet-32."""

    name = "cifar_resnet32"
    depth = 32


class CifarResNet56(CifarResNet):
    """CIFAR ResNet-56."""

    name = "cifar_resnet56"
    depth = 56


class CifarResNet110(CifarResNet):
    """CIFAR ResNet-110."""

    name = "cifar_resnet110"
    depth = 110


class BottleneckCifarResNet(Family):
    """Three stages of bottlenecks with 64, 128 and 256 channels (He et al., ECCV 2016, appendix).

    The ResNet-110 of Yun et al. (ICCV 2019) is ``cifar_resnet110_bn`` by its 1.1 million weights; ``cifar_resnet110``
    has 1.7 million.

    Attributes:
        depth: number of weight layers.
    """

    form = "cifar_resnetDEPTH_bn"
    pattern = r"cifar_resnet(?P<depth>\d{1,4})_bn"
    common = ("cifar_resnet110_bn",)
    n_stages = 3
    has_last_stride = True
    residuals = r"stages\.\d+\.\d+\.bn3"
    depth: ClassVar[int]

    @classmethod
    def check_sizes(cls) -> None:
        """Check that the depth fits the blocks."""
        check_depth(cls.depth, per_block=3, others=2)

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.torchvision_resnet import small_bottleneck_resnet

        return small_bottleneck_resnet(depth=self.depth, n_classes=n_classes, side_px=side_px, width=width)
