"""Transfer of the backbone to other images: a linear probe, and fine-tuning compared with training from scratch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainables.config import Model, Optimizer, TrialConfig
from trainables.data.config import Data
from trainables.data.places import place_of
from trainables.data.prepared import TrialData, prepare_data, prepare_test
from trainables.data.sources.registry import SOURCES, is_same_source, open_source, source_help, split_source
from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.subject import ModelInfo, drawn_by_class
from trainables.models.build import build_model
from trainables.models.saved import Normalize

if TYPE_CHECKING:
    from trainables.data.image_set import ImageSet
    from trainables.evaluation.subject import Subject

PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Candidate inverse strengths of the probe's L2 penalty (scikit-learn's C)."""

MAX_ITERATIONS = 300


class Transfer(Axis):
    """Error on another set of images with features that the model has learnt on its own set.

    ``top1_error`` on test images of the other set, in three conditions; SET stands for its name:

    - ``linear probe, SET``: a logistic regression on the pooled features of the frozen network, standardised by the
      training images. Its penalty is the best of ``PENALTIES`` on the validation images; of equal ones the strongest.
    - ``fine-tuned, SET``: all weights are trained, starting from the model, with a new classifier.
    - ``from scratch, SET``: the same network, images, epochs and order of data, starting from random weights.

    ``gain`` of ``fine-tuned, SET`` is the error from scratch minus the fine-tuned error at this budget; it shrinks with
    longer training. n: test images. Training is stochastic gradient descent with a cosine schedule, in float32, without
    mixing, attacks or dropped blocks, and the same for each model: only the backbone differs. Images are normalised as
    for the model; from scratch, by their own statistics.

    Attributes:
        data: the other set: any data source, for example ``cifar100`` or ``imagefolder:PATH``.
        image_size_px: side of its images; None: the shorter side of the model's images.
        n_train: largest number of its training images, drawn by class; a fifth of them validates; None: all.
        n_images: largest number of its test images.
        probe: whether to fit the probe.
        epochs: epochs of fine-tuning and of training from scratch; 0: neither.
        lr: peak learning rate of fine-tuning.
        scratch_lr: peak learning rate from scratch, which must be higher than for trained weights.
        batch_size: images per training step.
        seed: seed of the drawn images, of initial weights and of the order of data.

    Examples:
        >>> Transfer(data="cifar100", epochs=0).probe
        True
    """

    name = "transfer"
    on_request = True

    data: str | None = None
    image_size_px: int | None = Field(default=None, ge=8, le=1024)
    n_train: int | None = Field(default=5000, ge=10)
    probe: bool = True
    epochs: int = Field(default=5, ge=0)
    lr: float = Field(default=0.02, gt=0)
    scratch_lr: float = Field(default=0.1, gt=0)
    batch_size: int = Field(default=64, ge=1)

    def check(self, about: ModelInfo) -> None:
        """Refuse a set that is missing or that the model was trained on, and sizes that need another network."""
        if self.data is None:
            raise UserError(f"transfer needs another set of images: give transfer.data; valid: {source_help()}")
        if not self.probe and not self.epochs:
            raise UserError("transfer.probe is false and transfer.epochs is 0: nothing is left to measure")
        source = open_source(self.data)
        if is_same_source(self.data, place_of(about.config.data.source).source):
            raise UserError(f"the model was trained on transfer.data '{self.data}'; give another set of images")
        source.check()
        n_classes = source.describe(self._side_px(about.height_px, about.width_px)).n_classes
        if n_classes < 2:
            raise UserError(f"transfer.data '{self.data}' has {n_classes} class, but at least 2 are needed")
        self._check_same_network(about)

    def measure(self, subject: Subject) -> Measured:
        """Fit the probe, fine-tune and train from scratch."""
        config = self._config(subject, lr=self.lr)
        data, test = prepare_data(config.data), prepare_test(config.data)
        rows = drawn_by_class(test.labels, self.n_images, seed=self.seed)
        return Measured(tuple(self._values(subject, data, test, rows)))

    def _values(self, subject: Subject, data: TrialData, test: ImageSet, rows: np.ndarray) -> Iterator[Value]:
        target = _short(self.data or "")
        if self.probe:
            error = _probe_error(subject, data, test, rows)
            yield Value("top1_error", error, len(rows), f"linear probe, {target}", library=library("scikit-learn"))
        if self.epochs:
            tuned, scratch = (self._trained_error(subject, data, test, rows, tune=tune) for tune in (True, False))
            fine_tuned, torch_version = f"fine-tuned, {target}", library("torch")
            yield Value("top1_error", tuned, len(rows), fine_tuned, library=torch_version)
            yield Value("top1_error", scratch, len(rows), f"from scratch, {target}", library=torch_version)
            yield Value("gain", scratch - tuned, len(rows), fine_tuned, library=torch_version)

    def _trained_error(
        self, subject: Subject, data: TrialData, test: ImageSet, rows: np.ndarray, *, tune: bool
    ) -> float:
        from trainables.trial import Trial

        config = self._config(subject, lr=self.lr if tune else self.scratch_lr)
        trial = Trial(config, _normalized_as(subject, data) if tune else data, device=subject.device)
        if tune:
            trial.start_from(subject.saved.net.state_dict())
        while not trial.done:
            trial.run_epoch()
        return trial.measure(test, rows)["top1_error"]

    def _config(self, subject: Subject, *, lr: float) -> TrialConfig:
        """Return the configuration of training on the other set."""
        assert self.data is not None  # see check
        trained, saved = subject.saved.config, subject.saved
        side_px = self._side_px(saved.height_px, saved.width_px)
        n_available = open_source(self.data).describe(side_px).n_train
        return TrialConfig(
            data=Data(
                source=self.data,
                image_size_px=side_px,
                train_frac=1.0 if self.n_train is None else min(1.0, self.n_train / n_available),
                split_seed=self.seed,
                batch_size=self.batch_size,
                pad_px=trained.data.pad_px,
            ),
            model=Model(
                name=trained.model.name,
                width=trained.model.width,
                last_stride=trained.model.last_stride,
                precision="fp32",
                # the weights belong to branches that evaluation scales
                stochastic_depth=trained.model.stochastic_depth,
                shakedrop=trained.model.shakedrop,
            ),
            optimizer=Optimizer(max_epochs=max(1, self.epochs), lr=lr),
            evaluation=trained.evaluation,
            seed=self.seed,
        )

    def _side_px(self, height_px: int, width_px: int) -> int:
        return self.image_size_px or min(height_px, width_px)

    def _check_same_network(self, about: ModelInfo) -> None:
        """Refuse a size for which a network of this name has other strides or another stem."""
        if self.image_size_px is None:  # the size is the model's shorter side, which decides on strides and stem
            return
        side_px = self.image_size_px
        sizes = ((about.height_px, about.width_px), (side_px, side_px))
        model, n_classes = about.config.model, len(about.classes)
        layers = {
            str(build_model(model, n_classes=n_classes, height_px=height_px, width_px=width_px, seed=0))
            for height_px, width_px in sizes
        }
        if len(layers) > 1:
            raise UserError(
                f"transfer.image_size_px is {side_px}, but '{model.name}' has other strides at this size than at"
                f" {about.height_px}x{about.width_px} px, on which the model was trained; leave it out to resize the"
                " images"
            )


def probe_error(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the top-1 error of a logistic regression on features.

    Args:
        train: features, float [n, D], and classes, int [n], of the samples to fit on and to standardise by.
        val: features and classes of the samples that choose the penalty from ``PENALTIES``.
        test: features and classes of the samples that the error is computed on.

    Examples:
        >>> features, classes = np.array([[0.0], [0.1], [0.9], [1.0]]), np.array([0, 0, 1, 1])
        >>> probe_error((features, classes), (features, classes), (features, 1 - classes))
        1.0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best, best_error = None, np.inf
    for penalty in PENALTIES:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS))
        with warnings.catch_warnings():
            # for separable classes the optimum of a weak penalty is far away; a probe that stopped earlier is valid
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(*train)
        error = 1 - probe.score(*val)
        if error < best_error:
            best, best_error = probe, error
    assert best is not None
    return float(1 - best.score(*test))


def _probe_error(subject: Subject, data: TrialData, test: ImageSet, rows: np.ndarray) -> float:
    parts = ((data.images, data.train_rows), (data.images, data.val_rows), (test, rows))
    return probe_error(
        *((subject.features(images, some).numpy().astype(np.float64), images.labels[some]) for images, some in parts)
    )


def _normalized_as(subject: Subject, data: TrialData) -> TrialData:
    """Return the data with the statistics of the images that the model was trained on."""
    normalize = subject.saved.normalize
    assert isinstance(normalize, Normalize)
    mean, std = (values.flatten().cpu().numpy() for values in (normalize.mean, normalize.std))
    return replace(data, images=replace(data.images, mean=mean, std=std))


def _short(source: str) -> str:
    """Return the name of a source, with the last folder of its path if it needs one."""
    name, path = split_source(source)
    return f"{name}:{path.resolve().name}" if path is not None and SOURCES[name].needs_path else name
