"""One training run: its epochs, and a state from which it can be resumed on another machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import Compute, TrialConfig
from trainables.data.batches import Normalizer, TrainBatches
from trainables.data.evaluation_images import evaluation_images
from trainables.data.image_set import ImageSet
from trainables.data.jpeg_batches import JpegBatches
from trainables.data.jpegs.images import JpegImages
from trainables.data.prepared import TrialData
from trainables.data.resident import ResidentImages, describe_images, hold_images
from trainables.data.upload import upload
from trainables.ema import MovingAverage
from trainables.epoch_result import EpochResult
from trainables.metrics import classification_metrics
from trainables.mixing.dose import Dose, measure_dose
from trainables.models.backbone import with_backbone
from trainables.models.branches import BranchScaler
from trainables.models.build import build_model
from trainables.models.dropblock import build_dropper
from trainables.models.saved import saved_config
from trainables.networks.modules.staged import StagedNet
from trainables.optimizer import build_optimizer, load_averages, optimizer_state
from trainables.precision import resolved_kernels, resolved_precision, set_up_gpu
from trainables.renames import json_with_present_keys
from trainables.seeds import derive_seed, generator
from trainables.step import TrainStep
from trainables.training import Training, TrainingParts, choose_training

PURPOSES = ("order", "augment", "mix")
"""Purposes of draws on the host in a trial; each has its own generator."""


class Trial:
    """Training of one network under one configuration.

    Sweeps, tests and notebooks use the same object. It uses no global randomness, and its state is complete: a run
    saved after any epoch and resumed elsewhere equals the uninterrupted run to the bit, on the same kind of device with
    the same number of threads.

    Attributes:
        config: configuration of the run.
        history: results of all epochs so far, including epochs before a restart.
        precision: ``bf16``, ``fp32``, ``fp16`` or ``tf32``; the value of ``auto`` on this device.
        kernels: ``reproducible`` or ``fastest``; always ``reproducible`` on a CPU.

    Examples:
        >>> from trainables.data.prepared import prepare_data
        >>> config = TrialConfig.model_validate(
        ...     {"data": {"train_frac": 0.02}, "optimizer": {"max_epochs": 1}, "mix": {"preset": "cutmix"}}
        ... )
        >>> trial = Trial(config, prepare_data(config.data))
        >>> trial.n_train, trial.run_epoch().epoch, trial.done
        (80, 1, True)
        >>> again = Trial(config, prepare_data(config.data))
        >>> again.load_state_dict(trial.state_dict())
        >>> again.history == trial.history
        True
    """

    _is_shared = False
    """Whether several workers share the batches."""

    _step_class: type[TrainStep] = TrainStep

    def __init__(self, config: TrialConfig, data: TrialData, *, device: torch.device | str = "cpu") -> None:
        """Build network, optimiser and generators; ``config.seed`` is the only source of randomness."""
        self.config = config
        self.history: list[EpochResult] = []
        self._data = data
        self._device = torch.device(device)
        self._n_steps = 0
        self._lr = config.optimizer.lr
        self._rngs = {purpose: generator(config.seed, purpose) for purpose in PURPOSES}
        self.precision = resolved_precision(config.model.precision, self._device)
        self.kernels = resolved_kernels(config.compute.kernels, self._device)
        self._use_device()
        images = data.images
        self._net = _network(config, images).to(self._device).to(memory_format=torch.channels_last)
        self._optimizer = build_optimizer(self._net, config.optimizer)
        decay = config.optimizer.ema_decay
        self._ema = None if decay is None else MovingAverage(self._net)
        seed, n_stages = derive_seed(config.seed, "dropblock"), len(self._net.stages)
        self._blocks = build_dropper(config.model.dropblock, n_stages=n_stages, seed=seed, device=self._device)
        self._branches = BranchScaler.of(self._net, config, device=self._device)
        width_px = images.images.shape[2]
        self._normalize = Normalizer.from_statistics(images.mean, images.std, width_px=width_px, device=self._device)
        used = np.concatenate([data.train_rows, data.val_rows])
        self._resident = hold_images(data.padded, used, self._device)
        self._batches = _train_batches(config, data, self._device, self._resident)
        self._step = self._make_step()
        self._training = self._choose_training()

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether all planned epochs are done."""
        return self.epoch >= self.config.optimizer.max_epochs

    @property
    def images(self) -> ImageSet:
        """All training images of the source, including the images for validation."""
        return self._data.images

    @property
    def n_train(self) -> int:
        """Number of images to train on."""
        return len(self._data.train_rows)

    @property
    def n_val(self) -> int:
        """Number of images to validate on."""
        return len(self._data.val_rows)

    @functools.cached_property
    def dose(self) -> Dose:
        """Dose of the policy on these images, estimated by Monte Carlo once per policy and image size."""
        images = self._data.images
        height_px, width_px = images.images.shape[1:3]
        return measure_dose(self.config.mix, height_px=height_px, width_px=width_px, data=images)

    @property
    def image_place(self) -> str:
        """Where the images are read from, as a sentence."""
        return describe_images(self._data.padded, self._resident, self._device)

    @property
    def device_name(self) -> str:
        """Name of the device: ``cpu``, or the name of the GPU."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    @property
    def step_kind(self) -> str:
        """How the steps of the last epoch ran: ``graph`` replays a captured step, ``eager`` launches each operation."""
        return self._training.kind

    @property
    def step_reason(self) -> str:
        """Why the steps are not captured; "" if they are."""
        return self._training.reason

    @property
    def step_warning(self) -> str:
        """A sentence if the steps should have been captured and cannot be; otherwise ""."""
        return self._training.warning

    def run_epoch(self) -> EpochResult:
        """Train for one epoch, then measure on the validation images."""
        self._use_device()
        started_s = time.perf_counter()
        trained = self._train_epoch()
        train_s = time.perf_counter() - started_s
        metrics = self.validate()
        result = EpochResult(
            epoch=self.epoch + 1,
            **trained,
            **{f"val_{name}": value for name, value in metrics.items()},
            seconds=time.perf_counter() - started_s,
            images_per_s=self.n_train / train_s,
        )
        self.history.append(result)
        return result

    def validate(self) -> dict[str, float]:
        """Measure the evaluated weights (the moving average if there is one) on the validation images."""
        return self.measure(self._data.images, self._data.val_rows)

    def measure(self, images: ImageSet, rows: np.ndarray) -> dict[str, float]:
        """Measure the evaluated weights on the images of some rows, int64 [n], without mixing.

        Returns:
            The values of :func:`~trainables.metrics.classification_metrics`.
        """
        return self._metrics(self._logits(images, self._evaluation_batches(rows)), images.labels[rows])

    def _use_device(self) -> None:
        """Set what is set for a whole process; another trial of this process may have set it otherwise."""
        if self._device.type == "cuda":
            set_up_gpu(self.precision, self.kernels)

    def _make_step(self) -> TrainStep:
        return self._step_class(
            self._net,
            self.config,
            optimizer=self._optimizer,
            ema=self._ema,
            blocks=self._blocks,
            branches=self._branches,
            normalize=self._normalize,
            n_classes=len(self._data.images.classes),
            precision=self.precision,
            device=self._device,
        )

    def _choose_training(self) -> Training:
        height_px, width_px = self._data.images.images.shape[1:3]
        parts = TrainingParts(
            config=self.config,
            net=self._net,
            step=self._step,
            batches=self._batches,
            rngs=self._rngs,
            generators=[draws.generator for draws in (self._blocks, self._branches) if draws is not None],
            n_train=self.n_train,
            sides_px=(height_px, width_px),
            device=self._device,
        )
        return choose_training(parts, is_shared=self._is_shared)

    def _evaluation_batches(self, rows: np.ndarray) -> list[np.ndarray]:
        size = self.config.evaluation.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _logits(self, images: ImageSet, batches: Sequence[np.ndarray]) -> Tensor:
        """Return the logits of the evaluated weights, float32 [N, n_classes], one forward pass per batch of rows."""
        net = self._net if self._ema is None else self._ema.net
        net.eval()
        logits = []
        with torch.inference_mode():
            resident = self._resident if images is self._data.images else None
            for pixels in evaluation_images(images.images, batches, self._device, resident):
                logits.append(self._step.forward(net, self._normalize(pixels)).float())
        return torch.cat(logits)

    def _metrics(self, logits: Tensor, labels: np.ndarray) -> dict[str, float]:
        return classification_metrics(logits, upload(labels, self._device), self.config.evaluation.ece_bins)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, in types that torch loads without running code."""
        return {
            "config": self.config.model_dump_json(),
            "precision": self.precision,
            "step": self._n_steps,
            "history": [asdict(result) for result in self.history],
            "model": self._net.state_dict(),
            "optimizer": optimizer_state(self._optimizer, self._lr),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "generators": self._training.states(),
            "dropblock": None if self._blocks is None else self._blocks.generator.get_state(),
            **({} if self._branches is None else {"branches": self._branches.generator.get_state()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a trial with the same configuration; ``compute.step`` may differ.

        Raises:
            ValueError: the state is that of another configuration, or was computed in another precision.
        """
        config = TrialConfig.model_validate_json(json_with_present_keys(state["config"]))
        present = {"config": _without_step(self.config), "precision": self.precision}
        for name, saved in (("config", _without_step(config)), ("precision", state["precision"])):
            if saved != present[name]:
                raise ValueError(f"the saved state has another {name}: {saved}, this trial has {present[name]}")
        self._n_steps = state["step"]
        names = [field.name for field in fields(EpochResult)]
        self.history = [EpochResult(**{name: row[name] for name in names}) for row in state["history"]]
        self._net.load_state_dict(state["model"])
        load_averages(self._optimizer, state["optimizer"])
        self._lr = state["optimizer"]["param_groups"][0]["lr"]
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        self._training.stop()
        for name, rng in self._rngs.items():
            rng.bit_generator.state = state["generators"][name]
        if self._blocks is not None:
            self._blocks.generator.set_state(state["dropblock"].cpu())  # the state may be on a GPU
        if self._branches is not None:
            self._branches.generator.set_state(state["branches"].cpu())

    def load_model(self, state: Mapping[str, Any]) -> None:
        """Load the weights of this trial's model, only to measure them: a model contains no state of the training.

        Args:
            state: content of the model's file, from :func:`trainables.models.saved.model_state`.

        Raises:
            ValueError: the model is that of another configuration.
        """
        config = saved_config(state)
        if config != self.config:
            raise ValueError(f"the model has another configuration: {config}, this trial has {self.config}")
        self._net.load_state_dict(state["weights"] if self._ema is None else state["last_weights"])
        if self._ema is not None:
            self._ema.net.load_state_dict(state["weights"])

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the backbone of a trained network; the classifier keeps its random initial weights.

        A moving average restarts from these weights. The configuration does not record this start: the caller must
        report it.

        Args:
            weights: state of a network with the same name and width, as returned by :meth:`weights`; its classes and
                its device may differ.

        Raises:
            ValueError: an epoch has been run already, or the weights do not match the network.
        """
        if self.epoch:
            raise ValueError(f"a trial can start from other weights before its first epoch, not after {self.epoch}")
        self._net.load_state_dict(with_backbone(self._net.state_dict(), weights, self.config.model))
        if self._ema is not None:
            self._ema.restart()

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the evaluated network: the moving average if there is one."""
        return self.last_weights() if self._ema is None else self._ema.net.state_dict()

    def last_weights(self) -> dict[str, Tensor]:
        """Return the state of the network after the last step."""
        return self._net.state_dict()

    def _train_epoch(self) -> dict[str, float]:
        self._net.train()
        self._step.clear_sums()
        totals = self._training.train(self._n_steps // len(self._batches))
        self._n_steps += len(self._batches)
        self._lr = totals.lr
        if self._ema is not None:
            self._ema.count += len(self._batches)
        return {
            "train_loss": self._step.loss_sum.item() / self.n_train,
            "lr": self._lr,
            "effective_prob": totals.n_mixed / self.n_train,
            "pasted_frac": self._step.pasted_sum.item() / self.n_train,
        }


def _without_step(config: TrialConfig) -> TrialConfig:
    """Return a configuration with the default step: each kind of step continues the states of the other."""
    return config.model_copy(update={"compute": config.compute.model_copy(update={"step": Compute().step})})


def _network(config: TrialConfig, images: ImageSet) -> StagedNet:
    height_px, width_px = images.images.shape[1:3]
    return build_model(
        config.model,
        n_classes=len(images.classes),
        height_px=height_px,
        width_px=width_px,
        seed=derive_seed(config.seed, "weights"),
    )


def _train_batches(
    config: TrialConfig, data: TrialData, device: torch.device, resident: ResidentImages | None
) -> TrainBatches:
    common: dict[str, Any] = {
        "pad_px": config.data.pad_px,
        "batch_size": config.data.batch_size,
        "flip": data.flip,
        "device": device,
        "boxes": data.images.boxes if "boxes" in config.mix.needs else None,
        "augment": config.augment,
    }
    labels, rows = data.images.labels, data.train_rows
    if isinstance(data.padded, JpegImages):
        return JpegBatches(data.padded, labels, rows, **common)
    assert isinstance(data.padded, np.ndarray)
    return TrainBatches(data.padded, labels, rows, resident=resident, **common)
