"""ResNet-18 for small images without torchvision, whose blocks the product's own ``resnet18`` uses."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.networks.base import Network
from trainables.networks.modules.staged import StagedNet, init_convolutions, scaled

RESNET18 = "tests.gpu.networks:ResNet18"


class BasicBlock(nn.Module):
    """Two convolutions and a skip connection; names and order of the parameters are torchvision's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Build a block with a projection where the shape changes."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the side if the stride is 2."""
        skipped = maps if self.downsample is None else self.downsample(maps)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out += skipped
        return self.relu(out)


class ResNet18(Network):
    """The product's ``resnet18`` at 32 px."""

    n_stages = 4

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights; ``side_px`` is from 32 to 48."""
        if not 32 <= side_px <= 48:
            raise ValueError(f"side_px must be from 32 to 48, got {side_px}")
        planes = [scaled(64 * 2**stage, width) for stage in range(4)]
        stem = nn.Sequential(
            nn.Conv2d(3, planes[0], 3, 1, 1, bias=False), nn.BatchNorm2d(planes[0]), nn.ReLU(inplace=True)
        )
        inputs = [planes[0], *planes]
        stages = [
            nn.Sequential(
                BasicBlock(inputs[stage], planes[stage], 2 if stage else 1), BasicBlock(planes[stage], planes[stage], 1)
            )
            for stage in range(4)
        ]
        net = StagedNet(stem=stem, stages=stages, classifier=nn.Linear(planes[3], n_classes))
        init_convolutions(net)
        return net
