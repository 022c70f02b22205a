"""Named policies have the values of their sources; presets of libraries have the libraries' distributions."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from scipy.stats import ks_2samp
from timm.data import mixup as timm_mixup
from torch import Tensor
from torchvision.transforms import v2

from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import flattened, merged
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_layer, draw_mix
from trainables.mixing.masks.box import Box
from trainables.mixing.pastes import MixDraw
from trainables.mixing.presets import PRESETS, expand_preset
from trainables.mixing.saliency import stand_in_maps
from trainables.strict import parse

CPU = torch.device("cpu")

# Yun et al., ICCV 2019, equations 1 and 2, section 3.2: what every preset differs from
PAPER: dict[str, Any] = {
    "mask": {"family": "box", "aspect_max": 1.0, "count": 1, "edge_px": 0.0, "whole_px": False},
    "size": {"kind": "beta", "alpha": 1.0, "beta": None, "lo": 0.0, "hi": 1.0},
    "position": {"kind": "clip"},
    "source": "same",
    "pairing": {"kind": "permute"},
    "granularity": "sample",
    "content": "partner",
    "label": {"exponent": 1.0, "lam": "realised"},
    "apply": {
        "prob": 1.0,
        "gate": "sample",
        "schedule": {"ramp_up_start": 0.0, "ramp_up_end": 0.0, "ramp_down_start": 1.0, "ramp_down_end": 1.0},
    },
    "layer": 0,
    "alternate": None,
}

FLAT = {"mask": {"family": "flat"}, "position": {"kind": "whole"}}
WHOLE_PX = {"mask": {"whole_px": True}}
A_BATCH = {"granularity": "batch", "apply": {"gate": "batch"}}
HALF = {"apply": {"prob": 0.5}}
"""Probability of the CutMix authors' command for CIFAR."""


def timm_values(granularity: str, gate: str) -> dict[str, Any]:
    """Touvron et al., ICML 2021, table 9 on Wightman's class: Mixup 0.8, CutMix 1.0, switched with 0.5."""
    habits = {"pairing": {"kind": "flip"}, "granularity": granularity, "apply": {"gate": gate}}
    cut = merged(PAPER, {**WHOLE_PX, **habits})
    return {**FLAT, "size": {"alpha": 0.8}, **habits, "alternate": {"prob": 0.5, "gate": gate, "mix": cut}}


RICAP = {
    "mask": {"family": "quadrants"},
    "size": {"alpha": 0.3},
    "position": {"kind": "whole"},
    "source": "displaced",
    "partners": {"count": 3, "alpha": None},
}

PUBLISHED: dict[str, dict[str, Any]] = {
    "off": {"apply": {"prob": 0.0}},
    "cutmix": HALF,
    # Yun et al., section 4.1 and table 8
    "cutmix_scheduled": {"apply": {"schedule": {"ramp_up_start": 0.0, "ramp_up_end": 1.0}}},
    "cutmix_fixed_size": {**HALF, "size": {"kind": "fixed", "frac": 16 * 16 / (32 * 32)}},
    "cutmix_complete_label": {**HALF, "label": {"exponent": 0.0}},
    "cutmix_one_hot": {**HALF, "label": {"exponent": "inf"}},
    "cutmix_center_gaussian": {**HALF, "position": {"kind": "gauss"}},
    # Yun et al., figure 3
    "feature_cutmix": {**HALF, "layer": 1},
    "cutmix_torus": {**HALF, "position": {"kind": "torus"}},
    # DeVries and Taylor, 2017: 16 x 16 of 32 x 32, the centre may be at the border
    "cutout": {"size": {"kind": "fixed", "frac": 16 * 16 / (32 * 32)}, "content": "zero"},
    # Zhong et al., AAAI 2020, section 4: p = 0.5, s_l = 0.02, s_h = 0.4, r_1 = 1/r_2 = 0.3
    "random_erasing": {
        "mask": {"aspect_max": 1 / 0.3},
        "size": {"kind": "uniform", "lo": 0.02, "hi": 0.4, "of": "area"},
        "position": {"kind": "inside"},
        "content": "noise",
        "apply": {"prob": 0.5},
    },
    # Zhang et al., ICLR 2018, equation 1
    "mixup": FLAT,
    # Verma et al., ICML 2019: alpha 2, layers 0, 1 and 2 of the authors' network
    "manifold_mixup": {**FLAT, "size": {"alpha": 2.0}, "layer": (0, 1, 2)},
    # Harris et al., 2020: decay 3, alpha 1
    "fmix": {"mask": {"family": "fourier", "decay": 3.0}, "position": {"kind": "torus"}},
    # Baek et al., 2021: cells of a grid
    "gridmix": {"mask": {"family": "grid", "cells": 4}, "position": {"kind": "whole"}},
    # Park et al., NeurIPS 2022, figure 3: r = 0.5
    "hmix": {"mask": {"family": "hmix", "inner_frac": 0.5}},
    "gmix": {"mask": {"family": "gauss", "sigma": "area"}},
    # Lee et al., CVPRW 2020: sigma from a quarter to half of the side
    "smoothmix": {
        **HALF,
        "mask": {"family": "gauss", "sigma": "side"},
        "size": {"kind": "uniform", "lo": 0.25, "hi": 0.5, "of": "area"},
    },
    # Qin et al., 2020: tau ~ U(0.1, 0.8)
    "resizemix": {
        "size": {"kind": "uniform", "lo": 0.1, "hi": 0.8, "of": "side"},
        "position": {"kind": "inside"},
        "source": "resized",
    },
    # Uddin et al., ICLR 2021, section 3.2: beta 1, p = 0.5 in the authors' command for CIFAR
    "saliencymix": {**HALF, "position": {"kind": "saliency"}},
    "objectmix": {
        **HALF,
        "mask": {"family": "object"},
        "size": {"kind": "fixed", "frac": 1.0},
        "position": {"kind": "whole"},
    },
    # Walawalkar et al., ICASSP 2020: 6 of 7 x 7 cells
    "attentivemix": {
        "mask": {"family": "attentive", "cells": 7, "maps": "attention"},
        "size": {"kind": "fixed", "frac": 6 / 49},
        "position": {"kind": "whole"},
    },
    # Huang et al., AAAI 2021: --beta 5, prob 1; two boxes; labels by class maps
    "snapmix": {"size": {"alpha": 5.0}, "source": "region", "label": {"by": "class_map"}},
    # Kim et al., ICML 2020: --beta 1.2 --gamma 0.5 --eta 0.2 --n_labels 3 --neigh_size 4, alpha 1, 2 to 16 blocks
    "puzzlemix_no_transport": {
        "mask": {
            "family": "puzzle",
            "blocks": (2, 4, 8, 16),
            "labels": 3,
            "label_smoothness": 1.2,
            "prior_weight": 0.2,
            "neighbour_px": 4,
            "maps": "gradient",
        },
        "position": {"kind": "whole"},
    },
    # Hammoudi et al., 2022: 100 superpixels, each replaced with 0.2
    "superpixelgridmix": {
        **HALF,
        "mask": {"family": "superpixel", "cells": 10},
        "size": {"kind": "fixed", "frac": 0.2},
        "position": {"kind": "whole"},
    },
    # Takahashi et al., ACML 2018: four images, beta 0.3 on CIFAR
    "ricap": RICAP,
    "ricap_same_place": {**RICAP, "source": "same"},
    # Chen et al., UAI 2022: two images, the mean of two labels
    "stackmix": {
        "mask": {"family": "stack", "direction": "vertical"},
        "size": {"kind": "fixed", "frac": 0.5},
        "position": {"kind": "whole"},
        "source": "resized",
    },
    # Zhang et al., ICLR 2018, section 3: Dirichlet weights of three images
    "mixup_three": {**FLAT, "size": {"alpha": 1.0, "beta": 2.0}, "partners": {"count": 2, "alpha": 1.0}},
    "cutmix_three": {**HALF, "partners": {"count": 2, "alpha": None}},
    # references/classification of torchvision: --mixup-alpha 0.2 --cutmix-alpha 1.0, RandomChoice of both
    "torchvision": {
        **FLAT,
        **A_BATCH,
        "size": {"alpha": 0.2},
        "pairing": {"kind": "roll"},
        "alternate": {
            "prob": 0.5,
            "gate": "batch",
            "mix": merged(PAPER, {**A_BATCH, **WHOLE_PX, "pairing": {"kind": "roll"}}),
        },
    },
    "torchvision_cutmix": {**A_BATCH, **WHOLE_PX, "pairing": {"kind": "roll"}},
    "timm": timm_values("batch", "batch"),
    "timm_pair": timm_values("pair", "sample"),
    "timm_elem": timm_values("sample", "sample"),
    "composer_cutmix": {**A_BATCH, **WHOLE_PX},
    # Composer's MixUp: alpha 0.2, the partner's fraction is min(z, 1 - z)
    "composer_mixup": {**FLAT, **A_BATCH, "size": {"alpha": 0.2, "hi": 0.5}},
}

NAMES = pytest.mark.parametrize("name", sorted(PRESETS))


def mix_of(name: str, **changes: Any) -> Mix:
    return Mix.model_validate(merged(expand_preset(name), changes))


def draw(mix: Mix, images: Tensor, *, seed: int = 0, t: float = 0.0, boxes: np.ndarray | None = None) -> MixDraw:
    count, channels, height_px, width_px = images.shape
    shape = (count, channels, height_px, width_px)
    view = BatchView(shape, np.arange(count) % 4, images, boxes, stand_in_maps(images))
    return draw_mix(mix, view, rng=np.random.default_rng(seed), device=CPU, t=t)


def random_boxes(count: int, height_px: int, width_px: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    y, x = (np.sort(rng.integers(0, length + 1, size=(count, 2)), axis=1) for length in (height_px, width_px))
    return np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)


# ---------------------------------------------------------------- what a preset says


@NAMES
def test_has_the_published_values(name: str) -> None:
    values = Mix.model_validate(name).model_dump()
    assert merged(values, merged(PAPER, PUBLISHED[name])) == values
    assert all(policy.label.smoothing == 0 for policy in Mix.model_validate(name).policies)
    assert Mix.model_validate({"preset": name}) == Mix.model_validate(name)


@NAMES
def test_names_its_source(name: str) -> None:
    doc = inspect.getdoc(PRESETS[name]) or ""
    assert re.search(r"\b20[12]\d\b", doc)
    assert PRESETS[name].__name__ == name


@NAMES
def test_states_every_part_in_full(name: str) -> None:
    """But the smoothing, which is no part of a policy's identity; also what a dump leaves out with its default."""
    stated = flattened(expand_preset(name))
    assert stated["label.by"] in ("area", "class_map")
    assert stated["partners.count"] >= 1
    known = {path for path in flattened(Mix.model_validate(name).model_dump()) if not left_out(path)}
    assert known - set(stated) == {path for path in known if path.endswith("label.smoothing")}
    assert {path for path in stated if not left_out(path)} <= known


def left_out(path: str) -> bool:
    """Return whether a dump leaves a part out if it has its default."""
    return path.endswith(("label.by", "partners.count", "partners.alpha"))


LOUD: list[dict[str, Any]] = [
    {
        "mask": {"family": "box", "aspect_max": 4.0, "count": 3, "edge_px": 2.0},
        "size": {"kind": "beta", "alpha": 0.3, "beta": 2.0, "lo": 0.1, "hi": 0.6},
        "position": {"kind": "gauss", "sigma_frac": 0.1},
        "source": "displaced",
        "pairing": {"kind": "derange"},
        "label": {"exponent": 2.0, "lam": "nominal"},
        "apply": {
            "prob": 0.3,
            "gate": "batch",
            "schedule": {"ramp_up_start": 0.1, "ramp_up_end": 0.2, "ramp_down_start": 0.3, "ramp_down_end": 0.4},
        },
        "layer": [1, 2],
        "alternate": {
            "prob": 0.1,
            "gate": "sample",
            "mix": {"mask": {"count": 2}, "size": {"lo": 0.2}, "layer": [1, 2]},
        },
    },
    {"mask": {"family": "fourier", "decay": 1.0}, "size": {"kind": "uniform", "lo": 0.2, "hi": 0.3, "of": "side"}},
    {"mask": {"family": "grid", "cells": 7}, "size": {"kind": "fixed", "frac": 0.9}, "granularity": "batch"},
    {"mask": {"family": "hmix", "inner_frac": 0.1}, "content": "noise"},
    {"mask": {"family": "superpixel", "cells": 3, "compactness": 9.0}},
    {"mask": {"family": "gauss", "sigma": "side"}},
    {"mask": {"family": "gauss", "sigma": "area"}},
    {"mask": {"family": "attentive", "cells": 3, "maps": "gradient"}, "label": {"by": "class_map"}},
    {"partners": {"count": 2, "alpha": 0.5}},
]


@NAMES
def test_nothing_of_another_policy_shines_through(name: str) -> None:
    for base in [*LOUD, *map(expand_preset, PRESETS)]:
        assert Mix.model_validate(merged(base, expand_preset(name))) == Mix.model_validate(name)


@NAMES
def test_survives_json(name: str) -> None:
    mix = Mix.model_validate(name)
    assert Mix.model_validate(json.loads(json.dumps(expand_preset(name)))) == mix
    assert Mix.model_validate_json(mix.model_dump_json()) == mix
    assert Mix.model_validate(json.loads(json.dumps(mix.model_dump()))) == mix


@NAMES
def test_every_call_returns_values_of_its_own(name: str) -> None:
    values = expand_preset(name)
    values["apply"]["prob"] = 0.123
    values["mask"]["family"] = "spoiled"
    values["apply"]["schedule"]["ramp_up_end"] = 0.5
    assert Mix.model_validate(name) == Mix.model_validate(merged(PAPER, PUBLISHED[name]))
    assert Mix.model_validate("cutmix") == Mix.model_validate(merged(PAPER, PUBLISHED["cutmix"]))


# ---------------------------------------------------------------- what a preset does


@NAMES
@pytest.mark.parametrize(("height_px", "width_px"), [(32, 32), (24, 40)])
@pytest.mark.parametrize("count", [1, 9])
def test_draws_and_applies(name: str, height_px: int, width_px: int, count: int) -> None:
    mix = Mix.model_validate(name)
    images = torch.randn(count, 3, height_px, width_px, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count) % 4
    changed = torch.zeros((), dtype=torch.bool)
    for seed in range(20):
        drawn = draw(mix, images, seed=seed, t=0.7, boxes=random_boxes(count, height_px, width_px))
        mixed = mix_images(images, drawn)
        targets = mix_targets(labels, drawn, n_classes=4, smoothing=mix.label.smoothing)
        assert mixed.shape == images.shape
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        by_maps = mix.label.by == "class_map"
        both = drawn.weight + drawn.partner_weights[0] if by_maps and not drawn.idle else torch.ones(count)
        torch.testing.assert_close(targets.sum(dim=1), both)
        untouched = torch.from_numpy(~drawn.applied.copy())
        assert torch.equal(mixed[untouched], images[untouched])
        changed = changed | ~torch.isclose(mixed, images, rtol=0, atol=1e-5).all()
    assert bool(changed) is (name != "off" and (count > 1 or mix.content != "partner" or mix.source != "same"))


@pytest.mark.parametrize(
    ("name", "weights"), [("cutmix_complete_label", {0.5}), ("cutmix_one_hot", {0.0, 1.0}), ("cutmix", None)]
)
def test_label_arms_of_the_ablation(name: str, weights: set[float] | None) -> None:
    drawn = draw(mix_of(name, apply={"prob": 1.0}), torch.zeros(512, 1, 31, 31), seed=1)  # no even split: 961 is odd
    between = (drawn.lam > 0) & (drawn.lam < 1)
    seen = set(drawn.weight[between].tolist())
    assert seen == weights if weights else len(seen) > 100
    assert 0.25 < (1 - drawn.lam).mean() < 0.37  # the pixels are those of CutMix


def test_the_scheduled_arm_rises_over_the_run() -> None:
    mix, images = Mix.model_validate("cutmix_scheduled"), torch.zeros(4000, 1, 4, 4)
    shares = [draw(mix, images, t=t).applied.mean() for t in (0.0, 0.25, 0.5, 1.0)]
    assert shares == pytest.approx([0.0, 0.25, 0.5, 1.0], abs=0.03)
    assert mix.apply.mean_prob == 0.5


@pytest.mark.parametrize(("name", "layers"), [("feature_cutmix", [1]), ("manifold_mixup", [0, 1, 2]), ("cutmix", [0])])
def test_layers(name: str, layers: list[int]) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_layer(Mix.model_validate(name), rng) for _ in range(900)]
    assert sorted(set(drawn)) == layers
    assert np.bincount(drawn)[layers] / 900 == pytest.approx(1 / len(layers), abs=0.06)


def pasted(name: str, count: int = 8000, height_px: int = 32, width_px: int = 32, **changes: Any) -> np.ndarray:
    """Return the realised fraction of the partner in mixed samples, float64 [count]."""
    mix = mix_of(name, **merged({"apply": {"prob": 1.0}}, changes))
    images = torch.zeros(1, 1, 1, 1).expand(count, 1, height_px, width_px)
    return (1 - draw(mix, images, seed=3).lam).double().numpy()


R2 = 1 / 2 - 1 / 5 + 1 / 48
"""E[(r - r^2/4)^2] = E[r^2 - r^3/2 + r^4/16] for r^2 uniform: the clipped box of alpha 1."""


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("cutmix", R2),
        ("cutmix_fixed_size", (1 / 2 - 1 / 16) ** 2),  # (r - r^2/4)^2 of r = 1/2
        ("cutmix_torus", 0.5),
        ("cutout", (1 / 2 - 1 / 16) ** 2),
        ("random_erasing", 0.21),
        ("mixup", 0.5),
        ("fmix", 0.5),
        ("gridmix", 0.5),
        ("hmix", 0.5),  # what clipping takes goes into the blend
        ("resizemix", (0.8**3 - 0.1**3) / 3 / 0.7),
    ],
)
def test_doses_known_in_closed_form(name: str, mean: float) -> None:
    assert pasted(name).mean() == pytest.approx(mean, abs=0.011)  # SD at most 0.35 / sqrt(8000) = 0.004


def test_smoothmix_has_the_published_range() -> None:
    """Public code, by simulation of its formula at 32 px: mean about 0.43 and from 0.13 to 0.72."""
    shares = pasted("smoothmix")
    assert shares.mean() == pytest.approx(0.43, abs=0.02)
    assert 0.1 < shares.min() < 0.16
    assert 0.68 < shares.max() < 0.76


def test_resizemix_shows_the_whole_partner() -> None:
    """A patch of a partner of two colours has both, in equal parts."""
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, :, 16:] = 1.0
    images += 10 * torch.arange(64.0)[:, None, None, None]
    images = images.contiguous(memory_format=torch.channels_last)
    drawn = draw(mix_of("resizemix", pairing={"kind": "roll"}), images)
    mixed = mix_images(images, drawn)
    for index in range(64):
        mask = drawn.pastes[0].mask[index]
        patch = mixed[index][mask] - 10 * ((index - 1) % 64)
        assert patch.mean() == pytest.approx(0.5, abs=0.01)
        side = mask.any(dim=1).sum() / 32
        assert 0.06 < side < 0.83


def test_saliencymix_looks_at_the_partner() -> None:
    images = torch.zeros(40, 3, 32, 32)
    spots = np.random.default_rng(0).integers(3, 28, size=(40, 2))
    for index, (y, x) in enumerate(spots):
        images[index, :, y : y + 2, x : x + 2] = 5.0
    drawn = draw(mix_of("saliencymix", apply={"prob": 1.0}, size={"kind": "fixed", "frac": 0.1}), images)
    partner = drawn.partner.numpy()
    mask = drawn.pastes[0].mask[:, 0]
    assert all(mask[index, y, x] for index, (y, x) in enumerate(spots[partner]))


def test_objectmix_pastes_the_partner_s_box() -> None:
    boxes = random_boxes(30, 24, 40)
    drawn = draw(mix_of("objectmix", apply={"prob": 1.0}), torch.zeros(30, 3, 24, 40), boxes=boxes)
    for mask, (y0, x0, y1, x1) in zip(drawn.pastes[0].mask[:, 0], boxes[drawn.partner.numpy()], strict=True):
        wanted = torch.zeros(24, 40, dtype=torch.bool)
        wanted[y0:y1, x0:x1] = True
        assert torch.equal(mask, wanted)


# ---------------------------------------------------------------- libraries: what a batch shares


@pytest.fixture
def legacy_rng() -> Iterator[None]:
    """The libraries draw from global generators: restore their state afterwards."""
    legacy, state = np.random.mtrand._rand, np.random.mtrand._rand.get_state()
    legacy.seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    legacy.set_state(state)


N = 6
"""Samples of a small batch; each is 1 in a channel of its own, so that the sample of each pixel is known."""

Mixer = Callable[[int], Tensor]
"""Mixes the batch of sample identities [N, N, 8, 12], given the number of the draw."""


def identities() -> Tensor:
    return torch.eye(N)[:, :, None, None].expand(N, N, 8, 12).contiguous(memory_format=torch.channels_last)


def ours(name: str) -> Mixer:
    mix = Mix.model_validate(name)
    return lambda seed: mix_images(identities(), draw(mix, identities(), seed=seed))


def torchvision_recipe() -> Mixer:
    choice = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=N), v2.CutMix(alpha=1.0, num_classes=N)])
    return lambda seed: cast(Tensor, choice(identities(), torch.arange(N))[0])


def torchvision_box() -> Mixer:
    cut = v2.CutMix(num_classes=N)
    return lambda seed: cast(Tensor, cut(identities(), torch.arange(N))[0])


def timm_class(mode: str) -> Mixer:
    library = timm_mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, mode=mode, num_classes=N)
    return lambda seed: cast(Tensor, library(identities(), torch.arange(N))[0])


LIBRARIES: dict[str, Callable[[], Mixer]] = {
    "torchvision": torchvision_recipe,
    "torchvision_cutmix": torchvision_box,
    "timm": lambda: timm_class("batch"),
    "timm_pair": lambda: timm_class("pair"),
    "timm_elem": lambda: timm_class("elem"),
}


@dataclass(frozen=True)
class Habits:
    """What shows in mixed identities.

    Attributes:
        granularity: who has the same mask in every batch.
        partners: whose pixels each sample shows beside its own.
        cut: share of the samples whose pixels are all of one image or the other, among those that show both.
    """

    granularity: str
    partners: list[set[int]]
    cut: float


def habits_of(mixer: Mixer, batches: int = 300) -> Habits:
    mixed = torch.stack([mixer(number) for number in range(batches)])
    kept = torch.stack([mixed[:, index, index] for index in range(N)], dim=1)  # [batches, N, 8, 12]
    # 1 - lam once pasted and once kept may differ in the last bit: partners in opposite order of operations
    alike = torch.isclose(kept, kept[:, :1], atol=1e-6, rtol=0).all()
    mirrored = torch.isclose(kept, kept.flip(1), atol=1e-6, rtol=0).all()
    shown = mixed.amax(dim=(0, 3, 4)) > 0
    both = (kept < 1).flatten(2).any(dim=2) & (kept > 0).flatten(2).any(dim=2)
    hard = ((kept == 0) | (kept == 1)).flatten(2).all(dim=2)
    return Habits(
        granularity="batch" if alike else "pair" if mirrored else "sample",
        partners=[set(row.nonzero().flatten().tolist()) - {index} for index, row in enumerate(shown)],
        cut=(hard & both).sum().item() / both.sum().item(),
    )


@pytest.mark.usefixtures("legacy_rng")
@pytest.mark.parametrize(
    ("name", "granularity", "cut"),
    [
        ("torchvision", "batch", 0.5),
        ("torchvision_cutmix", "batch", 1.0),
        ("timm", "batch", 0.5),
        ("timm_pair", "pair", 0.5),
        ("timm_elem", "sample", 0.5),
    ],
)
def test_a_library_s_batch_is_shared_as_the_library_does(name: str, granularity: str, cut: float) -> None:
    mine, theirs = habits_of(ours(name)), habits_of(LIBRARIES[name]())
    assert mine.granularity == theirs.granularity == granularity
    assert mine.partners == theirs.partners
    assert all(len(partner) == 1 for partner in mine.partners)
    # a Mixup of weight 0 or 1 in floating point, and a box that is empty or full, show one image alone
    assert mine.cut == pytest.approx(cut, abs=0.12)
    assert theirs.cut == pytest.approx(cut, abs=0.12)


@pytest.mark.parametrize("name", ["composer_cutmix", "composer_mixup"])
def test_composer_shares_one_mask_among_random_partners(name: str) -> None:
    mix, images = Mix.model_validate(name), torch.zeros(16, 1, 12, 20)
    partners = set()
    for seed in range(20):
        drawn = draw(mix, images, seed=seed)
        mask = drawn.pastes[0].mask
        assert torch.equal(mask, mask[:1].expand_as(mask))
        assert drawn.applied.all()
        assert sorted(drawn.partner.tolist()) == list(range(16))
        partners.add(tuple(drawn.partner.tolist()))
    assert len(partners) == 20


@pytest.mark.parametrize("name", sorted(set(PRESETS) - set(LIBRARIES) - {"off", "composer_cutmix", "composer_mixup"}))
def test_all_other_presets_draw_for_each_sample(name: str) -> None:
    for policy in Mix.model_validate(name).policies:
        assert (policy.granularity, policy.apply.gate) == ("sample", "sample")


# ---------------------------------------------------------------- libraries: how much


def by_sample(name: str) -> Mix:
    """Return large draws from the preset with everything drawn per sample: its distribution."""
    once = {"granularity": "sample", "apply": {"gate": "sample"}}
    mix = expand_preset(name)
    other = mix["alternate"] and merged(mix["alternate"], {"gate": "sample", "mix": once})
    return Mix.model_validate(merged(mix, {**once, "alternate": other}))


def our_law(name: str, height_px: int, width_px: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the realised lam, float64 [count], and which samples got a box, bool [count]."""
    mix, chunk = by_sample(name), 1000
    images = torch.zeros(1, 1, 1, 1).expand(chunk, 1, height_px, width_px)
    lams, boxes = [], []
    for seed in range(count // chunk):
        drawn = draw(mix, images, seed=seed)
        cut = np.zeros(chunk, dtype=bool)
        for paste in drawn.pastes:
            cut[slice(None) if paste.rows is None else paste.rows] = paste.mask.dtype == torch.bool
        lams.append(drawn.lam.double().numpy())
        boxes.append(cut)
    return np.concatenate(lams), np.concatenate(boxes)


def torchvision_law(both: bool, height_px: int, width_px: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    blend, cut = v2.MixUp(alpha=0.2, num_classes=2), v2.CutMix(alpha=1.0, num_classes=2)
    flat = [torch.empty(1, 3, height_px, width_px)]
    boxes = np.random.default_rng(0).random(count) < 0.5 if both else np.ones(count, dtype=bool)
    lams = [cut.make_params(flat)["lam_adjusted"] if box else blend.make_params(flat)["lam"] for box in boxes]
    return np.array(lams), boxes


def timm_law(height_px: int, width_px: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    library = timm_mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0)
    lams, boxes = [], []
    for _ in range(count):
        lam, box = library._params_per_batch()
        lams.append(timm_mixup.cutmix_bbox_and_lam((3, height_px, width_px), lam)[1] if box else lam)
        boxes.append(box)
    return np.array(lams), np.array(boxes)


def assert_same_law(
    mine: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray], *, rounding: float = 0.0
) -> None:
    """Assert equal choices, and equal lam per choice: mean, spread and fractions beyond thresholds."""
    (lam, box), (their_lam, their_box) = mine, theirs
    assert box.mean() == pytest.approx(their_box.mean(), abs=4 * np.sqrt(0.5 / len(their_box)))
    for cut in np.unique(box):
        a, b = lam[box == cut], their_lam[their_box == cut]
        for moment in (np.copy, np.square, lambda values: values > 0.5, lambda values: values > 0.9):
            x, y = moment(a).astype(float), moment(b).astype(float)
            error = np.sqrt(x.var() / len(x) + y.var() / len(y))
            assert x.mean() == pytest.approx(y.mean(), abs=4 * error + (rounding if cut else 0.0))


@pytest.mark.usefixtures("legacy_rng")
@pytest.mark.parametrize(("name", "both"), [("torchvision", True), ("torchvision_cutmix", False)])
@pytest.mark.parametrize(("height_px", "width_px"), [(32, 32), (24, 40)])
def test_torchvision_s_law(name: str, both: bool, height_px: int, width_px: int) -> None:
    count = 12_000
    theirs = torchvision_law(both, height_px, width_px, count)
    assert_same_law(our_law(name, height_px, width_px, count), theirs)
    if not both:
        assert_same_law(our_law("composer_cutmix", height_px, width_px, count), theirs)


@pytest.mark.usefixtures("legacy_rng")
def test_another_law_would_be_caught() -> None:
    theirs = torchvision_law(True, 32, 32, 12_000)
    for other in ("timm", "torchvision_cutmix"):
        with pytest.raises(AssertionError):
            assert_same_law(our_law(other, 32, 32, 12_000), theirs)
    with pytest.raises(AssertionError):  # real-valued sides paste 0.02 more at 32 px
        assert_same_law(our_law("cutmix_torus", 32, 32, 12_000), torchvision_law(False, 32, 32, 12_000))
    lam, box = our_law("torchvision_cutmix", 32, 32, 12_000)
    with pytest.raises(AssertionError):
        assert_same_law((1 - lam, box), torchvision_law(False, 32, 32, 12_000))


@pytest.mark.usefixtures("legacy_rng")
@pytest.mark.parametrize("name", ["timm", "timm_pair", "timm_elem"])
@pytest.mark.parametrize(("height_px", "width_px", "rounding"), [(128, 96, 0.005), (32, 32, 0.02)])
def test_timm_s_law(name: str, height_px: int, width_px: int, rounding: float) -> None:
    """Releases since 1.0.29 leave odd sides odd: boxes are 0.011 larger at 32 px, 0.003 at 128."""
    count = 12_000
    assert_same_law(our_law(name, height_px, width_px, count), timm_law(height_px, width_px, count), rounding=rounding)


def test_composer_s_mixup_gives_the_partner_the_smaller_part() -> None:
    theirs = np.random.default_rng(5).beta(0.2, 0.2, size=20_000)
    theirs = 1 - (1 - np.minimum(theirs, 1 - theirs)).astype(np.float32)  # where lam is told from 1
    mine = pasted("composer_mixup", 20_000, 1, 1, granularity="sample")
    assert mine.max() <= 0.5
    assert ks_2samp(mine, theirs).pvalue > 0.001
    assert ks_2samp(pasted("mixup", 20_000, 1, 1), theirs).pvalue < 1e-9


# ---------------------------------------------------------------- libraries: the box


SIDES = st.integers(1, 70)
PLACES = st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0.01, 0.99))
"""A pixel, as a fraction of the side, and a place within it."""


def centre_of(place: tuple[float, float], side_px: int) -> tuple[int, float]:
    """Return the pixel and what a generator on [0, 1) must have drawn for it."""
    pixel = min(int(place[0] * side_px), side_px - 1)
    return pixel, (pixel + place[1]) / side_px


def our_box(name: str, lam: float, draws: tuple[float, float], height_px: int, width_px: int) -> Tensor:
    """Mask [H, W] of the preset's box, of the given lam and draws of its centre."""
    (policy,) = (policy for policy in Mix.model_validate(name).policies if isinstance(policy.mask, Box))
    rng = cast(np.random.Generator, SimpleNamespace(random=lambda shape: np.reshape(draws, shape)))
    canvas = Canvas(height_px=height_px, width_px=width_px, position=policy.position, rng=rng, device=CPU)
    return policy.mask.draw(np.array([1 - lam]), canvas)[0, 0]


def filled(height_px: int, width_px: int, y0: int, y1: int, x0: int, x1: int) -> Tensor:
    mask = torch.zeros(height_px, width_px, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("name", ["torchvision", "torchvision_cutmix", "composer_cutmix", "timm", "timm_elem"])
@given(lam=st.floats(0, 1), y=PLACES, x=PLACES, height_px=SIDES, width_px=SIDES)
def test_the_box_is_torchvision_s(
    name: str, lam: float, y: tuple[float, float], x: tuple[float, float], height_px: int, width_px: int
) -> None:
    (row, y_draw), (column, x_draw) = centre_of(y, height_px), centre_of(x, width_px)
    cut = v2.CutMix(num_classes=2)
    cut._dist = SimpleNamespace(sample=lambda shape: lam)
    centres = iter([column, row])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda high, size: torch.tensor([next(centres)]))
        params = cut.make_params([torch.empty(1, 3, height_px, width_px)])
    x0, y0, x1, y1 = params["box"]
    mask = our_box(name, lam, (y_draw, x_draw), height_px, width_px)
    assert torch.equal(mask, filled(height_px, width_px, y0, y1, x0, x1))
    assert 1 - mask.double().mean().item() == pytest.approx(params["lam_adjusted"], abs=1e-12)


@given(lam=st.floats(0, 1), y=PLACES, x=PLACES, height_px=SIDES, width_px=SIDES)
def test_timm_s_box_is_ours_up_to_its_release_1_0_28(
    lam: float, y: tuple[float, float], x: tuple[float, float], height_px: int, width_px: int
) -> None:
    """Later releases leave odd sides odd: one pixel longer than ours, at the lower and the right end."""
    (row, y_draw), (column, x_draw) = centre_of(y, height_px), centre_of(x, width_px)
    centres = iter([row, column])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm_mixup.np.random, "randint", lambda low, high, size=None: next(centres))
        (y0, y1, x0, x1), _ = timm_mixup.cutmix_bbox_and_lam((3, height_px, width_px), lam)
    odd_y, odd_x = (int(side * np.sqrt(1 - lam)) % 2 for side in (height_px, width_px))
    if Version(version("timm")) < Version("1.0.29"):
        odd_y = odd_x = 0
    half_y, half_x = (int(side * np.sqrt(1 - lam)) // 2 for side in (height_px, width_px))
    top, left = max(row - half_y, 0), max(column - half_x, 0)
    bottom, right = row + half_y, column + half_x
    assert (y0, y1) == (top, min(bottom + odd_y, height_px))
    assert (x0, x1) == (left, min(right + odd_x, width_px))
    mask = our_box("timm", lam, (y_draw, x_draw), height_px, width_px)
    assert torch.equal(mask, filled(height_px, width_px, top, bottom, left, right))


# ---------------------------------------------------------------- differences from published code that are documented


def erased(height_px: int, width_px: int, *, corner: bool, count: int = 4000) -> float:
    """Mean erased fraction of algorithm 1 as printed (``corner``), or of the authors' code (Zhong et al.)."""
    rng, fracs = np.random.default_rng(2), []
    while len(fracs) < count:
        area = rng.uniform(0.02, 0.4) * height_px * width_px
        ratio = rng.uniform(0.3, 1 / 0.3)
        height, width = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if corner:
            x, y = rng.uniform(0, width_px), rng.uniform(0, height_px)
            fits = x + width <= width_px and y + height <= height_px
        else:
            height, width = round(height), round(width)
            fits = height < height_px and width < width_px
        if fits:
            fracs.append(height * width / (height_px * width_px))
    return float(np.mean(fracs))


@pytest.mark.parametrize(
    ("height_px", "width_px", "printed", "authors", "library"),
    [(32, 32, 0.14, 0.20, 0.20), (17, 64, 0.10, 0.135, 0.17)],
)
def test_random_erasing_pastes_more_than_redrawing_does(
    height_px: int, width_px: int, printed: float, authors: float, library: float
) -> None:
    """The means that the preset's documentation states."""
    assert pasted("random_erasing", 4000, height_px, width_px).mean() == pytest.approx(0.21, abs=0.008)
    assert erased(height_px, width_px, corner=True) == pytest.approx(printed, abs=0.008)
    assert erased(height_px, width_px, corner=False) == pytest.approx(authors, abs=0.008)
    erasing = v2.RandomErasing(p=1.0, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3))
    flat = [torch.empty(3, height_px, width_px)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = [erasing.make_params(flat) for _ in range(4000)]
    fracs = [drawn["h"] * drawn["w"] / (height_px * width_px) if drawn["v"] is not None else 0.0 for drawn in draws]
    assert np.mean(fracs) == pytest.approx(library, abs=0.008)


def test_resizemix_pastes_more_than_openmixup() -> None:
    """OpenMixup's box is that of the CutMix authors' code, clipped at the border; here the patch is inside."""
    rng = np.random.default_rng(3)
    half = (32 * rng.uniform(0.1, 0.8, size=20_000)).astype(int) // 2
    centres = rng.integers(32, size=(2, 20_000))
    sides = np.clip(centres + half, 0, 32) - np.clip(centres - half, 0, 32)
    assert (sides.prod(axis=0) / 32**2).mean() == pytest.approx(0.16, abs=0.005)
    assert pasted("resizemix").mean() == pytest.approx(0.243, abs=0.008)


# ---------------------------------------------------------------- naming one


def test_further_keys_change_parts() -> None:
    mix = Mix.model_validate({"preset": "cutmix", "apply": {"prob": 0.9}, "size": {"alpha": 0.3, "kind": "beta"}})
    assert mix.apply.prob == 0.9
    assert (mix.size.kind, mix.size.alpha) == ("beta", 0.3)
    assert mix.position.kind == "clip"


def test_further_keys_change_parts_of_the_second_policy() -> None:
    mix = Mix.model_validate({"preset": "timm", "alternate": {"prob": 0.8, "mix": {"size": {"alpha": 0.4}}}})
    assert mix.alternate == Mix.model_validate("timm").alternate.model_copy(  # type: ignore[union-attr]
        update={"prob": 0.8, "mix": mix_of("torchvision_cutmix", pairing={"kind": "flip"}, size={"alpha": 0.4})}
    )


def test_smoothing_is_given_once_for_both_policies() -> None:
    for mix in ({"preset": "timm"}, {"preset": "mixup", "alternate": {"mix": "cutmix"}}):
        smooth = Mix.model_validate({**mix, "label": {"smoothing": 0.1}})
        assert [policy.label.smoothing for policy in smooth.policies] == [0.1, 0.1]
    with pytest.raises(ValueError, match="targets are smoothed once"):
        Mix.model_validate(
            {"preset": "timm", "label": {"smoothing": 0.1}, "alternate": {"mix": {"label": {"smoothing": 0.2}}}}
        )


def test_another_variant_drops_the_old_ones_parameters() -> None:
    mix = Mix.model_validate(
        {
            "preset": "random_erasing",
            "mask": {"family": "flat"},
            "size": {"kind": "fixed"},
            "position": {"kind": "whole"},
        }
    )
    assert mix.mask.model_dump() == {"family": "flat"}
    assert mix.size.model_dump() == {"kind": "fixed", "frac": 0.25}


def test_expanding_leaves_its_argument_alone() -> None:
    given = {"preset": "cutmix", "apply": {"prob": 0.1}}
    assert expand_preset(given)["apply"]["prob"] == 0.1
    assert given == {"preset": "cutmix", "apply": {"prob": 0.1}}
    assert expand_preset("cutmix")["apply"]["prob"] == 0.5
    assert expand_preset({"content": "zero"}) == {"content": "zero"}


@pytest.mark.parametrize("mix", ["cutmx", {"preset": "cutmx"}])
def test_an_unknown_preset_is_refused(mix: Any) -> None:
    with pytest.raises(UserError, match=r"unknown preset 'cutmx'; did you mean 'cutmix'.*valid: .*mixup, .*off"):
        parse(TrialConfig, {"mix": mix}, where="here")


@pytest.mark.parametrize("preset", [["cutmix"], {"a": 1}, 3, False, None])
def test_a_preset_that_is_no_name_is_refused(preset: Any) -> None:
    with pytest.raises(UserError, match="unknown preset"):
        parse(TrialConfig, {"mix": {"preset": preset}}, where="here")


def test_a_mapping_over_a_string_changes_parts_of_it() -> None:
    values = merged({"mix": "mixup"}, {"mix": {"apply": {"prob": 0.25}}})
    mix = TrialConfig.model_validate(values).mix
    assert mix.mask.model_dump() == {"family": "flat"}
    assert mix.apply.prob == 0.25


def test_a_string_over_a_mapping_replaces_it() -> None:
    values = merged({"mix": {"preset": "mixup", "apply": {"prob": 0.25}}}, {"mix": "cutmix"})
    assert TrialConfig.model_validate(values).mix == Mix.model_validate("cutmix")
