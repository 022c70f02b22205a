"""torchvision's residual networks, by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.networks.base import Network

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class ResNet(Network):
    """Four stages, torchvision's network at width 1 and more than 96 px (He et al., CVPR 2016).

    Attributes:
        depth: number of weight layers.
    """

    n_stages = 4
    has_last_stride = True
    residuals = r"stages\.\d+\.\d+\.bn3"
    depth: ClassVar[int]

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.torchvision_resnet import torchvision_resnet

        return torchvision_resnet(depth=self.depth, n_classes=n_classes, side_px=side_px, width=width)


class ResNet18(ResNet):
    """ResNet-18."""

    name = "resnet18"
    residuals = r"stages\.\d+\.\d+\.bn2"
    depth = 18


class ResNet34(ResNet):
    """ResNet-34."""

    name = "resnet34"
    residuals = r"stages\.\d+\.\d+\.bn2"
    depth = 34


class ResNet50(ResNet):
    """ResNet-50."""

    name = "resnet50"
    depth = 50


class ResNet101(ResNet):
    """ResNet-101."""

    name = "resnet101"
    depth = 101


class ResNet152(ResNet):
    """ResNet-152."""

    name = "resnet152"
    depth = 152
