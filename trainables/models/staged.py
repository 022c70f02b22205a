"""The face that every network shows: a stem, stages, global average pooling and one linear classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
"""From maps to maps of the same shape."""

MIN_MAP_PX = 4
"""Least side of the last feature map: a coarser one cannot localise anything."""


class StagedNet(nn.Module):
    """A convolutional network for classification whose inner maps can be reached stage by stage.

    ``forward`` is ``head(features(images))``, and ``features`` is the stem followed by every stage in order:
    a caller can stop after a stage, change the maps and go on. The head pools before its only linear layer:
    the channels of ``features(images)``, weighted by ``classifier.weight[k]`` and summed, are the class
    activation map of class k (Zhou et al., CVPR 2016, equation 2).

    Channels-last weights and images stay so throughout: ``net.to(memory_format=torch.channels_last)``.

    Attributes:
        stem: from images to the first map.
        stages: groups of residual blocks, in order: more channels and smaller maps from one to the next.
        classifier: from the pooled channels of the last stage to logits.
    """

    def __init__(self, *, stem: nn.Module, stages: Iterable[nn.Module], classifier: nn.Linear) -> None:
        """Compose a network of parts that fit each other."""
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.classifier = classifier

    def features(self, images: Tensor, *, changes: Sequence[tuple[int, Change]] = ()) -> Tensor:
        """Return the last maps, float [B, C, h, w] with h and w at least 4, of images, float [B, 3, H, W].

        Args:
            images: what the network sees.
            changes: layer and what is done there, in this order where a layer comes twice: layer 0 are the images,
                layer k the maps after the k-th stage.

        Raises:
            ValueError: the network has fewer stages.
        """
        for layer, _ in changes:
            if not 0 <= layer <= len(self.stages):
                raise ValueError(f"layer is {layer}, but the network has {len(self.stages)} stages")
        maps: Tensor = self.stem(_changed(images, 0, changes))
        for layer, stage in enumerate(self.stages, start=1):
            maps = _changed(stage(maps), layer, changes)
        return maps

    def head(self, maps: Tensor) -> Tensor:
        """Return the logits, float [B, n_classes], of the last maps, float [B, C, h, w] of any h and w."""
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits

    def forward(self, images: Tensor, *, changes: Sequence[tuple[int, Change]] = ()) -> Tensor:
        """Return the logits, float [B, n_classes], of images, float [B, 3, H, W]; see :meth:`features`."""
        return self.head(self.features(images, changes=changes))


def fitting_strides(strides: Sequence[int], side_px: int) -> tuple[int, ...]:
    """Give up strides, the first one first, until the last map has a side of at least ``MIN_MAP_PX``.

    Small images are usually given nets that shrink them late: the detail is spent where it has been seen.

    Args:
        strides: of the layers of a network, most dispensable first; each layer is padded such that its stride
            s turns n pixels into ceil(n / s).
        side_px: the images' shorter side, at least ``MIN_MAP_PX``.
    """
    fitting = list(strides)
    for index in range(len(fitting)):
        if math.ceil(side_px / math.prod(fitting)) >= MIN_MAP_PX:
            break
        fitting[index] = 1
    return tuple(fitting)


def _changed(maps: Tensor, layer: int, changes: Sequence[tuple[int, Change]]) -> Tensor:
    for where, change in changes:
        if where == layer:
            maps = change(maps)
    return maps


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times the factor ``width``, rounded to the nearest whole number, at least 1."""
    return max(1, round(channels * width))


def init_convolutions(net: nn.Module) -> None:
    """Draw every convolution's weights from N(0, 2 / fan_out) with torch's global generator.

    He et al. (ICCV 2015, section 2.2, "backward propagation case"), as torchvision does. Norms and classifier
    keep torch's defaults. The last norm of a block does not start at zero: that device is for batches of
    thousands (Goyal et al. 2017, section 5.1), and the nets of the papers compared with did without it.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
