"""Networks of timm: outputs of timm, changes between stages, and refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from trainables.config import Model, TrialConfig
from trainables.contracts.networks import check_state_is_complete, check_weights_follow_the_seed
from trainables.errors import UserError
from trainables.models.build import build_model
from trainables.networks import NETWORKS
from trainables.networks.modules.timm_net import TimmNet
from trainables.strict import parse
from trainables.synced_norm import synchronise_norms

SIDE_PX = 128


def build(name: str, *, side_px: int = SIDE_PX, **options: Any) -> TimmNet:
    model = Model.model_validate({"name": f"timm:{name}", **options})
    net = build_model(model, n_classes=7, height_px=side_px, width_px=side_px, seed=0)
    assert isinstance(net, TimmNet)
    return net


def images(side_px: int = SIDE_PX) -> Tensor:
    return torch.randn(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


def small_swin() -> nn.Module:
    """A network whose maps have their channels last."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(img_size=32, patch_size=2, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4)


def with_weights_of(net: TimmNet, library: Any) -> Any:
    """Return timm's own network with the weights of ours."""
    path = next(path for path, module in library.named_modules() if module is library.get_classifier())
    state = {key.removeprefix("net."): value for key, value in net.state_dict().items() if key.startswith("net.")}
    state |= {f"{path}.{key}": value for key, value in net.classifier.state_dict().items()}
    library.load_state_dict(state)
    return library.eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_maxvit"])
def test_outputs_are_those_of_timm(name: str) -> None:
    net = build(name).eval()
    sized = {"img_size": SIDE_PX} if name == "test_maxvit" else {}
    with torch.random.fork_rng(devices=[]):
        library = with_weights_of(net, timm.create_model(name, num_classes=7, **sized))
    with torch.inference_mode():
        torch.testing.assert_close(net(images()), library(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_changes_meet_their_stage(name: str) -> None:
    net = build(name).eval()
    n_stages = NETWORKS[f"timm:{name}"].n_stages
    assert len(net.stages) == n_stages
    seen: list[torch.Size] = []

    def look(maps: Tensor) -> Tensor:
        seen.append(maps.shape)
        return maps

    with torch.inference_mode():
        plain = net.features(images())
        shown = net.features(images(), changes=[(layer, look) for layer in range(n_stages + 1)])
        assert torch.equal(shown, plain)
        assert len(seen) == n_stages + 1
        sides = [shape[2] for shape in seen]
        assert sides == sorted(sides, reverse=True)
        assert seen[-1] == plain.shape
        assert torch.equal(net.features(images(), changes=[(n_stages, lambda maps: 2 * maps)]), 2 * plain)
        for layer in range(n_stages):
            assert not torch.equal(net.features(images(), changes=[(layer, lambda maps: maps.flip(3))]), plain), layer
        assert torch.equal(net.features(images()), plain)  # nothing is left of the changes
    with pytest.raises(ValueError, match=f"layer is 9, but the network has {n_stages} stages"):
        net(images(), changes=[(9, look)])


def test_a_pass_inside_a_change_leaves_the_other_changes() -> None:
    """Attacks, and maps for the mixing, pass through the network when its images are changed."""
    net, seen = build("test_resnet").eval(), list[int]()
    n_stages = len(net.stages)

    def passed_through(batch: Tensor) -> Tensor:
        net(batch)
        return batch

    changes = [(layer, lambda maps, layer=layer: (seen.append(layer), maps)[1]) for layer in range(1, n_stages + 1)]
    with torch.inference_mode():
        net.features(images(), changes=[(0, passed_through), *changes])
    assert seen == [*range(1, n_stages + 1)]


def test_maps_with_channels_last_are_shown_in_the_usual_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.layers import DropPath

    def created(name: str, *, n_classes: int, side_px: int | None = None) -> nn.Module:
        net = small_swin()
        net.reset_classifier(n_classes)  # type: ignore[operator]
        for path, module in list(net.named_modules()):
            if isinstance(module, DropPath):
                net.set_submodule(path, nn.Identity())
        return net

    monkeypatch.setattr("trainables.networks.modules.timm_net._created", created)
    monkeypatch.setattr("timm.is_model", lambda name: True)
    net = TimmNet("small_swin", n_classes=7, side_px=32).eval()
    seen: list[torch.Size] = []
    with torch.inference_mode():
        maps = net.features(images(32), changes=[(1, lambda maps: (seen.append(maps.shape), maps)[1])])
    assert seen == [(2, 8, 16, 16)]
    assert maps.shape == (2, 16, 8, 8)
    torch.testing.assert_close(net(images(32)), net.classifier(net.net.forward_head(maps.permute(0, 2, 3, 1))))


@pytest.mark.parametrize("law", [check_weights_follow_the_seed, check_state_is_complete])
def test_law(law: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other laws are about widths and sizes, which networks of timm do not have."""
    defaults = dict(zip(("width", "side_px", "n_classes", "seed"), (1.0, SIDE_PX, 7, 0), strict=True))
    monkeypatch.setattr("trainables.contracts.networks.built.__kwdefaults__", defaults)
    monkeypatch.setattr("trainables.contracts.networks.images.__defaults__", (SIDE_PX,))
    law("timm:test_efficientnet")


def test_stochastic_depth_scales_the_branches_that_timm_marks() -> None:
    assert len(build("test_convnext", stochastic_depth={}).branch_scales) == 9  # blocks
    with pytest.raises(UserError, match="the network shows no residual branch"):
        build("test_resnet", stochastic_depth={})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tny", r"timm [\d.]+ has no network 'convnext_tny'; did you mean 'convnext_tiny'\?"),
        ("resnet50.a1_in1k", "start from random weights: use 'timm:resnet50'"),
        ("hrnet_w18_small", "cannot be mixed between its stages: 'stem', a stage in its feature_info"),
    ],
)
def test_an_unusable_name_is_refused_by_the_configuration(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(TrialConfig, {"model": {"name": f"timm:{name}"}}, where="here")


@pytest.mark.parametrize(
    ("name", "side_px", "options", "message"),
    [
        ("test_vit", 128, {}, r"its stage 'blocks\.0' gives tokens, \[2, \d+, 64\], not maps"),
        ("mobilenetv3_small_050", 128, {}, "logits are not a linear function of the mean of its last maps"),
        ("test_resnet", 32, {}, r"last map of 1x1 at 32x32 px.*set data\.image_size_px to 128 or more"),
        ("test_resnet", 128, {"width": 0.5}, r"model\.width is 0\.5, but networks of timm have no width"),
    ],
)
def test_an_unusable_network_is_refused_when_it_is_built(
    name: str, side_px: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(name, side_px=side_px, **options)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(UserError, match=r"needs square images, got 128x160 px: set data\.image_size_px, for example"):
        build_model(Model(name="timm:test_resnet"), n_classes=3, height_px=128, width_px=160, seed=0)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'cutmix-sweep\[timm\]'"):
        parse(TrialConfig, {"model": {"name": "timm:resnet10t"}}, where="here")


def test_workers_keep_the_activation_inside_a_norm() -> None:
    """timm has batch norms with an activation of their own."""
    net = build("test_efficientnet").eval()
    with torch.inference_mode():
        expected = net(images())
        synchronise_norms(net)
        torch.testing.assert_close(net(images()), expected)
