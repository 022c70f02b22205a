"""Residual networks for small images, by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Network

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
