"""The contract of mask families, at every position they support. A new family is covered without an entry here."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.box import Box
from trainables.mixing.position import RULES, ClipPosition

CPU = torch.device("cpu")

UNCUT = ("torus", "inside", "whole")
"""Positions that cut nothing off."""

PLACES = [(family, position) for family in sorted(FAMILIES) for position in FAMILIES[family].positions]

FULL = [(family, position) for family, position in PLACES if position in UNCUT and FAMILIES[family].needs != "boxes"]
"""Places at which a fraction of 1 is the whole image: neither the border nor the object's box cuts anything off."""

EXACT = [(family, position) for family, position in PLACES if position in UNCUT and FAMILIES[family].exact_area]

NEVER_MORE = [(family, position) for family, position in PLACES if FAMILIES[family].exact_area]

UNSEEING = [
    (family, position) for family, position in PLACES if "images" not in (FAMILIES[family].needs, RULES[position].needs)
]
"""Places without a search in images, the result of which would have to come back from the device."""

every_family = pytest.mark.parametrize("family", sorted(FAMILIES))
every_place = pytest.mark.parametrize(("family", "position"), PLACES)


class DeviceCanvas(Canvas):
    """A canvas that uses the code path of an accelerator on the host."""

    @property
    def on_host(self) -> bool:
        return False


def canvas_of(
    position: str, count: int, *, height: int = 32, width: int = 32, seed: int = 0, device: torch.device = CPU
) -> Canvas:
    """Return a canvas with images and boxes; some boxes are empty, as after a crop."""
    content = np.random.default_rng(99)
    images = torch.from_numpy(content.standard_normal((count, 3, height, width), dtype=np.float32))
    corners = np.sort(content.integers(0, [[height + 1], [width + 1]], size=(2, 2, count)), axis=0)
    boxes = corners.reshape(4, count).T.copy()
    boxes[::3] = 0
    return Canvas(
        height_px=height,
        width_px=width,
        position=RULES[position](),
        rng=np.random.default_rng(seed),
        device=device,
        batch=BatchView((count, 3, height, width), np.arange(count) % 3, images.to(device), boxes),
        partner=np.roll(np.arange(count), 1),
    )


def draw_mask(family: str, fractions: np.ndarray, canvas: Canvas) -> torch.Tensor:
    mask = FAMILIES[family]().draw(fractions, canvas)
    assert isinstance(mask, torch.Tensor)
    return mask


def mean_share(family: str, position: str, fraction: float, *, height: int, width: int, count: int = 2000) -> float:
    mask = draw_mask(family, np.full(count, fraction), canvas_of(position, count, height=height, width=width))
    return mask.float().mean().item()


# ---------------------------------------------------------------- values


@every_place
@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 31), (40, 8), (1, 1), (1, 3)])
@pytest.mark.parametrize("count", [1, 7])
def test_shape_and_values(family: str, position: str, height: int, width: int, count: int) -> None:
    fractions = np.random.default_rng(1).uniform(size=count)
    mask = draw_mask(family, fractions, canvas_of(position, count, height=height, width=width))
    assert len(mask) == count  # one mask a sample
    assert torch.broadcast_shapes(mask.shape, (count, 1, height, width)) == (count, 1, height, width)
    assert mask.shape[2:] in ((height, width), (1, 1))  # applying a mask knows no other shapes
    assert mask.dtype in (torch.bool, torch.float32)
    assert mask.device == CPU
    assert mask.isfinite().all()
    assert ((mask.float() >= 0) & (mask.float() <= 1)).all()


@settings(max_examples=200)
@given(
    place=st.sampled_from(PLACES),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    fractions=st.lists(st.floats(0, 1), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_any_fraction_on_any_image(
    place: tuple[str, str], height: int, width: int, fractions: list[float], seed: int
) -> None:
    family, position = place
    canvas = canvas_of(position, len(fractions), height=height, width=width, seed=seed)
    mask = draw_mask(family, np.array(fractions), canvas).float()
    assert mask.isfinite().all()
    assert ((mask >= 0) & (mask <= 1)).all()
    for row, fraction in enumerate(fractions):
        if fraction == 0:
            assert mask[row].max() == 0
        if fraction == 1 and place in FULL:
            assert mask[row].min() == 1


@every_place
def test_nothing_is_pasted_at_fraction_zero(family: str, position: str) -> None:
    for height, width in ((16, 16), (9, 31)):
        mask = draw_mask(family, np.zeros(50), canvas_of(position, 50, height=height, width=width))
        assert mask.float().max() == 0


@pytest.mark.parametrize(("family", "position"), FULL)
def test_everything_is_pasted_at_fraction_one(family: str, position: str) -> None:
    for height, width in ((16, 16), (9, 31)):
        mask = draw_mask(family, np.ones(50), canvas_of(position, 50, height=height, width=width))
        assert mask.float().min() == 1


# ---------------------------------------------------------------- area


@pytest.mark.parametrize(("family", "position"), EXACT)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.9])
def test_mean_share_is_what_was_asked_for(family: str, position: str, height: int, width: int, fraction: float) -> None:
    assert mean_share(family, position, fraction, height=height, width=width) == pytest.approx(fraction, abs=0.01)


@pytest.mark.parametrize(("family", "position"), NEVER_MORE)
def test_clipping_never_adds(family: str, position: str) -> None:
    for fraction in (0.1, 0.5, 0.9):
        assert mean_share(family, position, fraction, height=24, width=40) < fraction + 0.01


@pytest.mark.parametrize("family", [family for family in sorted(FAMILIES) if not FAMILIES[family].exact_area])
def test_a_family_without_an_exact_area_has_another(family: str) -> None:
    """A family that keeps its area has to declare it."""
    position = next(position for position in FAMILIES[family].positions if position in UNCUT)
    shares = [mean_share(family, position, fraction, height=24, width=40) for fraction in (0.3, 0.5, 0.7)]
    assert np.abs(np.array(shares) - (0.3, 0.5, 0.7)).max() > 0.01
    assert shares == sorted(shares)


@pytest.mark.parametrize("family", [family for family, position in PLACES if position == "torus"])
@pytest.mark.parametrize("fraction", [0.1, 0.6])
def test_every_place_is_as_likely_on_the_torus(family: str, fraction: float) -> None:
    mask = draw_mask(family, np.full(10_000, fraction), canvas_of("torus", 10_000, height=10, width=14))
    assert largest_deviation(mask) < 5


def test_a_favoured_place_would_be_seen() -> None:
    canvas = replace(canvas_of("torus", 10_000, height=10, width=14), position=ClipPosition())
    assert largest_deviation(Box().draw(np.full(10_000, 0.1), canvas)) > 15


def largest_deviation(mask: torch.Tensor) -> float:
    """Return how far the pixel furthest from the average is away from it, in standard errors."""
    weights = mask.double().flatten(1)
    each = weights.mean(dim=0)
    errors = weights.std(dim=0).clamp(min=1e-6) / len(weights) ** 0.5
    return ((each - each.mean()).abs() / errors).max().item()


# ---------------------------------------------------------------- chance


@every_place
def test_the_generator_decides_alone(family: str, position: str) -> None:
    fractions = np.linspace(0.1, 0.9, 8)
    legacy = np.random.mtrand._rand
    numpy_before, torch_before = copy.deepcopy(legacy.get_state(legacy=False)), torch.get_rng_state()
    # a size that no other test uses: a bank that is made once must not draw from the generator either
    sides = {"height": 11, "width": 13 + PLACES.index((family, position))}
    first = draw_mask(family, fractions, canvas_of(position, 8, seed=3, **sides))
    np.testing.assert_equal(legacy.get_state(legacy=False), numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)
    draw_mask(family, fractions, canvas_of(position, 8, seed=4, **sides))
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert torch.equal(first, draw_mask(family, fractions, canvas_of(position, 8, seed=3, **sides)))
    assert fractions.tolist() == np.linspace(0.1, 0.9, 8).tolist()


@every_place
def test_samples_do_not_share_a_mask(family: str, position: str) -> None:
    canvas = canvas_of(position, 40)
    untouched = copy.deepcopy(canvas.rng.bit_generator.state)
    mask = draw_mask(family, np.full(40, 0.35), canvas)
    if canvas.rng.bit_generator.state == untouched:  # nothing is drawn: then nothing may differ, unless it is seen
        assert canvas.position.needs or FAMILIES[family].needs or len(mask.flatten(1).unique(dim=0)) == 1
        return
    assert len(mask.flatten(1).unique(dim=0)) > 15  # bands have no more than 32 places


# ---------------------------------------------------------------- devices


@every_place
@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 31)])
def test_the_accelerators_way_leads_to_the_same_masks(family: str, position: str, height: int, width: int) -> None:
    fractions = np.append(np.random.default_rng(2).uniform(size=62), [0.0, 1.0])
    host = canvas_of(position, 64, height=height, width=width)
    there = DeviceCanvas(**vars(canvas_of(position, 64, height=height, width=width)))
    assert torch.equal(draw_mask(family, fractions, host), draw_mask(family, fractions, there))


@pytest.mark.parametrize(("family", "position"), UNSEEING)
def test_nothing_waits_for_the_device(family: str, position: str) -> None:
    canvas = canvas_of(position, 6, height=8, width=12, device=torch.device("meta"))
    mask = draw_mask(family, np.linspace(0, 1, 6), canvas)  # reading a value back from this device fails
    assert mask.device.type == "meta"
    assert torch.broadcast_shapes(mask.shape, (6, 1, 8, 12)) == (6, 1, 8, 12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_place
def test_a_gpu_draws_the_same_masks(family: str, position: str) -> None:
    fractions = np.random.default_rng(2).uniform(size=32)
    mine, theirs = (
        draw_mask(family, fractions, canvas_of(position, 32, device=torch.device(device))) for device in ("cpu", "cuda")
    )
    assert theirs.device.type == "cuda"
    torch.testing.assert_close(theirs.cpu(), mine, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- configuration


@every_family
def test_frozen_and_kept_by_json(family: str) -> None:
    mask = FAMILIES[family]()
    assert isinstance(mask, Mask)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(mask, "family", "other")  # noqa: B010
    with pytest.raises(ValidationError, match="Extra inputs"):
        FAMILIES[family].model_validate({"radius": 3})
    assert FAMILIES[family].model_validate_json(mask.model_dump_json()) == mask


@every_place
def test_a_policy_with_it_is_accepted_and_kept_by_json(family: str, position: str) -> None:
    mix = Mix.model_validate({"mask": {"family": family}, "position": {"kind": position}})
    assert type(mix.mask) is FAMILIES[family]
    assert Mix.model_validate_json(mix.model_dump_json()) == mix


@every_family
def test_the_docstring_explains_parameters_and_names_a_source(family: str) -> None:
    explained = FAMILIES[family].__doc__ or ""
    for name in set(FAMILIES[family].model_fields) - {"family"}:
        assert f"        {name}: " in explained
    assert re.search(r"\b(19|20)\d\d\b|Not taken from a publication", explained), "authors, venue and year, or that"


@every_family
def test_the_docstring_has_an_example(family: str) -> None:
    assert re.search(rf">>> .*\b{FAMILIES[family].__name__}\(", FAMILIES[family].__doc__ or "")


@every_family
def test_the_file_has_the_family_s_name(family: str) -> None:
    """Two files with one family's name, for example after copying one of them, would hide one of the families."""
    assert FAMILIES[family].__module__ == f"trainables.mixing.masks.{family}"
