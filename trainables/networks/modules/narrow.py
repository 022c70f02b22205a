"""A convolution that is safe on every CPU with few channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAFE_CHANNELS = 16
"""Fewest input channels with which a strided 1x1 convolution in channels-last memory is safe on every CPU."""


class NarrowProjection(nn.Conv2d):
    """A strided 1x1 convolution that computes in contiguous memory on a CPU.

    The backward pass of torch 2.14.1 writes past the end of its memory for this convolution on a CPU, if the memory is
    channels last and there are fewer input channels than numbers in a register: 8 with AVX2, and with AVX-512 16, then
    for maps of 48 px or more. The process crashes or hangs. In contiguous memory the result is the same, to the bit,
    and the memory stays intact. Parameters and their names are those of ``nn.Conv2d``.
    """

    def forward(self, maps: Tensor) -> Tensor:  # noqa: D102
        # torch computes in channels-last memory if the strides of the maps or of the weights say so; the strides of
        # weights for one input channel say nothing
        channels_last = _is_channels_last(maps) or (self.in_channels > 1 and _is_channels_last(self.weight))
        if maps.device.type != "cpu" or not channels_last:
            return super().forward(maps)
        projected: Tensor = self._conv_forward(_contiguous(maps), _contiguous(self.weight), self.bias)
        return projected.contiguous(memory_format=torch.channels_last)


def protect_narrow(net: nn.Module) -> None:
    """Make the strided 1x1 convolutions of a network with few input channels safe, in place.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), nn.Conv2d(16, 16, 1, stride=2))
        >>> protect_narrow(net)
        >>> [type(module).__name__ for module in net]
        ['NarrowProjection', 'Conv2d']
    """
    for module in net.modules():
        if type(module) is nn.Conv2d and _is_narrow(module):
            module.__class__ = NarrowProjection  # parameters and their names stay


def _is_narrow(convolution: nn.Conv2d) -> bool:
    is_strided = convolution.kernel_size == (1, 1) and max(convolution.stride) > 1
    return is_strided and convolution.groups == 1 and convolution.in_channels < SAFE_CHANNELS


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.stride(1) == 1 and tensor.stride(3) == tensor.shape[1]


def _contiguous(tensor: Tensor) -> Tensor:
    """Return a tensor, [N, C, H, W], with the strides of contiguous memory.

    ``contiguous`` alone keeps channels-last strides where C or H and W are 1, because both layouts are then the same
    in memory; torch would still choose the channels-last convolution by these strides.
    """
    return tensor.contiguous().flatten(1).view(tensor.shape)
