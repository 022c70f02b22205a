"""Masks drawn ahead: as many as are needed, none beyond the end of an epoch, none for a policy that needs the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainables.mixing import mask_pool as pool_module
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer
from trainables.mixing.masks import FAMILIES
from trainables.mixing.pastes import MixDraw
from trainables.mixing.saliency import stand_in_maps
from trainables.mixing.size import BetaSize

CPU = torch.device("cpu")
SIDE_PX = 32
BOX: dict[str, Any] = {"preset": "cutmix", "apply": {"prob": 1.0}}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many masks are drawn at a time."""
    drawn: list[int] = []
    plain = BetaSize.draw

    def counting(size: BetaSize, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn.append(count)
        return plain(size, count, rng)

    monkeypatch.setattr(BetaSize, "draw", counting)
    return drawn


def view(count: int) -> BatchView:
    images = torch.zeros(count, 3, SIDE_PX, SIDE_PX)
    boxes = np.tile([4, 4, 20, 20], (count, 1))
    return BatchView((count, 3, SIDE_PX, SIDE_PX), np.arange(count) % 3, images, boxes, stand_in_maps(images))


def draws(policy: dict[str, Any], batches: list[int], *, seed: int = 0) -> list[MixDraw]:
    rng = np.random.default_rng(seed)
    drawer = MixDrawer(Mix.model_validate(policy), rng=rng, device=CPU, n_samples=sum(batches))
    return [drawer.draw(view(count), t=0.0) for count in batches]


def test_whole_batches_no_more_than_are_asked_for(counts: list[int]) -> None:
    draws(BOX, [128] * 9 + [28])
    assert counts == [1024, 156]


def test_masks_of_several_partners_take_more_of_the_room(counts: list[int]) -> None:
    draws(BOX | {"partners": {"count": 4}}, [128] * 9)
    assert counts == [256, 256, 256, 256, 128]


def test_a_smaller_batch_takes_from_what_is_left(counts: list[int]) -> None:
    """As at the end of an epoch in which the first steps did not mix: a schedule may begin at 0."""
    rng = np.random.default_rng(0)
    drawer = MixDrawer(Mix.model_validate(BOX), rng=rng, device=CPU, n_samples=40)
    lam = [drawer.draw(view(count), t=0.0).lam_nominal.tolist() for count in (8, 8, 3, 8)]
    assert counts == [40]
    assert len({value for batch in lam for value in batch}) == 27  # each mask is used once


def test_large_images_batch_by_batch(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "AHEAD_PX", SIDE_PX**2 * 10)
    draws(BOX, [16, 16, 5])
    assert counts == [16, 16, 5]


@pytest.mark.parametrize(
    "policy",
    [
        {"granularity": "batch"},
        {"granularity": "pair", "pairing": {"kind": "flip"}},
        {"position": {"kind": "saliency"}},
        {"position": {"kind": "object"}},
        {"layer": [0, 1]},
    ],
    ids=str,
)
def test_what_depends_on_the_batch_is_drawn_for_it(policy: dict[str, Any], counts: list[int]) -> None:
    draws(BOX | policy, [16, 16])
    assert len(counts) == 2


def test_no_shape_serves_twice() -> None:
    shares = np.concatenate([draw.lam_nominal for draw in draws(BOX, [100, 100, 100, 40])])
    assert len(np.unique(shares)) == 340


def test_a_smaller_batch_on_the_way() -> None:
    sizes = [len(draw.lam) for draw in draws(BOX, [300, 7, 300, 300, 1])]
    assert sizes == [300, 7, 300, 300, 1]


@pytest.mark.parametrize("family", sorted(name for name, family in FAMILIES.items() if family.needs is None))
def test_ahead_or_not_the_law_is_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix.model_validate(BOX)
    place = "torus" if "torus" in FAMILIES[family].positions else "whole"
    policy = mix.model_dump() | {"mask": {"family": family}, "position": {"kind": place}}
    policy |= {"partners": {"count": FAMILIES[family].n_partners or 1}}
    means = []
    for ahead_px in (1, pool_module.AHEAD_PX):
        monkeypatch.setattr(pool_module, "AHEAD_PX", ahead_px)
        means.append(np.mean([draw.lam.mean().item() for draw in draws(policy, [128] * 40)]))
    assert means[0] == pytest.approx(means[1], abs=5 * 0.29 / np.sqrt(40 * 128))
