"""Networks as encoders of captioners: those of a model, or new ones of the same kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import Model
from trainables.errors import UserError
from trainables.models.build import build_model
from trainables.networks.modules.staged import StagedNet


@dataclass(frozen=True)
class EncoderKind:
    """What decides the layers of a network.

    Attributes:
        model: configuration of the network.
        n_classes: number of classes of the model; a captioner does not use its classifier.
        height_px: height of the images that the model was trained on, which decides on strides and stem.
        width_px: width of these images.
    """

    model: Model
    n_classes: int
    height_px: int
    width_px: int

    def build(self, *, seed: int = 0, weights: Mapping[str, Tensor] | None = None) -> StagedNet:
        """Return the network, channels last in memory, with weights drawn by the seed, or with the given ones."""
        net = build_model(
            self.model, n_classes=self.n_classes, height_px=self.height_px, width_px=self.width_px, seed=seed
        )
        if weights is not None:
            net.load_state_dict(weights)
        return net.to(memory_format=torch.channels_last)

    def check_takes(self, side_px: int) -> None:
        """Check that the network computes maps of square images of another size; nothing is computed for it.

        Raises:
            UserError: it does not, for example a network of timm with a fixed size.
        """
        try:
            with torch.device("meta"):
                self.build().eval().features(torch.empty(1, 3, side_px, side_px))
        except Exception as error:  # whatever a network does at a size that it does not take
            raise UserError(
                f"captioning.image_size_px is {side_px}, but '{self.model.name}', trained on"
                f" {self.height_px}x{self.width_px} px, does not take it: {' '.join(str(error).split())}; set it to"
                f" {min(self.height_px, self.width_px)}"
            ) from None
