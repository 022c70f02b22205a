"""Draw all that is random in an epoch before its first step."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data.batches import TrainBatches
from trainables.epoch_table import DrawnStep
from trainables.mixing.batch_view import BatchView
from trainables.mixing.draw import MixDrawer, draw_layer
from trainables.networks.modules.staged import StagedNet
from trainables.rates import HostRates, RateSchedule

MapShape = tuple[int, int, int]
"""(C, H, W) of the images or maps at a layer."""


def map_shapes(net: StagedNet, layers: tuple[int, ...], images: Tensor) -> dict[int, MapShape]:
    """Return the shape of what is mixed at each of some layers, from one image [1, 3, H, W] that is passed through.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> net = build_model(Model(width=0.5), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> map_shapes(net, (0, 2), torch.zeros(1, 3, 32, 32))
        {0: (3, 32, 32), 2: (16, 8, 8)}
    """
    shapes: dict[int, MapShape] = {}

    def recorded(layer: int, maps: Tensor) -> Tensor:
        shapes[layer] = (maps.shape[1], maps.shape[2], maps.shape[3])
        return maps

    trains = net.training
    net.eval()
    with torch.inference_mode():
        if max(layers):
            net.features(images, changes=[(layer, functools.partial(recorded, layer)) for layer in layers])
        else:
            recorded(0, images)
    net.train(trains)
    return shapes


class EpochPlanner:
    """Draws epochs of a trial with the generators of the trial, in the order in which a batch-by-batch loop draws."""

    def __init__(
        self,
        config: TrialConfig,
        batches: TrainBatches,
        *,
        rngs: Mapping[str, np.random.Generator],
        rates: RateSchedule,
        shapes: Mapping[int, MapShape],
        n_train: int,
    ) -> None:
        """Take the parts of a trial.

        Args:
            config: configuration of the trial.
            batches: draws order, crops and flips.
            rngs: generators by purpose; nothing else uses them while an epoch is drawn.
            rates: numbers of each step.
            shapes: shape of what is mixed at each layer, of :func:`map_shapes`.
            n_train: number of training images.
        """
        self._config = config
        self._batches = batches
        self._rngs = rngs
        self._rates = rates
        self._shapes = shapes
        self._n_train = n_train

    def states(self) -> dict[str, Any]:
        """Return the states of the generators by purpose."""
        return {name: rng.bit_generator.state for name, rng in self._rngs.items()}

    def steps(self, epoch: int) -> Iterator[DrawnStep]:
        """Yield the draws of the steps of an epoch, counted from 0."""
        mix, rng = self._config.mix, self._rngs["mix"]
        drawer = MixDrawer(mix, rng=rng, device=torch.device("cpu"), n_samples=self._n_train)
        order = self._batches.draw_epoch(order_rng=self._rngs["order"], augment_rng=self._rngs["augment"])
        for index, part in enumerate(order.batches(self._config.data.batch_size)):
            step = epoch * len(self._batches) + index
            layer = draw_layer(mix, rng)
            classes, boxes = self._batches.on_host(part)
            plan = drawer.plan(
                BatchView((len(part), *self._shapes[layer]), classes, boxes=boxes), self._rates.time(step)
            )
            rates = self._rates.at(step)
            yield DrawnStep(
                layer=layer,
                n_batch=len(part),
                n_mixed=int(np.count_nonzero(plan["applied"])),
                lr=rates.lr,
                arrays={
                    "samples": part.samples,
                    "tops": part.corners[0],
                    "lefts": part.corners[1],
                    "flipped": part.flipped,
                    **{CHANGES + name: values for name, values in self._batches.changes(part).items()},
                    **_numbers(rates),
                    **{MIX + name: values for name, values in plan.items()},
                },
            )


MIX, CHANGES = "mix.", "augment."
"""Before the names of the arrays of the mixing, and of the changes of the images before it."""


def named(arrays: Mapping[str, Tensor], beginning: str) -> dict[str, Tensor]:
    """Return the arrays whose names have a beginning, without it.

    Examples:
        >>> named({"lr": torch.tensor(0.1), "mix.lam": torch.tensor(0.5)}, MIX)
        {'lam': tensor(0.5000)}
    """
    return {name.removeprefix(beginning): values for name, values in arrays.items() if name.startswith(beginning)}


def _numbers(rates: HostRates) -> dict[str, np.ndarray]:
    """Return the numbers of a step as arrays; what is absent is left out, so that it is another variant of the step."""
    numbers = {"lr": np.array(rates.lr, np.float32)}
    if rates.ema_factor is not None:
        numbers["ema_factor"] = np.array(rates.ema_factor, np.float32)
    if rates.drop_prob:
        numbers["drop_prob"] = np.array(rates.drop_prob, np.float32)
    if rates.attack_key is not None:
        numbers["attack_key"] = rates.attack_key
    return numbers
