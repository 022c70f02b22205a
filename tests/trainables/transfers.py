"""Counts what the training steps of a trial copy to a GPU, wait for and launch, on a machine without a GPU.

``python -m tests.trainables.transfers`` prints the counts of all cases; names of cases may follow.

How: the trial is built with ``device="cuda"`` under torch's FakeTensorMode. Its tensors have a device and a shape, but
no memory. A dispatch mode above it sees each operation. Two epochs are run by ``Trial.run_epoch``, a short one and a
long one. The difference of their counts belongs to the steps alone: what an epoch does once cancels out.

The backward pass and the update of the optimiser are stubs, because they need CUDA. Validation is left out. Autocast
is off without CUDA, so its casts are not counted. Each number that is read from the device is 1. The network is as
small as it can be: it copies nothing, and its operations would take most of the time.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.cases import CASES
from trainables import trial as trial_module
from trainables.config import Model, TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.models import dropblock
from trainables.models.branches import scale_branches
from trainables.networks.modules.staged import StagedNet
from trainables.trial import Trial

SIDE_PX, PAD_PX, CLASSES, BATCH = 16, 4, 4, 8
SHORT, LONG = 1, 2
"""Steps of the two epochs."""

VIEWS = re.compile(
    r"alias|as_strided|aten\.t\.|detach|empty|expand|lift|permute|prim\.|select\.int|slice|split|squeeze|transpose|unbind"
    r"|view"
)
"""Operations that launch no kernel, by their names."""

aten = torch.ops.aten


@dataclass
class Counts:
    """What was counted.

    Attributes:
        copies: number of copies from the host to the device by their place in the code.
        copied_bytes: bytes of these copies.
        waits: number of times that the host waits for the device, by kind and place.
        launches: number of operations on the device in the forward pass, without views.
    """

    copies: Counter[str] = field(default_factory=Counter)
    copied_bytes: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    launches: int = 0


@dataclass(frozen=True)
class PerStep:
    """Counts per training step.

    Attributes:
        copies: copies to the device per step.
        copied_bytes: bytes that are copied to the device per step, in these copies or in those of the epoch.
        waits: waits per step.
        launches: operations per step.
        places: each place in the code that copies or waits, with its number per step.
    """

    copies: float
    copied_bytes: float
    waits: float
    launches: float
    places: tuple[str, ...]


class Watch(TorchDispatchMode):
    """Counts each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default:
            self._wait_if(_is_on_gpu(args[0]), "read of one number")
            return True if args[0].dtype == torch.bool else 1
        self._wait_if(func in (aten.nonzero.default, aten.equal.default) and _is_on_gpu(args[0]), str(func))
        out = func(*args, **(kwargs or {}))
        if func in (aten._to_copy.default, aten.copy_.default):
            source, target = (args[0], out) if func is aten._to_copy.default else (args[1], args[0])
            if _is_on_gpu(target) and not _is_on_gpu(source):
                self.counts.copies[_place()] += 1
                self.counts.copied_bytes += source.nbytes
                waits = not ((kwargs or {}).get("non_blocking") or args[2:3] == (True,))
                self._wait_if(waits, "copy to the device that blocks")
            if _is_on_gpu(source) and not _is_on_gpu(target):
                self._wait_if(True, "read")
                with unset_fake_temporarily():  # an array with memory, because NumPy computes with it
                    return torch.zeros(source.shape, dtype=target.dtype)
        if _any_on_gpu((*args, out)) and not VIEWS.search(str(func)):
            self.counts.launches += 1
        return out

    def _wait_if(self, waits: bool, what: str) -> None:
        if waits:
            self.counts.waits[f"{what} at {_place()}"] += 1


def count_per_step(**sections: Any) -> PerStep:
    """Count the steps of a trial with these sections of a configuration."""
    _count_epoch(1, sections)  # fills what the process keeps for all trials
    short, long = (_count_epoch(steps, sections) for steps in (SHORT, LONG))
    steps = LONG - SHORT
    places = [*(long.copies - short.copies).items(), *(long.waits - short.waits).items()]
    return PerStep(
        copies=(long.copies.total() - short.copies.total()) / steps,
        copied_bytes=(long.copied_bytes - short.copied_bytes) / steps,
        waits=(long.waits.total() - short.waits.total()) / steps,
        launches=(long.launches - short.launches) / steps,
        places=tuple(f"{number / steps:g} x {place}" for place, number in places),
    )


def _count_epoch(steps: int, sections: dict[str, Any]) -> Counts:
    config = TrialConfig.model_validate(
        {
            "data": {"source": "digits", "batch_size": BATCH, "pad_px": PAD_PX},  # a source with boxes; nothing is read
            "model": {"precision": "bf16", **sections.get("model", {})},
            "optimizer": {"max_epochs": 2, **sections.get("optimizer", {})},
            **{name: section for name, section in sections.items() if name not in ("model", "optimizer")},
        }
    )
    with warnings.catch_warnings(), _fake_mode(), _without_cuda():
        warnings.filterwarnings("ignore", message=".*CUDA is not available")
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        trial = Trial(config, _images(steps * BATCH), device="cuda")
        with _stub_updates(trial), Watch() as watch:
            trial.run_epoch()
    return watch.counts


@functools.cache
def _fake_mode() -> FakeTensorMode:
    """Return one mode for all trials: the product keeps tensors between them, and modes cannot be mixed."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextlib.contextmanager
def _without_cuda() -> Iterator[None]:
    """Build networks on the fake device at once, because moving them there needs CUDA; the same for generators."""
    generator = torch.Generator
    with (
        mock.patch.object(trial_module, "build_model", _small_net),
        mock.patch.object(dropblock.torch, "Generator", side_effect=lambda *_: generator("cpu")),
    ):
        yield


def _small_net(model: Model, *, n_classes: int, **_: Any) -> _SmallNet:
    net = _SmallNet(n_classes)
    if model.branches is not None:
        scale_branches(net, r"stages\.\d\.1", model.branches)
    return net


class _SmallNet(StagedNet):
    """Three stages on the fake device."""

    def __init__(self, n_classes: int) -> None:
        with torch.device("cuda"):
            stages = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(3)]
            super().__init__(stem=nn.Identity(), stages=stages, classifier=nn.Linear(3, n_classes))

    def to(self, *_: Any, **__: Any) -> _SmallNet:
        return self

    def __deepcopy__(self, _: Any) -> _SmallNet:
        """Return another one: torch crashes when copies of fake storages are freed."""
        return _SmallNet(self.classifier.out_features)


@contextlib.contextmanager
def _stub_updates(trial: Trial) -> Iterator[None]:
    def backward(*_: Any, **__: Any) -> None:
        for parameter in trial._net.parameters():
            parameter.grad = torch.empty_like(parameter)

    def gradients(_: Any, inputs: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        wanted = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
        return tuple(torch.empty_like(tensor) for tensor in wanted)

    with (
        mock.patch.object(torch.autograd, "backward", backward),
        mock.patch.object(torch.autograd, "grad", gradients),
        mock.patch.object(trial._optimizer, "step", return_value=None),
        mock.patch.object(
            trial, "validate", return_value=dict.fromkeys(("top1_error", "top5_error", "nll", "ece"), 0.0)
        ),
    ):
        yield


def _images(n_train: int, n_val: int = BATCH) -> TrialData:
    rng, count, full_px = np.random.default_rng(0), n_train + n_val, SIDE_PX + 2 * PAD_PX
    padded = rng.integers(0, 256, (count, full_px, full_px, 3), dtype=np.uint8)
    images = ImageSet(
        images=padded[:, PAD_PX:-PAD_PX, PAD_PX:-PAD_PX],
        labels=np.arange(count) % CLASSES,
        classes=tuple(map(str, range(CLASSES))),
        boxes=np.tile(np.array([2, 2, SIDE_PX - 2, SIDE_PX - 2], dtype=np.int32), (count, 1)),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    rows = np.arange(count)
    return TrialData(images, padded, rows[:n_train], rows[n_train:], flip=True)


def _is_on_gpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def _any_on_gpu(values: Any) -> bool:
    return any(_any_on_gpu(value) if isinstance(value, list | tuple) else _is_on_gpu(value) for value in values)


def _place() -> str:
    """Return the innermost line of the product that led here."""
    frame = sys._getframe(1)
    while frame is not None:
        _, is_product, file = frame.f_code.co_filename.partition("/trainables/")
        if is_product and frame.f_code.co_filename != __file__:
            return f"trainables/{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def main() -> None:
    """Print the counts of the cases that are named, or of all."""
    for name in sys.argv[1:] or CASES:
        counts = count_per_step(**CASES[name])
        print(
            f"{name}: {counts.copies:g} copies, {counts.waits:g} waits, {counts.launches:.0f} launches per step;"
            f" {counts.copied_bytes:,.0f} bytes per step, copied alone or with the epoch"
        )
        for place in counts.places if sys.argv[1:] else ():
            print(f"    {place}")


if __name__ == "__main__":
    main()
