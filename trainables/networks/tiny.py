"""The network for fast sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.networks.base import Network

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class Tiny(Network):
    """A ResNet-8 behind a stem that halves the image."""

    name = "tiny"
    n_stages = 3
    residuals = r"stages\.\d+\.\d+\.norm2"

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights."""
        from trainables.networks.modules.cifar_resnet import tiny

        return tiny(n_classes=n_classes, side_px=side_px, width=width)
