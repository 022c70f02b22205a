from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from tests.trainables.evaluation.conftest import planted
from trainables.config import Model, Optimizer, TrialConfig
from trainables.data.config import Data
from trainables.data.prepared import prepare_data, prepare_test
from trainables.errors import UserError
from trainables.evaluation.axes.transfer import PENALTIES, Transfer, probe_error
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.trial import Trial

NAMES = ("lime", "navy", "ruby")
"""Classes of the other set, in the order of their labels: other ones than the model's, in another order."""


def write_images(folder: Path, count: int, *, seed: int, random_labels: bool = False) -> None:
    images = planted(count, seed=seed)
    shown = {"red": "ruby", "green": "lime", "blue": "navy"}
    labels = np.random.default_rng(seed).permutation(images.labels) if random_labels else images.labels
    for number, (image, label) in enumerate(zip(images.images, labels, strict=True)):
        path = folder / shown[images.classes[label]] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set of the same colours under other names: what the model has learnt is all that is needed."""
    folder = tmp_path_factory.mktemp("colours")
    write_images(folder / "train", 60, seed=11)
    write_images(folder / "test", 30, seed=12)
    return f"imagefolder:{folder}"


def tiny_about(**changes: object) -> ModelInfo:
    values = {"config": TrialConfig(), "classes": ("a", "b"), "height_px": 32, "width_px": 32}
    return ModelInfo(**{**values, "n_test": 9, "n_val": 9, "has_boxes": False, **changes})  # type: ignore[arg-type]


def measured(axis: Transfer, subject: Subject) -> dict[tuple[str, str], float]:
    values = axis.measure(subject).values
    assert {value.n for value in values} == {axis.n_images or 30}
    return {(value.setting.split(",")[0], value.metric): value.value for value in values}


# ---------------------------------------------------------------- what it finds


def test_a_backbone_that_knows_the_colours_is_worth_something(target: str, subject: Subject) -> None:
    axis = Transfer(data=target, epochs=2, batch_size=16, lr=0.05, scratch_lr=0.05)
    axis.check(subject.about)
    found = measured(axis, subject)
    assert found["linear probe", "top1_error"] < 0.05
    assert found["fine-tuned", "top1_error"] < 0.1
    assert found["from scratch", "top1_error"] > 0.15
    gain = found["from scratch", "top1_error"] - found["fine-tuned", "top1_error"]
    assert found["fine-tuned", "gain"] == pytest.approx(gain)
    assert len(found) == 4


def test_no_backbone_helps_with_labels_drawn_by_lot(tmp_path: Path, subject: Subject) -> None:
    write_images(tmp_path / "train", 90, seed=21, random_labels=True)
    write_images(tmp_path / "test", 90, seed=22, random_labels=True)
    axis = Transfer(data=f"imagefolder:{tmp_path}", epochs=1, n_images=90)
    found = measured(axis, subject)
    for setting in ("linear probe", "fine-tuned", "from scratch"):
        assert abs(found[setting, "top1_error"] - 2 / 3) < 0.16  # three deviations of 90 draws


def test_settings_say_what_is_left_out(target: str, subject: Subject) -> None:
    probe = Transfer(data=target, epochs=0, n_images=6).measure(subject).values
    assert [(value.metric, value.n) for value in probe] == [("top1_error", 6)]
    assert probe[0].setting == f"linear probe, imagefolder:{Path(target).name}"
    tuned = Transfer(data=target, epochs=1, probe=False).measure(subject).values
    assert {value.setting.split(",")[0] for value in tuned} == {"fine-tuned", "from scratch"}


def test_training_is_that_of_a_trial(target: str, subject: Subject) -> None:
    """With the backbone's weights and the statistics that it knows, or with neither."""
    found = measured(Transfer(data=target, epochs=1, lr=0.03, scratch_lr=0.2, batch_size=16, n_train=40), subject)
    for setting, lr in (("fine-tuned", 0.03), ("from scratch", 0.2)):
        config = TrialConfig(
            data=Data(source=target, image_size_px=16, train_frac=40 / 60, batch_size=16, pad_px=1),
            model=Model(width=0.5, precision="fp32"),
            optimizer=Optimizer(max_epochs=1, lr=lr),
        )
        data = prepare_data(config.data)
        assert len(data.train_rows) + len(data.val_rows) == 39  # thirteen of each class
        if setting == "fine-tuned":
            known = replace(data.images, mean=np.full(3, 0.45, np.float32), std=np.full(3, 0.15, np.float32))
            data = replace(data, images=known)
        trial = Trial(config, data)
        if setting == "fine-tuned":
            classifier = {name: value for name, value in trial.last_weights().items() if "classifier" in name}
            trial._net.load_state_dict({**subject.saved.net.state_dict(), **classifier})
        trial.run_epoch()
        test = prepare_test(config.data)
        assert test.classes == NAMES
        assert trial.measure(test, np.arange(30))["top1_error"] == found[setting, "top1_error"]


def test_a_last_stride_is_that_of_the_model() -> None:
    """Its weights fit both strides: another one would measure another network without an error."""
    config = TrialConfig(model=Model(name="resnet18", last_stride=1))
    saved = SimpleNamespace(config=config, height_px=32, width_px=32)
    transfer = Transfer(data="digits")._config(SimpleNamespace(saved=saved), lr=0.1)  # type: ignore[arg-type]
    assert transfer.model.last_stride == 1


def test_twice_the_same_and_nothing_else_moves(target: str, subject: Subject) -> None:
    axis = Transfer(data=target, epochs=1)
    legacy = np.random.mtrand._rand
    numpy_before, torch_before = legacy.get_state(legacy=False), torch.get_rng_state()
    weights = {name: value.clone() for name, value in subject.saved.net.state_dict().items()}
    first = measured(axis, subject)
    assert first == measured(axis, subject)
    np.testing.assert_equal(legacy.get_state(legacy=False), numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert all(torch.equal(value, weights[name]) for name, value in subject.saved.net.state_dict().items())
    for parameter in subject.saved.net.parameters():
        parameter.zero_()
    other = measured(axis, subject)  # of a model that knows nothing
    assert other["from scratch", "top1_error"] == first["from scratch", "top1_error"]
    assert other["linear probe", "top1_error"] == pytest.approx(2 / 3)


# ---------------------------------------------------------------- the probe


def drawn(count: int, *, seed: int, signal: float, n_noise: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ along one of the features, in other units than the rest."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    features = rng.normal(size=(count, 1 + n_noise))
    features[:, 0] = 100 * (signal * (2 * labels - 1) + features[:, 0]) + 500
    return features, labels


def test_probes_of_features_that_say_all_nothing_or_the_same() -> None:
    parts = [drawn(60, seed=seed, signal=20.0) for seed in range(3)]
    assert probe_error(*parts) == 0.0
    noise = [drawn(400, seed=seed, signal=0.0) for seed in range(3)]
    assert abs(probe_error(*noise) - 0.5) < 0.08
    constant = [(np.ones((30, 4)), np.arange(30) % 3) for _ in range(3)]
    assert probe_error(*constant) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_the_probe_equals_one_by_hand(seed: int) -> None:
    """Multinomial cross-entropy and a squared norm, minimised by SciPy, at the penalty that validates best."""
    train, val, test = (drawn(40, seed=seed + part, signal=0.8) for part in range(3))
    centre, scale = train[0].mean(axis=0), train[0].std(axis=0)
    features = (train[0] - centre) / scale

    def fitted(penalty: float) -> np.ndarray:
        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(-1, 2)
            logits = features @ weights[:-1] + weights[-1]
            error = softmax(logits, axis=1) - np.eye(2)[train[1]]
            value = -penalty * log_softmax(logits, axis=1)[np.arange(40), train[1]].sum() + 0.5 * (flat[:-2] ** 2).sum()
            gradient = penalty * np.vstack([features.T @ error, error.sum(axis=0)])
            gradient[:-1] += weights[:-1]
            return value, gradient.ravel()

        found = minimize(loss, np.zeros(2 * (features.shape[1] + 1)), jac=True, method="L-BFGS-B", tol=1e-10)
        return np.asarray(found.x).reshape(-1, 2)

    def error_of(weights: np.ndarray, part: tuple[np.ndarray, np.ndarray]) -> float:
        logits = (part[0] - centre) / scale @ weights[:-1] + weights[-1]
        return float((logits.argmax(axis=1) != part[1]).mean())

    fits = [fitted(penalty / 2) for penalty in PENALTIES]  # of two classes scikit-learn fits the difference alone
    best = fits[int(np.argmin([error_of(weights, val) for weights in fits]))]
    assert probe_error(train, val, test) == pytest.approx(error_of(best, test))


# ---------------------------------------------------------------- refusals


def test_another_set_is_needed() -> None:
    with pytest.raises(UserError, match=r"give transfer\.data; valid: digits, cifar10, .*imagefolder:PATH"):
        Transfer().check(tiny_about())


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(UserError, match="nothing is left to measure"):
        Transfer(data="digits", probe=False, epochs=0).check(tiny_about())


@pytest.mark.parametrize(
    ("given", "own"),
    [("digits", "digits"), ("cifar10:/elsewhere", "cifar10"), ("imagefolder:a/../b", "imagefolder:b")],
)
def test_the_models_own_images_are_refused(given: str, own: str) -> None:
    about = tiny_about(config=TrialConfig(data=Data(source=own)))
    with pytest.raises(UserError, match=f"the model was trained on transfer.data '{given}'"):
        Transfer(data=given).check(about)


def test_sources_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown data source 'digit'; did you mean 'digits'"):
        Transfer(data="digit").check(tiny_about())
    with pytest.raises(UserError, match="needs a path"):
        Transfer(data="imagefolder").check(tiny_about())
    with pytest.raises(UserError, match=f"{tmp_path}/none does not exist"):
        Transfer(data=f"imagefolder:{tmp_path}/none").check(tiny_about())


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "only").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / split / "only" / "0.png")
    with pytest.raises(UserError, match="has 1 class, but at least 2"):
        Transfer(data=f"imagefolder:{tmp_path}").check(tiny_about())


def test_sizes_that_need_another_network_are_refused(target: str) -> None:
    about = tiny_about(config=TrialConfig(model=Model(name="resnet18", width=0.05)))
    with pytest.raises(UserError, match=r"image_size_px is 64, but 'resnet18' has other strides .* 32x32 px"):
        Transfer(data=target, image_size_px=64).check(about)
    Transfer(data=target, image_size_px=48).check(about)
    Transfer(data=target, image_size_px=64).check(tiny_about())  # the tiny net is the same from 25 px on
    Transfer(data=target).check(tiny_about(height_px=40, width_px=32))
