"""Maps of a network at several strides, the input of the detectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.errors import UserError
from trainables.networks.modules.staged import StagedNet


@dataclass(frozen=True)
class Level:
    """Maps of a network at one stride.

    Attributes:
        layer: number of the stage that gives them, from 1: the last stage with this stride.
        channels: number of maps.
        side: cells on each side, for a square image.
        stride: image pixels per cell, rounded.
    """

    layer: int
    channels: int
    side: int
    stride: int


def levels_of(net: StagedNet, side_px: int) -> tuple[Level, ...]:
    """Return the levels of a network for square images of a size, from fine to coarse; nothing is computed.

    The network keeps the strides that it was built with: it sees more of a larger image, not a smaller one.

    Raises:
        UserError: the network does not take images of this size.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> net = build_model(Model(name="tiny"), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> [(level.layer, level.side, level.stride) for level in levels_of(net, 96)]
        [(1, 48, 2), (2, 24, 4), (3, 12, 8)]
    """
    shapeless = copy.deepcopy(net).to("meta").eval()
    maps = BackboneMaps(shapeless, range(1, len(shapeless.stages) + 1))
    try:
        found = maps(torch.zeros(2, 3, side_px, side_px, device="meta"))
    except Exception as error:  # whatever a network does at a size that it does not take
        reason = " ".join(str(error).split())
        raise UserError(
            f"the network does not take images of {side_px}x{side_px} px: {type(error).__name__}: {reason}"
        ) from None
    levels = {
        each.shape[2]: Level(layer, each.shape[1], each.shape[2], round(side_px / each.shape[2]))
        for layer, each in enumerate(found, start=1)
    }
    return tuple(sorted(levels.values(), key=lambda level: level.layer))


class BackboneMaps(nn.Module):
    """Returns the maps after some stages of a network, float [B, C, h, w] each, in the order of the stages.

    Attributes:
        net: the network; its classifier is not used.
        layers: numbers of the stages, from 1.
    """

    def __init__(self, net: StagedNet, layers: Sequence[int]) -> None:
        """Take a network."""
        super().__init__()
        self.net, self.layers = net, tuple(layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of normalised images, float [B, 3, H, W]."""
        kept: dict[int, Tensor] = {}

        def keep(layer: int) -> Callable[[Tensor], Tensor]:
            return lambda maps: kept.setdefault(layer, maps)

        self.net.features(images, changes=[(layer, keep(layer)) for layer in self.layers])
        return [kept[layer] for layer in self.layers]


def freeze_norms(module: nn.Module) -> None:
    """Make the batch norms of a module constant maps: their statistics and weights no longer change."""
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.eval()
            each.requires_grad_(False)
