from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import auc
from torch import Tensor

from tests.trainables.evaluation.conftest import planted
from trainables.data.image_set import ImageSet
from trainables.errors import UserError
from trainables.evaluation.axes.occlusion import Occlusion, blended, occluded
from trainables.evaluation.base import Measured
from trainables.evaluation.subject import Subject

SIDE_PX = 8


def plain(count: int = 30) -> ImageSet:
    """Images all of one colour, that of their class."""
    like = planted(count, seed=0, side_px=SIDE_PX)
    images = np.full_like(like.images, 20)
    for index, label in enumerate(like.labels):
        images[index, ..., label] = 200
    return replace(like, images=images)


def by_setting(measured: Measured, metric: str) -> dict[str, float]:
    return {value.setting: value.value for value in measured.values if value.metric == metric}


def pixel(y: int, x: int) -> Callable[[Tensor], Tensor]:
    """A network that looks at one pixel."""
    return lambda pixels: pixels[:, :, y, x]


class TestOcclusion:
    def test_hides_the_middle_from_who_looks_there(self, answering: Callable[..., Subject]) -> None:
        found = Occlusion().measure(answering(pixel(4, 4), test=plain()))
        grey = 2 / 3  # all channels alike: the first class is named
        errors = by_setting(found, "error")
        assert [errors[f"center {side / 8:g}"] for side in range(9)] == [0, 0] + [grey] * 7
        assert [errors[f"boundary {side / 8:g}"] for side in range(9)] == [grey] * 2 + [0] * 7

    def test_hides_the_border_from_who_looks_there(self, answering: Callable[..., Subject]) -> None:
        errors = by_setting(Occlusion().measure(answering(pixel(0, 7), test=plain())), "error")
        assert [errors[f"center {side / 8:g}"] for side in range(9)] == [0] * 8 + [2 / 3]
        assert [errors[f"boundary {side / 8:g}"] for side in range(9)] == [2 / 3] * 8 + [0]

    def test_area_is_that_under_the_curve(self, subject: Subject) -> None:
        found = Occlusion(holes_frac=(0.2, 0.3, 0.6, 0.9)).measure(subject)
        errors = by_setting(found, "error")
        for kind in ("center", "boundary"):
            curve = {frac: errors[f"{kind} {frac:g}"] for frac in (0.2, 0.3, 0.6, 0.9)}
            assert by_setting(found, "area")[kind] == pytest.approx(auc(list(curve), list(curve.values())) / 0.7)

    def test_equals_a_loop_over_images(self, subject: Subject) -> None:
        errors = by_setting(Occlusion(n_images=None).measure(subject), "error")
        wrongs = {"center": 0, "boundary": 0}
        for image, label in zip(subject.test.images, subject.test.labels, strict=True):
            shown = {"center": image / 255.0, "boundary": np.full(image.shape, subject.test.mean, np.float64)}
            shown["center"][5:11, 5:11] = subject.test.mean  # 6 of 16 px
            shown["boundary"][5:11, 5:11] = image[5:11, 5:11] / 255.0
            for kind, pixels in shown.items():
                logits = subject.saved.model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])
                wrongs[kind] += int(logits.argmax()) != label
        assert errors["center 0.375"] == pytest.approx(wrongs["center"] / 60)
        assert errors["boundary 0.375"] == pytest.approx(wrongs["boundary"] / 60)

    def test_zeros_are_those_after_normalisation_or_black(self, answering: Callable[..., Subject]) -> None:
        seen: dict[str, Tensor] = {}
        for fill in ("mean", "black"):

            def look(pixels: Tensor, fill: str = fill) -> Tensor:
                seen.setdefault(fill, pixels)
                return pixels.mean(dim=(2, 3))

            subject = answering(look, test=plain())
            Occlusion(fill=fill, holes_frac=(0.5, 1.0)).measure(subject)
        normalised = subject.saved.normalize(seen["mean"])
        assert normalised[:, :, 2:6, 2:6].abs().max() == 0
        assert seen["black"][:, :, 2:6, 2:6].abs().max() == 0
        assert normalised[:, :, :2].abs().min() > 0

    def test_constant_answers_are_as_wrong_as_they_are_rare(self, answering: Callable[..., Subject]) -> None:
        subject = answering(lambda pixels: torch.eye(3)[[1]].expand(len(pixels), 3), test=planted(50, seed=3))
        found = Occlusion().measure(subject)
        rare = 1 - (subject.test.labels == 1).mean()
        assert list(by_setting(found, "error").values()) == pytest.approx([rare] * 18)
        assert list(by_setting(found, "area").values()) == pytest.approx([rare] * 2)
        partners = Occlusion()._partners(subject.test.labels)
        neither = np.mean((subject.test.labels != 1) & (subject.test.labels[partners] != 1))
        assert 0.2 < neither < 0.45  # 1 - 2 / C of a third, by chance
        assert list(by_setting(found, "in_between_error").values()) == pytest.approx([neither] * 20)
        assert list(by_setting(found, "in_between_mean").values()) == pytest.approx([neither] * 2)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.booleans(), st.integers(0, 3))
def test_hole_and_surroundings_make_up_the_image(
    height_px: int, width_px: int, hole_frac: float, outside: bool, seed: int
) -> None:
    pixels = torch.from_numpy(np.random.default_rng(seed).random((2, 3, height_px, width_px), dtype=np.float32))
    before, fill = pixels.clone(), torch.full((1, 3, 1, 1), -1.0)
    hidden = occluded(pixels, fill, hole_frac=hole_frac, outside=outside)
    rest = occluded(pixels, fill, hole_frac=hole_frac, outside=not outside)
    assert torch.equal(pixels, before)
    assert torch.equal(torch.maximum(hidden, rest), pixels)
    assert torch.equal(torch.minimum(hidden, rest), torch.full_like(pixels, -1.0))
    hole_px = round(hole_frac * height_px) * round(hole_frac * width_px)
    assert (hidden == -1).sum() == 6 * (height_px * width_px - hole_px if outside else hole_px)


class TestInBetween:
    def test_the_larger_part_is_one_of_the_two(self, answering: Callable[..., Subject]) -> None:
        found = Occlusion().measure(answering(lambda pixels: pixels.mean(dim=(2, 3)), test=plain()))
        assert set(by_setting(found, "in_between_error").values()) == {0.0}

    def test_the_third_class_is_neither(self, answering: Callable[..., Subject]) -> None:
        axis = Occlusion(mixup_lams=(0.5,), holes_frac=(0.5, 0.75))
        found = axis.measure(answering(lambda pixels: -pixels.mean(dim=(2, 3)), test=plain()))
        errors = {"mixup 0.5": 1.0, "cutmix hole 0.5": 1.0, "cutmix hole 0.75": 1.0}
        assert by_setting(found, "in_between_error") == errors

    def test_equals_a_loop_over_pixels(self, answering: Callable[..., Subject]) -> None:
        """Yun et al., appendix E.1: a blend of lam; the second image in a hole of s by s pixels about the centre."""
        weight = torch.randn(3, 3 * 16 * 16, generator=torch.Generator().manual_seed(0))  # each pixel counts
        subject = answering(lambda pixels: (pixels - 0.45).flatten(1) @ weight.T, test=planted(60, seed=2))
        axis = Occlusion(n_images=None, mixup_lams=(0.3, 0.8), holes_frac=(0.25, 0.375, 0.75, 0.875), seed=4)
        found = axis.measure(subject)
        images, labels = subject.test.images / 255.0, subject.test.labels
        partners = axis._partners(labels)
        neither = dict.fromkeys(by_setting(found, "in_between_error"), 0)
        for first, second in zip(range(60), partners.tolist(), strict=True):
            for condition in neither:
                kind, size = condition.rsplit(" ", 1)
                mix = float(size) * images[first] + (1 - float(size)) * images[second]
                if kind == "cutmix hole":
                    mix = images[first].copy()
                    for y in range(16):
                        for x in range(16):
                            if max(abs(y - 7.5), abs(x - 7.5)) < 16 * float(size) / 2:
                                mix[y, x] = images[second, y, x]
                logits = subject.saved.model(torch.tensor(mix, dtype=torch.float32).permute(2, 0, 1)[None])
                neither[condition] += int(logits.argmax()) not in (labels[first], labels[second])
        assert len(set(neither.values())) > 3
        errors = by_setting(found, "in_between_error")
        assert {condition: error * 60 for condition, error in errors.items()} == pytest.approx(neither)
        holes = [count / 60 for condition, count in neither.items() if condition.startswith("cutmix")]
        assert by_setting(found, "in_between_mean")["cutmix hole"] == pytest.approx(np.mean(holes))

    def test_pairs_are_of_two_classes_and_the_same_for_all(self) -> None:
        labels = np.random.default_rng(0).integers(0, 4, size=500)
        partners = Occlusion()._partners(labels)
        assert (labels[partners] != labels).all()
        assert len(np.unique(partners)) > 250  # 500 draws of 500 meet 316 of them
        assert (Occlusion(n_images=3)._partners(labels) == partners).all()
        assert (Occlusion(seed=1)._partners(labels) != partners).any()

    def test_values_of_the_random_box_are_not_mixed_with_those_of_the_hole(self) -> None:
        """Records are found by settings and condition: both differ from those of the former definition."""
        assert "lams" not in Occlusion.model_fields
        assert ("cutmix", "in_between_mean") not in Occlusion.headline


def test_fractions_of_all_or_nothing_are_the_images() -> None:
    first, second = torch.rand(2, 2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    for mix in (blended(first, second, lam=1), occluded(first, second, hole_frac=0, outside=False)):
        assert torch.equal(mix, first)
    for mix in (blended(first, second, lam=0), occluded(first, second, hole_frac=1, outside=False)):
        assert torch.equal(mix, second)


def test_twice_and_in_other_batches_it_is_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = Occlusion(n_images=30, holes_frac=(0.0, 0.5), mixup_lams=(0.4,))
    found = axis.measure(subject)
    assert axis.measure(subject) == found
    monkeypatch.setattr(subject, "_batch_size", lambda images: 7)
    assert axis.measure(subject) == found
    assert {value.n for value in found.values} == {30}


def test_one_class_is_refused(answering: Callable[..., Subject]) -> None:
    images = planted(6, seed=0)
    single = replace(images, labels=np.zeros(6, np.int64), classes=("cat",))
    with pytest.raises(UserError, match="only class is 'cat'"):
        Occlusion().check(answering(pixel(0, 0), test=single).about)
    Occlusion().check(answering(pixel(0, 0), test=images).about)
    same = replace(images, labels=np.ones(6, np.int64))
    with pytest.raises(UserError, match="all test images have the same"):
        Occlusion().measure(answering(pixel(0, 0), test=same))


@pytest.mark.parametrize("settings", [{"holes_frac": [0.5, 0.5]}, {"mixup_lams": [0.7, 0.2]}, {"holes_frac": [0, 1.2]}])
def test_settings_that_make_no_curve_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Occlusion.model_validate(settings)
