from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import zero_one_loss

from tests.trainables.evaluation.conftest import planted
from trainables.evaluation import corrupted_images as corrupted
from trainables.evaluation.axes.corruption import Corruption
from trainables.evaluation.base import Measured
from trainables.evaluation.corrupted_images import EXTRA, STANDARD, CorruptedImages, corrupt, corrupt_all
from trainables.evaluation.subject import Subject
from trainables.seeds import derive_seed

QUICK = ("gaussian_noise", "contrast")


def image_of(height_px: int = 24, width_px: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(height_px, width_px, 3), dtype=np.uint8)


def patterned() -> np.ndarray:
    """Gradients, curves and edges, uint8 [24, 20, 3], by a formula that no library changes."""
    y, x = np.mgrid[:24, :20]
    return np.stack([(8 * y + 3 * x) % 256, (y * x) % 256, 255 * ((y // 6 + x // 5) % 2)], axis=2).astype(np.uint8)


def by_setting(measured: Measured, metric: str) -> dict[str, float]:
    return {value.setting: value.value for value in measured.values if value.metric == metric}


@pytest.mark.parametrize("kind", [*STANDARD, *EXTRA])
class TestKind:
    def test_changes_images_of_every_shape(self, kind: str) -> None:
        for severity, size in ((1, (32, 32)), (5, (24, 40))):
            image = image_of(*size)
            found = corrupt(image, kind, severity=severity, seed=0)
            assert found.shape == image.shape
            assert found.dtype == np.uint8
            assert (found != image).mean() > 0.005

    def test_draws_from_its_seed_and_touches_no_other(self, kind: str) -> None:
        from corrupt_tta import corruptions

        image, impulses = image_of(), corruptions.random_noise
        np.random.seed(5)  # noqa: NPY002 (what must stay as it is)
        state = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr] # noqa: NPY002
        found = corrupt(image, kind, severity=2, seed=1)
        assert np.random.get_state()[1].tolist() == state  # type: ignore[index,union-attr] # noqa: NPY002
        assert corruptions.random_noise is impulses
        np.random.seed(6)  # noqa: NPY002
        assert (corrupt(image, kind, severity=2, seed=1) == found).all()


@pytest.mark.parametrize("kind", [*STANDARD, *EXTRA])
def test_pixels_are_those_of_the_first_measurements(kind: str) -> None:
    """``corruptions.npz`` holds severity 3 of :func:`patterned` with seed 7, by corrupt-tta 0.1.7.

    A library that rounds differently may move a value by one level. Any larger change makes errors incomparable with
    recorded ones.
    """
    with np.load(Path(__file__).with_name("corruptions.npz")) as golden:
        difference = np.abs(corrupt(patterned(), kind, severity=3, seed=7).astype(int) - golden[kind])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_kinds_that_draw_depend_on_the_seed() -> None:
    image = image_of()
    differ = {
        kind
        for kind in (*STANDARD, *EXTRA)
        if (corrupt(image, kind, severity=3, seed=1) != corrupt(image, kind, severity=3, seed=2)).any()
    }
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert differ == {*STANDARD, *EXTRA} - fixed - {"gaussian_blur", "saturate"}


def test_noise_is_what_it_says() -> None:
    image = image_of()
    drawn = np.random.RandomState(7).normal(size=image.shape, scale=0.18)
    expected = np.rint(255 * (image / 255 + drawn).clip(0, 1))
    assert (corrupt(image, "gaussian_noise", severity=3, seed=7) == expected).all()
    half = np.full((200, 200, 3), 128, np.uint8)
    impulses = corrupt(half, "impulse_noise", severity=5, seed=7)
    assert np.isin(impulses, (0, 128, 255)).all()
    assert (impulses != 128).mean() == pytest.approx(0.27, abs=0.01)


def test_contrast_is_what_it_says() -> None:
    image = image_of().astype(np.float64)
    mean = image.mean(axis=(0, 1))
    found = corrupt(image_of(), "contrast", severity=3, seed=0)
    assert np.abs(found - (mean + 0.2 * (image - mean))).max() <= 0.5 + 1e-6


def test_an_image_is_corrupted_alike_among_all_others() -> None:
    images = planted(9, seed=1).images
    every = corrupt_all(images, np.arange(9), "snow", severity=4, seed=3)
    some = corrupt_all(images, np.array([2, 7]), "snow", severity=4, seed=3)
    assert (some == every[[2, 7]]).all()
    expected = corrupt(images[7], "snow", severity=4, seed=derive_seed(3, "snow", 4, 7))
    assert (some[1] == expected).all()


def test_errors_equal_a_loop_over_images(subject: Subject) -> None:
    axis = Corruption(kinds=QUICK, severities=(2, 5), n_images=40, seed=3)
    found = axis.measure(subject)
    rows = subject.sample(40, seed=3)
    errors = {}
    for kind in QUICK:
        for severity in (2, 5):
            answers = []
            for row in rows:
                seed = derive_seed(3, kind, severity, int(row))
                image = corrupt(subject.test.images[row], kind, severity=severity, seed=seed)
                pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
                answers.append(int(subject.saved.model(pixels).argmax()))
            errors[f"{kind} {severity}"] = zero_one_loss(subject.test.labels[rows], answers)
    assert by_setting(found, "error") == pytest.approx(errors)
    assert max(errors.values()) > 0.05  # there is something to find
    clean = by_setting(found, "clean_error")[""]
    means = {kind: (errors[f"{kind} 2"] + errors[f"{kind} 5"]) / 2 for kind in QUICK}
    means[""] = sum(means.values()) / 2
    assert by_setting(found, "mean_error") == pytest.approx(means)
    assert by_setting(found, "relative_error") == pytest.approx({kind: means[kind] - clean for kind in means})
    assert {value.n for value in found.values} == {40}


def test_constant_answers_suffer_from_nothing(answering: Callable[..., Subject]) -> None:
    constant = answering(lambda pixels: torch.eye(3)[[2]].expand(len(pixels), 3), test=planted(30, seed=2))
    found = Corruption(n_images=9, severities=(1, 5)).measure(constant)
    assert set(by_setting(found, "mean_error")) == {*STANDARD, ""}
    assert list(by_setting(found, "mean_error").values()) == pytest.approx([2 / 3] * 16)
    assert list(by_setting(found, "relative_error").values()) == pytest.approx([0.0] * 16)


class TestCache:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_images_are_made_once(self, subject: Subject, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        axis = Corruption(kinds=QUICK, n_images=10)
        found = axis.measure(subject)
        assert len(list(folder.glob("corrupted-*/*.npy"))) == 6
        assert not list(folder.glob("corrupted-*/*.unfinished"))
        made: list[int] = []
        monkeypatch.setattr(corrupted, "corrupt", lambda image, *_, **__: made.append(1) or image)
        assert axis.measure(subject) == found
        assert not made
        Corruption(kinds=QUICK, n_images=10, seed=1).measure(subject)  # others are made for another seed
        assert len(made) == 60

    def test_other_pixels_of_the_same_rows_are_others(self) -> None:
        rows = np.arange(4)
        first, second = (
            CorruptedImages(planted(4, seed=seed).images, rows, seed=0, keep=True).of("contrast", severity=5)
            for seed in (0, 1)
        )
        assert (first != second).any()

    @pytest.mark.parametrize("unwritable", [True, False])
    def test_it_can_be_done_without(
        self, unwritable: bool, subject: Subject, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        axis = Corruption(kinds=QUICK, n_images=10)
        found = axis.measure(subject)
        if unwritable:
            (folder.parent / "file").touch()
            monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(folder.parent / "file"))
        else:
            monkeypatch.setattr("trainables.evaluation.axes.corruption.LARGEST_CACHE_BYTES", 6 * 10 * 16 * 16 * 3 - 1)
            monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(folder.parent / "other"))
        assert axis.measure(subject) == found
        assert not (folder.parent / "other").exists()

    def test_what_was_cut_off_is_made_anew(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        axis = Corruption(kinds=QUICK, n_images=10)

        def killed(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(corrupted, "corrupt", killed)
            with pytest.raises(KeyboardInterrupt):
                axis.measure(subject)
        found = axis.measure(subject)
        monkeypatch.setenv("CUTMIX_SWEEP_CACHE", "/dev/null")
        assert axis.measure(subject) == found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kinds": ["gausian_noise"]}, "did you mean 'gaussian_noise'"),
        ({"kinds": ["fog", "fog"]}, "each value once"),
        ({"kinds": []}, "kinds"),
        ({"severities": [0]}, "severities"),
        ({"severities": [6]}, "severities"),
        ({"severities": [2, 2]}, "each value once"),
    ],
)
def test_what_is_not_there_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Corruption.model_validate(settings)
