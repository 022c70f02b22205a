from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.splits import split_indices
from trainables.errors import UserError

COUNTS = st.lists(st.integers(2, 40), min_size=1, max_size=4)
SHARES = st.floats(0.25, 1.0)
VAL_SHARES = st.floats(0.01, 0.99)


def labels_of(counts: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(len(labels)).permutation(labels)


@given(COUNTS, SHARES, VAL_SHARES, st.integers(0, 5))
def test_each_class_is_shared_out(counts: list[int], train_frac: float, val_frac: float, seed: int) -> None:
    labels = labels_of([max(count, 6) for count in counts])
    train, val = split_indices(labels, train_frac=train_frac, val_frac=val_frac, seed=seed)
    for side in (train, val):
        assert side.dtype == np.int64
        assert (np.diff(side) > 0).all()
    assert not set(train) & set(val)
    for label in range(len(counts)):
        n, n_train, n_val = ((part == label).sum() for part in (labels, labels[train], labels[val]))
        assert abs(n_train + n_val - n * train_frac) <= 0.5 + 1e-9
        assert n_train >= 1
        assert n_val >= 1
        assert abs(n_val - (n_train + n_val) * val_frac) <= 1.0


@given(COUNTS, st.tuples(SHARES, SHARES), VAL_SHARES)
def test_a_larger_share_keeps_every_image_on_its_side(
    counts: list[int], fracs: tuple[float, float], val_frac: float
) -> None:
    labels = labels_of([max(count, 6) for count in counts])
    small, large = (split_indices(labels, train_frac=frac, val_frac=val_frac, seed=1) for frac in sorted(fracs))
    assert set(small[0]) <= set(large[0])
    assert set(small[1]) <= set(large[1])


@given(COUNTS)
def test_a_draw_of_a_class_does_not_depend_on_the_others(counts: list[int]) -> None:
    both = split_indices(np.repeat([0, 1], [10, counts[0]]), train_frac=1, val_frac=0.3, seed=2)
    alone = split_indices(np.repeat([0], 10), train_frac=1, val_frac=0.3, seed=2)
    for side, side_alone in zip(both, alone, strict=True):
        np.testing.assert_array_equal(side[side < 10], side_alone)


def test_seeds_differ_and_repeat() -> None:
    labels = labels_of([50, 50])
    first, again, other = (split_indices(labels, train_frac=1, val_frac=0.2, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_too_small_shares_say_what_to_change() -> None:
    with pytest.raises(UserError, match=r"train_frac=0.01 leaves none of the 10 .* class 1; it must be at least 0.05"):
        split_indices(np.repeat([0, 1], [100, 10]), train_frac=0.01, val_frac=0.2, seed=0)
    with pytest.raises(UserError, match="no image is left for validation"):
        split_indices(np.repeat([0, 1], [10, 10]), train_frac=0.1, val_frac=0.2, seed=0)


def test_a_class_of_one_image_is_trained_on() -> None:
    train, val = split_indices(np.array([0, 1, 1, 1]), train_frac=1, val_frac=0.5, seed=0)
    assert 0 in train
    assert len(val) == 2
