"""Networks with their sizes in their names: published counts, the library's own outputs, laws, and a short life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorchcv.models.pyramidnet_cifar import get_pyramidnet_cifar
from pytorchcv.models.resnet_cifar import get_resnet_cifar
from pytorchcv.models.resnext_cifar import CIFARResNeXt, get_resnext_cifar
from pytorchcv.models.wrn_cifar import get_wrn_cifar
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNeXt50_32X4D_Weights, resnet50, resnext50_32x4d
from torchvision.models.resnet import Bottleneck, ResNet

from search_spaces.own_parts import own_part
from trainables.config import Model, TrialConfig
from trainables.contracts.law import Law
from trainables.contracts.networks import LAWS
from trainables.errors import UserError
from trainables.evaluation.axes.cost import forward_flops
from trainables.models.build import build_model
from trainables.networks import NETWORKS
from trainables.networks.modules.staged import StagedNet
from trainables.strict import parse

SMALL_NAMES = ("pyramidnet20_a24", "wrn10_1", "resnext11_4x4d", "cifar_resnet11_bn")


def build(name: str, *, n_classes: int = 100, side_px: int = 32, width: float = 1.0) -> StagedNet:
    return build_model(Model(name=name, width=width), n_classes=n_classes, height_px=side_px, width_px=side_px, seed=0)


@pytest.mark.parametrize("name", SMALL_NAMES)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[str], name: str) -> None:
    law(name)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrn30_2", r"'model\.name'.*no network 'wrn30_2': its depth must be 6 n \+ 4 .* 28 or 34, got 30"),
        ("pyramidnet111_a48", r"its depth must be 6 n \+ 2 .* 110 or 116, got 111"),
        ("pyramidnet200_a240_bn_", r"unknown network 'pyramidnet200_a240_bn_'; did you mean 'pyramidnet200_a240_bn'"),
        ("resnext30_4x4d", r"its depth must be 9 n \+ 2"),
        ("resnext50_0x4d", r"cardinality and width must be at least 1, got 0 and 4"),
        ("wrn28", r"unknown network 'wrn28'; did you mean 'wrn28_10'"),
    ],
)
def test_a_name_without_a_network_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(TrialConfig, {"model": {"name": name}}, where="here")


def test_members_are_built_in_but_only_common_ones_are_listed() -> None:
    assert "wrn22_3" in NETWORKS
    assert own_part(NETWORKS, "wrn22_3") is None
    assert not NETWORKS.is_own("wrn22_3")
    assert NETWORKS["wrn22_3"] is NETWORKS["wrn22_3"]
    assert {"wrn28_10", "pyramidnet200_a240_bn"} <= {*NETWORKS.names()}
    assert "wrn22_3" not in NETWORKS.names()


# ---------------------------------------------------------------- counts


def torchvision_resnext101() -> nn.Module:
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)


PUBLISHED: list[tuple[str, int, int, Callable[[], Any], float]] = [
    ("pyramidnet110_a48", 10, 32, lambda: get_pyramidnet_cifar(10, 110, 48, False), 1.7),
    ("pyramidnet110_a64_bn", 100, 32, lambda: get_pyramidnet_cifar(100, 110, 64, True), 1.7),
    ("pyramidnet200_a240_bn", 100, 32, lambda: get_pyramidnet_cifar(100, 200, 240, True), 26.8),
    ("cifar_resnet110_bn", 100, 32, lambda: get_resnet_cifar(100, 110, True), 1.1),
    ("wrn28_10", 10, 32, lambda: get_wrn_cifar(10, 28, 10), 36.5),
    ("resnext29_32x4d", 100, 32, lambda: get_resnext_cifar(100, 29, 32, 4), 4.9),
    ("resnext29_8x64d", 10, 32, lambda: get_resnext_cifar(10, 29, 8, 64), 34.4),
    ("resnet50", 1000, 224, resnet50, 25.6),
    ("resnext50_32x4d", 1000, 224, resnext50_32x4d, 25.0),
    ("resnext101_32x4d", 1000, 224, torchvision_resnext101, 44.2),
]
"""Name, classes, side in px, the library's network, and millions of parameters in the networks' papers."""


@pytest.mark.parametrize(("name", "n_classes", "side_px", "reference", "millions"), PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(
    name: str, n_classes: int, side_px: int, reference: Callable[[], Any], millions: float
) -> None:
    with torch.device("meta"):
        net, library = build(name, n_classes=n_classes, side_px=side_px).eval(), reference().eval()
    counts = [sum(each.numel() for each in one.parameters()) for one in (net, library)]
    assert counts[0] == counts[1]
    assert counts[0] / 1e6 == pytest.approx(millions, abs=0.1)  # some papers round, some cut off
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        library(torch.empty(1, 3, side_px, side_px, device="meta"))
    assert forward_flops(net, height_px=side_px, width_px=side_px) == counter.get_total_flops()


def test_an_operation_is_half_a_multiply_add() -> None:
    """torchvision publishes 1e9 multiply-adds."""
    with torch.device("meta"):
        net = build("resnext50_32x4d", n_classes=1000, side_px=224)
    gigaflops = forward_flops(net, height_px=224, width_px=224) / 1e9
    assert gigaflops / 2 == pytest.approx(ResNeXt50_32X4D_Weights.DEFAULT.meta["_ops"], abs=0.01)


# ---------------------------------------------------------------- outputs


def small_resnext() -> nn.Module:
    return CIFARResNeXt([[256], [512], [1024]], 64, 4, 4, num_classes=10)


def as_staged(key: str) -> str:
    """Name a parameter of pytorchcv as StagedNet does."""
    if key.startswith("output."):
        return key.replace("output", "classifier")
    _, _, rest = key.partition("features.")
    part, _, inside = rest.partition(".")
    if part.startswith("stage"):
        unit, _, inside = inside.partition(".")
        return f"stages.{int(part.removeprefix('stage')) - 1}.{int(unit.removeprefix('unit')) - 1}.{inside}"
    return f"stem.{inside}" if part == "init_block" else f"stages.2.end.{inside}"


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("pyramidnet20_a24", lambda: get_pyramidnet_cifar(10, 20, 24, False)),
        ("pyramidnet29_a50_bn", lambda: get_pyramidnet_cifar(10, 29, 50, True)),
        ("wrn16_1", lambda: get_wrn_cifar(10, 16, 1)),
        ("resnext11_4x4d", small_resnext),
    ],
)
def test_outputs_are_the_librarys(name: str, reference: Callable[[], Any]) -> None:
    with torch.random.fork_rng(devices=[]):
        library = reference()
    net = build(name, n_classes=10)
    net.load_state_dict({as_staged(key): value for key, value in library.state_dict().items()})
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(images), library(images), rtol=1e-4, atol=1e-5)  # batch statistics
    with torch.inference_mode():
        torch.testing.assert_close(net.eval()(images), library.eval()(images), rtol=1e-4, atol=1e-5)


def test_resnext_computes_what_torchvisions_does() -> None:
    with torch.random.fork_rng(devices=[]):
        library = ResNet(Bottleneck, [3, 4, 6, 3], groups=32, width_per_group=4, num_classes=5).eval()
    net = build("resnext50_32x4d", n_classes=5, side_px=97).eval()
    net.load_state_dict(dict(zip(net.state_dict(), library.state_dict().values(), strict=True)))  # the same order
    images = torch.rand(1, 3, 97, 97, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(net(images), library(images))


# ---------------------------------------------------------------- width


def channels(name: str, width: float) -> list[int]:
    with torch.device("meta"):
        net = build(name, width=width)
        maps: Tensor = net.stem(torch.zeros(1, 3, 32, 32))
        sizes = [maps.shape[1]]
        for stage in net.stages:
            maps = stage(maps)
            sizes.append(maps.shape[1])
    return sizes


def test_width_is_a_factor_on_the_size_in_the_name() -> None:
    assert channels("wrn16_8", 0.5) == channels("wrn16_4", 1.0) == [16, 64, 128, 256]
    assert channels("pyramidnet20_a48", 0.5) == channels("pyramidnet20_a24", 1.0) == [16, 24, 32, 40]
    assert channels("resnext29_8x16d", 0.5) == [32, 128, 256, 512]
    with torch.device("meta"):
        halved = build("resnext29_8x16d", width=0.5)
    groups = [module for module in halved.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert [(each.groups, each.out_channels) for each in groups[::3]] == [(8, 64), (8, 128), (8, 256)]
