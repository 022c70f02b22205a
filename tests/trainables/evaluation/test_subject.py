from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.evaluation.conftest import planted
from trainables.data.batches import Normalizer
from trainables.errors import UserError
from trainables.evaluation.subject import Subject, drawn_by_class
from trainables.models.saved import Normalize, read_model


def test_normalises_as_training_does() -> None:
    images = planted(4, seed=0)
    trained_on = Normalizer.from_statistics(images.mean, images.std, width_px=16, device=torch.device("cpu"))
    pixels = torch.from_numpy(images.images.copy())
    shown = Normalize(torch.from_numpy(images.mean.copy()), torch.from_numpy(images.std.copy()))(
        pixels.permute(0, 3, 1, 2).float() / 255
    )
    torch.testing.assert_close(shown, trained_on(pixels), rtol=0, atol=2e-5)


def test_a_saved_model_answers_as_the_trial_did(subject: Subject) -> None:
    rows = np.arange(len(subject.test))
    logits = subject.logits(subject.test, rows)
    assert (logits.argmax(dim=1).numpy() == subject.test.labels).mean() > 0.9
    assert not subject.saved.model.training
    assert not any(parameter.requires_grad for parameter in subject.saved.model.parameters())


def test_moving_average_and_last_weights_are_both_kept(subject: Subject) -> None:
    rows = np.arange(10)
    mine = subject.logits(subject.test, rows)
    last = subject.saved.last(subject.pixels(subject.test.images[rows]))
    assert subject.saved.weights_name == "ema"
    assert not torch.equal(mine, last)
    torch.testing.assert_close(mine, last, rtol=0.5, atol=3.0)


def test_features_are_what_the_classifier_sees(subject: Subject) -> None:
    rows = np.arange(7)
    features = subject.features(subject.test, rows)
    torch.testing.assert_close(subject.saved.net.classifier(features), subject.logits(subject.test, rows))


def test_memory_that_runs_out_halves_the_batch(subject: Subject) -> None:
    seen: list[int] = []

    def greedy(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        if len(pixels) > 20:
            raise torch.OutOfMemoryError
        return labels

    labels = subject.over_batches(greedy, subject.test, np.arange(60))
    assert labels.tolist() == subject.test.labels.tolist()
    assert seen == [60, 30, 15, 15, 15, 15]


def test_a_single_image_that_does_not_fit_is_said(subject: Subject) -> None:
    def too_large(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        subject.over_batches(too_large, subject.test, np.arange(3))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_draw_is_even_over_classes_and_nested(labels: list[int], count: int, seed: int) -> None:
    array = np.array(labels)
    rows = drawn_by_class(array, count, seed=seed)
    assert len(rows) == len(set(rows.tolist())) == min(count, len(labels))
    assert (np.diff(rows) > 0).all()
    assert set(rows) <= set(drawn_by_class(array, count + 1, seed=seed))
    drawn, there = np.bincount(array[rows], minlength=5), np.bincount(array, minlength=5)
    short = drawn < there  # classes that are not exhausted differ by one at most
    if short.any():
        assert drawn[short].max() - drawn[short].min() <= 1
        assert drawn.max() - drawn[short].max() <= 1


def test_a_model_of_an_older_program_names_keys_as_it_did(trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained, weights_only=True)
    state["config"]["mix"]["share"] = state["config"]["mix"].pop("granularity")
    torch.save(state, tmp_path / "old.pt")
    assert read_model(tmp_path / "old.pt").config == read_model(trained).config


def test_files_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trained model in"):
        read_model(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="is damaged: it is cut off, or no state of this program"):
        read_model(tmp_path / "text.pt")
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="is not a trained model"):
        read_model(tmp_path / "other.pt")
