from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trainables.mixing.pairing import (
    CrossClassPairing,
    DerangePairing,
    FlipPairing,
    PermutePairing,
    RollPairing,
    SameClassPairing,
)

ALL = (PermutePairing, DerangePairing, RollPairing, FlipPairing, CrossClassPairing, SameClassPairing)
LABELS = npst.arrays(np.int64, st.integers(1, 24), elements=st.integers(0, 5) | st.just(900))
SEEDS = st.integers(0, 2**32)


def drawn(pairing: Any, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    partner = pairing.draw(labels, np.random.default_rng(seed))
    assert isinstance(partner, np.ndarray)
    return partner


def frequencies(pairing: Any, labels: np.ndarray, times: int = 6000) -> np.ndarray:
    """How often each sample, a row, had each other one, a column, as its partner: float64 [B, B]."""
    rng, counts = np.random.default_rng(0), np.zeros((len(labels), len(labels)))
    for _ in range(times):
        counts[np.arange(len(labels)), pairing.draw(labels, rng)] += 1
    return counts / times


def is_permutation(partner: np.ndarray) -> bool:
    return sorted(partner.tolist()) == list(range(len(partner)))


@pytest.mark.parametrize("pairing", ALL)
@given(labels=LABELS, seed=SEEDS)
def test_everybody_has_a_partner_of_the_batch(pairing: type, labels: np.ndarray, seed: int) -> None:
    before = labels.copy()
    partner = drawn(pairing(), labels, seed)
    assert partner.dtype == np.int64
    assert partner.shape == labels.shape
    assert ((partner >= 0) & (partner < len(labels))).all()
    assert (labels == before).all()
    assert (partner == drawn(pairing(), labels, seed)).all()
    if pairing is not CrossClassPairing:
        assert is_permutation(partner)


@given(labels=LABELS, seed=SEEDS)
def test_derange_leaves_nobody_with_itself(labels: np.ndarray, seed: int) -> None:
    partner = drawn(DerangePairing(), labels, seed)
    assert (partner != np.arange(len(labels))).all() or len(labels) == 1


@given(labels=LABELS, seed=SEEDS)
def test_cross_class_partners_are_of_another_class(labels: np.ndarray, seed: int) -> None:
    partner = drawn(CrossClassPairing(), labels, seed)
    _, sizes = np.unique(labels, return_counts=True)
    if len(sizes) == 1:
        assert (partner == np.arange(len(labels))).all()
        return
    assert (labels[partner] != labels).all()
    if sizes.max() <= len(labels) / 2:
        assert is_permutation(partner)


@given(labels=LABELS, seed=SEEDS)
def test_same_class_partners_are_others_of_the_class(labels: np.ndarray, seed: int) -> None:
    partner = drawn(SameClassPairing(), labels, seed)
    assert (labels[partner] == labels).all()
    alone = np.array([(labels == label).sum() == 1 for label in labels])
    assert ((partner == np.arange(len(labels))) == alone).all()


def test_permute_meets_everybody_alike() -> None:
    np.testing.assert_allclose(frequencies(PermutePairing(), np.zeros(5, np.int64)), 0.2, atol=0.03)  # SD 0.005


def test_derange_meets_all_others_alike() -> None:
    met = frequencies(DerangePairing(), np.zeros(5, np.int64))
    assert np.diag(met).tolist() == [0] * 5
    np.testing.assert_allclose(met[~np.eye(5, dtype=bool)], 0.25, atol=0.03)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4], [0, 0, 0, 1, 1, 1]], ids=str)
def test_cross_class_meets_all_of_other_classes_alike(labels: list[int]) -> None:
    """Of classes of one size: of others no permutation can be fair to every sample."""
    classes = np.array(labels)
    for index, row in enumerate(frequencies(CrossClassPairing(), classes)):
        others = classes != classes[index]
        assert row[~others].sum() == 0
        np.testing.assert_allclose(row[others], 1 / others.sum(), atol=0.03)


def test_a_class_that_outweighs_the_others_meets_them_alike_and_they_meet_it() -> None:
    met = frequencies(CrossClassPairing(), np.array([0, 0, 0, 0, 1, 2]))
    np.testing.assert_allclose(met[:4, 4:], 1 / 2, atol=0.03)
    np.testing.assert_allclose(met[4:, :4], 1 / 4, atol=0.03)


def test_cross_class_depends_on_no_order_of_classes() -> None:
    """Renaming classes, or shuffling the batch, changes no sample's chances."""
    classes = np.array([0, 0, 0, 1, 1, 2])
    met, renamed = (
        frequencies(CrossClassPairing(), classes),
        frequencies(CrossClassPairing(), np.array([7, 3, 0])[classes]),
    )
    np.testing.assert_allclose(met, renamed, atol=0.04)
    backwards = frequencies(CrossClassPairing(), classes[::-1])[::-1, ::-1]
    np.testing.assert_allclose(met, backwards, atol=0.04)


def test_same_class_meets_all_of_its_class_alike() -> None:
    classes = np.array([0, 1, 0, 0, 1, 0, 2])
    met = frequencies(SameClassPairing(), classes)
    alike = (classes[:, None] == classes) & ~np.eye(7, dtype=bool)
    np.testing.assert_allclose(met[0][alike[0]], 1 / 3, atol=0.03)
    np.testing.assert_allclose(met[1, 4], 1.0)
    np.testing.assert_allclose(met[6, 6], 1.0)


def test_fixed_pairings() -> None:
    rng = np.random.default_rng(0)
    assert RollPairing().draw(np.zeros(4, np.int64), rng).tolist() == [3, 0, 1, 2]
    assert FlipPairing().draw(np.zeros(4, np.int64), rng).tolist() == [3, 2, 1, 0]
    assert FlipPairing().draw(np.zeros(5, np.int64), rng).tolist() == [4, 3, 2, 1, 0]
    assert rng.random() == np.random.default_rng(0).random()  # nothing drawn


@pytest.mark.parametrize("pairing", ALL)
def test_a_batch_of_one(pairing: type) -> None:
    assert drawn(pairing(), np.array([3])).tolist() == [0]
