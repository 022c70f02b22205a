"""One training run: its epochs, and a state from which it can be resumed on another machine."""

from __future__ import annotations

import copy
import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.adversarial_training import attacked, unrecorded
from trainables.config import TrialConfig
from trainables.data.batches import Normalizer, TrainBatch, TrainBatches
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.epoch_result import EpochResult
from trainables.metrics import classification_metrics
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.dose import Dose, measure_dose
from trainables.mixing.draw import MixDraw, MixDrawer, draw_layer
from trainables.models.backbone import with_backbone
from trainables.models.branches import BranchScaler
from trainables.models.build import build_model
from trainables.models.dropblock import BlockDropper
from trainables.models.saved import saved_config
from trainables.networks.modules.staged import StagedNet
from trainables.optimizer import build_ema, build_optimizer, lr_factor
from trainables.precision import make_gpu_reproducible, resolved_precision
from trainables.renames import with_present_keys
from trainables.seeds import derive_seed, generator
from trainables.share import Share

PURPOSES = ("order", "augment", "mix", "attack")
"""Purposes of random draws in a trial; each has its own generator."""


class Trial:
    """Training of one network under one configuration.

    Sweeps, tests and notebooks use the same object. It uses no global randomness, and its state is complete: a run
    saved after any epoch and resumed elsewhere equals the uninterrupted run to the bit, on the same kind of device with
    the same number of threads.

    Attributes:
        config: configuration of the run.
        history: results of all epochs so far, including epochs before a restart.
        precision: ``bf16`` or ``fp32``; the value of ``auto`` on this device.

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

    def __init__(self, config: TrialConfig, data: TrialData, *, device: torch.device | str = "cpu") -> None:
        """Build network, optimiser and generators; ``config.seed`` is the only source of randomness."""
        self.config = config
        self.history: list[EpochResult] = []
        self._data = data
        self._device = torch.device(device)
        if self._device.type == "cuda":
            make_gpu_reproducible()
        self._step = 0
        self._rngs = {purpose: generator(config.seed, purpose) for purpose in PURPOSES}
        self.precision = resolved_precision(config.model.precision, self._device)
        images = data.images
        self._net = _network(config, images).to(self._device).to(memory_format=torch.channels_last)
        self._optimizer = build_optimizer(self._net, config.optimizer)
        self._ema = build_ema(self._net, config.optimizer.ema_decay)
        self._trained_net: nn.Module = self._net
        self._blocks = _block_dropper(config, n_stages=len(self._net.stages), device=self._device)
        self._branches = BranchScaler.of(self._net, config, device=self._device)
        width_px = images.images.shape[2]
        self._normalize = Normalizer.from_statistics(images.mean, images.std, width_px=width_px, device=self._device)
        self._batches = _train_batches(config, data, self._device)
        self._spare: Tensor | None = None
        self._share: Share | None = None

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
    def device_name(self) -> str:
        """Name of the device: ``cpu``, or the name of the GPU."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    def run_epoch(self) -> EpochResult:
        """Train for one epoch, then measure on the validation images."""
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

    def _evaluation_batches(self, rows: np.ndarray) -> list[np.ndarray]:
        size = self.config.evaluation.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _logits(self, images: ImageSet, batches: Sequence[np.ndarray]) -> Tensor:
        """Return the logits of the evaluated weights, float32 [N, n_classes], one forward pass per batch of rows."""
        net = self._net if self._ema is None else self._ema
        net.eval()
        logits = []
        with torch.inference_mode():
            for rows in batches:
                pixels = torch.from_numpy(images.images[rows])
                logits.append(self._forward(net, self._normalize(pixels.to(self._device))).float())
        return torch.cat(logits)

    def _metrics(self, logits: Tensor, labels: np.ndarray) -> dict[str, float]:
        on_device = torch.from_numpy(labels).to(self._device)
        return classification_metrics(logits, on_device, self.config.evaluation.ece_bins)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, in types that torch loads without running code."""
        return {
            "config": self.config.model_dump_json(),
            "precision": self.precision,
            "step": self._step,
            "history": [asdict(result) for result in self.history],
            "model": self._net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "generators": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
            "dropblock": None if self._blocks is None else self._blocks.generator.get_state(),
            **({} if self._branches is None else {"branches": self._branches.generator.get_state()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a trial with the same configuration.

        Raises:
            ValueError: the state is that of another configuration, or was computed in another precision.
        """
        saved = {"config": with_present_keys(json.loads(state["config"])), "precision": state["precision"]}
        present = {"config": json.loads(self.config.model_dump_json()), "precision": self.precision}
        for name, value in saved.items():
            if value != present[name]:
                raise ValueError(f"the saved state has another {name}: {value}, this trial has {present[name]}")
        self._step = state["step"]
        names = [field.name for field in fields(EpochResult)]
        self.history = [EpochResult(**{name: row[name] for name in names}) for row in state["history"]]
        self._net.load_state_dict(state["model"])
        # torch keeps the tensors that it receives: without the copy two trials would share one momentum
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
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
            self._ema.module.load_state_dict(state["weights"])

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
        self._ema = build_ema(self._net, self.config.optimizer.ema_decay)

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the evaluated network: the moving average if there is one."""
        return self.last_weights() if self._ema is None else self._ema.module.state_dict()

    def last_weights(self) -> dict[str, Tensor]:
        """Return the state of the network after the last step."""
        return self._net.state_dict()

    def _train_epoch(self) -> dict[str, float]:
        self._net.train()
        self._drawer = MixDrawer(self.config.mix, rng=self._rngs["mix"], device=self._device, n_samples=self.n_train)
        planned_steps = len(self._batches) * self.config.optimizer.max_epochs
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        pasted_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        mixed, lr = 0, 0.0
        for batch in self._batches.epoch(order_rng=self._rngs["order"], augment_rng=self._rngs["augment"]):
            t = self._step / planned_steps
            lr = self.config.optimizer.lr * lr_factor(self.config.optimizer.schedule, t)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            loss, draw = self._train_step(batch, t)
            loss_sum += loss * len(batch.classes)
            pasted_sum += (1 - draw.lam).sum()
            mixed += int(np.count_nonzero(draw.applied))
            self._step += 1
        return {
            "train_loss": loss_sum.item() / self.n_train,
            "lr": lr,
            "effective_prob": mixed / self.n_train,
            "pasted_frac": pasted_sum.item() / self.n_train,
        }

    def _train_step(self, batch: TrainBatch, t: float) -> tuple[Tensor, MixDraw]:
        loss, draw = self._loss(batch, t)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        if self._ema is not None:
            self._ema.update_parameters(self._net)
        return loss.detach(), draw

    def _loss(self, batch: TrainBatch, t: float) -> tuple[Tensor, MixDraw]:
        logits, draw, targets = self._forward_mixed(self._normalize(batch.images), batch, t)
        return nn.functional.cross_entropy(logits, targets), draw

    def _forward_mixed(self, images: Tensor, batch: TrainBatch, t: float) -> tuple[Tensor, MixDraw, Tensor]:
        """Return logits of images that are mixed at the drawn layer, the draw, and the mixed targets.

        If blocks are dropped after the same stage, they are dropped before mixing, separately for each image.
        """
        layer = draw_layer(self.config.mix, self._rngs["mix"])
        results: list[tuple[MixDraw, Tensor]] = []

        def mixed(maps: Tensor) -> Tensor:
            maps = self._whole(maps, layer)
            out = self._spare_for(maps) if layer == 0 else None
            with torch.autocast(self._device.type, enabled=False):  # a mask must not depend on the precision
                draw = self._draw(maps, images, batch, t)
                targets = self._targets(batch, draw)
                maps, targets = self._part(mix_images(maps, draw, out=out)), self._part(targets)
                results.append((draw, targets))
            return self._attacked(maps, targets)

        drops = [] if self._blocks is None else self._blocks.changes(t, share=self._share)
        if self._branches is not None:
            self._branches.draw(len(batch.classes), share=self._share)
        shown = images if layer == 0 else self._part(images)  # images are mixed with images of other workers
        logits = self._forward(self._trained_net, shown, changes=[*drops, (layer, mixed)])
        return (logits.float(), *results[-1])

    def _targets(self, batch: TrainBatch, draw: MixDraw) -> Tensor:
        n_classes, smoothing = len(self._data.images.classes), self.config.mix.label.smoothing
        return mix_targets(batch.labels, draw, n_classes=n_classes, smoothing=smoothing)

    def _attacked(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the attacked images; without adversarial training, return the mixed images unchanged."""
        attack = self.config.adversarial
        if attack is None:
            return images
        with unrecorded(self._net):
            return attacked(
                images,
                targets,
                attack,
                logits_of=functools.partial(self._forward, self._net),
                normalize=self._normalize,
                rng=self._rngs["attack"],
                share=self._share,
            )

    def _whole(self, maps: Tensor, layer: int) -> Tensor:
        """Return the maps of the whole batch at a layer; one worker has them all."""
        return maps

    def _part(self, values: Tensor) -> Tensor:
        """Return the rows of a batch that this worker computes: all of them."""
        return values

    def _draw(self, maps: Tensor, images: Tensor, batch: TrainBatch, t: float) -> MixDraw:
        count, channels, height_px, width_px = maps.shape
        view = BatchView((count, channels, height_px, width_px), batch.classes, images, batch.boxes)
        return self._drawer.draw(view, t)

    def _spare_for(self, images: Tensor) -> Tensor | None:
        """Return memory for mixed images, reused at each step: the images of a step are not needed after it.

        None on a GPU, whose allocator reuses memory itself.
        """
        if self._device.type != "cpu":
            return None
        if self._spare is None or len(self._spare) < len(images):
            self._spare = torch.empty_like(images)
        return self._spare[: len(images)]

    def _forward(self, net: nn.Module, images: Tensor, **changes: Any) -> Tensor:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = net(images, **changes)
        return logits


def _network(config: TrialConfig, images: ImageSet) -> StagedNet:
    height_px, width_px = images.images.shape[1:3]
    return build_model(
        config.model,
        n_classes=len(images.classes),
        height_px=height_px,
        width_px=width_px,
        seed=derive_seed(config.seed, "weights"),
    )


def _train_batches(config: TrialConfig, data: TrialData, device: torch.device) -> TrainBatches:
    return TrainBatches(
        data.padded,
        data.images.labels,
        data.train_rows,
        pad_px=config.data.pad_px,
        batch_size=config.data.batch_size,
        flip=data.flip,
        device=device,
        boxes=data.images.boxes if "boxes" in config.mix.needs else None,
    )


def _block_dropper(config: TrialConfig, *, n_stages: int, device: torch.device) -> BlockDropper | None:
    dropblock = config.model.dropblock
    if dropblock is None:
        return None
    return BlockDropper(dropblock, n_stages=n_stages, seed=derive_seed(config.seed, "dropblock"), device=device)
