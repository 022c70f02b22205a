"""Cost of a model: arithmetic, memory and time."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.adversarial_training import attacked
from trainables.config import TrialConfig
from trainables.data.batches import Normalizer
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.subject import Subject
from trainables.networks.modules.staged import StagedNet

META = torch.device("meta")
"""Device of tensors without values: operations are counted without being computed."""


class Cost(Axis):
    """Arithmetic, memory and time of a model and of its training.

    Exact values, equal on all machines; n is 1 unless stated otherwise:

    - ``forward_flops``: floating-point operations to classify one image, counted by ``torch.utils.flop_counter``. A
      multiply-add counts as two. Convolutions and the classifier are counted, norms and activations are not. Papers
      that count multiply-adds report half of this number.
    - ``train_flops_per_image``: operations per image of a training step: forward, backward, and the passes of
      adversarial training. A policy that looks at maps of the network needs a pass for each kind of maps, in each step
      at which it may mix; it is counted for all steps. Other mixing needs no pass.
    - ``train_flops``: operations of the whole training: ``train_flops_per_image`` times the images seen in training
      (n). Validation is not counted.
    - ``parameters``: number of trained parameters.
    - ``state_bytes``: size of weights and batch statistics; a file is some kilobytes larger.
    - ``peak_activation_bytes``: memory that a training step keeps for its backward pass, in float32, without weights,
      with ``data.batch_size`` images (n). bf16 needs about half.

    Times, which depend on the machine and its load (``noisy``):

    - ``train_seconds`` and ``train_images_per_s``: recorded in the sweep; the first includes validation, the second
      does not. NaN if nothing is recorded. n: images seen in training.
    - ``inference_images_per_s``: median speed over ``repeats`` passes of one batch of n images, after a warm-up pass.
      The column of the library also names the device and its number of threads.

    On a GPU also ``peak_memory_bytes``: largest memory allocated by a forward and a backward pass in float32 with
    ``data.batch_size`` images (n), including weights and gradients, without momentum.

    Attributes:
        n_images: test images in the batch that is timed; fewer if they do not fit into memory.
        repeats: number of timed passes.

    Examples:
        >>> Cost(repeats=3).noisy == {"train_seconds", "train_images_per_s", "inference_images_per_s"}
        True
    """

    name = "cost"
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("", "forward_flops"),
        ("", "train_flops"),
        ("", "parameters"),
        ("", "train_seconds"),
        ("", "inference_images_per_s"),
    )
    noisy: ClassVar[frozenset[str]] = frozenset({"train_seconds", "train_images_per_s", "inference_images_per_s"})

    n_images: int | None = Field(default=256, ge=1)
    repeats: int = Field(default=5, ge=1)

    def measure(self, subject: Subject) -> Measured:
        """Count operations on shapes, read the recorded times, and time one batch."""
        return Measured((*_counted(subject), *_recorded(subject), *self._timed(subject), *_allocated(subject)))

    def _timed(self, subject: Subject) -> Iterator[Value]:
        rows = subject.sample(self.n_images, seed=self.seed)
        images, _ = next(iter(subject.batches(subject.test, rows)))
        times_s = []
        with torch.inference_mode():
            for _ in range(1 + self.repeats):
                started_s = time.perf_counter()
                subject.saved.model(images)
                if subject.device.type == "cuda":
                    torch.cuda.synchronize(subject.device)
                times_s.append(time.perf_counter() - started_s)
        speed = len(images) / statistics.median(times_s[1:])
        where = f"{library('torch')}, {_device_name(subject.device)}"
        yield Value("inference_images_per_s", speed, n=len(images), library=where)


def forward_flops(net: StagedNet, *, height_px: int, width_px: int) -> int:
    """Return the number of floating-point operations to classify one image; see :class:`Cost`.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> net = build_model(Model(name="tiny"), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> forward_flops(net, height_px=32, width_px=32)
        6120704
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _on_meta(net)(torch.empty(1, 3, height_px, width_px, device=META))
    return int(counter.get_total_flops())


def training_flops(net: StagedNet, config: TrialConfig, *, height_px: int, width_px: int) -> int:
    """Return the number of floating-point operations per image of a training step, with its attack and its maps."""
    from torch.utils.flop_counter import FlopCounterMode

    trained = _on_meta(net).train().requires_grad_(True)
    images = torch.empty(1, 3, height_px, width_px, device=META)
    targets = torch.empty(1, net.classifier.out_features, device=META)
    backward = {torch.ops.aten.convolution_backward: _backward_flops}
    with FlopCounterMode(display=False, custom_mapping=backward) as counter:
        for kind in config.mix.map_kinds:
            seen = images.clone().requires_grad_()
            logits = trained(seen.clone())  # the counter fails on the gradient of a leaf
            if kind == "gradient":
                torch.autograd.grad(cross_entropy(logits, targets), seen)
        if config.adversarial is not None:
            images = attacked(
                images,
                targets,
                config.adversarial,
                logits_of=lambda examples: trained(examples.clone()),  # the counter fails on the gradient of a leaf
                normalize=Normalizer(*torch.empty(2, 3 * width_px, device=META)),
                key=torch.empty(2, dtype=torch.int32, device=META),
            )
        torch.autograd.backward(cross_entropy(trained(images), targets))
    return int(counter.get_total_flops())


def _backward_flops(grad_out: list[int], maps: list[int], weight: list[int], *arguments: Any, **_: Any) -> int:
    """Return the operations of the gradients of a convolution, from the shapes of its tensors.

    Each gradient, of the maps and of the weights, has the products of the forward pass. torch 2.14 counts those of the
    weights of a grouped convolution as if it had one group.
    """
    from torch.utils.flop_counter import conv_flop_count

    is_transposed, needed = bool(arguments[-4]), arguments[-1]
    once: int = conv_flop_count(maps, weight, grad_out, transposed=is_transposed)
    n_gradients: int = sum(needed[:2])
    return once * n_gradients  # maps and weights; the gradient for a bias is not counted


def activation_bytes(net: StagedNet, *, batch_size: int, height_px: int, width_px: int) -> int:
    """Return the bytes that a training step keeps for its backward pass, without weights."""
    trained = _on_meta(net).train().requires_grad_(True)
    images = torch.empty(batch_size, 3, height_px, width_px, device=META).to(memory_format=torch.channels_last)
    targets = torch.empty(batch_size, net.classifier.out_features, device=META)
    weights = {_memory(parameter)._cdata for parameter in trained.parameters()}
    kept: dict[int, int] = {}
    alive = []  # keeps storages alive: a new storage could get the identity of a freed one

    def keep(tensor: Tensor) -> Tensor:
        memory = _memory(tensor)
        if memory._cdata not in weights:
            kept[memory._cdata] = memory.nbytes()
            alive.append(memory)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(trained(images), targets)
    return sum(kept.values())


def _counted(subject: Subject) -> Iterator[Value]:
    saved, torch_version = subject.saved, library("torch")
    config, net = saved.config, saved.net
    size = {"height_px": saved.height_px, "width_px": saved.width_px}
    per_image, seen, batch_size = training_flops(net, config, **size), _images_seen(subject), config.data.batch_size
    state = net.state_dict().values()
    yield Value("forward_flops", forward_flops(net, **size), n=1, library=torch_version)
    yield Value("train_flops_per_image", per_image, n=1, library=torch_version)
    yield Value("train_flops", per_image * seen, n=seen, library=torch_version)
    yield Value("parameters", sum(parameter.numel() for parameter in net.parameters()), n=1)
    yield Value("state_bytes", sum(tensor.nbytes for tensor in state), n=1)
    activations = activation_bytes(net, batch_size=batch_size, **size)
    yield Value("peak_activation_bytes", activations, n=batch_size, library=torch_version)


def _recorded(subject: Subject) -> Iterator[Value]:
    for metric, column in (("train_seconds", "seconds"), ("train_images_per_s", "images_per_s")):
        value = _recorded_number(subject, column)
        yield Value(metric, math.nan if value is None else value, n=0 if value is None else _images_seen(subject))


def _allocated(subject: Subject) -> Iterator[Value]:
    if subject.device.type != "cuda":
        return
    saved, batch_size = subject.saved, subject.saved.config.data.batch_size
    before_bytes = torch.cuda.memory_allocated(subject.device)
    torch.cuda.reset_peak_memory_stats(subject.device)
    trained = copy.deepcopy(saved.net).train().requires_grad_(True)
    images = torch.zeros(batch_size, 3, saved.height_px, saved.width_px, device=subject.device)
    targets = torch.zeros(batch_size, dtype=torch.int64, device=subject.device)
    torch.autograd.backward(cross_entropy(trained(images.to(memory_format=torch.channels_last)), targets))
    most_bytes = torch.cuda.max_memory_allocated(subject.device) - before_bytes
    where = f"{library('torch')}, {_device_name(subject.device)}"
    yield Value("peak_memory_bytes", most_bytes, n=batch_size, library=where)


def _images_seen(subject: Subject) -> int:
    """Return the number of images seen in training: images per epoch times epochs."""
    epochs, n_train = (_recorded_number(subject, column) for column in ("epochs", "n_train"))
    epochs = subject.saved.config.optimizer.max_epochs if epochs is None else epochs
    return int(epochs) * int(len(subject.data.train_rows) if n_train is None else n_train)


def _recorded_number(subject: Subject, column: str) -> float | None:
    value: Any = subject.record.get(column)
    return None if value is None or math.isnan(value) else float(value)


def _on_meta(net: StagedNet) -> StagedNet:
    return copy.deepcopy(net).to(META)


def _memory(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{device.type} with {count} thread{'s' * (count > 1)}"
