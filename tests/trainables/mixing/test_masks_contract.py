"""What every mask family promises. A new family is covered by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainables.mixing.config import Mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.base import Canvas, Mask
from trainables.mixing.position import ClipPosition, InsidePosition, PlacingRule, TorusPosition

POSITIONS = (ClipPosition(), InsidePosition(), TorusPosition())

pytestmark = pytest.mark.parametrize("family", sorted(FAMILIES))


def draw_mask(
    family: str,
    fractions: np.ndarray,
    *,
    height: int = 32,
    width: int = 32,
    position: PlacingRule = POSITIONS[1],
    seed: int = 0,
) -> torch.Tensor:
    mask = FAMILIES[family]().draw(
        fractions,
        Canvas(
            height_px=height,
            width_px=width,
            position=position,
            rng=np.random.default_rng(seed),
            device=torch.device("cpu"),
        ),
    )
    assert isinstance(mask, torch.Tensor)
    return mask


@pytest.mark.parametrize("position", POSITIONS, ids=lambda position: position.kind)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 31), (40, 8)])
@pytest.mark.parametrize("count", [1, 7])
def test_shape_and_values(family: str, position: PlacingRule, height: int, width: int, count: int) -> None:
    fractions = np.random.default_rng(1).uniform(size=count)
    mask = draw_mask(family, fractions, height=height, width=width, position=position)
    assert len(mask) == count  # one mask a sample
    assert torch.broadcast_shapes(mask.shape, (count, 1, height, width)) == (count, 1, height, width)
    assert mask.dtype in (torch.bool, torch.float32)
    assert ((mask.float() >= 0) & (mask.float() <= 1)).all()


@pytest.mark.parametrize("position", POSITIONS, ids=lambda position: position.kind)
def test_the_generator_decides_alone(family: str, position: PlacingRule) -> None:
    fractions = np.linspace(0.1, 0.9, 8)
    before = torch.get_rng_state()
    first = draw_mask(family, fractions, position=position, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, draw_mask(family, fractions, position=position, seed=3))
    assert fractions.tolist() == np.linspace(0.1, 0.9, 8).tolist()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 31)])
def test_nothing_and_everything(family: str, height: int, width: int) -> None:
    for seed in range(20):
        mask = draw_mask(family, np.array([0.0, 1.0]), height=height, width=width, seed=seed).float()
        assert mask[0].max() == 0
        assert mask[1].min() == 1


@pytest.mark.parametrize("position", POSITIONS, ids=lambda position: position.kind)
def test_nothing_is_pasted_at_fraction_zero(family: str, position: PlacingRule) -> None:
    assert draw_mask(family, np.zeros(50), position=position).float().max() == 0


@pytest.mark.parametrize("position", POSITIONS[1:], ids=lambda position: position.kind)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.9])
def test_mean_share_is_what_was_asked_for(
    family: str, position: PlacingRule, height: int, width: int, fraction: float
) -> None:
    mask = draw_mask(family, np.full(2000, fraction), height=height, width=width, position=position)
    assert mask.float().mean().item() == pytest.approx(fraction, abs=0.01)


def test_clipping_never_adds(family: str) -> None:
    for fraction in (0.1, 0.5, 0.9):
        mask = draw_mask(family, np.full(2000, fraction), position=POSITIONS[0])
        assert mask.float().mean().item() < fraction + 0.01


def test_frozen_and_kept_by_json(family: str) -> None:
    mask = FAMILIES[family]()
    assert isinstance(mask, Mask)
    assert mask.__doc__
    with pytest.raises(ValidationError, match="frozen"):
        setattr(mask, "family", "other")  # noqa: B010
    assert FAMILIES[family].model_validate_json(mask.model_dump_json()) == mask
    mix = Mix.model_validate({"mask": {"family": family}, "position": {"kind": FAMILIES[family].positions[0]}})
    assert type(mix.mask) is FAMILIES[family]
    assert Mix.model_validate_json(mix.model_dump_json()) == mix
