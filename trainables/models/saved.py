"""Files of trained models: all that is needed to use a model, in types that load without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.errors import UserError
from trainables.intact import DamagedFile
from trainables.models.build import build_model
from trainables.networks.modules.staged import StagedNet
from trainables.renames import with_present_keys
from trainables.saved_state import named_damage, read_state

FORMAT = 1
"""Version of the files. Raise it when older versions cannot read new files."""


class TrainedTrial(Protocol):
    """The part of :class:`trainables.trial.Trial` that is saved; the trial imports the networks, not the reverse."""

    @property
    def config(self) -> TrialConfig:
        """Configuration of the trial."""

    @property
    def images(self) -> ImageSet:
        """Training images of the source, with their statistics."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that are evaluated."""

    def last_weights(self) -> dict[str, Tensor]:
        """Return the weights after the last step."""


class Normalize(nn.Module):
    """Per-channel normalisation of images in [0, 1] to mean 0 and standard deviation 1, as in training."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Take the channels' means and standard deviations, float32 [3], in [0, 1] units."""
        super().__init__()
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.clamp_min(1e-3).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images, float32 [B, 3, H, W]."""
        return (images - self.mean) / self.std


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A trained model.

    Attributes:
        config: configuration of its training.
        classes: names of its classes, in the order of the logits.
        model: maps images in [0, 1], float32 [B, 3, H, W], to logits, float32 [B, C]: ``Sequential(Normalize, net)`` in
            evaluation mode; its parameters need no gradients.
        last: the model with the weights of the last step, if ``model`` has their moving average; otherwise ``model``.
        height_px: height of the training images.
        width_px: width of the training images.
    """

    config: TrialConfig
    classes: tuple[str, ...]
    model: nn.Sequential
    last: nn.Sequential
    height_px: int
    width_px: int

    @property
    def net(self) -> StagedNet:
        """The network inside; its input is normalised images."""
        net = self.model[1]
        assert isinstance(net, StagedNet)
        return net

    @property
    def normalize(self) -> nn.Module:
        """The normalisation of its images."""
        return self.model[0]

    @property
    def weights_name(self) -> str:
        """Name of the weights of ``model``: ``last`` or ``ema``."""
        return "last" if self.config.optimizer.ema_decay is None else "ema"

    def to(self, device: torch.device) -> SavedModel:
        """Return the model on a device."""
        model = self.model.to(device)
        return replace(self, model=model, last=model if self.last is self.model else self.last.to(device))


def model_state(trial: TrainedTrial) -> dict[str, Any]:
    """Return the content of the file of a trained model."""
    images = trial.images
    return {
        "format": FORMAT,
        "config": json.loads(trial.config.model_dump_json()),
        "weights": trial.weights(),
        "last_weights": None if trial.config.optimizer.ema_decay is None else trial.last_weights(),
        "classes": list(images.classes),
        "mean": torch.from_numpy(images.mean.copy()),
        "std": torch.from_numpy(images.std.copy()),
        "height_px": images.images.shape[1],
        "width_px": images.images.shape[2],
    }


def read_model(path: Path, *, expected_sha256: str | None = None) -> SavedModel:
    """Read a model from a file onto the host, without running code from the file.

    Args:
        path: the file.
        expected_sha256: checksum of the recorded model; None: any model that is intact.

    Raises:
        DamagedFile: the file is not as it was written, or not the expected one.
        UserError: the file does not exist, or a newer program wrote it.
    """
    try:
        state = read_state(path, expected_sha256=expected_sha256)
    except FileNotFoundError:
        raise UserError(f"no trained model in '{path}'") from None
    if "classes" not in state:
        raise DamagedFile(path, "it is not a trained model")
    if state.get("format", FORMAT) > FORMAT:
        raise UserError(f"'{path}' was written by a newer cutmix-sweep: update cutmix-sweep")
    with named_damage(path):
        return _saved_model(state)


def _saved_model(state: dict[str, Any]) -> SavedModel:
    config = saved_config(state)
    model = _model(config, state, state["weights"])
    last = state["last_weights"]
    return SavedModel(
        config=config,
        classes=tuple(state["classes"]),
        model=model,
        last=model if last is None else _model(config, state, last),
        height_px=state["height_px"],
        width_px=state["width_px"],
    )


def saved_config(state: Mapping[str, Any]) -> TrialConfig:
    """Return the configuration of the training in the content of a model's file, renamed keys under present names."""
    return TrialConfig.model_validate_json(json.dumps(with_present_keys(state["config"])))


def as_pixels(images: np.ndarray, device: torch.device) -> Tensor:
    """Convert uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [0, 1], channels last in memory, on a device."""
    return torch.from_numpy(images.copy()).to(device).float().div_(255).permute(0, 3, 1, 2)


def _model(config: TrialConfig, state: dict[str, Any], weights: dict[str, Tensor]) -> nn.Sequential:
    net = build_model(
        config.model,
        n_classes=len(state["classes"]),
        height_px=state["height_px"],
        width_px=state["width_px"],
        seed=0,
    )
    net.load_state_dict(weights)
    model = nn.Sequential(Normalize(state["mean"], state["std"]), net.to(memory_format=torch.channels_last)).eval()
    return model.requires_grad_(False)
