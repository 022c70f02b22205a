"""PyramidNet, Wide ResNet and ResNeXt for small images, from pytorchcv's blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, repeat

from torch import nn

from trainables.networks.modules.staged import StagedNet, fitting_strides, init_convolutions, scaled

STEM_CHANNELS = 16
"""Channels of the stem of PyramidNet and Wide ResNet, at any width."""

WRN_CHANNELS = (16, 32, 64)
RESNEXT_STEM_CHANNELS = 64
RESNEXT_CHANNELS = (256, 512, 1024)
EXPANSION = 4
"""Channels of a bottleneck block over those inside."""

Block = Callable[[int, int, int], nn.Module]
"""Makes a block of input channels, output channels and stride."""


def pyramidnet(*, depth: int, alpha: float, bottleneck: bool, n_classes: int, side_px: int) -> StagedNet:
    """Return a PyramidNet with additive growth; at 32 px it equals pytorchcv's, and the last map is 8x8.

    Args:
        depth: weight layers, 6n + 2, or 9n + 2 with bottlenecks.
        alpha: channels that all blocks together add to the 16 of the stem.
        bottleneck: whether a block has three convolutions and four times the channels.
        n_classes: number of logits.
        side_px: shorter side of the images; below 13 px the first strides are removed to keep the last map 4x4.

    Examples:
        >>> net = pyramidnet(depth=20, alpha=24, bottleneck=False, n_classes=10, side_px=32)
        >>> net.classifier.in_features
        40
    """
    from pytorchcv.models.common.conv import conv3x3_block
    from pytorchcv.models.preresnet import PreResActivation
    from pytorchcv.models.pyramidnet import PyrUnit

    n_blocks = (depth - 2) // (9 if bottleneck else 6)
    # summed block by block, as the authors do: the rounding of a product differs in a few blocks
    sums = list(accumulate(repeat(alpha / (3 * n_blocks), 3 * n_blocks), initial=float(STEM_CHANNELS)))[1:]
    channels = [round(each) * (EXPANSION if bottleneck else 1) for each in sums]
    return _small_net(
        conv3x3_block(in_channels=3, out_channels=STEM_CHANNELS, activation=None),
        STEM_CHANNELS,
        [channels[start : start + n_blocks] for start in range(0, 3 * n_blocks, n_blocks)],
        [lambda few, many, stride: PyrUnit(few, many, stride, bottleneck)] * 3,
        end=PreResActivation(in_channels=channels[-1]),
        n_classes=n_classes,
        side_px=side_px,
    )


def wide_resnet(*, depth: int, factor: float, n_classes: int, side_px: int) -> StagedNet:
    """Return a Wide ResNet without dropout; at 32 px it equals pytorchcv's, and the last map is 8x8.

    Args:
        depth: weight layers, 6n + 4.
        factor: factor on the channels of the stages, 16, 32 and 64; the stem keeps 16.
        n_classes: number of logits.
        side_px: shorter side of the images; below 13 px the first strides are removed to keep the last map 4x4.
    """
    from pytorchcv.models.common.conv import conv3x3
    from pytorchcv.models.preresnet import PreResActivation, PreResUnit

    n_blocks = (depth - 4) // 6
    channels = [scaled(each, factor) for each in WRN_CHANNELS]
    return _small_net(
        conv3x3(in_channels=3, out_channels=STEM_CHANNELS),
        STEM_CHANNELS,
        [[each] * n_blocks for each in channels],
        [lambda few, many, stride: PreResUnit(few, many, stride, bottleneck=False, conv1_stride=False)] * 3,
        end=PreResActivation(in_channels=channels[-1]),
        n_classes=n_classes,
        side_px=side_px,
    )


def cifar_resnext(
    *, depth: int, cardinality: int, group_width: int, n_classes: int, side_px: int, width: float
) -> StagedNet:
    """Return a ResNeXt for small images; at 32 px and width 1 it equals pytorchcv's, and the last map is 8x8.

    Args:
        depth: weight layers, 9n + 2.
        cardinality: groups of the 3x3 convolutions, at any width.
        group_width: channels per group in the first stage, times ``width``; they double with each stage.
        n_classes: number of logits.
        side_px: shorter side of the images; below 13 px the first strides are removed to keep the last map 4x4.
        width: factor on the channels of each layer.
    """
    from pytorchcv.models.common.conv import conv3x3_block
    from pytorchcv.models.resnext import ResNeXtUnit

    n_blocks = (depth - 2) // 9
    stem = scaled(RESNEXT_STEM_CHANNELS, width)

    def block_of(per_group: int) -> Block:
        # a block computes floor(inner channels * bottleneck_width / 64) per group: the half keeps rounding away
        return lambda few, many, stride: ResNeXtUnit(
            few, many, stride, cardinality, 64 * (per_group + 0.5) / (many // EXPANSION)
        )

    return _small_net(
        conv3x3_block(in_channels=3, out_channels=stem),
        stem,
        [[EXPANSION * scaled(each // EXPANSION, width)] * n_blocks for each in RESNEXT_CHANNELS],
        [block_of(scaled(group_width << number, width)) for number in range(3)],
        n_classes=n_classes,
        side_px=side_px,
    )


def _small_net(
    stem: nn.Module,
    stem_channels: int,
    channels: Sequence[Sequence[int]],
    blocks: Sequence[Block],
    *,
    end: nn.Module | None = None,
    n_classes: int,
    side_px: int,
) -> StagedNet:
    """Return a network of a stem and stages; ``channels`` has the output channels of each block, ``blocks`` makes them.

    ``end`` follows the last block inside the last stage: the maps after a stage are then those that are pooled.
    """
    strides = fitting_strides((1, 2, 2), side_px)
    stages, before = [], stem_channels
    for block, stage_channels, stage_stride in zip(blocks, channels, strides, strict=True):
        stage = nn.Sequential()
        for number, after in enumerate(stage_channels):
            stage.append(block(before, after, 1 if number else stage_stride))
            before = after
        stages.append(stage)
    if end is not None:
        stages[-1].add_module("end", end)
    net = StagedNet(stem=stem, stages=stages, classifier=nn.Linear(before, n_classes))
    init_convolutions(net)
    return net
