"""What a backbone is worth for other images: a linear probe, and fine-tuning next to training from scratch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainables.config import Model, Optimizer, TrialConfig
from trainables.data.config import Data
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
"""Inverse strengths of the probe's L2 penalty (scikit-learn's C) to choose from."""

MAX_ITERATIONS = 300


class Transfer(Axis):
    """How well another set of images is told apart by means of what the model has learnt on its own.

    ``top1_error`` on test images of the other set, by setting, each with the other set's name in the place of SET:

    - ``linear probe, SET``: a logistic regression on the frozen network's pooled features, standardised by the training
      images; its penalty is the one of ``PENALTIES`` that is best on the validation images (of equals the strongest).
    - ``fine-tuned, SET``: all weights trained on, from the model's, with a new classifier.
    - ``from scratch, SET``: the same network, images, epochs and order of the data from random weights.

    Further ``gain`` of ``fine-tuned, SET``: error from scratch less error fine-tuned, at this budget: it shrinks as
    both are trained for longer. n: test images. Training is stochastic gradient descent with a cosine schedule, in
    float32, without mixing, attacks or blocks dropped, the same for every model, so that only the backbone differs.
    Images are normalised as for the model, from scratch by their own statistics.

    Attributes:
        data: the other set: any source that a trial can be trained on, as ``cifar100`` or ``imagefolder:PATH``.
        image_size_px: side of its images; None: as the model's (the shorter one).
        n_train: its training images at most, drawn by class; a fifth of them validates; None: all.
        n_images: its test images at most.
        probe: whether to fit the probe.
        epochs: of fine-tuning and of training from scratch; 0: neither.
        lr: peak learning rate of fine-tuning.
        scratch_lr: peak learning rate from scratch: what suits trained weights is too low for random ones.
        batch_size: images a training step.
        seed: of the images drawn, of initial weights and order.
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
        """Refuse a set that is missing or the model's own, and sizes that need another network."""
        if self.data is None:
            raise UserError(f"transfer needs another set of images: give transfer.data; valid: {source_help()}")
        if not self.probe and not self.epochs:
            raise UserError("transfer.probe is false and transfer.epochs is 0: nothing is left to measure")
        source = open_source(self.data)
        if is_same_source(self.data, about.config.data.source):
            raise UserError(f"transfer.data '{self.data}' is what the model was trained on; give another set of images")
        source.check()
        n_classes = source.describe(self._side_px(about.height_px, about.width_px)).n_classes
        if n_classes < 2:
            raise UserError(f"transfer.data '{self.data}' has {n_classes} class: there is nothing to tell apart")
        self._check_same_network(about)

    def measure(self, subject: Subject) -> Measured:
        """Fit the probe, fine-tune and train from scratch; see the class."""
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
        """Say how the network is trained on the other set."""
        assert self.data is not None  # held by refuse
        trained, saved = subject.saved.config, subject.saved
        side_px = self._side_px(saved.height_px, saved.width_px)
        there = open_source(self.data).describe(side_px).n_train
        return TrialConfig(
            data=Data(
                source=self.data,
                image_size_px=side_px,
                train_frac=1.0 if self.n_train is None else min(1.0, self.n_train / there),
                split_seed=self.seed,
                batch_size=self.batch_size,
                pad_px=trained.data.pad_px,
            ),
            model=Model(name=trained.model.name, width=trained.model.width, precision="fp32"),
            optimizer=Optimizer(max_epochs=max(1, self.epochs), lr=lr),
            evaluation=trained.evaluation,
            seed=self.seed,
        )

    def _side_px(self, height_px: int, width_px: int) -> int:
        return self.image_size_px or min(height_px, width_px)

    def _check_same_network(self, about: ModelInfo) -> None:
        """Refuse a size for which a network of that name has other strides or another stem: it is built for a size."""
        if self.image_size_px is None:  # the shorter side decides, and it is the model's
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
                f"transfer.image_size_px is {side_px}, but '{model.name}' for {about.height_px}x{about.width_px} px,"
                " which the model was trained on, has other strides than for that size; leave it out to have the images"
                " resized"
            )


def probe_error(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the share of test samples that a logistic regression on features gets wrong.

    Args:
        train: features, float [n, D], and classes, int [n], to fit on; features are standardised by theirs.
        val: the same of samples that choose the penalty among ``PENALTIES``.
        test: the same of those that are counted.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best, best_error = None, np.inf
    for penalty in PENALTIES:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS))
        with warnings.catch_warnings():
            # of separable classes weak penalties have their optimum far away; stopped short of it they are probes too
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
    """Return a source's name, with the last folder of its path where it is that that tells it apart."""
    name, path = split_source(source)
    return f"{name}:{path.resolve().name}" if path is not None and SOURCES[name].needs_path else name
