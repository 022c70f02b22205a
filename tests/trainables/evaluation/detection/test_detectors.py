"""Detectors on the networks of this repository: their maps, boxes, sampling and norms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.config import Model
from trainables.errors import UserError
from trainables.evaluation.detection.backbone_maps import levels_of
from trainables.evaluation.detection.box_images import SceneImages
from trainables.evaluation.detection.detectors import DETECTORS, build_faster_rcnn, build_ssd, pyramid_levels
from trainables.evaluation.detection.training import Diverged, Recipe, _Drawn, find_objects, train_detector
from trainables.evaluation.own_generators import own_generators
from trainables.models.build import build_model
from trainables.networks.modules.staged import StagedNet

GREY = {"mean": [0.3] * 3, "std": [0.2] * 3}
CPU = torch.device("cpu")


def network(name: str, *, side_px: int = 32, width: float = 1.0) -> StagedNet:
    return build_model(Model(name=name, width=width), n_classes=4, height_px=side_px, width_px=side_px, seed=0)


def test_a_resnet50_at_300_px_has_the_boxes_of_ssd300() -> None:
    """8732 default boxes with the scales of Liu et al. (ECCV 2016), the first ones on stage 2."""
    detector = build_ssd(network("resnet50", side_px=224, width=0.125), side_px=300, n_classes=20, **GREY).to("meta")
    assert detector.backbone.maps.layers == (2, 3, 4)
    maps = list(detector.backbone(torch.zeros(1, 3, 300, 300, device="meta")).values())
    assert [each.shape[-1] for each in maps] == [38, 19, 10, 5, 3, 1]
    boxes = detector.anchor_generator._grid_default_boxes([each.shape[-2:] for each in maps], [300, 300])
    assert len(boxes) == 8732
    assert detector.anchor_generator.scales == pytest.approx([0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075])


def test_a_pyramid_starts_at_stride_4() -> None:
    standard = pyramid_levels(network("resnet50", side_px=224, width=0.125), 600)
    assert [(level.layer, level.stride) for level in standard] == [(1, 4), (2, 8), (3, 16), (4, 32)]
    assert [level.stride for level in pyramid_levels(network("tiny"), 96)] == [4, 8]
    with pytest.raises(UserError, match="stride 4 or more, but the last maps of the network have stride 2"):
        pyramid_levels(network("tiny", side_px=8), 96)


def test_layers_of_a_detector_are_not_as_narrow_as_the_network() -> None:
    """Its own layers have 64 to 256 channels: those of the network in between."""
    for name, width, side_px, channels in [
        ("tiny", 0.25, 32, 64),
        ("resnet18", 0.25, 64, 128),
        ("resnet18", 1, 64, 256),
    ]:
        net = network(name, side_px=side_px, width=width)
        pyramid = build_faster_rcnn(net, side_px=96, n_classes=10, **GREY)
        assert pyramid.backbone.out_channels == channels
        assert pyramid.roi_heads.box_head.fc6.out_features == 4 * channels
        ssd = build_ssd(network(name, side_px=side_px, width=width), side_px=96, n_classes=10, **GREY)
        assert {extra[2].out_channels for extra in ssd.backbone.extras} == {channels}


class OneSize(nn.Module):
    """Layers of a network that takes images of one size, as many transformers do."""

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != 32:
            raise AssertionError("Input height (96) doesn't match model (32).")
        return images[..., ::8, ::8]


def test_a_network_for_one_size_is_refused_at_another() -> None:
    net = StagedNet(stem=OneSize(), stages=[nn.Identity()], classifier=nn.Linear(3, 2))
    assert [level.stride for level in levels_of(net, 32)] == [8]
    with pytest.raises(UserError, match=r"does not take images of 96x96 px: AssertionError: Input height \(96\)"):
        levels_of(net, 96)


@pytest.mark.parametrize(
    ("name", "width"),
    [("tiny", 0.5), ("resnet18", 0.25), ("wrn10_1", 0.5), ("timm:test_resnet", 1.0)],
)
@pytest.mark.parametrize("detector", DETECTORS)
def test_every_kind_of_network_is_a_backbone(detector: str, name: str, width: float) -> None:
    """The losses reach all weights but the classifier's, and objects lie inside their image."""
    side_px = 128 if name.startswith("timm") else 32
    net = network(name, side_px=side_px, width=width)
    with own_generators(0):
        built = DETECTORS[detector](net, side_px=64, n_classes=10, **GREY)
    scenes = SceneImages("train", count=4, side_px=64, seed=0)
    train_detector(built, scenes, Recipe(1, 2, 0.01, ()), seed=0, device=CPU)
    unused = {path for path, parameter in net.named_parameters() if parameter.grad is None}
    assert unused == {"classifier.weight", "classifier.bias"}
    first = next(parameter for path, parameter in net.named_parameters() if path not in unused).grad
    assert first is not None
    assert first.abs().max() > 0
    for each in find_objects(built, scenes, range(4), batch_size=3, device=CPU):
        assert ((each.boxes >= 0) & (each.boxes <= 64)).all()
        assert len(each.scores) == len(each.labels) <= 100
        assert ((each.labels >= 0) & (each.labels < 10)).all()


def trained(*, seed: int = 0, global_seed: int = 0, frozen: bool = False, lr: float = 0.01) -> nn.Module:
    net = network("tiny", width=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(global_seed)
        with own_generators(1):
            detector = build_faster_rcnn(net, side_px=48, n_classes=10, **GREY)
        scenes = SceneImages("train", count=8, side_px=48, seed=0)
        recipe = Recipe(3, 4, lr, ())
        train_detector(detector, scenes, recipe, seed=seed, device=CPU, frozen=net if frozen else None)
    return detector


def test_sampled_proposals_follow_the_seed_and_not_the_global_generator() -> None:
    weights, again, other = (
        nn.utils.parameters_to_vector(trained(**seeds).parameters())
        for seeds in ({"global_seed": 1}, {"global_seed": 2}, {"seed": 1})
    )
    assert torch.equal(weights, again)
    assert not torch.equal(weights, other)
    state = torch.get_rng_state()
    trained()
    assert torch.equal(torch.get_rng_state(), state)


def test_frozen_norms_stay() -> None:
    fresh = network("tiny", width=0.5)
    net = trained(frozen=True).backbone.maps.net
    for path, module in fresh.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            frozen = net.get_submodule(path)
            for name, value in module.state_dict().items():
                assert torch.equal(frozen.state_dict()[name], value), (path, name)
    assert not torch.equal(net.stages[0][0].conv1.weight, fresh.stages[0][0].conv1.weight)


def test_a_training_that_diverges_is_an_error() -> None:
    with pytest.raises(Diverged):
        trained(lr=1e12)


class Photos(SceneImages):
    """Scenes that are augmented as photographs."""

    flips = True


def test_augmentation_follows_seed_and_place_and_moves_boxes_with_pixels() -> None:
    photos = Photos("train", count=3, side_px=48, seed=0)
    drawn = {name: _Drawn(photos, Recipe(8, 4, 0.1, ()), seed=3, augmented=name) for name in ("ssd", "faster_rcnn")}
    first = [drawn["ssd"][place] for place in range(32)]
    for place in (31, 0, 7):  # in another order, as in several processes
        image, target = drawn["ssd"][place]
        assert torch.equal(image, first[place][0])
        assert torch.equal(target["boxes"], first[place][1]["boxes"])
    assert len({image.shape for image, _ in first}) > 4  # enlarged canvases and crops
    assert len(set(drawn["ssd"].order[:3])) == 3  # each image once per epoch
    kinds = set()
    for place in range(12):
        image, target = drawn["faster_rcnn"][place]
        row = int(drawn["faster_rcnn"].order[place])
        stored, boxes = photos.image(row), photos.objects(row).boxes
        pixels = image.permute(1, 2, 0).numpy()
        if np.array_equal(pixels, stored):
            expected = boxes
        else:
            np.testing.assert_array_equal(pixels, stored[:, ::-1])
            expected = np.stack([48 - boxes[:, 2], boxes[:, 1], 48 - boxes[:, 0], boxes[:, 3]], axis=1)
        kinds.add(np.array_equal(expected, boxes))
        np.testing.assert_allclose(target["boxes"], expected)
    assert kinds == {True, False}
