from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score, top_k_accuracy_score
from torch import Tensor

from tests.trainables.evaluation.conftest import N_CLASSES, planted
from trainables.data.image_set import ImageSet
from trainables.evaluation.axes.classification import Classification, _best_epoch
from trainables.evaluation.base import Measured
from trainables.evaluation.subject import Subject

Answering = Callable[..., Subject]


def numbers(measured: Measured, split: str = "test") -> dict[tuple[str, str], float]:
    return {(value.setting, value.metric): value.value for value in measured.values if value.split == split}


def colour(pixels: Tensor) -> Tensor:
    """Answer with the brightest channel, which is the planted class."""
    return 100 * pixels.amax(dim=(2, 3))


def other_labels(images: ImageSet, labels: np.ndarray, classes: tuple[str, ...]) -> ImageSet:
    return ImageSet(images.images, labels.astype(np.int64), classes, None, images.mean, images.std)


def test_errors_equal_sklearns_by_class_too(subject: Subject) -> None:
    rows = np.arange(60)
    labels, logits = subject.test.labels, subject.logits(subject.test, rows)
    found = numbers(Classification().measure(subject))
    assert found["ema, float32", "top1_error"] == pytest.approx(1 - top_k_accuracy_score(labels, logits, k=1))
    recalls = recall_score(labels, logits.argmax(dim=1), average=None)
    for name, recall in zip(subject.test.classes, recalls, strict=True):
        assert found[name, "class_top1_error"] == pytest.approx(1 - recall)
    assert found["ema, float32", "worst_class_top1_error"] == pytest.approx(1 - recalls.min())


def test_weights_of_the_last_step_are_measured_beside_their_average(subject: Subject) -> None:
    with torch.no_grad():  # a last step that spoils everything but the first class
        subject.saved.last[1].classifier.weight.zero_()
        subject.saved.last[1].classifier.bias.copy_(torch.tensor([1.0, 0, 0]))
    found = numbers(Classification().measure(subject))
    assert found["last, float32", "top1_error"] == pytest.approx(2 / 3)
    assert found["ema, float32", "top1_error"] < 0.1


def test_weights_without_an_average_are_measured_once(answering: Answering) -> None:
    found = Classification().measure(answering(colour, test=planted(30, seed=0)))
    assert len(found.values) == 2 + N_CLASSES + 1


def test_always_right(answering: Answering) -> None:
    found = numbers(Classification().measure(answering(colour, test=planted(30, seed=0))))
    assert set(found.values()) == {0.0}


def test_always_the_same_answer(answering: Answering) -> None:
    subject = answering(lambda pixels: torch.eye(3)[1].repeat(len(pixels), 1), test=planted(30, seed=0))
    found = numbers(Classification().measure(subject))
    assert [found[name, "class_top1_error"] for name in ("red", "green", "blue")] == [1, 0, 1]
    assert found["ema, float32", "top1_error"] == pytest.approx(2 / 3)
    assert found["ema, float32", "worst_class_top1_error"] == 1


def test_answers_by_chance(answering: Answering) -> None:
    images = planted(400, seed=0, side_px=4)
    rng = np.random.default_rng(0)
    test = other_labels(images, rng.integers(0, 10, 400), tuple("abcdefghij"))
    subject = answering(lambda pixels: torch.from_numpy(rng.normal(size=(len(pixels), 10))), test=test)
    found = numbers(Classification().measure(subject))
    assert found["ema, float32", "top1_error"] == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 400))
    assert found["ema, float32", "top5_error"] == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 400))


def test_a_class_without_images_has_no_error(answering: Answering) -> None:
    images = planted(9, seed=0)
    test = other_labels(images, images.labels % 2 + 1, images.classes)
    found = Classification().measure(answering(lambda pixels: torch.eye(3)[1:2].repeat(len(pixels), 1), test=test))
    by_class = [(value.setting, value.value, value.n) for value in found.values if value.metric == "class_top1_error"]
    assert by_class == [("green", 0.0, 6), ("blue", 1.0, 3)]
    assert numbers(found)["ema, float32", "worst_class_top1_error"] == 1


def test_the_curve_s_best_epoch_comes_under_names_that_warn(subject: Subject) -> None:
    subject.curve = {"epoch": [1, 2, 3, 4], "val_top1_error": [0.5, 0.25, 0.25, 0.375]}
    measured = Classification().measure(subject)
    found = numbers(measured, "val")
    assert found == {
        ("curve", "optimistic_best_epoch_val_top1_error"): 0.25,
        ("curve", "optimistic_best_epoch"): 2,
        ("curve", "optimistic_best_epoch_gap"): 0.125,
    }
    assert {value.n for value in measured.values if value.split == "val"} == {30}


def test_without_a_curve_nothing_is_said_of_epochs(subject: Subject) -> None:
    subject.curve.clear()
    assert numbers(Classification().measure(subject), "val") == {}


@given(st.lists(st.integers(0, 8), min_size=1, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_epochs_may_come_in_any_order(errors: list[int], random: object) -> None:
    rows = list(enumerate(errors, start=1))
    random.shuffle(rows)  # type: ignore[attr-defined]
    epochs, shuffled = zip(*rows, strict=True)
    found = {value.metric: value.value for value in _best_epoch({"epoch": epochs, "val_top1_error": shuffled}, n=1)}
    assert found["optimistic_best_epoch"] == errors.index(min(errors)) + 1
    assert found["optimistic_best_epoch_gap"] == errors[-1] - min(errors) >= 0
