"""One training step: forward pass of mixed images, backward pass, update of the weights and of their average."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainables.adversarial_training import attacked, unrecorded
from trainables.augment.apply import augmented
from trainables.config import TrialConfig
from trainables.data.batches import Normalizer
from trainables.ema import MovingAverage
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import MapKind
from trainables.mixing.pastes import RenderedDraw
from trainables.models.branches import BranchScaler
from trainables.models.dropblock import BlockDropper
from trainables.net_maps import net_maps
from trainables.networks.modules.staged import StagedNet
from trainables.optimizer import SGDOrAdamW, keep_averages
from trainables.precision import AUTOCAST
from trainables.share import Share


@dataclass(frozen=True, eq=False)
class StepRates:
    """Numbers that change from step to step; the tensors are on the device.

    Attributes:
        lr: learning rate, a float or float32 [].
        ema_factor: weight of the network in the moving average, a float or float32 []; None: there is no average.
        drop_prob: intended fraction of pixels that DropBlock drops, a float or float32 []; 0.0: nothing is drawn.
        attack_key: key of the random start of an attack, int32 [2]; None: there is no attack.
    """

    lr: float | Tensor
    ema_factor: float | Tensor | None
    drop_prob: float | Tensor
    attack_key: Tensor | None


@dataclass(frozen=True, eq=False)
class StepInputs:
    """What one step trains on.

    Attributes:
        images: uint8 [B, H, W, C], on the device.
        labels: int64 [B], on the device.
        changes: what :func:`trainables.augment.apply.augmented` needs, on the device.
        layer: layer at which the batch is mixed.
        draw: returns the draw for the maps at that layer, [B, C, h, w], and the normalised images, [B, 3, H, W].
        rates: numbers of this step.
    """

    images: Tensor
    labels: Tensor
    changes: Mapping[str, Tensor]
    layer: int
    draw: Callable[[Tensor, Tensor], RenderedDraw]
    rates: StepRates


class TrainStep:
    """The training step of a trial, the same from draws of the host and from draws on the device.

    Attributes:
        net: the network.
        trained_net: the network, or a wrapper of it, that the forward pass of the training calls.
        share: rows of the batch that this worker computes; None: all of them.
        loss_sum: sum of the losses over all samples since :meth:`clear_sums`, float64 [].
        pasted_sum: sum of the pasted fractions over the same samples, float64 [].
    """

    share: Share | None = None

    def __init__(
        self,
        net: StagedNet,
        config: TrialConfig,
        *,
        optimizer: SGDOrAdamW,
        ema: MovingAverage | None,
        blocks: BlockDropper | None,
        branches: BranchScaler | None,
        normalize: Normalizer,
        n_classes: int,
        precision: str,
        device: torch.device,
    ) -> None:
        """Take the parts of a trial; all of them are on ``device``."""
        self.net = net
        self.trained_net: nn.Module = net
        self.loss_sum, self.pasted_sum = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        self._config = config
        self._optimizer = optimizer
        self._ema = ema
        self._blocks = blocks
        self._branches = branches
        self._normalize = normalize
        self._n_classes = n_classes
        self._precision = precision
        self._device = device
        self._loss_scale = config.compute.loss_scale if precision == "fp16" else None
        if self._loss_scale is not None:
            # the fused optimiser divides the gradients by it
            optimizer.grad_scale = torch.full((), self._loss_scale, device=device)  # type: ignore[union-attr]
        self._lr: Tensor | None = None
        self._spare: Tensor | None = None

    def run(self, inputs: StepInputs) -> RenderedDraw:
        """Train on a batch and return its draw; nothing is read from the device."""
        rates = inputs.rates
        self._set_lr(rates.lr)
        loss, draw = self.loss(inputs)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if self._loss_scale is None else loss * self._loss_scale)
        self._optimizer.step()
        if self._ema is not None and rates.ema_factor is not None:
            self._ema.update(rates.ema_factor)
        self.loss_sum += loss.detach() * len(inputs.labels)
        self.pasted_sum += (1 - draw.lam).sum()
        return draw

    def clear_sums(self) -> None:
        """Set the sums to zero, for the next epoch."""
        self.loss_sum.zero_()
        self.pasted_sum.zero_()

    def keep_tensors(self) -> None:
        """Keep learning rate and averages in the same tensors from now on: a captured step reads and writes them."""
        self._lr = torch.zeros((), device=self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr
        keep_averages(self._optimizer)

    def tensors(self) -> list[Tensor]:
        """Return all tensors that a step changes, except the state of generators."""
        momentum = [value for state in self._optimizer.state.values() for value in state.values() if value is not None]
        averaged = [] if self._ema is None else list(self._ema.net.state_dict().values())
        rate = [] if self._lr is None else [self._lr]
        return [*self.net.state_dict().values(), *momentum, *averaged, *rate, self.loss_sum, self.pasted_sum]

    def loss(self, inputs: StepInputs) -> tuple[Tensor, RenderedDraw]:
        """Return the mean loss over the batch, with its graph of gradients, and the draw."""
        logits, draw, targets = self.forward_mixed(inputs)
        return nn.functional.cross_entropy(logits, targets), draw

    def forward_mixed(self, inputs: StepInputs) -> tuple[Tensor, RenderedDraw, Tensor]:
        """Return logits of images that are mixed at the drawn layer, the draw, and the mixed targets.

        If blocks are dropped after the same stage, they are dropped before mixing, separately for each image.
        """
        images = self._normalize(augmented(inputs.images, inputs.changes, self._config.augment))
        layer = inputs.layer
        results: list[tuple[RenderedDraw, Tensor]] = []

        def mixed(maps: Tensor) -> Tensor:
            maps = self.whole(maps, layer)
            out = self._spare_for(maps) if layer == 0 else None
            with torch.autocast(self._device.type, enabled=False):  # a mask must not depend on the precision
                draw = inputs.draw(maps, images)
                targets = mix_targets(
                    inputs.labels, draw, n_classes=self._n_classes, smoothing=self._config.mix.label.smoothing
                )
                maps, targets = self.part(mix_images(maps, draw, out=out)), self.part(targets)
                results.append((draw, targets))
            return self._attacked(maps, targets, inputs.rates.attack_key)

        drops = [] if self._blocks is None else self._blocks.changes(inputs.rates.drop_prob, share=self.share)
        if self._branches is not None:
            self._branches.draw(len(inputs.labels), share=self.share)
        shown = images if layer == 0 else self.part(images)  # images are mixed with images of other workers
        with self.autocast():
            logits = self.trained_net(shown, changes=[*drops, (layer, mixed)])
        return (logits.float(), *results[-1])

    def forward(self, net: nn.Module, images: Tensor) -> Tensor:
        """Return the logits of a network, [B, n_classes], for normalised images, in the precision of the trial."""
        with self.autocast():
            logits: Tensor = net(images)
        return logits

    def net_maps(self, images: Tensor, labels: Tensor, kind: MapKind) -> Tensor:
        """Return what the present network sees where in the whole batch before mixing, float32 [B, h, w].

        Args:
            images: normalised images of the whole batch, [B, 3, H, W].
            labels: int64 [B].
            kind: kind of maps, see :func:`trainables.net_maps.net_maps`.
        """
        # without the cache: older versions of torch would train with weights that were cast without a gradient
        with self.autocast(cache=False):
            return net_maps(self.net, images, labels, kind, loss_scale=self._loss_scale or 1.0)

    def autocast(self, *, cache: bool = True) -> torch.autocast:
        """Return a context that computes in the precision of the trial."""
        dtype = AUTOCAST.get(self._precision)
        dtype, enabled = dtype or torch.bfloat16, dtype is not None
        return torch.autocast(self._device.type, dtype=dtype, enabled=enabled, cache_enabled=cache)

    def whole(self, maps: Tensor, layer: int) -> Tensor:
        """Return the maps of the whole batch at a layer; one worker has them all."""
        return maps

    def part(self, values: Tensor) -> Tensor:
        """Return the rows of a batch that this worker computes: all of them."""
        return values

    def _attacked(self, images: Tensor, targets: Tensor, key: Tensor | None) -> Tensor:
        """Return the attacked images; without adversarial training, return the mixed images unchanged."""
        attack = self._config.adversarial
        if attack is None or key is None:
            return images
        with unrecorded(self.net):
            return attacked(
                images,
                targets,
                attack,
                logits_of=functools.partial(self.forward, self.net),
                normalize=self._normalize,
                key=key,
                share=self.share,
                loss_scale=self._loss_scale or 1.0,
            )

    def _set_lr(self, lr: float | Tensor) -> None:
        if self._lr is None:
            for group in self._optimizer.param_groups:
                # AdamW computes with all digits of a number, and a captured step with those of float32
                group["lr"] = float(np.float32(lr)) if "betas" in group and not isinstance(lr, Tensor) else lr
        elif isinstance(lr, Tensor):
            self._lr.copy_(lr)
        else:
            self._lr.fill_(lr)

    def _spare_for(self, images: Tensor) -> Tensor | None:
        """Return memory for mixed images, reused at each step: the images of a step are not needed after it.

        None on a GPU, whose allocator reuses memory itself.
        """
        if self._device.type != "cpu":
            return None
        if self._spare is None or len(self._spare) < len(images):
            self._spare = torch.empty_like(images)
        return self._spare[: len(images)]
