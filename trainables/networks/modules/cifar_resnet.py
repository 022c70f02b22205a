"""Residual networks for small images (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.modules.staged import StagedNet, fitting_strides, init_convolutions, scaled

STAGE_CHANNELS = (16, 32, 64)
LAYERS_PER_BLOCK = 2


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input.

    If the shape changes, the shortcut drops pixels and appends channels of zeros: option A of He et al. (section 4.1),
    which they use for CIFAR. It adds no parameter.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        """Make a block from ``channels_in`` to at least as many ``channels_out``; the first layer has the stride."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.stride = stride
        self.channels_added = channels_out - channels_in

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps, float [B, channels_out, ceil(h / stride), ceil(w / stride)]."""
        residual = self.relu(self.norm1(self.conv1(maps)))
        residual = self.norm2(self.conv2(residual))
        activated: Tensor = self.relu(residual + self._shortcut(maps))
        return activated

    def _shortcut(self, maps: Tensor) -> Tensor:
        if self.stride > 1:
            # keeps every stride-th pixel; slicing does the same, but a step of the tiny net takes a tenth longer
            maps = functional.avg_pool2d(maps, kernel_size=1, stride=self.stride)
        if self.channels_added:
            maps = functional.pad(maps, (0, 0, 0, 0, 0, self.channels_added))
        return maps


def tiny(*, n_classes: int, side_px: int, width: float) -> StagedNet:
    """Return the network for fast sweeps: a ResNet-8 behind a stem that halves the image.

    It has three stages of one block with 16, 32 and 64 channels times ``width``. The last map is 4x4 at 32 px. Below
    25 px the stem has no stride, because the last map would be smaller than 4x4: the network is then
    ``cifar_resnet(depth=8)``.

    Examples:
        >>> import torch
        >>> net = tiny(n_classes=10, side_px=32, width=1.0)
        >>> net.features(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 64, 4, 4])
    """
    return _residual_net(n_blocks=1, stem_stride=2, n_classes=n_classes, side_px=side_px, width=width)


def cifar_resnet(*, depth: int, n_classes: int, side_px: int, width: float) -> StagedNet:
    """Return a CIFAR ResNet: three stages of n blocks with 16, 32 and 64 channels times ``width``.

    The last map is 8x8 at 32 px.

    Args:
        depth: weight layers, 6n + 2.
        n_classes: number of logits.
        side_px: shorter side of the images; below 13 px the first strides are removed to keep the last map 4x4.
        width: factor on the channels of each layer.
    """
    n_blocks = (depth - 2) // (LAYERS_PER_BLOCK * len(STAGE_CHANNELS))
    return _residual_net(n_blocks=n_blocks, stem_stride=1, n_classes=n_classes, side_px=side_px, width=width)


def _residual_net(*, n_blocks: int, stem_stride: int, n_classes: int, side_px: int, width: float) -> StagedNet:
    strides = fitting_strides((stem_stride, 1, 2, 2), side_px)
    channels = [scaled(channels, width) for channels in STAGE_CHANNELS]
    stem = nn.Sequential(
        nn.Conv2d(3, channels[0], 3, stride=strides[0], padding=1, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(inplace=True),
    )
    stages = [
        _stage(channels_in, channels_out, n_blocks=n_blocks, stride=stride)
        for (channels_in, channels_out), stride in zip(pairwise([channels[0], *channels]), strides[1:], strict=True)
    ]
    net = StagedNet(stem=stem, stages=stages, classifier=nn.Linear(channels[-1], n_classes))
    init_convolutions(net)
    return net


def _stage(channels_in: int, channels_out: int, *, n_blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, stride=1) for _ in range(n_blocks - 1)))
