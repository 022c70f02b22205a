"""Maps of a network for the images before mixing: what it sees where.

The network is the present one, with the weights that are trained (not their moving average), in evaluation mode: batch
norms use their running averages and leave them unchanged, residual branches have their expected factors, and nothing
is drawn. The map of an image depends on no other image of the batch. Published code: that of PuzzleMix (Kim et al.,
ICML 2020) evaluates as well; that of SnapMix (Huang et al., AAAI 2021) normalises by the batch, and this pass changes
the running averages too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainables.mixing.batch_view import MapKind
from trainables.networks.modules.staged import StagedNet


def net_maps(net: StagedNet, images: Tensor, labels: Tensor, kind: MapKind, *, loss_scale: float = 1.0) -> Tensor:
    """Return what a network in evaluation mode sees where, float32 [B, h, w]; the network is left as it was.

    - ``cam``: the class activation map of the label's class (Zhou et al., CVPR 2016, equation 2), of the size of the
      last maps; values may be negative.
    - ``attention``: the mean absolute value of the last maps over their channels, of their size.
    - ``gradient``: the root of the mean over channels of the squared gradient of the loss with respect to the image, of
      the size of the images (Kim et al., ICML 2020, section 3).

    Args:
        net: the network; its parameters receive no gradient.
        images: normalised, float32 [B, 3, H, W].
        labels: int64 [B], on the same device.
        kind: kind of maps.
        loss_scale: factor on the loss, so that small gradients in fp16 are not rounded to zero; it cancels.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> net = build_model(Model(name="tiny"), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> images, labels = torch.zeros(2, 3, 32, 32), torch.tensor([3, 7])
        >>> [tuple(net_maps(net, images, labels, kind).shape) for kind in ("cam", "attention", "gradient")]
        [(2, 4, 4), (2, 4, 4), (2, 32, 32)]
    """
    with in_evaluation(net):
        if kind == "gradient":
            return _gradient_norms(net, images, labels, loss_scale)
        with torch.no_grad():
            maps = net.features(images)
            # not the product of all classes: CUB has 200
            return activation_maps(maps, net.classifier, labels) if kind == "cam" else maps.float().abs().mean(dim=1)


def activation_maps(maps: Tensor, classifier: nn.Linear, classes: Tensor) -> Tensor:
    """Return the class activation map of one class per image (Zhou et al., CVPR 2016, equation 2): float32 [B, h, w].

    Args:
        maps: last maps of the network, float [B, C, h, w].
        classifier: its linear layer after the pooling.
        classes: int64 [B].

    Examples:
        >>> classifier = nn.Linear(2, 3)
        >>> maps = torch.rand(1, 2, 4, 4)
        >>> logits = classifier(maps.mean(dim=(2, 3)))
        >>> from_map = activation_maps(maps, classifier, torch.tensor([1])).mean() + classifier.bias[1]
        >>> torch.allclose(from_map, logits[0, 1])
        True
    """
    weights = classifier.weight[classes][:, :, None, None]
    return (weights * maps.float()).sum(dim=1)


@contextlib.contextmanager
def in_evaluation(net: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode; each of its modules gets its own mode back.

    Examples:
        >>> net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout().eval())
        >>> with in_evaluation(net):
        ...     print([module.training for module in net])
        [False, False]
        >>> [module.training for module in net]
        [True, False]
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _gradient_norms(net: StagedNet, images: Tensor, labels: Tensor, loss_scale: float) -> Tensor:
    with torch.enable_grad():
        seen = images.detach().requires_grad_()
        # a sum: the gradient of a sample must not shrink with the size of the batch
        loss = loss_scale * nn.functional.cross_entropy(net(seen).float(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, seen)
    return gradient.float().square().mean(dim=1).sqrt() / loss_scale
