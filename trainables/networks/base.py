"""Interface of a network by name: what is known before torch is imported, and how it is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class Network(ABC):
    """A network that a study can name.

    A new network is one file in this folder. It imports torch inside :meth:`build` only, because configurations are
    checked without torch. A network outside this package declares no ``name``: a study names it
    ``package.module:Class``.

    Attributes:
        name: ``model.name`` in a study file.
        n_stages: number of stages; a stage is a layer that can be mixed at.
    """

    name: ClassVar[str]
    n_stages: ClassVar[int]

    @abstractmethod
    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights, drawn from torch's global generator, which the caller seeds.

        Args:
            n_classes: number of logits.
            side_px: shorter side of the images, at least 4; the last map must be 4x4 or larger.
            width: factor on the number of channels of each layer.
        """
