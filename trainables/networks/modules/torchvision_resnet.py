"""ResNet-18 to ResNet-152 and ResNeXt from torchvision's blocks, with a stem for the size of the images."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from trainables.networks.modules.staged import StagedNet, fitting_strides, init_convolutions, scaled

STAGE_PLANES = (64, 128, 256, 512)
SMALL_PLANES = (16, 32, 64)
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


def torchvision_resnet(
    *, depth: int, n_classes: int, side_px: int, width: float, groups: int = 1, group_width: int = 64
) -> StagedNet:
    """Return a ResNet or ResNeXt that equals torchvision's at width 1 and more than 96 px.

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
        groups: groups of the 3x3 convolutions of bottlenecks, at any width: the cardinality of a ResNeXt.
        group_width: inner channels per group in the first stage, times ``width``; they double with each stage.

    Examples:
        >>> import torch
        >>> net = torchvision_resnet(depth=50, n_classes=10, side_px=64, width=0.125)
        >>> net.features(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 256, 4, 4])
    """
    pool_stride, stem_stride, *stage_strides = fitting_strides((2, 2, 1, 2, 2, 2), side_px)
    block, is_plain = _block(depth), (groups, group_width) == (1, 64)
    planes = [scaled(planes, width) for planes in STAGE_PLANES]
    channels = [planes[0], *(block.expansion * p for p in planes)]
    stages = [
        _stage(
            block if is_plain else _grouped(block, planes[index], groups, scaled(group_width << index, width)),
            channels[index],
            planes[index],
            n_blocks=n_blocks,
            stride=stage_strides[index],
        )
        for index, n_blocks in enumerate(BLOCKS_PER_STAGE[depth])
    ]
    net = StagedNet(
        stem=_stem(planes[0], stride=stem_stride, pool_stride=pool_stride),
        stages=stages,
        classifier=nn.Linear(channels[-1], n_classes),
    )
    init_convolutions(net)
    return net


def small_bottleneck_resnet(*, depth: int, n_classes: int, side_px: int, width: float) -> StagedNet:
    """Return a CIFAR ResNet of bottlenecks: three stages with 64, 128 and 256 channels times ``width``.

    The last map is 8x8 at 32 px.

    Args:
        depth: weight layers, 9n + 2.
        n_classes: number of logits.
        side_px: shorter side of the images; below 13 px the first strides are removed to keep the last map 4x4.
        width: factor on the channels of each layer.
    """
    from torchvision.models.resnet import Bottleneck

    planes = [scaled(each, width) for each in SMALL_PLANES]
    channels = [planes[0], *(Bottleneck.expansion * each for each in planes)]
    stages = [
        _stage(Bottleneck, channels[index], planes[index], n_blocks=(depth - 2) // 9, stride=stride)
        for index, stride in enumerate(fitting_strides((1, 2, 2), side_px))
    ]
    stem = _stem(planes[0], stride=1, pool_stride=1)
    net = StagedNet(stem=stem, stages=stages, classifier=nn.Linear(channels[-1], n_classes))
    init_convolutions(net)
    return net


def _block(depth: int) -> Any:
    # imported here: torchvision is slow to import, and the other networks do not need it
    from torchvision.models import resnet

    return resnet.BasicBlock if depth <= DEEPEST_BASIC else resnet.Bottleneck


def _grouped(block: Any, planes: int, groups: int, per_group: int) -> Any:
    """Return the block with ``per_group`` inner channels in each group."""
    # torchvision computes int(planes * base_width / 64) per group: the half keeps rounding away
    grouped: Any = functools.partial(block, groups=groups, base_width=64 * (per_group + 0.5) / planes)
    grouped.expansion = block.expansion
    return grouped


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
        projection = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    first = block(channels_in, planes, stride, projection)
    return nn.Sequential(first, *(block(channels_out, planes) for _ in range(n_blocks - 1)))
