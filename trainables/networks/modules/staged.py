"""Interface of all networks: a stem, stages, global average pooling and one linear classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from trainables.networks.modules.branches import BranchScale

Change = Callable[[Tensor], Tensor]
"""Maps feature maps to feature maps of the same shape."""

MIN_MAP_PX = 4
"""Smallest side of the last feature map: a coarser map cannot localise objects."""


class StagedNet(nn.Module):
    """A convolutional network for classification with access to the feature maps after each stage.

    ``forward`` is ``head(features(images))``. ``features`` is the stem followed by the stages in order; a caller can
    change the maps after any stage. The head pools before its only linear layer. So the channels of
    ``features(images)``, weighted by ``classifier.weight[k]`` and summed, are the class activation map of class k (Zhou
    et al., CVPR 2016, equation 2).

    Channels-last memory of weights and images is kept throughout: ``net.to(memory_format=torch.channels_last)``.

    Attributes:
        stem: maps images to the first feature map.
        stages: groups of residual blocks in order; each has more channels and smaller maps than the one before.
        classifier: maps the pooled channels of the last stage to logits.
        branch_scales: factors of the residual branches, in the order of the modules; empty without stochastic depth
            and ShakeDrop. They are no modules: the state of the network is the same with and without.
    """

    def __init__(self, *, stem: nn.Module, stages: Iterable[nn.Module], classifier: nn.Linear) -> None:
        """Compose a network of parts with matching channels."""
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.classifier = classifier
        self.branch_scales: tuple[BranchScale, ...] = ()

    def features(self, images: Tensor, *, changes: Sequence[tuple[int, Change]] = ()) -> Tensor:
        """Return the last maps, float [B, C, h, w] with h and w at least 4, of images, float [B, 3, H, W].

        Args:
            images: input of the network.
            changes: (layer, change) pairs, applied in this order if a layer occurs twice. Layer 0 is the images, layer
                k the maps after the k-th stage.

        Raises:
            ValueError: a layer is greater than the number of stages.
        """
        self.check_layers(changes)
        maps: Tensor = self.stem(changed(images, 0, changes))
        for layer, stage in enumerate(self.stages, start=1):
            maps = changed(stage(maps), layer, changes)
        return maps

    def check_layers(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Check that the network has the layers that shall be changed.

        Raises:
            ValueError: it has not.
        """
        for layer, _ in changes:
            if not 0 <= layer <= len(self.stages):
                raise ValueError(f"layer is {layer}, but the network has {len(self.stages)} stages")

    def head(self, maps: Tensor) -> Tensor:
        """Return the logits, float [B, n_classes], of the last maps, float [B, C, h, w] of any h and w."""
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits

    def forward(self, images: Tensor, *, changes: Sequence[tuple[int, Change]] = ()) -> Tensor:
        """Return the logits, float [B, n_classes], of images, float [B, 3, H, W]; see :meth:`features`."""
        return self.head(self.features(images, changes=changes))


def fitting_strides(strides: Sequence[int], side_px: int) -> tuple[int, ...]:
    """Return strides with the first ones set to 1, until the last map has a side of at least ``MIN_MAP_PX``.

    Networks for small images usually shrink them late, so that early layers see all details.

    Args:
        strides: strides of the layers of a network, in the order in which they are removed; each layer is padded such
            that its stride s turns n pixels into ceil(n / s).
        side_px: shorter side of the images, at least ``MIN_MAP_PX``.

    Examples:
        >>> fitting_strides((2, 1, 2, 2), 32), fitting_strides((2, 1, 2, 2), 16)
        ((2, 1, 2, 2), (1, 1, 2, 2))
    """
    fitting = list(strides)
    for index in range(len(fitting)):
        if math.ceil(side_px / math.prod(fitting)) >= MIN_MAP_PX:
            break
        fitting[index] = 1
    return tuple(fitting)


def changed(maps: Tensor, layer: int, changes: Sequence[tuple[int, Change]]) -> Tensor:
    """Return the maps of a layer after all changes of this layer."""
    for where, change in changes:
        if where == layer:
            maps = change(maps)
    return maps


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times the factor ``width``, rounded to the nearest whole number, at least 1.

    Examples:
        >>> scaled(64, 0.25), scaled(16, 0.01)
        (16, 1)
    """
    return max(1, round(channels * width))


def init_convolutions(net: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 2 / fan_out) with torch's global generator.

    This is the initialisation of He et al. (ICCV 2015, section 2.2, "backward propagation case"), as in torchvision.
    Norms and classifier keep torch's defaults. The last norm of a block does not start at zero: that technique is for
    batches of thousands (Goyal et al. 2017, section 5.1), and the networks in the papers on CutMix do not use it.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
