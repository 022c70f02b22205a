from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.device_paths import tensor_operations
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.grid import Grid
from trainables.mixing.position import PlacingRule, TorusPosition, WholePosition

WHOLE, TORUS = WholePosition(), TorusPosition()
SEEDS = st.integers(0, 2**32)


def draw(
    grid: Grid,
    fractions: np.ndarray,
    height: int = 32,
    width: int = 32,
    *,
    position: PlacingRule = WHOLE,
    seed: int = 0,
) -> torch.Tensor:
    """Return masks, bool [B, H, W]."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(height_px=height, width_px=width, position=position, rng=rng, device=torch.device("cpu"))
    return grid.draw(fractions, canvas)[:, 0]


def by_cell(mask: torch.Tensor, cells: int) -> torch.Tensor:
    """Return masks with sides that are multiples of ``cells`` as bool [B, cells * cells, pixels per cell]."""
    count, height, width = mask.shape
    parts = mask.view(count, cells, height // cells, cells, width // cells).permute(0, 1, 3, 2, 4)
    return parts.reshape(count, cells * cells, -1)


@given(fraction=st.floats(0, 1), cells=st.integers(1, 6), high=st.integers(1, 4), wide=st.integers(1, 4), seed=SEEDS)
def test_whole_cells_as_many_as_wanted(fraction: float, cells: int, high: int, wide: int, seed: int) -> None:
    parts = by_cell(draw(Grid(cells=cells), np.full(7, fraction), cells * high, cells * wide, seed=seed), cells)
    assert (parts.all(dim=2) == parts.any(dim=2)).all()
    wanted = fraction * cells**2
    for pasted in parts.all(dim=2).sum(dim=1).tolist():
        assert math.floor(wanted) <= pasted <= math.ceil(wanted)


@pytest.mark.parametrize("position", [WHOLE, TORUS], ids=["whole", "torus"])
@pytest.mark.parametrize(("height", "width"), [(10, 7), (3, 20), (9, 31), (1, 1)])
@pytest.mark.parametrize("fraction", [0.03, 0.4, 0.9])
def test_every_pixel_is_as_likely_whatever_the_size(
    position: PlacingRule, height: int, width: int, fraction: float
) -> None:
    coverage = draw(Grid(), np.full(30_000, fraction), height, width, position=position).double().mean(dim=0)
    error = math.sqrt(fraction * (1 - fraction) / 30_000)
    assert coverage.numpy() == pytest.approx(np.full((height, width), fraction), abs=5 * error)
    assert coverage.mean().item() == pytest.approx(fraction, abs=5 * error)


@given(cells=st.integers(1, 9), height=st.integers(1, 30), width=st.integers(1, 30), seed=SEEDS)
def test_cells_are_as_equal_as_pixels_allow(cells: int, height: int, width: int, seed: int) -> None:
    """Borders of cells lie where the length is divided evenly, to a pixel; nothing changes elsewhere."""
    mask = draw(Grid(cells=cells), np.full(8, 0.5), height, width, seed=seed)
    for axis, length in ((1, height), (2, width)):
        changes = mask.int().diff(dim=axis).abs().amax(dim=(0, 3 - axis)).nonzero()[:, 0] + 1
        borders = {math.ceil(part * length / cells) for part in range(1, cells)}
        assert set(changes.tolist()) <= borders
        steps = np.diff([0, *sorted(borders), length])
        assert steps.max(initial=1) - steps[steps > 0].min(initial=length) <= 1


def test_all_borders_are_used() -> None:
    mask = draw(Grid(cells=3), np.full(50, 0.5), 7, 7)
    changes = mask.int().diff(dim=1).abs().amax(dim=(0, 2)).nonzero()[:, 0] + 1
    assert changes.tolist() == [3, 5]  # rows of 3, 2 and 2 pixels


@given(fraction=st.floats(0, 1), seed=SEEDS)
def test_on_the_torus_the_grid_is_moved_as_a_whole(fraction: float, seed: int) -> None:
    for mask in draw(Grid(cells=3), np.full(4, fraction), 9, 12, position=TORUS, seed=seed):
        moved = torch.stack([mask.roll((dy, dx), dims=(0, 1)) for dy in range(3) for dx in range(4)])
        parts = by_cell(moved, 3)
        whole = (parts.all(dim=2) == parts.any(dim=2)).all(dim=1)
        assert whole.any()
        pasted = parts[whole][0].all(dim=1).sum().item()
        assert math.floor(9 * fraction) <= pasted <= math.ceil(9 * fraction)


def test_each_sample_is_moved_by_itself() -> None:
    mask = draw(Grid(cells=2), np.full(300, 0.5), 16, 16, position=TORUS)
    for axis in (1, 2):
        first_change = mask.int().diff(dim=axis).abs().amax(dim=3 - axis).argmax(dim=1)
        assert len(first_change.unique()) == 8  # every phase of a cell of eight pixels


def test_all_subsets_are_drawn() -> None:
    chosen = by_cell(draw(Grid(cells=2), np.full(6000, 0.5), 4, 4), 2).all(dim=2)
    subsets, counts = chosen.unique(dim=0, return_counts=True)
    assert len(subsets) == 6
    assert counts.tolist() == pytest.approx([1000] * 6, abs=150)


@given(
    cells=st.integers(1, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=SEEDS,
    position=st.sampled_from([WHOLE, TORUS]),
)
def test_other_devices_draw_the_same(cells: int, height: int, width: int, seed: int, position: PlacingRule) -> None:
    def drawn() -> torch.Tensor:
        return draw(Grid(cells=cells), np.linspace(0, 1, 9), height, width, position=position, seed=seed)

    host = drawn()
    with tensor_operations():
        assert torch.equal(host, drawn())


@pytest.mark.parametrize("cells", [0, 65])
def test_impossible_numbers_of_cells_are_refused(cells: int) -> None:
    with pytest.raises(ValidationError, match="than or equal to"):
        Grid(cells=cells)
