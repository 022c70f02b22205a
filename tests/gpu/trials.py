"""Trials of the product on images that need no file, and the comparison of their states."""

from __future__ import annotations

import functools
import io
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.trial import Trial

SIDE_PX, PAD_PX = 32, 4
TIMES = ("seconds", "images_per_s")
"""Fields of a result that are measured, not computed."""


@functools.lru_cache(maxsize=2)
def noise_images(n_train: int, n_val: int, classes: int = 10) -> TrialData:
    """Return images of noise with boxes."""
    rng, count, full_px = np.random.default_rng(0), n_train + n_val, SIDE_PX + 2 * PAD_PX
    padded = rng.integers(0, 256, (count, full_px, full_px, 3), dtype=np.uint8)
    return _as_data(padded, np.arange(count) % classes, n_train, classes)


@functools.lru_cache(maxsize=1)
def learnable_images(n_train: int, n_val: int, classes: int = 100) -> TrialData:
    """Return images of which a network can learn the classes: a smooth pattern per class, shifted, in strong noise."""
    rng, count, full_px = np.random.default_rng(1), n_train + n_val, SIDE_PX + 2 * PAD_PX
    labels = np.arange(count) % classes
    patterns = rng.integers(0, 2, (classes, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2) * 64
    shifts = rng.integers(0, 8, count)
    padded = np.zeros((count, full_px, full_px, 3), dtype=np.uint8)
    inside = padded[:, PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]
    for shift in range(8):
        rows = np.flatnonzero(shifts == shift)
        inside[rows] = np.roll(patterns, shift, axis=2)[labels[rows]]
        inside[rows] += rng.integers(0, 192, (len(rows), SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return _as_data(padded, labels, n_train, classes)


def _as_data(padded: np.ndarray, labels: np.ndarray, n_train: int, classes: int) -> TrialData:
    count = len(padded)
    images = ImageSet(
        images=padded[:, PAD_PX:-PAD_PX, PAD_PX:-PAD_PX],
        labels=labels,
        classes=tuple(map(str, range(classes))),
        boxes=np.tile(np.array([4, 4, SIDE_PX - 4, SIDE_PX - 4], dtype=np.int32), (count, 1)),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    rows = np.arange(count)
    return TrialData(images, padded, rows[:n_train], rows[n_train:], flip=True)


@dataclass(frozen=True)
class Way:
    """How a step is computed.

    Attributes:
        step: ``auto`` is a CUDA graph where that is possible; or ``eager``.
        precision: numbers in the forward pass.
        kernels: ``reproducible`` or ``fastest``.
    """

    step: str = "auto"
    precision: str = "bf16"
    kernels: str = "reproducible"

    @property
    def needs_gpu(self) -> bool:
        """Whether a CPU cannot compute so."""
        return self.precision in ("fp16", "tf32")


def new_trial(
    data: TrialData,
    device: torch.device,
    *,
    model: str = "tiny",
    width: float = 1.0,
    batch: int = 32,
    max_epochs: int = 2,
    way: Way = Way(),
    sections: Mapping[str, Any] | None = None,
    source: str = "digits",  # a source with boxes; its files are not read
    seed: int = 0,
) -> Trial:
    """Return a trial of the product; ``sections`` of a configuration are merged into what the arguments say."""
    content: dict[str, Any] = {
        "data": {"source": source, "batch_size": batch, "pad_px": PAD_PX},
        "model": {"name": model, "width": width, "precision": way.precision},
        "optimizer": {"max_epochs": max_epochs},
        "compute": {"step": way.step, "kernels": way.kernels},
        "seed": seed,
    }
    for name, section in (sections or {}).items():
        has_both = isinstance(section, Mapping) and isinstance(content.get(name), dict)
        content[name] = content[name] | dict(section) if has_both else section
    return Trial(TrialConfig.model_validate(content), data, device=device)


def run_epochs(trial: Trial, epochs: int) -> Trial:
    """Run some epochs of a trial and return it."""
    for _ in range(epochs):
        trial.run_epoch()
    return trial


def saved_state(trial: Trial) -> dict[str, Any]:
    """Return the state of a trial as it is read from its file: on the CPU."""
    file = io.BytesIO()
    torch.save(trial.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    """Yield the places where two states differ, to the bit; times and the configuration are left out."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if first.keys() != second.keys():
            yield f"{path}: names {sorted(map(str, first.keys() ^ second.keys()))}"
        for name in first:
            if name in second and name not in (*TIMES, "config"):
                yield from differences(first[name], second[name], f"{path}.{name}" if path else str(name))
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            yield f"{path}: {len(first)} and {len(second)} values"
        for number, (one, other) in enumerate(zip(first, second, strict=False)):
            yield from differences(one, other, f"{path}[{number}]")
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if difference := _difference_of_tensors(first.detach().cpu(), second.detach().cpu()):
            yield f"{path}: {difference}"
    elif not np.array_equal(first, second) and not (_is_nan(first) and _is_nan(second)):
        yield f"{path}: {first} and {second}"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _difference_of_tensors(one: torch.Tensor, other: torch.Tensor) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
    same = (one == other) | (one.isnan() & other.isnan())
    return "" if same.all() else f"{(~same).sum()} values by up to {(one.double() - other.double()).abs().max():.2e}"


def describe_difference(first: Any, second: Any) -> str:
    """Return one line on how two states differ; empty if they are equal to the bit."""
    found = list(differences(first, second))
    return f"{len(found)} differences, for example {found[0]}" if found else ""


@dataclass(frozen=True)
class Rate:
    """Speed of training.

    Attributes:
        images_per_s: median over epochs.
        spread: half the range of the epochs, as a fraction of the median.
        epochs: number of epochs.
    """

    images_per_s: float
    spread: float
    epochs: int

    @property
    def remark(self) -> str:
        """The spread in words."""
        return f"median of {self.epochs} epochs, +-{100 * self.spread:.0f} %"


def measure_rate(trial: Trial, window_s: float) -> Rate:
    """Measure the training speed of a trial over whole epochs, after one that warms up."""
    trial.run_epoch()
    rates, begun_s = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - begun_s < window_s:
        rates.append(trial.run_epoch().images_per_s)
    median = statistics.median(rates)
    return Rate(median, (max(rates) - min(rates)) / 2 / median, len(rates))
