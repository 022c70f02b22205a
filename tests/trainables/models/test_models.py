import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import nn

from trainables.config import Model
from trainables.contracts.law import Law, judge
from trainables.contracts.networks import LAWS
from trainables.errors import UserError
from trainables.models.build import build_model
from trainables.networks import NETWORKS
from trainables.networks.base import Network
from trainables.networks.modules.cifar_resnet import BasicBlock
from trainables.networks.modules.staged import StagedNet, fitting_strides

CIFAR_DEPTHS = (8, 14, 20, 32, 56, 110)
LARGE_NAMES = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
TWO_OF_A_KIND = ("tiny", "cifar_resnet20", "resnet18", "resnet50")


def build(name: str, *, width: float = 1.0, n_classes: int = 10, side_px: int = 32, seed: int = 0) -> StagedNet:
    return build_model(
        Model(name=name, width=width), n_classes=n_classes, height_px=side_px, width_px=side_px, seed=seed
    )


@pytest.mark.parametrize("name", TWO_OF_A_KIND)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[str], name: str) -> None:
    law(name)


class Careless(Network):
    """A network with one stage more than declared, no 4x4 map and weights from a generator of its own."""

    n_stages = 1

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        stages = [nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 1, stride=8)]
        net = StagedNet(stem=nn.Conv2d(3, 4, 1), stages=stages, classifier=nn.Linear(4, n_classes))
        nn.init.zeros_(net.stem.weight)
        torch.default_generator.manual_seed(0)
        return net


def test_a_network_that_breaks_laws_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "careless", Careless)
    reasons = {verdict.law: verdict.reason for verdict in judge(LAWS, "careless")}
    text = " | ".join(reasons.values())
    for reason in ("n_stages is 1, but the network has 2", "last map of", "width 0.25 and 0.5 give"):
        assert reason in text, reason


@pytest.fixture
def on_meta() -> Iterator[None]:
    """Build and run networks without memory or arithmetic: shapes only."""
    with torch.device("meta"):
        yield


def n_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def last_map(name: str, height_px: int, width_px: int) -> tuple[int, ...]:
    net = build_model(Model(name=name), n_classes=10, height_px=height_px, width_px=width_px, seed=0)
    return tuple(net.features(torch.zeros(1, 3, height_px, width_px)).shape[2:])


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize(
    ("name", "side_px", "map_px"),
    [
        ("tiny", 8, 4),
        ("tiny", 28, 4),
        ("tiny", 32, 4),
        ("tiny", 64, 8),
        ("cifar_resnet20", 8, 4),
        ("cifar_resnet20", 32, 8),
        ("resnet18", 8, 4),
        ("resnet18", 28, 4),
        ("resnet18", 32, 4),
        ("resnet50", 64, 4),
        ("resnet50", 96, 6),
        ("resnet18", 97, 4),
        ("resnet18", 224, 7),
    ],
)
def test_last_map_at_usual_sizes(name: str, side_px: int, map_px: int) -> None:
    assert last_map(name, side_px, side_px) == (map_px, map_px)


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_shorter_side_decides_the_strides(name: str) -> None:
    height, width = last_map(name, 32, 96)
    assert last_map(name, 32, 32) == (height, height)
    assert width == 3 * height


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize(("side_px", "kernel", "stride", "n_layers"), [(32, 3, 1, 3), (64, 3, 2, 3), (128, 7, 2, 4)])
def test_stem_follows_the_image_size(side_px: int, kernel: int, stride: int, n_layers: int) -> None:
    stem = build("resnet18", side_px=side_px).stem
    assert isinstance(stem, nn.Sequential)
    convolution = stem[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.kernel_size == (kernel, kernel)
    assert convolution.stride == (stride, stride)
    assert len(stem) == n_layers


def test_early_strides_go_first_and_only_as_many_as_must() -> None:
    assert fitting_strides((2, 2, 1, 2), 32) == (2, 2, 1, 2)
    assert fitting_strides((2, 2, 1, 2), 25) == (2, 2, 1, 2)
    assert fitting_strides((2, 2, 1, 2), 24) == (1, 2, 1, 2)
    assert fitting_strides((2, 2, 1, 2), 8) == (1, 1, 1, 2)
    assert fitting_strides((2, 2, 1, 2), 4) == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_images_no_network_can_take_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}'.* 4x4 px, got 3x32 px.*data\.image_size_px"):
        build_model(Model(name=name), n_classes=10, height_px=3, width_px=32, seed=0)


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize(("depth", "millions", "digits"), [(20, 0.27, 2), (32, 0.46, 2), (56, 0.85, 2), (110, 1.7, 1)])
def test_cifar_resnets_have_the_published_parameter_counts(depth: int, millions: float, digits: int) -> None:
    """He et al. (CVPR 2016), table 6."""
    assert round(n_parameters(build(f"cifar_resnet{depth}")) / 1e6, digits) == millions


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("depth", CIFAR_DEPTHS)
def test_cifar_resnets_have_as_many_weight_layers_as_their_name_says(depth: int) -> None:
    modules = list(build(f"cifar_resnet{depth}").modules())
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in modules) == depth


def test_tiny_is_resnet8_behind_a_halving_stem() -> None:
    tiny, resnet8 = build("tiny"), build("cifar_resnet8")
    assert tiny.state_dict().keys() == resnet8.state_dict().keys()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    # on images too small for its stem's stride it is that very net
    assert torch.equal(build("tiny", side_px=16)(images), build("cifar_resnet8", side_px=16)(images))
    assert not torch.equal(tiny(images), resnet8(images))


@pytest.mark.parametrize("stride", [1, 2])
def test_shortcut_drops_pixels_and_appends_zeros(stride: int) -> None:
    block = BasicBlock(3, 5, stride=stride)
    nn.init.zeros_(block.norm2.weight)  # nothing but the shortcut is left
    maps = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    out = block(maps)
    assert torch.equal(out[:, :3], maps[:, :, ::stride, ::stride])
    assert not out[:, 3:].any()


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", LARGE_NAMES)
def test_torchvision_resnets_have_torchvisions_parameter_counts(name: str) -> None:
    reference = torchvision.models.get_model(name, num_classes=10)
    assert n_parameters(build(name, n_classes=10, side_px=224)) == n_parameters(reference)


def from_torchvision(key: str) -> str:
    """Name a torchvision parameter as StagedNet does."""
    layer, _, rest = key.partition(".")
    if layer.startswith("layer"):
        return f"stages.{int(layer.removeprefix('layer')) - 1}.{rest}"
    return f"{ {'conv1': 'stem.0', 'bn1': 'stem.1', 'fc': 'classifier'}[layer] }.{rest}"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_resnets_compute_what_torchvisions_do(name: str) -> None:
    reference = torchvision.models.get_model(name, num_classes=1000).eval()
    net = build(name, n_classes=1000, side_px=224).eval()
    net.load_state_dict({from_torchvision(key): value for key, value in reference.state_dict().items()})
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(net(images), reference(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "cifar_resnet11_bn"])
def test_last_stride_1_doubles_the_maps_and_keeps_the_weights(name: str) -> None:
    """Yun et al. (ICCV 2019), appendix B: maps of 14x14 instead of 7x7 at 224 px, from the same weights."""
    side_px = 32 if name.startswith("cifar") else 224
    usual, large = (
        build_model(
            Model(name=name, width=0.0625, last_stride=stride), n_classes=3, height_px=side_px, width_px=side_px, seed=1
        )
        for stride in (2, 1)
    )
    assert all(map(torch.equal, usual.state_dict().values(), large.state_dict().values()))
    images = torch.zeros(2, 3, side_px, side_px)
    last_px, before_px = 7 if side_px == 224 else 8, 14 if side_px == 224 else 16
    assert usual.features(images).shape[2:] == (last_px, last_px)
    assert large.features(images).shape[2:] == (before_px, before_px)


def test_last_stride_1_computes_what_torchvisions_network_does_without_it() -> None:
    reference = torchvision.models.resnet50(num_classes=5).eval()
    for convolution in (reference.layer4[0].conv2, reference.layer4[0].downsample[0]):
        convolution.stride = (1, 1)
    model = Model(name="resnet50", last_stride=1)
    net = build_model(model, n_classes=5, height_px=128, width_px=128, seed=0).eval()
    net.load_state_dict({from_torchvision(key): value for key, value in reference.state_dict().items()})
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(net(images), reference(images))


@pytest.mark.parametrize("name", ["tiny", "pyramidnet110_a64_bn", "wrn28_10"])
def test_last_stride_is_refused_where_it_cannot_be_removed(name: str) -> None:
    with pytest.raises(ValueError, match=f"name '{name}' has no stride in its last stage that can be removed"):
        Model(name=name, last_stride=1)
    assert "last_stride" not in Model(name=name).model_dump()


def test_initial_weights_have_torchvisions_scale() -> None:
    net = build("resnet18", side_px=224)
    reference = torchvision.models.resnet18()
    for key, value in reference.state_dict().items():
        if value.ndim > 1 and not key.startswith("fc"):
            ours = net.state_dict()[from_torchvision(key)]
            assert ours.std().item() == pytest.approx(value.std().item(), rel=0.05)


def test_building_does_not_reseed_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError(f"reseeded with {seed}")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    build("tiny")


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", TWO_OF_A_KIND)
def test_width_multiplies_every_layer(name: str) -> None:
    narrow, wide = build(name, width=0.5), build(name, width=2.0)
    for (key, few), many in zip(narrow.state_dict().items(), wide.state_dict().values(), strict=True):
        images_or_logits = {"stem.0.weight": 1, "classifier.weight": 0}
        fixed_dim = images_or_logits.get(key, -1)
        for dim, size in enumerate(few.shape[:2]):
            assert many.shape[dim] == size * (1 if dim == fixed_dim or key == "classifier.bias" else 4)


def test_channels_round_to_the_nearest_and_are_at_least_one() -> None:
    assert build("tiny", width=0.1).classifier.in_features == 6  # 6.4
    assert build("tiny", width=0.12).classifier.in_features == 8  # 7.68
    assert build("tiny", width=1e-6).classifier.in_features == 1


# ---------------------------------------------------------------- changes between the stages


@pytest.mark.parametrize("name", TWO_OF_A_KIND)
def test_a_change_replaces_the_maps(name: str) -> None:
    net = build(name, width=0.25).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(net(images, changes=[(0, lambda maps: maps.flip(3))]), net(images.flip(3)))
        last = len(net.stages)
        doubled = net.features(images, changes=[(last, lambda maps: 2 * maps)])
        assert torch.equal(doubled, 2 * net.features(images))
        maps = net.stages[0](net.stem(images)).relu() + 1
        for stage in net.stages[1:]:
            maps = stage(maps)
        assert torch.equal(net.features(images, changes=[(1, lambda maps: maps.relu() + 1)]), maps)


def test_changes_of_one_layer_follow_each_other() -> None:
    net = build("tiny").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = net.features(images)
        changed = net.features(images, changes=[(3, lambda maps: maps + 1), (3, lambda maps: maps * 2)])
    assert torch.equal(changed, (plain + 1) * 2)


@pytest.mark.parametrize("layer", [-1, 4])
def test_a_change_at_no_layer_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=f"layer is {layer}, but the network has 3 stages"):
        build("tiny")(torch.zeros(1, 3, 32, 32), changes=[(1, torch.relu), (layer, torch.relu)])


def test_fresh_network_is_undecided() -> None:
    net = build("tiny", n_classes=10)
    logits = net(torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    loss = nn.functional.cross_entropy(logits, torch.arange(64) % 10)
    assert loss.item() == pytest.approx(math.log(10), abs=0.5)


def test_small_networks_do_without_torchvision() -> None:
    script = (
        "import sys; from trainables.config import Model; from trainables.models.build import build_model;"
        "build_model(Model(name='tiny'), n_classes=10, height_px=32, width_px=32, seed=0);"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
