from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.attentive import Attentive
from trainables.mixing.position import WholePosition

CPU = torch.device("cpu")
PARTNER = np.array([2, 0, 3, 1])


def canvas_of(maps: Tensor, height_px: int, width_px: int, seed: int = 0) -> Canvas:
    count, shape = len(maps), (len(maps), 3, height_px, width_px)
    view = BatchView(shape, np.arange(count), torch.zeros(shape), maps=lambda _: maps)
    rng = np.random.default_rng(seed)
    place = WholePosition()
    return Canvas(height_px, width_px, place, rng=rng, device=CPU, batch=view, partner=PARTNER[:count] % count)


def in_loops(values: np.ndarray, cells: int, n_cells: int, height_px: int, width_px: int) -> np.ndarray:
    """The mask of one sample: average in each cell, highest cells, their pixels; all in loops."""
    rows, columns = values.shape
    means = []
    for i, j in product(range(cells), repeat=2):
        y = slice(i * rows // cells, -(-(i + 1) * rows // cells))
        x = slice(j * columns // cells, -(-(j + 1) * columns // cells))
        means.append((-values[y, x].mean(), i, j))
    mask = np.zeros((height_px, width_px), dtype=bool)
    for _, i, j in sorted(means)[:n_cells]:
        for y, x in product(range(height_px), range(width_px)):
            if (y * cells // height_px, x * cells // width_px) == (i, j):
                mask[y, x] = True
    return mask


@pytest.mark.parametrize(
    ("cells", "size_px", "map_px"), [(7, (28, 28), (7, 7)), (7, (32, 20), (8, 8)), (4, (9, 5), (3, 6))]
)
def test_the_highest_cells_of_the_partners_map(cells: int, size_px: tuple[int, int], map_px: tuple[int, int]) -> None:
    maps = torch.from_numpy(np.random.default_rng(0).random((4, *map_px), dtype=np.float32))
    n_cells = np.array([0, 1, 6, cells**2])
    masks = Attentive(cells=cells).draw(n_cells / cells**2, canvas_of(maps, *size_px))
    for mask, partner, number in zip(masks[:, 0].numpy(), PARTNER, n_cells, strict=True):
        assert (mask == in_loops(maps[partner].numpy(), cells, int(number), *size_px)).all()


def test_the_paper_pastes_six_whole_cells() -> None:
    """224 px, 7 by 7 cells of 32 px: six cells for every sample, whatever is drawn."""
    maps = torch.rand(4, 7, 7, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        masks = Attentive().draw(np.full(4, 6 / 49), canvas_of(maps, 224, 224, seed=seed))
        assert masks.sum(dim=(1, 2, 3)).tolist() == [6 * 32 * 32] * 4
        cells = masks[:, 0].view(4, 7, 32, 7, 32)
        assert (cells.all(dim=4).all(dim=2) == cells.any(dim=4).any(dim=2)).all()


def test_of_equal_cells_the_first_ones_count() -> None:
    mask = Attentive(cells=2).draw(np.full(1, 0.5), canvas_of(torch.ones(1, 4, 4), 4, 4))
    assert mask[0, 0].int().tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_a_fraction_between_two_numbers_of_cells_is_reached_on_average() -> None:
    maps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    canvas, mask = canvas_of(maps, 4, 4), Attentive(cells=4)
    pasted = [int(mask.draw(np.full(1, 0.27), canvas).sum()) for _ in range(2000)]
    assert set(pasted) == {4, 5}  # 0.27 of 16 cells is 4.32
    assert np.mean(pasted) == pytest.approx(4.32, abs=0.05)


def test_without_a_network_it_is_refused() -> None:
    view, rng = BatchView((2, 3, 8, 8), np.arange(2), torch.zeros(2, 3, 8, 8)), np.random.default_rng(0)
    canvas = Canvas(8, 8, WholePosition(), rng=rng, device=CPU, batch=view, partner=np.array([1, 0]))
    with pytest.raises(ValueError, match="needs maps of the network"):
        Attentive().draw(np.full(2, 0.5), canvas)
