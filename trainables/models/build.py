"""Build the network that a configuration names."""

from __future__ import annotations

import torch
from torch import nn

from trainables.config import Model
from trainables.errors import UserError
from trainables.models.branches import scale_branches
from trainables.networks import NETWORKS
from trainables.networks.modules.narrow import protect_narrow
from trainables.networks.modules.staged import MIN_MAP_PX, StagedNet


def build_model(model: Model, *, n_classes: int, height_px: int, width_px: int, seed: int) -> StagedNet:
    """Return the network with its initial weights, float32, in training mode.

    The weights depend on the arguments alone: trials with the same arguments start from the same network. Torch's
    global generators are not changed. The last feature map is 4x4 or larger: on small images, strides are removed
    until it is, first in the stem. ``model.last_stride`` 1 removes the stride of the last stage as well.
    ``model.precision`` is used by the training loop, not here.

    Args:
        model: name and width; the width factor multiplies the channels of each layer, rounded, at least 1. Stochastic
            depth or ShakeDrop scales the residual branches, in training only if a step draws factors for them.
        n_classes: number of logits.
        height_px: height of the images, which have three channels.
        width_px: width of the images.
        seed: seed of the weights, 0 to 2**64 - 1.

    Raises:
        UserError: images with a side below 4 px, or images that are not square for a network that needs square ones.

    Examples:
        >>> net = build_model(Model(name="resnet18", width=0.25), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> net.features(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 128, 4, 4])
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    side_px = min(height_px, width_px)
    if side_px < MIN_MAP_PX:
        raise UserError(
            f"model.name '{model.name}' needs images of at least {MIN_MAP_PX}x{MIN_MAP_PX} px, got"
            f" {height_px}x{width_px} px, like every other network: set data.image_size_px to enlarge the images"
        )
    if NETWORKS[model.name].is_square and height_px != width_px:
        raise UserError(
            f"model.name '{model.name}' needs square images, got {height_px}x{width_px} px: set data.image_size_px, "
            f"for example to {side_px}"
        )
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the generators of accelerators, which are not forked here
        torch.default_generator.manual_seed(seed)
        network = NETWORKS[model.name]()
        net = network.build(n_classes=n_classes, side_px=side_px, width=model.width)
    if model.last_stride == 1:
        _remove_strides(net.stages[-1])
    protect_narrow(net)
    if model.branches is not None:
        scale_branches(net, network.residuals, model.branches)
    return net


def _remove_strides(stage: nn.Module) -> None:
    """Remove the strides of a stage; its weights and their draws stay as they are."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
