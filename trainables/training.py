"""How the steps of an epoch get their draws: batch by batch, or as a table that is on the device before."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.cuda_graphs import open_capture
from trainables.data.batches import TrainBatch, TrainBatches
from trainables.data.jpeg_batches import JpegBatches
from trainables.data.upload import upload
from trainables.epoch_planner import EpochPlanner, map_shapes
from trainables.epoch_table import EpochsAhead, table_parts, unpacked
from trainables.mixing.batch_view import BatchView
from trainables.mixing.draw import MixDrawer, describe_why_not, draw_layer
from trainables.mixing.pastes import MixDraw
from trainables.networks.modules.staged import StagedNet
from trainables.rates import HostRates, RateSchedule
from trainables.step import StepInputs, StepRates, TrainStep
from trainables.table_step import TableStep

GRAPH, EAGER = "graph", "eager"
"""Kinds of steps: a captured step that is replayed, or one operation launched after another."""


@dataclass(frozen=True)
class EpochTotals:
    """What the host knows of an epoch: the number of mixed images and the learning rate of the last step."""

    n_mixed: int
    lr: float


@dataclass(frozen=True, eq=False)
class TrainingParts:
    """The parts of a trial that its training uses; all tensors are on ``device``.

    Attributes:
        config: configuration of the trial.
        net: the network.
        step: trains on a batch.
        batches: images to train on.
        rngs: generators of the draws on the host, by purpose.
        generators: generators of the draws on the device.
        n_train: number of training images.
        sides_px: height and width of the images.
        device: device of the trial.
    """

    config: TrialConfig
    net: StagedNet
    step: TrainStep
    batches: TrainBatches
    rngs: Mapping[str, np.random.Generator]
    generators: Sequence[torch.Generator]
    n_train: int
    sides_px: tuple[int, int]
    device: torch.device

    @property
    def rates(self) -> RateSchedule:
        """Numbers of each step."""
        return RateSchedule(self.config, steps_per_epoch=len(self.batches))

    def states(self) -> dict[str, Any]:
        """Return the present states of the generators by purpose."""
        return {name: rng.bit_generator.state for name, rng in self.rngs.items()}


class Training(Protocol):
    """Runs the epochs of a trial."""

    @property
    def kind(self) -> str:
        """``graph`` or ``eager``."""

    @property
    def reason(self) -> str:
        """Why steps are not replayed; "" if they are."""

    @property
    def warning(self) -> str:
        """A sentence if steps should be replayed and cannot be; otherwise ""."""

    def train(self, epoch: int) -> EpochTotals:
        """Run the steps of an epoch, counted from 0."""

    def states(self) -> dict[str, Any]:
        """Return the states of the generators after the epochs that were trained on."""

    def stop(self) -> None:
        """Forget what is drawn ahead, before the states of the generators are set."""


def choose_training(parts: TrainingParts, *, is_shared: bool) -> Training:
    """Return how a trial is trained: from tables where that is possible; the draws are the same.

    A CPU draws batch by batch: masks are rendered by NumPy where they are drawn, and stay in its cache until they are
    used. A table would be written to memory and read back.

    Args:
        parts: the parts of the trial.
        is_shared: whether several workers share the batches.
    """
    if reason := _why_by_batch(parts, is_shared=is_shared):
        return BatchTraining(parts, reason)
    return TableTraining(parts)


class BatchTraining:
    """Draws each batch just before its step.

    Attributes:
        kind: ``eager``.
        reason: why epochs are not drawn ahead, and so steps are not replayed.
        warning: "".
    """

    kind = EAGER
    warning = ""

    def __init__(self, parts: TrainingParts, reason: str) -> None:
        """Take the parts of a trial."""
        self.reason = reason
        self._parts = parts
        self._rates = parts.rates

    def train(self, epoch: int) -> EpochTotals:
        """Run the steps of an epoch, counted from 0."""
        parts, mix, rngs = self._parts, self._parts.config.mix, self._parts.rngs
        drawer = MixDrawer(mix, rng=rngs["mix"], device=parts.device, n_samples=parts.n_train)
        n_mixed, lr = 0, 0.0
        batches = parts.batches.epoch(order_rng=rngs["order"], augment_rng=rngs["augment"])
        for step, batch in enumerate(batches, start=epoch * len(parts.batches)):
            layer = draw_layer(mix, rngs["mix"])
            rates = self._rates.at(step)
            draw = functools.partial(_drawn, drawer, batch, self._rates.time(step), parts.step)
            changes = unpacked(batch.changes, parts.device)
            inputs = StepInputs(batch.images, batch.labels, changes, layer, draw, _on_device(rates, parts.device))
            drawn = parts.step.run(inputs)
            assert isinstance(drawn, MixDraw)
            n_mixed, lr = n_mixed + int(np.count_nonzero(drawn.applied)), rates.lr
        return EpochTotals(n_mixed, lr)

    def states(self) -> dict[str, Any]:
        """Return the states of the generators."""
        return self._parts.states()

    def stop(self) -> None:
        """Do nothing: nothing is drawn ahead."""


class TableTraining:
    """Trains on tables that a thread draws ahead."""

    def __init__(self, parts: TrainingParts) -> None:
        """Take the parts of a trial; its policy can be planned, and its images are resident on its device."""
        config, device = parts.config, parts.device
        image = torch.zeros((1, 3, *parts.sides_px), device=device)
        shapes = map_shapes(parts.net, config.mix.layers, image)
        planner = EpochPlanner(
            config, parts.batches, rngs=parts.rngs, rates=parts.rates, shapes=shapes, n_train=parts.n_train
        )
        self._ahead = EpochsAhead(
            lambda epoch: table_parts(planner.steps(epoch), device), parts.states, config.optimizer.max_epochs
        )
        is_eager = config.compute.step == EAGER
        capture = None if is_eager else open_capture(device)
        self._step = TableStep(
            parts.step,
            parts.batches,
            MixDrawer(config.mix, rng=np.random.default_rng(0), device=device, n_samples=0),
            shapes=shapes,
            generators=parts.generators,
            capture=capture,
            reason="compute.step is 'eager'" if is_eager else "" if capture else "the device has no CUDA graphs",
            device=device,
        )

    @property
    def kind(self) -> str:
        """``graph`` if steps are replayed, otherwise ``eager``."""
        return GRAPH if self._step.is_captured else EAGER

    @property
    def reason(self) -> str:
        """Why steps are not replayed; "" if they are."""
        return self._step.reason

    @property
    def warning(self) -> str:
        """A sentence if steps should be replayed and cannot be; otherwise ""."""
        if not self._step.has_fallen_back:
            return ""
        return f"the training step runs without a CUDA graph, which takes longer: {self.reason}"

    def train(self, epoch: int) -> EpochTotals:
        """Run the steps of an epoch, counted from 0."""
        n_mixed, lr = 0, 0.0
        for part in self._ahead.parts(epoch):
            self._step.train(part)
            n_mixed, lr = n_mixed + part.n_mixed, part.lr
        return EpochTotals(n_mixed, lr)

    def states(self) -> dict[str, Any]:
        """Return the states of the generators after the epochs that were trained on."""
        return self._ahead.states()

    def stop(self) -> None:
        """Forget what is drawn ahead, before the states of the generators are set."""
        self._ahead.stop()


def _why_by_batch(parts: TrainingParts, *, is_shared: bool) -> str:
    """Return why each batch is drawn just before its step; "" if epochs are drawn ahead."""
    if parts.device.type == "cpu":
        return "the device is a CPU"
    if is_shared:
        return "several workers share the batches"
    if isinstance(parts.batches, JpegBatches):
        return "the images are decoded from JPEGs"
    if not parts.batches.is_resident:
        return "the images do not fit in the memory of the device"
    return describe_why_not(parts.config.mix, boxes="boxes" in parts.config.mix.needs)


def _drawn(drawer: MixDrawer, batch: TrainBatch, t: float, step: TrainStep, maps: Tensor, images: Tensor) -> MixDraw:
    count, channels, height_px, width_px = maps.shape
    seen = functools.cache(functools.partial(step.net_maps, images, batch.labels))
    view = BatchView((count, channels, height_px, width_px), batch.classes, images, batch.boxes, seen)
    return drawer.draw(view, t)


def _on_device(rates: HostRates, device: torch.device) -> StepRates:
    key = None if rates.attack_key is None else upload(rates.attack_key, device)
    return StepRates(rates.lr, rates.ema_factor, rates.drop_prob, key)
