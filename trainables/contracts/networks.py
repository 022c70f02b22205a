"""Laws of networks, checked with random images of small size."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import Model
from trainables.contracts.law import Law, require
from trainables.models.build import build_model
from trainables.networks import NETWORKS
from trainables.networks.modules.staged import MIN_MAP_PX, StagedNet

WIDTH = 0.25
"""Factor on the channels of the networks that are checked: smaller networks are checked in less time."""


def built(name: str, *, width: float = WIDTH, side_px: int = 32, n_classes: int = 7, seed: int = 0) -> StagedNet:
    """Return the network of a name with its initial weights."""
    model = Model(name=name, width=width)
    return build_model(model, n_classes=n_classes, height_px=side_px, width_px=side_px, seed=seed)


def images(side_px: int = 32, *, count: int = 2) -> Tensor:
    """Return random images, float32 [count, 3, side, side]."""
    return torch.rand(count, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


def check_parts(name: str) -> None:
    """Check that the network is a ``StagedNet`` with ``n_stages`` stages, and gives one logit per class."""
    net = built(name)
    require(isinstance(net, StagedNet), f"build returned {type(net).__name__}")
    declared = NETWORKS[name].n_stages
    require(len(net.stages) == declared, f"n_stages is {declared}, but the network has {len(net.stages)} stages")
    logits = net(images())
    require(logits.shape == (2, 7), f"2 images and 7 classes give logits of shape {tuple(logits.shape)}")
    require(logits.isfinite().all(), "a logit is not finite")
    require(logits.dtype == torch.float32, f"logits are {logits.dtype}")


def check_last_map(name: str) -> None:
    """Check that the last map is 4x4 or larger at every size of image, and has the channels of the classifier."""
    for side_px in (4, 5, 9, 13, 24, 32, 49, 64, 97):
        net = built(name, side_px=side_px).eval()
        with torch.inference_mode():
            shape = net.features(images(side_px)).shape
        require(min(shape[2:]) >= MIN_MAP_PX, f"images of {side_px} px give a last map of {shape[2]}x{shape[3]}")
        channels = net.classifier.in_features
        require(shape[1] == channels, f"the last map has {shape[1]} channels, the classifier takes {channels}")


def check_weights_follow_the_seed(name: str) -> None:
    """Check that the seed alone decides the initial weights, and other random numbers stay as they are."""
    before = torch.get_rng_state()
    first, again, other = built(name, seed=3), built(name, seed=3), built(name, seed=4)
    require(torch.equal(torch.get_rng_state(), before), "building changed the global generator of torch")
    for key, weight in first.state_dict().items():
        require(torch.equal(weight, again.state_dict()[key]), f"'{key}' differs with the same seed")
    same = all(torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))
    require(not same, "another seed gives the same weights")


def check_changes_meet_their_stage(name: str) -> None:
    """Check that a change at layer k gets and replaces the maps after the k-th stage."""
    net, shown = built(name).eval(), images()
    expected = [shown.shape]
    with torch.inference_mode():
        maps = net.stem(shown)
        for stage in net.stages:
            maps = stage(maps)
            expected.append(maps.shape)
        seen: list[torch.Size] = []

        def look(changed: Tensor) -> Tensor:
            seen.append(changed.shape)
            return changed

        net(shown, changes=[(layer, look) for layer in range(len(net.stages) + 1)])
        require(seen == expected, f"changes saw maps of {[tuple(s) for s in seen]}, not {[tuple(s) for s in expected]}")
        plain = net.features(shown)
        doubled = net.features(shown, changes=[(len(net.stages), lambda changed: 2 * changed)])
    require(torch.equal(doubled, 2 * plain), "a change after the last stage has no effect")


def check_class_activation_map(name: str) -> None:
    """Check that the logits are the classifier on the mean of the last map, as class activation maps assume."""
    net = built(name).eval()
    with torch.inference_mode():
        maps = net.features(images())
        cam = torch.einsum("bchw,kc->bkhw", maps, net.classifier.weight).mean(dim=(2, 3)) + net.classifier.bias
        difference = (cam - net(images())).abs().max().item()
    require(difference < 1e-3, f"logits and class activation maps differ by {difference:g}")


def check_channels_last(name: str) -> None:
    """Check that every stage keeps channels-last memory, also in mixed precision."""
    net = built(name).to(memory_format=torch.channels_last)
    for autocast in (False, True):
        maps = images().to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for number, part in enumerate((net.stem, *net.stages)):
                maps = part(maps)
                kept = maps.is_contiguous(memory_format=torch.channels_last)
                require(kept, f"{'stage ' + str(number) if number else 'the stem'} changes the layout (slow on a GPU)")


def check_every_width_trains(name: str) -> None:
    """Check that each parameter gets a gradient, also at the smallest width, and width adds weights."""
    for width in (1e-6, WIDTH):
        net = built(name, width=width, side_px=8)
        net(images(8, count=4)).square().sum().backward()
        without = [key for key, parameter in net.named_parameters() if parameter.grad is None]
        require(not without, f"width {width}: no gradient for {', '.join(without)}")
    few, many = (sum(each.numel() for each in built(name, width=width).parameters()) for width in (0.25, 0.5))
    require(few < many, f"width 0.25 and 0.5 give {few} and {many} weights")


def check_state_is_complete(name: str) -> None:
    """Check that the state of a trained network gives the same logits in a new one."""
    net, fresh = built(name, seed=1), built(name, seed=2)
    net(images(count=4))  # changes the running statistics of norms
    fresh.load_state_dict(net.state_dict())
    with torch.inference_mode():
        same = torch.equal(net.eval()(images()), fresh.eval()(images()))
    require(same, "logits differ after load_state_dict(state_dict())")


LAWS: tuple[Law[str], ...] = (
    check_parts,
    check_last_map,
    check_weights_follow_the_seed,
    check_changes_meet_their_stage,
    check_class_activation_map,
    check_channels_last,
    check_every_width_trains,
    check_state_is_complete,
)
