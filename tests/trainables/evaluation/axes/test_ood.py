from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import norm
from torch import Tensor

from tests.trainables.evaluation.conftest import SIDE_PX, planted
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.errors import UserError
from trainables.evaluation.axes.ood import OutOfDistribution, separation
from trainables.evaluation.base import Measured
from trainables.evaluation.ood_sets import _cropped, default_sets, out_sets, shared_classes
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.strict import parse


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., str]:
    """Write images of noise as a data source; returns its name."""

    def write(
        name: str, *, classes: tuple[str, ...] = ("cup", "key"), height_px: int = 24, width_px: int = 24, count: int = 4
    ) -> str:
        rng = np.random.default_rng(0)
        for split in ("train", "test"):
            for label in classes:
                (tmp_path / name / split / label).mkdir(parents=True)
                for index in range(count):
                    pixels = rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(tmp_path / name / split / label / f"{index}.png")
        return f"imagefolder:{tmp_path / name}"

    return write


def numbers(measured: Measured) -> dict[tuple[str, str], float]:
    return {(value.setting, value.metric): value.value for value in measured.values}


def trained_on(source: str, subject: Subject, *, classes: tuple[str, ...] = ("red", "green", "blue")) -> ModelInfo:
    config = TrialConfig(data=Data(source=source))
    return replace(subject.about, config=config, classes=classes)


def by_every_threshold(known: list[float], foreign: list[float]) -> dict[str, float]:
    """The metrics by counting, with scores that are larger for foreign images."""
    pairs = [(k < f) + 0.5 * (k == f) for k in known for f in foreign]
    shares = [
        (sum(k <= cut for k in known) / len(known), sum(f <= cut for f in foreign) / len(foreign))
        for cut in [-math.inf, *sorted({*known, *foreign})]
    ]
    fpr = min(fpr for tpr, fpr in shares if tpr >= 0.95)
    return {
        "auroc": sum(pairs) / len(pairs),
        "fpr_at_tpr95": fpr,
        "tnr_at_tpr95": 1 - fpr,
        "detection_accuracy": max((tpr + 1 - fpr) / 2 for tpr, fpr in shares),
    }


scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=40)


@given(scores, scores)
def test_separation_equals_counting_with_many_ties(known: list[float], foreign: list[float]) -> None:
    assert separation(np.array(known), np.array(foreign)) == pytest.approx(by_every_threshold(known, foreign))


@given(scores, st.randoms(use_true_random=False))
def test_separation_of_the_same_scores_is_chance(both: list[float], random: Any) -> None:
    shuffled = random.sample(both, len(both))
    found = separation(np.array(both), np.array(shuffled))
    assert (found["auroc"], found["detection_accuracy"]) == pytest.approx((0.5, 0.5))
    assert found["fpr_at_tpr95"] >= 0.95


def test_separation_of_what_is_apart() -> None:
    low, high = np.arange(20.0), np.arange(20.0) + 100
    assert list(separation(low, high).values()) == [1, 0, 1, 1]
    assert list(separation(high, low).values()) == [0, 1, 0, 0.5]


def test_one_known_image_in_twenty_may_be_missed() -> None:
    known, foreign = np.array([0.0] * 19 + [9.0]), np.array([5.0] * 10)
    assert separation(known, foreign)["fpr_at_tpr95"] == 0
    assert separation(known[1:], foreign)["fpr_at_tpr95"] == 1  # 18 of 19 are less than 95 %


def test_undefined_scores_part_nothing() -> None:
    assert all(math.isnan(value) for value in separation(np.array([0.0, math.nan]), np.array([1.0])).values())


def sure_of_colour(pixels: Tensor) -> Tensor:
    """Sure where one channel is the brightest by far; noise fills all three."""
    return 30 * pixels.amax(dim=(2, 3))


def test_noise_is_told_from_what_is_known(answering: Callable[..., Subject]) -> None:
    subject = answering(sure_of_colour, test=planted(30, seed=0))
    found = numbers(OutOfDistribution(n_images=24, scores=("msp", "odin")).measure(subject))
    for noise in ("uniform", "gaussian", "mean"):
        for score in ("msp", "odin"):
            assert found[f"noise {noise} / {score}", "auroc"] == 1
            assert found[f"noise {noise} / {score}", "tnr_at_tpr95"] == 1


def test_a_blind_model_parts_nothing(answering: Callable[..., Subject]) -> None:
    subject = answering(lambda pixels: pixels.flatten(1)[:, :3] * 0, test=planted(20, seed=0))
    found = numbers(OutOfDistribution(sets=("uniform",)).measure(subject))
    for score in ("msp", "energy", "odin"):
        values = {metric: found[f"noise uniform / {score}", metric] for metric in ("auroc", "fpr_at_tpr95")}
        assert values == {"auroc": 0.5, "fpr_at_tpr95": 1}


def test_scores_equal_their_formulas(subject: Subject) -> None:
    axis = OutOfDistribution(odin_eps=0.01, odin_temperature=20.0, energy_temperature=3.0)
    rows = np.arange(12)
    found = axis._scored(subject, subject.test, rows)
    model, pixels = subject.saved.model, subject.pixels(subject.test.images[rows])
    logits = model(pixels).double()
    np.testing.assert_allclose(found["msp"], -logits.softmax(dim=1).amax(dim=1), atol=1e-6)
    np.testing.assert_allclose(found["energy"], -3 * (logits / 3).logsumexp(dim=1), rtol=1e-5)
    pixels.requires_grad_()
    surest = (model(pixels) / 20).softmax(dim=1).amax(dim=1)
    (gradient,) = torch.autograd.grad(-surest.log().sum(), pixels)
    moved = pixels.detach() - 0.01 * gradient.sign()
    expected = -(model(moved).double() / 20).softmax(dim=1).amax(dim=1)
    np.testing.assert_allclose(found["odin"], expected, atol=1e-6)
    assert not np.allclose(found["odin"], -(logits / 20).softmax(dim=1).amax(dim=1), atol=1e-5)


def test_very_sure_answers_are_told_apart(answering: Callable[..., Subject]) -> None:
    def sure(pixels: Tensor) -> Tensor:  # the surer the brighter, with probabilities that float32 rounds to 1
        return torch.stack([20 + 10 * pixels.mean(dim=(1, 2, 3)), torch.zeros(len(pixels))], dim=1)

    dark = planted(30, seed=0)
    subject = answering(sure, test=replace(dark, images=dark.images // 4))
    assert numbers(OutOfDistribution(sets=("uniform",)).measure(subject))["noise uniform / msp", "auroc"] == 0


def test_noise_has_the_moments_of_its_law() -> None:
    (uniform,) = out_sets("uniform", height_px=16, width_px=20, count=50, seed=0)
    (gaussian,) = out_sets("gaussian", height_px=16, width_px=20, count=50, seed=0)
    assert uniform.images.shape == gaussian.images.shape == (50, 16, 20, 3)
    assert np.bincount(uniform.images.ravel(), minlength=256).min() > 0
    assert uniform.images.mean() == pytest.approx(127.5, abs=1.5)
    tails = (gaussian.images == 0).mean(), (gaussian.images == 255).mean()
    # what rounds to the first and the last level
    assert tails == pytest.approx([norm.cdf(-0.5 + 0.5 / 255)] * 2, abs=0.01)


def test_larger_images_are_cropped_and_resized(folder: Callable[..., str]) -> None:
    source = folder("photos", height_px=24, width_px=36)
    crop, resize = out_sets(source, height_px=12, width_px=12, count=6, seed=0)
    assert (crop.name, resize.name) == ("imagefolder:photos crop", "imagefolder:photos resize")
    assert crop.images.shape == resize.images.shape == (6, 12, 12, 3)
    files = sorted(Path(source.partition(":")[2]).glob("test/*/*.png"))
    pixels = [np.asarray(Image.open(file)) for file in files]
    for image in crop.images:
        windows = [np.lib.stride_tricks.sliding_window_view(native, (12, 12, 3)) for native in pixels]
        assert any((window == image).all(axis=(-3, -2, -1)).any() for window in windows)
    squares = [Image.fromarray(native[:, 6:30]).resize((12, 12), Image.Resampling.BILINEAR) for native in pixels]
    for image in resize.images:  # Pillow looks beyond the window at its sides
        assert any((np.asarray(square)[:, 1:-1] == image[:, 1:-1]).all() for square in squares)


def test_crops_lie_anywhere() -> None:
    native = np.arange(14 * 13 * 3, dtype=np.uint16).reshape(1, 14, 13, 3)  # every number tells its place
    crops = _cropped(native, np.zeros(200, dtype=np.int64), (12, 12, 3), np.random.default_rng(0))
    corners = {divmod(int(crop[0, 0, 0]) // 3, 13) for crop in crops}
    assert corners == {(y, x) for y in range(3) for x in range(2)}


@pytest.mark.parametrize(("side_px", "names"), [(24, ["x"]), (30, ["x resize"]), (23, ["x crop", "x resize"])])
def test_a_crop_needs_room(folder: Callable[..., str], side_px: int, names: list[str]) -> None:
    sets = out_sets(folder("x"), height_px=side_px, width_px=side_px, count=3, seed=0)
    assert [out.name.removeprefix("imagefolder:") for out in sets] == names


def test_natural_sets_and_noise_have_means_of_their_own(folder: Callable[..., str], subject: Subject) -> None:
    sets = (folder("photos"), "uniform", "gaussian")
    measured = OutOfDistribution(sets=sets, scores=("energy",), n_images=9).measure(subject)
    found, counts = numbers(measured), {value.setting: value.n for value in measured.values}
    natural = [f"natural imagefolder:photos {variant}" for variant in ("crop", "resize")]
    noise = ["noise uniform", "noise gaussian"]
    assert list(counts) == [f"{name} / energy" for name in (*natural, *noise, "natural mean", "noise mean")]
    for kind, members in (("natural", natural), ("noise", noise)):
        expected = np.mean([found[f"{member} / energy", "auroc"] for member in members])
        assert found[f"{kind} mean / energy", "auroc"] == pytest.approx(expected)
    assert counts["natural imagefolder:photos crop / energy"] == 9 + 8  # there are no more
    assert counts["noise mean / energy"] == 9 + 9 + 9


def test_two_calls_return_the_same_and_leave_random_numbers_alone(subject: Subject) -> None:
    axis, state = OutOfDistribution(n_images=20), torch.random.get_rng_state()
    assert axis.measure(subject) == axis.measure(subject)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_digits_are_taken_unless_they_are_known(subject: Subject) -> None:
    assert default_sets(trained_on("cifar10", subject)) == ("uniform", "gaussian", "digits")
    assert default_sets(trained_on("digits", subject)) == ("uniform", "gaussian")
    known = trained_on("imagefolder:mnist", subject, classes=tuple("0123456789"))
    assert default_sets(known) == ("uniform", "gaussian")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["unifrom"], "unknown set 'unifrom'; did you mean 'uniform'?"),
        (["cifar1O"], "unknown set 'cifar1O'; did you mean 'cifar10'?"),
        (["tiny-imagenet"], "needs a path"),
        (["digits", "digits"], "two sets would both be recorded as 'digits'"),
        (["imagefolder:a/x", "imagefolder:b/x"], "recorded as 'imagefolder:x'"),
        ([], "at least one set"),
    ],
)
def test_settings_that_make_no_sense_are_refused(sets: list[str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(OutOfDistribution, {"sets": sets}, where="ood")
    assert message in str(refusal.value)


def test_what_the_network_was_trained_on_is_refused(subject: Subject, folder: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="the network was trained on 'digits'"):
        OutOfDistribution(sets=("digits",)).check(trained_on("digits", subject))
    with pytest.raises(UserError, match="trained on 'cifar10:elsewhere'"):
        OutOfDistribution(sets=("cifar10:elsewhere",)).check(trained_on("cifar10", subject))
    source = folder("photos")
    with pytest.raises(UserError, match=r"the network was trained on 'imagefolder:.*photos'"):
        OutOfDistribution(sets=(source,)).check(trained_on(f"{source}/../photos", subject))


def test_sets_of_the_same_classes_are_refused_naming_them(subject: Subject, folder: Callable[..., str]) -> None:
    source = folder("plants", classes=("Red_", "maple tree", "rose"), count=1)
    about = trained_on("cifar10", subject, classes=("red", "Maple_Tree", "ship"))
    with pytest.raises(UserError, match=r"not out of distribution: 'Red_', 'maple tree'$"):
        OutOfDistribution(sets=(source,)).check(about)
    many = folder("many", classes=tuple("abcdefg"), count=1)
    with pytest.raises(UserError, match=r"'d', 'e' and 2 more$"):
        OutOfDistribution(sets=(many,)).check(trained_on("cifar10", subject, classes=tuple("ABCDEFG")))


def test_sets_that_are_not_there_are_refused(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        OutOfDistribution(sets=(f"imagefolder:{tmp_path}/absent",)).check(subject.about)


def test_other_classes_are_welcome(subject: Subject, folder: Callable[..., str]) -> None:
    source = folder("photos", classes=("cup", "redwood"), count=1)
    assert shared_classes(source, ("red", "cups")) == []
    OutOfDistribution(sets=(source, "uniform")).check(subject.about)


def test_images_are_scored_at_the_networks_size(subject: Subject, folder: Callable[..., str]) -> None:
    seen: list[tuple[int, ...]] = []
    model = subject.saved.model.forward

    def spying(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape[1:]))
        return model(pixels)

    subject.saved.model.forward = spying  # type: ignore[method-assign]
    OutOfDistribution(sets=(folder("photos"), "uniform"), n_images=6).measure(subject)
    assert set(seen) == {(3, SIDE_PX, SIDE_PX)}
