"""Batches that are planned ahead: the numbers and the pixels of a draw in the loop, without a look at the device."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch

from trainables.device_paths import tensor_operations
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer, describe_why_not
from trainables.mixing.masks.box import Box
from trainables.mixing.pastes import RenderedDraw
from trainables.mixing.presets import PRESETS
from trainables.mixing.saliency import stand_in_maps

CPU, META = torch.device("cpu"), torch.device("meta")
COUNT, HEIGHT_PX, WIDTH_PX = 9, 20, 11
IMAGES = torch.randn(COUNT, 3, HEIGHT_PX, WIDTH_PX, generator=torch.Generator().manual_seed(0))
LABELS = np.arange(COUNT) % 4
BOXES = np.tile([3, 2, 17, 9], (COUNT, 1))
VIEW = BatchView((COUNT, 3, HEIGHT_PX, WIDTH_PX), LABELS, IMAGES, BOXES, stand_in_maps(IMAGES))

POLICIES: dict[str, Any] = {
    name: name for name in PRESETS if not describe_why_not(Mix.model_validate(name), boxes=True)
}
POLICIES |= {
    "displaced": {"preset": "cutmix", "source": "displaced", "apply": {"prob": 1.0}},
    "displaced on the torus": {"preset": "cutmix_torus", "source": "displaced"},
    "resized pairs": {"preset": "timm_pair", "alternate": None, "source": "resized", "mask": {"family": "box"}}
    | {"position": {"kind": "inside"}},
    "a region with a label by area": {"preset": "snapmix", "label": {"by": "area"}, "apply": {"prob": 0.5}},
    "displaced with a label by class maps": {"preset": "cutmix", "source": "displaced", "label": {"by": "class_map"}},
    "nominal label": {
        "preset": "cutmix",
        "label": {"lam": "nominal", "exponent": 2.0},
        "pairing": {"kind": "cross_class"},
    },
    "noise or a blend": {"preset": "random_erasing", "alternate": {"prob": 0.5, "gate": "sample", "mix": "mixup"}},
    "nothing or a box": {"preset": "off", "alternate": {"prob": 0.5, "gate": "sample", "mix": "cutmix"}},
    "a ramp": {"preset": "cutmix", "apply": {"prob": 1.0, "schedule": {"ramp_up_start": 0.3, "ramp_up_end": 0.9}}},
}


def drawer_of(mix: Mix, *, seed: int = 0, batches: int = 3, device: torch.device = CPU) -> MixDrawer:
    return MixDrawer(mix, rng=np.random.default_rng(seed), device=device, n_samples=batches * COUNT)


def tensors(plan: dict[str, np.ndarray], device: torch.device = CPU) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values).to(device) for name, values in plan.items()}


def mixed(draw: RenderedDraw) -> tuple[torch.Tensor, torch.Tensor]:
    return mix_images(IMAGES, draw), mix_targets(torch.from_numpy(LABELS), draw, n_classes=4)


@pytest.mark.parametrize("way", [contextlib.nullcontext, tensor_operations])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_planned_batch_is_the_batch_drawn_in_the_loop(name: str, way: Any) -> None:
    """Three batches, at steps at which a ramp is 0, in between and 1; the generator ends in the same state."""
    mix = Mix.model_validate(POLICIES[name])
    in_loop, planner, renderer = drawer_of(mix), drawer_of(mix), drawer_of(mix, seed=1)
    steps = (0.0, 0.7, 1.0)
    draws = [in_loop.draw(VIEW, t) for t in steps]
    plans = [planner.plan(BatchView(VIEW.shape, LABELS, boxes=VIEW.boxes), t) for t in steps]
    assert in_loop._rng.bit_generator.state == planner._rng.bit_generator.state
    for draw, plan in zip(draws, plans, strict=True):
        with way():
            rendered = renderer.render(tensors(plan), VIEW)
        assert (plan["applied"] == draw.applied).all()
        assert torch.equal(rendered.lam, draw.lam)
        assert torch.equal(rendered.weight, draw.weight)
        assert torch.equal(rendered.partner_weights, draw.partner_weights)
        for ours, theirs in zip(mixed(rendered), mixed(draw), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_arrays_have_one_form_and_the_device_is_never_read(name: str) -> None:
    """A value that is read back from the device ``meta`` is an error, so that no branch depends on a draw."""
    mix = Mix.model_validate(POLICIES[name])
    plans = [drawer_of(mix, seed=seed).plan(VIEW, t) for seed, t in enumerate((0.0, 0.5, 0.8, 1.0))]
    forms = [{key: (values.dtype, values.shape) for key, values in plan.items()} for plan in plans]
    assert all(form == forms[0] for form in forms)
    view = BatchView(VIEW.shape, LABELS, IMAGES.to(META), maps=lambda _: torch.ones(COUNT, 4, 3, device=META))
    rendered = drawer_of(mix, device=META).render(tensors(plans[0], META), view)
    assert mix_images(IMAGES.to(META), rendered).device == META
    assert mix_targets(torch.from_numpy(LABELS).to(META), rendered, n_classes=4).device == META
    assert rendered.idle == (name == "off")


class DrawnInTheLoop(Box):
    """A family with its own ``draw``."""

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw the other pixels."""
        return ~super().draw(pasted_frac, canvas)


def test_what_cannot_be_planned_is_told_and_refused() -> None:
    own = Mix.model_validate("cutmix").model_copy(update={"mask": DrawnInTheLoop()})
    assert "defines draw alone" in describe_why_not(own)
    assert drawer_of(own).draw(VIEW, 0.0).lam.shape == (COUNT,)
    second = {"preset": "mixup", "alternate": {"prob": 0.5, "mix": "saliencymix"}}
    for mix, part in ((own, "draw alone"), (Mix.model_validate(second), "'saliency' depends on the images")):
        with pytest.raises(ValueError, match=f"cannot be planned ahead of its batch: .*{part}"):
            drawer_of(mix).plan(VIEW, 0.0)
    with pytest.raises(ValueError, match="boxes of the batch after crop and flip"):
        drawer_of(Mix.model_validate("objectmix")).plan(BatchView(VIEW.shape, LABELS), 0.0)


@pytest.mark.parametrize("family", ["box", "ellipse", "strip_h", "hmix"])
@pytest.mark.parametrize("edge_px", [0.0, 3.0])
def test_a_salient_place_is_not_read_from_the_device(family: str, edge_px: float) -> None:
    """The tensor operations of a GPU give the masks of the host, and nothing on ``meta`` is read."""
    options = {"edge_px": edge_px} if family != "hmix" else {}
    mix = Mix.model_validate(
        {"mask": {"family": family} | options, "position": {"kind": "saliency"}, "apply": {"prob": 1.0}}
    )
    on_host = drawer_of(mix).draw(VIEW, 0.0)
    with tensor_operations():
        elsewhere = drawer_of(mix).draw(VIEW, 0.0)
    assert torch.equal(on_host.pastes[0].mask, elsewhere.pastes[0].mask)
    assert torch.equal(on_host.lam, elsewhere.lam) or edge_px or family == "hmix"
    meta = BatchView(VIEW.shape, LABELS, IMAGES.to(META))
    assert drawer_of(mix, device=META).draw(meta, 0.0).lam.device == META
