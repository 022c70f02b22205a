from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.masks.object import Object
from trainables.mixing.position import WholePosition

CPU = torch.device("cpu")


def draw(boxes: np.ndarray, fractions: np.ndarray, *, partner: np.ndarray | None = None, seed: int = 0) -> torch.Tensor:
    """Return masks on images of 20 by 30 pixels, bool [B, 20, 30]."""
    count = len(boxes)
    canvas = Canvas(
        height_px=20,
        width_px=30,
        position=WholePosition(),
        rng=np.random.default_rng(seed),
        device=CPU,
        batch=BatchView((count, 3, 20, 30), np.zeros(count, dtype=np.int64), None, boxes),
        partner=np.arange(count) if partner is None else partner,
    )
    return Object().draw(fractions, canvas)[:, 0]


def filled(box: list[int]) -> torch.Tensor:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


BOXES = [[3, 4, 10, 25], [0, 0, 20, 30], [19, 29, 20, 30], [5, 0, 6, 30]]


def test_all_of_it_is_the_partners_box() -> None:
    partner = np.array([2, 0, 3, 1])
    mask = draw(np.array(BOXES), np.ones(4), partner=partner)
    for sample, whose in enumerate(partner):
        assert torch.equal(mask[sample], filled(BOXES[whose]))


def test_nothing_of_it_is_nothing() -> None:
    assert not draw(np.array(BOXES * 50), np.zeros(200)).any()


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 5], [0, 0, 0, 0], [7, 7, 3, 3]])
def test_where_no_object_is_left_nothing_is_pasted(box: list[int]) -> None:
    mask = draw(np.array([box, [2, 2, 8, 8]]), np.ones(2))
    assert mask.sum(dim=(1, 2)).tolist() == [0, 36]


@given(
    y=st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted),
    x=st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_rectangle_about_the_boxes_centre(y: list[int], x: list[int], fraction: float, seed: int) -> None:
    box = [y[0], x[0], y[1], x[1]]
    for mask in draw(np.array([box] * 5), np.full(5, fraction), seed=seed):
        assert not (mask & ~filled(box)).any()
        if not mask.any():
            continue
        for axis, (low, high) in ((1, y), (0, x)):
            inside = mask.any(dim=axis).nonzero()[:, 0]
            first, last = int(inside[0]), int(inside[-1])
            assert abs((first - low) - (high - 1 - last)) <= 1
            assert len(inside) == last - first + 1
            assert abs(len(inside) - np.sqrt(fraction) * (high - low)) < 1
        assert mask.sum() == mask.any(dim=0).sum() * mask.any(dim=1).sum()


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("box", [[3, 4, 10, 25], [2, 2, 5, 6]])
def test_mean_area_is_the_wanted_share_of_the_box(fraction: float, box: list[int]) -> None:
    area = (box[2] - box[0]) * (box[3] - box[1])
    shares = draw(np.array([box] * 20_000), np.full(20_000, fraction)).sum(dim=(1, 2)).double() / area
    assert shares.mean().item() == pytest.approx(fraction, abs=4 * shares.std().item() / 20_000**0.5 + 1e-9)


def test_an_odd_remainder_goes_to_either_side() -> None:
    masks = draw(np.array([[4, 0, 6, 30]] * 4000), np.full(4000, 0.25))  # one row of two
    assert masks.sum(dim=(1, 2)).tolist() == [15] * 4000
    assert masks[:, 4].any(dim=1).double().mean().item() == pytest.approx(0.5, abs=0.04)


def test_the_label_follows_the_objects_area() -> None:
    boxes = np.array(BOXES)
    mix = Mix.model_validate(
        {
            "mask": {"family": "object"},
            "position": {"kind": "whole"},
            "size": {"kind": "fixed", "frac": 1.0},
            "pairing": {"kind": "flip"},
        }
    )
    assert mix.needs == {"boxes"}
    view = BatchView((4, 3, 20, 30), np.arange(4), None, boxes)
    drawn = draw_mix(mix, view, rng=np.random.default_rng(0), device=CPU)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 600
    assert (1 - drawn.lam).tolist() == pytest.approx(areas[::-1].tolist())


def test_without_boxes_it_is_refused() -> None:
    mix = Mix.model_validate({"mask": {"family": "object"}, "position": {"kind": "whole"}})
    with pytest.raises(ValueError, match="needs the partners' boxes, but the batch has none"):
        draw_mix(mix, BatchView((2, 3, 8, 8), np.arange(2)), rng=np.random.default_rng(0), device=CPU)
