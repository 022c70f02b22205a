"""Networks of timm behind the interface of all networks."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from trainables.errors import UserError
from trainables.networks.modules.staged import MIN_MAP_PX, Change, StagedNet, changed

LARGEST_DIFFERENCE = 1e-3
"""Largest difference of logits, over their largest size, that counts as rounding."""


class Tap(nn.Module):
    """Shows the maps after a stage in the usual order of dimensions, and changes them; it has no weights.

    Attributes:
        layer: number of the stage, from 1.
        channels_last: whether the stage gives maps [B, h, w, C] instead of [B, C, h, w].
        changes: changes of the present forward pass.
    """

    def __init__(self, layer: int, *, channels_last: bool) -> None:
        """Show the maps of a stage."""
        super().__init__()
        self.layer, self.channels_last = layer, channels_last
        self.changes: Sequence[tuple[int, Change]] = ()

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps, float [B, C, h, w], as they are: a hook of this module sees them."""
        return maps

    def hook(self, module: nn.Module, inputs: Any, maps: Tensor) -> Tensor:
        """Return the changed maps in the order of dimensions of the stage; a forward hook of the stage."""
        result = changed(self(self.usual(maps)), self.layer, self.changes)
        return result.permute(0, 2, 3, 1) if self.channels_last else result

    def usual(self, maps: Tensor) -> Tensor:
        """Return maps of the stage as [B, C, h, w]."""
        return maps.permute(0, 3, 1, 2) if self.channels_last else maps


class TimmNet(StagedNet):
    """A network of timm; its logits equal timm's with the same weights, up to rounding.

    Attributes:
        net: timm's network; its classifier is the attribute ``classifier`` of this one.
    """

    def __init__(self, name: str, *, n_classes: int, side_px: int) -> None:
        """Build a network for square images of ``side_px`` with weights of torch's global generator.

        Raises:
            UserError: the network cannot be used; the message says why.
        """
        shapes = _shapes(name, side_px)
        net = _created(name, n_classes=n_classes, side_px=side_px)
        _check_draws_nothing(net, name)
        classifier = _classifier(net, name)
        super().__init__(stem=nn.Identity(), stages=(), classifier=classifier)
        for layer, (path, shape) in enumerate(shapes.items(), start=1):
            tap = Tap(layer, channels_last=_is_channels_last(name, path, shape))
            if layer < len(shapes):  # the last maps are those of the whole network
                net.get_submodule(path).register_forward_hook(tap.hook)
            self.stages.append(tap)
        self.net = net
        # a norm between pooling and classifier, as in ConvNeXt
        self._normed = isinstance(getattr(getattr(net, "head", None), "norm", None), nn.LayerNorm)
        _check_head(self, name, shapes)
        path = next(path for path, module in net.named_modules() if module is classifier)
        net.set_submodule(path, nn.Identity())

    @property
    def taps(self) -> list[Tap]:
        """The stages."""
        return cast("list[Tap]", list(self.stages))

    def features(self, images: Tensor, *, changes: Sequence[tuple[int, Change]] = ()) -> Tensor:
        """Return the last maps of images; see :meth:`StagedNet.features`."""
        self.check_layers(changes)
        *taps, last = self.taps
        images = changed(images, 0, changes)  # first: an attack, or maps for the mixing, pass through the network too
        try:
            for tap in taps:
                tap.changes = changes
            maps: Tensor = last.usual(self.net.forward_features(images))
        finally:
            for tap in taps:
                tap.changes = ()
        return changed(last(self._as_pooled(maps)), last.layer, changes)

    def _as_pooled(self, maps: Tensor) -> Tensor:
        """Return the maps such that the classifier takes their mean.

        A layer norm after the pooling is applied to all pixels, with the statistics of the pooled channels: the mean of
        the maps is then the normalised mean, and class activation maps stay exact.
        """
        if not self._normed:
            return maps
        norm: Any = self.net.head.norm
        maps = maps.float()
        variance, mean = torch.var_mean(maps.mean(dim=(2, 3), keepdim=True), dim=1, keepdim=True, correction=0)
        scale, shift = (each.view(1, -1, 1, 1) for each in (norm.weight, norm.bias))
        normed: Tensor = (maps - mean) * (variance + norm.eps).rsqrt() * scale + shift
        return normed


@functools.cache
def stage_paths(name: str) -> tuple[str, ...]:
    """Return the paths of the modules of a timm network that end a stage.

    Raises:
        ValueError: timm has no such network, or tells no stages of it.

    Examples:
        >>> stage_paths("resnet18")
        ('act1', 'layer1', 'layer2', 'layer3', 'layer4')
    """
    import timm

    if not timm.is_model(name):
        raise ValueError(f"timm {timm.__version__} has no network '{name}'{_suggestion(name)}")
    if "." in name:
        raise ValueError(f"networks of timm start from random weights: use 'timm:{name.partition('.')[0]}'")
    with torch.device("meta"):
        net = _created(name, n_classes=1)
    info: Any = getattr(net, "feature_info", None) or ()
    paths = tuple(str(each["module"]) for each in getattr(info, "info", info))
    modules = dict(net.named_modules())
    missing = [path for path in paths if path not in modules]
    if not paths or missing or len({*paths}) < len(paths):
        what = f"'{missing[0]}', a stage in its feature_info, is no module of it" if missing else "timm tells no stages"
        raise ValueError(f"network 'timm:{name}' cannot be mixed between its stages: {what}")
    return paths


def _suggestion(name: str) -> str:
    import timm

    close = difflib.get_close_matches(name, timm.list_models(), n=1)
    return f"{''.join(f'; did you mean {each!r}?' for each in close)} timm.list_models() lists all names"


def _created(name: str, *, n_classes: int, side_px: int | None = None) -> Any:
    import timm
    from timm.layers import DropPath

    options: dict[str, Any] = {"pretrained": False, "num_classes": n_classes}
    default: Any = timm.get_pretrained_cfg(name)
    if side_px is not None and default is not None and default.fixed_input_size:
        options["img_size"] = side_px
    net = timm.create_model(name, **options)
    for path, module in list(net.named_modules()):
        if isinstance(module, DropPath):  # some networks have stochastic depth by default: it draws globally
            net.set_submodule(path, nn.Identity())
    return net


@functools.cache
def _shapes(name: str, side_px: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of the maps of each stage by path, for two square images; the last is that of the whole network.

    Raises:
        UserError: the network does not take images of this size, or its last map is too small.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    paths = stage_paths(name)
    try:
        with torch.device("meta"):
            net = _created(name, n_classes=1, side_px=side_px)
            for path in paths:
                net.get_submodule(path).register_forward_hook(
                    lambda module, inputs, maps, path=path: shapes.update({path: tuple(getattr(maps, "shape", ()))})
                )
            last = net.eval().forward_features(torch.zeros(2, 3, side_px, side_px))
    except Exception as error:  # whatever a network does at a size that it does not take
        raise UserError(
            f"model.name 'timm:{name}' does not take images of {side_px}x{side_px} px: {type(error).__name__}: "
            f"{' '.join(str(error).split())}; set data.image_size_px"
        ) from None
    if list(shapes) != list(paths):
        raise _refusal(name, f"stages run in another order than its feature_info has: {', '.join(shapes)}")
    shapes[paths[-1]] = tuple(getattr(last, "shape", ()))
    layouts = [_is_channels_last(name, path, shape) for path, shape in shapes.items()]
    map_px = shapes[paths[-1]][1 if layouts[-1] else 2]
    if map_px < MIN_MAP_PX:
        larger = -(-side_px * MIN_MAP_PX // (32 * map_px)) * 32
        raise UserError(
            f"model.name 'timm:{name}' has a last map of {map_px}x{map_px} at {side_px}x{side_px} px, but it must be "
            f"{MIN_MAP_PX}x{MIN_MAP_PX} or larger: set data.image_size_px to {larger} or more"
        )
    return shapes


def _is_channels_last(name: str, path: str, shape: tuple[int, ...]) -> bool:
    """Return whether a stage gives [B, h, w, C] instead of [B, C, h, w] for square images.

    Raises:
        UserError: it gives something else, for example tokens.
    """
    if len(shape) == 4 and shape[2] == shape[3]:
        return False
    if len(shape) == 4 and shape[1] == shape[2]:
        return True
    what = f"tokens, {list(shape)}" if len(shape) == 3 else f"values of shape {list(shape)}"
    raise _refusal(name, f"its stage '{path}' gives {what}, not maps")


def _classifier(net: Any, name: str) -> nn.Linear:
    classifier = net.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise _refusal(name, f"its classifier is a {type(classifier).__name__}, not one linear layer")
    return classifier


def _check_draws_nothing(net: nn.Module, name: str) -> None:
    """Check that training draws no random numbers: they would be those of torch's global generator."""
    for path, module in net.named_modules():
        for rate in ("p", "drop_prob", "drop_rate"):
            value = getattr(module, rate, 0)
            if isinstance(value, float) and value > 0:
                raise _refusal(name, f"its module '{path}' drops values at random, by torch's global generator")


def _check_head(staged: TimmNet, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Check with random maps that the logits are the classifier on the mean of the last maps."""
    *_, last = staged.taps
    weight = staged.classifier.weight
    maps = torch.randn([*shapes.values()][-1], generator=torch.Generator().manual_seed(0), device="cpu")
    maps = maps.to(weight.device)
    is_linear = last.usual(maps).shape[1] == weight.shape[1]
    if is_linear:
        training = staged.net.training
        with torch.no_grad():
            expected = staged.net.eval().forward_head(maps)
            logits = staged.head(staged._as_pooled(last.usual(maps)))
        staged.net.train(training)
        if weight.is_meta:  # nothing can be compared without memory
            return
        is_linear = bool((expected - logits).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max())
    if not is_linear:
        raise _refusal(name, "its logits are not a linear function of the mean of its last maps")


def _refusal(name: str, reason: str) -> UserError:
    return UserError(f"model.name 'timm:{name}' cannot be mixed and localised as other networks are: {reason}")
