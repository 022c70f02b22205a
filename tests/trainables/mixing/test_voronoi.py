from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.voronoi import Voronoi, _areas, _diagrams
from trainables.mixing.position import TorusPosition
from trainables.seeds import generator

CPU = torch.device("cpu")


class EvenRng:
    """Always the first diagram without a shift, and numbers spread evenly over [0, 1) for random rounding."""

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        numbers = np.zeros(shape)
        numbers[-1] = (np.arange(shape[1]) + 0.5) / shape[1]
        return numbers


def draw(mask: Voronoi, fractions: np.ndarray, height: int, width: int, rng: object) -> torch.Tensor:
    """Return masks, bool [B, H, W]."""
    canvas = Canvas(height_px=height, width_px=width, position=TorusPosition(), rng=rng, device=CPU)  # type: ignore[arg-type]
    return mask.draw(fractions, canvas)[:, 0]


def test_pixels_belong_to_the_nearest_point_around_the_borders() -> None:
    height, width, cells = 6, 9, 5
    diagrams = _diagrams(height, width, cells)
    points = generator("voronoi bank").random((2, cells, len(diagrams)), dtype=np.float32)
    for number in (0, 1, len(diagrams) - 1):
        for y in range(height):
            for x in range(width):
                aside = np.abs(np.array([[y + 0.5], [x + 0.5]]) - points[:, :, number] * np.array([[height], [width]]))
                distance = np.hypot(*np.minimum(aside, np.array([[height], [width]]) - aside))
                assert distance[diagrams[number, y, x]] == pytest.approx(distance.min(), abs=1e-4)


def test_areas_are_counted() -> None:
    before, areas = _areas(6, 9, 5)
    diagrams = _diagrams(6, 9, 5)
    for number in (0, 7, len(diagrams) - 1):
        counts = [(diagrams[number] == cell).sum() for cell in range(5)]
        assert areas[number].tolist() == counts
        assert before[number].tolist() == [sum(counts[:cell]) for cell in range(5)]


@given(
    fraction=st.floats(0, 1),
    sides=st.sampled_from([(1, 1), (9, 31), (40, 8), (32, 32)]),
    seed=st.integers(0, 2**32),
)
def test_area_is_within_a_cell_of_what_is_wanted(fraction: float, sides: tuple[int, int], seed: int) -> None:
    _, areas = _areas(*sides, 16)
    pixels = draw(Voronoi(), np.full(20, fraction), *sides, np.random.default_rng(seed)).sum(dim=(1, 2)).numpy()
    assert (np.abs(pixels - fraction * sides[0] * sides[1]) <= areas.max()).all()


@pytest.mark.parametrize("fraction", [0.0, 0.013, 0.4, 0.77, 1.0])
@pytest.mark.parametrize("cells", [2, 16, 128])
def test_mean_area_of_a_single_diagram_is_exact(fraction: float, cells: int) -> None:
    mask = draw(Voronoi(cells=cells), np.full(2000, fraction), 16, 24, EvenRng())
    assert mask.double().mean().item() == pytest.approx(fraction, abs=1 / 2000)


def test_cells_are_pasted_whole_and_in_turn() -> None:
    diagram = _diagrams(16, 24, 16)[0]
    masks = draw(Voronoi(), np.linspace(0, 1, 400), 16, 24, EvenRng()).numpy()
    for mask in masks:
        inside = set(np.unique(diagram[mask]).tolist())
        assert inside == set(range(len(inside)))
        assert not inside & set(np.unique(diagram[~mask]).tolist())


def test_coverage_is_uniform() -> None:
    coverage = draw(Voronoi(), np.full(40_000, 0.3), 6, 10, np.random.default_rng(0)).double().mean(dim=0)
    assert coverage.numpy() == pytest.approx(np.full((6, 10), 0.3), abs=5 * math.sqrt(0.21 / 40_000))


def test_more_cells_have_longer_borders() -> None:
    few, many = (draw(Voronoi(cells=cells), np.full(300, 0.5), 32, 32, np.random.default_rng(0)) for cells in (4, 64))
    assert (few != few.roll(1, dims=2)).float().mean() < 0.6 * (many != many.roll(1, dims=2)).float().mean()


@pytest.mark.parametrize("cells", [1, 129])
def test_impossible_numbers_of_cells_are_refused(cells: int) -> None:
    with pytest.raises(ValidationError, match="than or equal to"):
        Voronoi(cells=cells)
