from __future__ import annotations

import itertools

import numpy as np
import torch

from trainables.counter_draws import draw_key, uniform_rows

N_ROWS, ROW_SIZE = 64, 768


def drawn(*parts: int | str, rows: range = range(N_ROWS), row_size: int = ROW_SIZE) -> np.ndarray:
    values: np.ndarray = uniform_rows(torch.from_numpy(draw_key(*parts)), rows, row_size).numpy()
    return values


def test_draws_are_uniform_and_not_correlated() -> None:
    steps = np.stack([drawn(0, "attack", step) for step in range(20)]).astype(np.float64)
    n, n_bins = steps.size, 64
    assert (steps.min(), steps.max()) >= (0, 0)
    assert steps.max() < 1
    counts = np.histogram(steps, n_bins, (0, 1))[0]
    chi_squared = ((counts - n / n_bins) ** 2 / (n / n_bins)).sum()
    assert abs(chi_squared - (n_bins - 1)) < 5 * (2 * (n_bins - 1)) ** 0.5
    neighbours = [(steps[:, :, 1:], steps[:, :, :-1]), (steps[:, 1:], steps[:, :-1]), (steps[1:], steps[:-1])]
    for ours, theirs in neighbours:  # in the row, between rows, between steps
        assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) < 5 / ours.size**0.5
    for axis, size in ((2, ROW_SIZE), (1, N_ROWS)):
        assert steps.mean(axis=axis).std() < 1.05 * (1 / 12 / size) ** 0.5


def test_parts_of_the_rows_are_the_same_for_any_split() -> None:
    whole = drawn(3, "attack", 5)
    for n_workers in (2, 5):
        bounds = [N_ROWS * rank // n_workers for rank in range(n_workers + 1)]
        parts = [drawn(3, "attack", 5, rows=range(*pair)) for pair in itertools.pairwise(bounds)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert drawn(3, "attack", 5, rows=range(4, 4)).shape == (0, ROW_SIZE)


def test_draws_are_those_of_the_hash() -> None:
    """The same numbers by Python's own integers: so they are the same on every device."""
    key = [int(value) & 0xFFFFFFFF for value in draw_key(1, "attack", 2)]

    def hashed(value: int) -> int:
        value = (value ^ value >> 16) * 0x21F0AAAD & 0xFFFFFFFF
        value = (value ^ value >> 15) * 0xD35A2D97 & 0xFFFFFFFF
        return value ^ value >> 15

    expected = [
        [hashed((hashed(row ^ key[0]) + hashed(place ^ key[1])) & 0xFFFFFFFF) // 256 / 2**24 for place in range(3)]
        for row in range(2)
    ]
    assert drawn(1, "attack", 2, rows=range(2), row_size=3).tolist() == expected
