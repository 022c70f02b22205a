from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from tests.trainables.evaluation.conftest import data_of, planted
from trainables.evaluation.axes.calibration import (
    TEMPERATURES,
    Calibration,
    adaptive_calibration_error,
    calibration_metrics,
    fitted_temperature,
)
from trainables.evaluation.subject import Subject

predictions = st.tuples(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 8), st.floats(0.01, 10))


def drawn(seed: int, n: int, n_classes: int, scale: float) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, scale, (n, n_classes))), torch.from_numpy(rng.integers(0, n_classes, n))


def of_confidence(confidence: list[float]) -> Tensor:
    """Logits of two classes, the first one of that probability."""
    first = torch.tensor(confidence, dtype=torch.float64)
    return torch.stack([first, 1 - first], dim=1).log()


@given(predictions)
@settings(max_examples=50)
def test_nll_and_brier_equal_sklearns(given: tuple[int, int, int, float]) -> None:
    logits, labels = drawn(*given)
    probs, classes = logits.softmax(dim=1).numpy(), range(given[2])
    found = calibration_metrics(logits, labels, 15)
    if probs.min() > np.finfo(float).eps:  # below, sklearn clips
        assert found["nll"] == pytest.approx(log_loss(labels, probs, labels=classes), rel=1e-9)
    if given[2] > 2:  # of two classes sklearn wants one column
        brier = brier_score_loss(labels, probs, labels=classes, scale_by_half=False)
        assert found["brier"] == pytest.approx(brier, rel=1e-9)


def test_ece_equals_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = drawn(3, 500, 5, 2.0)
    for bins in (10, 15):
        expected = multiclass_calibration_error(logits.softmax(dim=1), labels, 5, n_bins=bins, norm="l1")
        assert calibration_metrics(logits, labels, bins)["ece"] == pytest.approx(expected.item(), abs=1e-6)


@given(predictions, st.integers(1, 20))
@settings(max_examples=50)
def test_over_and_under_confidence_add_up(given: tuple[int, int, int, float], bins: int) -> None:
    logits, labels = drawn(*given)
    found = calibration_metrics(logits, labels, bins)
    over, under = found["over_confidence"], found["under_confidence"]
    assert min(over, under) >= 0
    assert over + under == pytest.approx(found["ece"], abs=1e-12)
    assert over - under == pytest.approx(found["signed_ece"], abs=1e-12)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    accuracy = (predicted == labels).double().mean()
    assert found["signed_ece"] == pytest.approx((confidence.mean() - accuracy).item(), abs=1e-12)


def test_opposite_faults_do_not_cancel() -> None:
    # 8 images of confidence 0.7, all right; 6 of 0.9, half of them right
    labels = torch.tensor([0] * 8 + [0, 1] * 3)
    found = calibration_metrics(of_confidence([0.7] * 8 + [0.9] * 6), labels, 15)
    assert found["under_confidence"] == pytest.approx(8 / 14 * 0.3)
    assert found["over_confidence"] == pytest.approx(6 / 14 * 0.4)
    assert (found["ece"], found["adaptive_ece"]) == pytest.approx((4.8 / 14, 4.8 / 14))
    assert found["signed_ece"] == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 20))
@settings(max_examples=50)
def test_adaptive_ece_equals_the_sum_written_out(seed: int, n: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(n), rng.random(n) < 0.5  # no two are equal
    pairs = sorted(zip(confidence, correct, strict=True))
    sizes = [n // bins + (index < n % bins) for index in range(bins)]
    total, start = 0.0, 0
    for size in filter(None, sizes):
        members = pairs[start : start + size]
        gap = sum(right for _, right in members) / size - sum(sure for sure, _ in members) / size
        total, start = total + size / n * abs(gap), start + size
    assert adaptive_calibration_error(confidence, correct, bins) == pytest.approx(total, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30), st.integers(1, 8))
def test_adaptive_ece_does_not_depend_on_the_order(data: list[tuple[int, bool]], bins: int) -> None:
    confidence, correct = np.array([sure / 3 for sure, _ in data]), np.array([right for _, right in data])
    found = adaptive_calibration_error(confidence, correct, bins)
    order = np.argsort(correct, kind="stable")
    assert adaptive_calibration_error(confidence[order], correct[order], bins) == pytest.approx(found, abs=1e-12)
    assert 0 <= found <= 1 + 1e-12


def test_temperature_equals_that_of_gradient_descent() -> None:
    logits, labels = drawn(1, 200, 4, 3.0)
    logits[torch.arange(200), labels] += 3
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([log_temperature], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss() -> Tensor:
        descent.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        value.backward()
        return value

    descent.step(loss)
    assert fitted_temperature(logits, labels) == pytest.approx(log_temperature.exp().item(), rel=1e-5)


def test_a_planted_temperature_is_found() -> None:
    logits, _ = drawn(0, 20_000, 5, 2.0)
    labels = torch.from_numpy(
        (logits + torch.from_numpy(np.random.default_rng(1).gumbel(size=logits.shape))).argmax(dim=1).numpy()
    )
    assert fitted_temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.03)
    scaled = calibration_metrics(logits, labels, 15)
    assert scaled["ece"] < 0.02


@given(predictions, st.floats(0.2, 5))
@settings(max_examples=50)
def test_temperature_follows_the_logits_scale_and_not_their_shift(
    given: tuple[int, int, int, float], factor: float
) -> None:
    logits, labels = drawn(*given)
    found = fitted_temperature(logits, labels)
    other = fitted_temperature(logits * factor + 7, labels)
    if TEMPERATURES[0] * 10 < found < TEMPERATURES[1] / 10:
        assert other == pytest.approx(found * factor, rel=1e-4)


@given(predictions)
@settings(max_examples=50)
def test_temperature_lowers_the_nll_it_was_fitted_on(given: tuple[int, int, int, float]) -> None:
    logits, labels = drawn(*given)
    found = fitted_temperature(logits, labels)
    best = calibration_metrics(logits / found, labels, 15)["nll"]
    for other in (found / 1.1, found * 1.1, 1.0):
        if TEMPERATURES[0] <= other <= TEMPERATURES[1]:
            assert best <= calibration_metrics(logits / other, labels, 15)["nll"] + 1e-9


def test_temperature_where_there_is_none() -> None:
    right = torch.eye(3)
    assert fitted_temperature(right, torch.arange(3)) == TEMPERATURES[0]
    assert fitted_temperature(right, (torch.arange(3) + 1) % 3) == TEMPERATURES[1]
    assert fitted_temperature(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])) == 1
    assert math.isnan(fitted_temperature(torch.tensor([[math.nan, 0]]), torch.tensor([0])))


def test_sure_and_right() -> None:
    found = calibration_metrics(torch.eye(4) * 1000, torch.arange(4), 15)
    assert set(found.values()) == {0}


def test_sure_and_always_the_same() -> None:
    logits = torch.tensor([1000.0, 0, 0, 0]).repeat(8, 1)
    found = calibration_metrics(logits, torch.arange(8) % 4, 15)
    assert found == pytest.approx(
        {
            "ece": 0.75,
            "signed_ece": 0.75,
            "over_confidence": 0.75,
            "under_confidence": 0,
            "adaptive_ece": 0.75,
            "nll": 750,
            "brier": 1.5,
        }
    )


def test_undecided() -> None:
    found = calibration_metrics(torch.zeros(8, 4), torch.arange(8) % 4, 15)
    assert (found["nll"], found["brier"]) == pytest.approx((math.log(4), 0.75))
    assert (found["ece"], found["adaptive_ece"]) == pytest.approx((0, 0))


def test_undefined_predictions_spoil_everything() -> None:
    logits = torch.eye(3)
    logits[1, 1] = math.nan
    assert all(math.isnan(value) for value in calibration_metrics(logits, torch.arange(3), 15).values())


def test_measures_with_and_without_temperature(answering: Callable[..., Subject]) -> None:
    test, trained_on = planted(40, seed=3), planted(60, seed=4)

    def sure(pixels: Tensor) -> Tensor:  # of the left half's colour: wrong where the square is elsewhere
        return 50 * pixels[..., :8].amax(dim=(2, 3))

    subject = answering(sure, test=test, data=data_of(trained_on, n_val=45))
    measured = Calibration(bins=10).measure(subject)
    values = {(value.setting, value.metric): value.value for value in measured.values}
    assert len(values) == len(measured.values) == 15
    val = sure(subject.pixels(trained_on.images[:45]))
    temperature = fitted_temperature(val, torch.arange(45) % 3)
    assert values["temperature scaled", "temperature"] == temperature
    logits, labels = sure(subject.pixels(test.images)).double(), torch.arange(40) % 3
    for setting, scaled in {"raw": logits, "temperature scaled": logits / temperature}.items():
        for metric, expected in calibration_metrics(scaled, labels, 10).items():
            assert values[setting, metric] == pytest.approx(expected, abs=1e-9)
    (fitted,) = (value for value in measured.values if value.metric == "temperature")
    assert (fitted.split, fitted.n) == ("val", 45)
    assert Calibration(bins=10).measure(subject) == measured
