"""ResNet-18 to ResNet-152 from torchvision's blocks, with a stem for the size of the images and any width."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.modules.staged import StagedNet, fitting_strides, init_convolutions, scaled

STAGE_PLANES = (64, 128, 256, 512)
BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Number of residual blocks in the four stages by depth: He et al. (CVPR 2016), table 1."""
DEEPEST_BASIC = 34
"""Largest depth with blocks of two 3x3 convolutions; deeper networks have bottlenecks."""

SAFE_CHANNELS = 8
"""Fewest input channels with which a strided 1x1 convolution in channels-last memory is safe on every CPU."""


class NarrowProjection(nn.Conv2d):
    """A strided 1x1 convolution that computes in contiguous memory on a CPU.

    The backward pass of torch 2.14.1 writes past the end of its memory for this convolution on a CPU whose widest
    instruction set is AVX2, if the memory is channels last and there are fewer than 8 input channels: the process
    crashes or hangs. In contiguous memory the result is the same, to the bit, and the memory stays intact. Parameters
    and their names are those of ``nn.Conv2d``.
    """

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        # torch computes in channels-last memory if the strides of the maps or of the weights say so; the strides of
        # weights for one input channel say nothing
        channels_last = _is_channels_last(maps) or (self.in_channels > 1 and _is_channels_last(self.weight))
        if maps.device.type != "cpu" or not channels_last:
            return super().forward(maps)
        projected = functional.conv2d(_contiguous(maps), _contiguous(self.weight), stride=self.stride)
        return projected.contiguous(memory_format=torch.channels_last)


def torchvision_resnet(*, depth: int, n_classes: int, side_px: int, width: float) -> StagedNet:
    """Return a ResNet that equals torchvision's at width 1 and more than 96 px.

    Its parameters are torchvision's under other names: ``conv1`` and ``bn1`` are ``stem.0`` and ``stem.1``, ``layer1``
    is ``stages.0``, ``fc`` is ``classifier``. A bottleneck has its stride in the 3x3 convolution. On smaller images
    strides are removed to keep the last map 4x4 or larger:

    ==========  ======================================  ===========================
    image side  stem                                    last map
    ==========  ======================================  ===========================
    > 96 px     7x7, stride 2; 3x3 max pool, stride 2   7x7 at 224 px, 4x4 at 97 px
    49-96 px    3x3, stride 2                           4x4 at 64 px
    4-48 px     3x3, stride 1                           4x4 at 32 px
    ==========  ======================================  ===========================

    Below 25 px the second stage has no stride either, then the third, then the last.

    Args:
        depth: 18, 34, 50, 101 or 152.
        n_classes: number of logits.
        side_px: shorter side of the images.
        width: factor on the channels of each layer, including the inner layers of bottlenecks.

    Examples:
        >>> net = torchvision_resnet(depth=50, n_classes=10, side_px=64, width=0.125)
        >>> net.features(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 256, 4, 4])
    """
    pool_stride, stem_stride, *stage_strides = fitting_strides((2, 2, 1, 2, 2, 2), side_px)
    block = _block(depth)
    planes = [scaled(planes, width) for planes in STAGE_PLANES]
    channels = [planes[0], *(block.expansion * p for p in planes)]
    stages = [
        _stage(block, channels[index], planes[index], n_blocks=n_blocks, stride=stage_strides[index])
        for index, n_blocks in enumerate(BLOCKS_PER_STAGE[depth])
    ]
    net = StagedNet(
        stem=_stem(planes[0], stride=stem_stride, pool_stride=pool_stride),
        stages=stages,
        classifier=nn.Linear(channels[-1], n_classes),
    )
    init_convolutions(net)
    return net


def _block(depth: int) -> Any:
    # imported here: torchvision is slow to import, and the other networks do not need it
    from torchvision.models import resnet

    return resnet.BasicBlock if depth <= DEEPEST_BASIC else resnet.Bottleneck


def _stem(channels: int, *, stride: int, pool_stride: int) -> nn.Sequential:
    """Return the standard stem if it pools, otherwise a 3x3 convolution: 7x7 is too coarse for small images."""
    pooled = pool_stride > 1
    side = 7 if pooled else 3
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, side, stride=stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    if pooled:
        layers.append(nn.MaxPool2d(3, stride=pool_stride, padding=1))
    return nn.Sequential(*layers)


def _stage(block: Any, channels_in: int, planes: int, *, n_blocks: int, stride: int) -> nn.Sequential:
    channels_out = block.expansion * planes
    projection = None
    if stride > 1 or channels_in != channels_out:
        convolution = NarrowProjection if stride > 1 and channels_in < SAFE_CHANNELS else nn.Conv2d
        projection = nn.Sequential(
            convolution(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    first = block(channels_in, planes, stride, projection)
    return nn.Sequential(first, *(block(channels_out, planes) for _ in range(n_blocks - 1)))


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.stride(1) == 1 and tensor.stride(3) == tensor.shape[1]


def _contiguous(tensor: Tensor) -> Tensor:
    """Return a tensor, [N, C, H, W], with the strides of contiguous memory.

    ``contiguous`` alone keeps channels-last strides where C or H and W are 1, because both layouts are then the same
    in memory; torch would still choose the channels-last convolution by these strides.
    """
    return tensor.contiguous().flatten(1).view(tensor.shape)
