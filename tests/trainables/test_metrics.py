import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor

from trainables.metrics import accuracy_surplus, classification_metrics, expected_calibration_error


def predictions(seed: int, n: int, n_classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, scale, (n, n_classes)).astype(np.float32))
    return logits, torch.from_numpy(rng.integers(0, n_classes, n))


def plain_ece(confidence: list[float], correct: list[bool], bins: int) -> float:
    """Equation 3 of Guo et al. (2017), written out."""
    total = 0.0
    for m in range(1, bins + 1):
        members = [i for i, value in enumerate(confidence) if (m - 1) / bins < value <= m / bins]
        if members:
            accuracy = sum(correct[i] for i in members) / len(members)
            mean_confidence = sum(confidence[i] for i in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - mean_confidence)
    return total


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 60),
    n_classes=st.integers(6, 12),
    scale=st.floats(0.01, 20),
)
def test_errors_and_nll_equal_sklearns(seed: int, n: int, n_classes: int, scale: float) -> None:
    logits, labels = predictions(seed, n, n_classes, scale)
    classes = range(n_classes)
    probs = logits.double().softmax(dim=1).numpy()
    metrics = classification_metrics(logits, labels, 15)
    for k, name in ((1, "top1_error"), (5, "top5_error")):
        accuracy = top_k_accuracy_score(labels, logits, k=k, labels=classes)
        assert metrics[name] == pytest.approx(1 - accuracy)
    # sklearn clips probabilities at the float's epsilon
    if probs.min() > np.finfo(probs.dtype).eps:
        assert metrics["nll"] == pytest.approx(log_loss(labels, probs, labels=classes), rel=1e-5, abs=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 60), n_classes=st.integers(2, 12), bins=st.integers(1, 40))
def test_ece_equals_the_sum_written_out(seed: int, n: int, n_classes: int, bins: int) -> None:
    logits, labels = predictions(seed, n, n_classes)
    confidence = logits.log_softmax(dim=1).amax(dim=1).exp().double()
    correct = logits.argmax(dim=1) == labels
    expected = plain_ece(confidence.tolist(), correct.tolist(), bins)
    assert classification_metrics(logits, labels, bins)["ece"] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(
    data=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    bins=st.integers(1, 20),
)
def test_ece_is_a_share_and_one_bin_is_the_gap_of_the_means(data: list[tuple[float, bool]], bins: int) -> None:
    confidence = torch.tensor([value for value, _ in data], dtype=torch.float64)
    correct = torch.tensor([flag for _, flag in data])
    assert 0 <= expected_calibration_error(confidence, correct, bins) <= 1 + 1e-12
    gap = abs(correct.double().mean() - confidence.mean()).item()
    assert expected_calibration_error(confidence, correct, 1) == pytest.approx(gap, abs=1e-12)


def test_ece_bins_are_closed_above() -> None:
    confidence = torch.tensor([0.5, 0.6], dtype=torch.float64)
    correct = torch.tensor([True, False])
    # apart: (0.5 + 0.6) / 2; in one bin the two would nearly cancel
    assert expected_calibration_error(confidence, correct, 2) == pytest.approx(0.55)


def test_a_bin_s_surplus_is_negative_where_confidence_is_too_high() -> None:
    confidence = torch.tensor([0.5, 0.6, 0.9, 0.4], dtype=torch.float64)
    correct = torch.tensor([True, False, True, True])
    expected = torch.tensor([0.5 + 0.6, -0.6 + 0.1], dtype=torch.float64)
    torch.testing.assert_close(accuracy_surplus(confidence, correct, 2), expected)


def test_perfect_classifier() -> None:
    labels = torch.arange(20) % 10
    logits = torch.nn.functional.one_hot(labels, 10).float() * 100
    assert classification_metrics(logits, labels, 15) == pytest.approx(
        {"top1_error": 0, "top5_error": 0, "nll": 0, "ece": 0}
    )


def test_constant_classifier() -> None:
    labels = torch.arange(20) % 10
    logits = torch.zeros(20, 10)
    logits[:, 3] = 100
    assert classification_metrics(logits, labels, 15) == pytest.approx(
        {"top1_error": 0.9, "top5_error": 0.5, "nll": 90, "ece": 0.9}
    )


def test_uniform_classifier_is_at_chance_and_calibrated() -> None:
    labels = torch.arange(20) % 10
    assert classification_metrics(torch.full((20, 10), 7.0), labels, 15) == pytest.approx(
        {"top1_error": 0.9, "top5_error": 0.5, "nll": math.log(10), "ece": 0}, abs=1e-6
    )


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_five_classes_or_fewer_have_no_top5_error(n_classes: int) -> None:
    logits, labels = predictions(0, 50, n_classes)
    assert classification_metrics(logits, labels, 15)["top5_error"] == 0


def test_of_equal_logits_the_lower_class_comes_first() -> None:
    logits = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    assert classification_metrics(logits, torch.tensor([1, 1]), 15)["top1_error"] == 0
    assert classification_metrics(logits, torch.tensor([2, 2]), 15)["top1_error"] == 1


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), shift=st.integers(-8, 8))
def test_errors_do_not_depend_on_a_shift_or_on_the_order(seed: int, shift: int) -> None:
    logits, labels = predictions(seed, 40, 8)
    logits = logits.round()  # many ties, and the shift is exact
    order = torch.from_numpy(np.random.default_rng(seed).permutation(40))
    expected = classification_metrics(logits, labels, 15)
    moved = classification_metrics(logits[order] + shift, labels[order], 15)
    assert (moved["top1_error"], moved["top5_error"]) == (expected["top1_error"], expected["top5_error"])
    assert moved == pytest.approx(expected, abs=1e-5)


BROKEN = [
    [math.nan] * 6,
    [0, 0, math.nan, 0, 0, 0],
    [math.inf, 0, 0, 0, 0, 0],
    [math.inf] * 6,
    [-math.inf] * 6,
]


@pytest.mark.parametrize("row", BROKEN)
def test_undefined_predictions_are_wrong_and_spoil_the_means(row: list[float]) -> None:
    logits = torch.tensor([row, [9.0, 0, 0, 0, 0, 0]])
    metrics = classification_metrics(logits, torch.tensor([0, 0]), 15)
    assert (metrics["top1_error"], metrics["top5_error"]) == (0.5, 0.5)
    assert math.isnan(metrics["nll"])
    assert math.isnan(metrics["ece"])


def test_negative_infinity_is_probability_zero() -> None:
    logits = torch.tensor([[0.0, -math.inf]])
    assert classification_metrics(logits, torch.tensor([0]), 15) == {
        "top1_error": 0,
        "top5_error": 0,
        "nll": 0,
        "ece": 0,
    }
    assert classification_metrics(logits, torch.tensor([1]), 15)["nll"] == math.inf


@pytest.mark.parametrize(
    ("logits_shape", "labels_shape"), [((0, 10), (0,)), ((4, 10), (3,)), ((4,), (4,)), ((4, 10), (4, 1))]
)
def test_shapes_that_do_not_fit_are_refused(logits_shape: tuple[int, ...], labels_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits \[N, C\] and labels \[N\]"):
        classification_metrics(torch.zeros(logits_shape), torch.zeros(labels_shape, dtype=torch.long), 15)
