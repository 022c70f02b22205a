"""The facts about a batch that a draw may depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MapKind: TypeAlias = Literal["cam", "attention", "gradient"]
"""What a map of the network shows per place: the class activation of the label's class, the mean absolute value of the
last maps, or the norm of the loss's gradient with respect to the image."""


@dataclass(frozen=True, eq=False)
class BatchView:
    """The batch that is about to be mixed.

    Attributes:
        shape: (B, C, H, W) of what is mixed: images, or maps inside the network.
        labels: classes, int64 [B], on the host because pairing by class is computed there.
        images: normalised images [B, C, H, W] on the device; None if no policy needs them.
        boxes: each object's (y0, x0, y1, x1) in half-open pixels, int64 [B, 4], on the host, after crop and flip;
            empty if the crop contains nothing of the object. None if the data have no boxes.
        maps: returns maps of the network for the images before mixing, float32 [B, h, w] of any h and w on the device;
            None if no network is known. It is called only for policies that need maps.
    """

    shape: tuple[int, int, int, int]
    labels: np.ndarray
    images: Tensor | None = None
    boxes: np.ndarray | None = None
    maps: Callable[[MapKind], Tensor] | None = None

    def maps_of(self, kind: MapKind) -> Tensor:
        """Return the maps of a kind, float32 [B, h, w].

        Raises:
            ValueError: no network is known.
        """
        if self.maps is None:
            raise ValueError(f"this policy needs maps of the network ('{kind}'), but the batch has none")
        return self.maps(kind)
