"""Training loops without the product, to compare with: the usual one, and one that is as fast as a GPU allows."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.gpu.trials import PAD_PX, SIDE_PX, Rate
from trainables.config import Model
from trainables.data.prepared import TrialData
from trainables.models.build import build_model

CLASSES = 10

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Mixes a batch of images and labels into images and targets."""


class _Samples(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images that are cropped, flipped and normalised one by one."""

    def __init__(self, data: TrialData) -> None:
        self._padded, self._labels = data.padded[data.train_rows], data.images.labels

    def __len__(self) -> int:
        return len(self._padded)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        y, x = torch.randint(0, 2 * PAD_PX + 1, (2,)).tolist()
        image = torch.from_numpy(self._padded[index, y : y + SIDE_PX, x : x + SIDE_PX]).permute(2, 0, 1)
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        return image.float().div(255).sub(0.5).div(0.25), int(self._labels[index])


def authors_cutmix() -> Mixer:
    """Return the mixing of the published code of CutMix: one box, one lam and one decision per batch."""
    rng = np.random.default_rng(0)

    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        targets = functional.one_hot(labels, CLASSES).float()
        if rng.random() > 0.5:
            return images, targets
        partner = torch.randperm(len(images), device=images.device)
        half = np.sqrt(1 - rng.beta(1.0, 1.0)) * SIDE_PX / 2
        y, x = rng.integers(SIDE_PX, size=2)
        y0, y1, x0, x1 = (int(np.clip(edge, 0, SIDE_PX)) for edge in (y - half, y + half, x - half, x + half))
        images[:, :, y0:y1, x0:x1] = images[partner, :, y0:y1, x0:x1]
        lam = 1 - (y1 - y0) * (x1 - x0) / SIDE_PX**2
        return images, lam * targets + (1 - lam) * targets[partner]

    return mix


def plain_rate(
    data: TrialData, device: torch.device, *, model: Model, batch: int, workers: int, window_s: float, mixer: Mixer
) -> Rate:
    """Measure the loop that most would write: samples from worker processes, eager steps in bf16, a printed loss."""
    net = _network(model).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = torch.utils.data.DataLoader(
        _Samples(data),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )

    def steps() -> Iterator[int]:
        net.train()
        while True:
            for images, labels in loader:
                inputs, targets = mixer(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    loss = functional.cross_entropy(net(inputs), targets)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                loss.item()
                yield len(images)

    with _kernels(benchmark=False):  # torch's default; a trial before has set reproducible ones
        return _measure(steps(), device, window_s)


def bound_rate(data: TrialData, device: torch.device, *, model: Model, batch: int, window_s: float) -> Rate:
    """Measure how fast a GPU can train this network at all, in the manner of airbench.

    Everything is on the device, in float16 and channels last. Kernels are the fastest ones, batches are large, crops
    and flips are made once per epoch, and nothing is mixed. A CPU computes in float32.
    """
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    net = _network(model).to(device).to(memory_format=torch.channels_last)
    for module in net.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
    pixels = torch.from_numpy(np.ascontiguousarray(data.padded[data.train_rows])).to(device)
    labels = torch.from_numpy(data.images.labels[data.train_rows]).to(device)

    def steps() -> Iterator[int]:
        net.train()
        while True:
            images = _augment_all(pixels, dtype)
            order = torch.randperm(len(images), device=device)
            for rows in order.split(batch):
                if len(rows) < batch:
                    break
                loss = functional.cross_entropy(net(images[rows]).float(), labels[rows], label_smoothing=0.2)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                yield len(rows)

    with _kernels(benchmark=True):
        return _measure(steps(), device, window_s)


@contextlib.contextmanager
def _kernels(*, benchmark: bool) -> Iterator[None]:
    """Let cuDNN take kernels that need not be reproducible; ``benchmark``: the fastest after measuring all."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = benchmark, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _augment_all(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return all images, cropped at one random place per epoch and half of them flipped: [N, 3, H, W]."""
    y, x = torch.randint(0, 2 * PAD_PX + 1, (2,)).tolist()
    images = pixels[:, y : y + SIDE_PX, x : x + SIDE_PX].to(dtype).div_(64).sub_(2).permute(0, 3, 1, 2)
    flips = torch.rand(len(images), device=images.device) < 0.5
    flipped = torch.where(flips[:, None, None, None], images.flip(3), images)
    return flipped.contiguous(memory_format=torch.channels_last)


def _network(model: Model) -> nn.Module:
    return build_model(model, n_classes=CLASSES, height_px=SIDE_PX, width_px=SIDE_PX, seed=0)


def _measure(steps: Iterator[int], device: torch.device, window_s: float) -> Rate:
    """Measure the median speed over five windows, after steps that warm up."""
    for _ in range(3 if device.type == "cpu" else 30):
        next(steps)
    rates = []
    for _ in range(3):
        _synchronize(device)
        begun_s, images = time.perf_counter(), 0
        while time.perf_counter() - begun_s < window_s:
            images += sum(next(steps) for _ in range(2 if device.type == "cpu" else 20))
            _synchronize(device)
        rates.append(images / (time.perf_counter() - begun_s))
    median = statistics.median(rates)
    return Rate(median, (max(rates) - min(rates)) / 2 / median, len(rates))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _torchvision_cutmix() -> Mixer:
    from torchvision.transforms import v2

    mixer: Mixer = v2.CutMix(num_classes=CLASSES)
    return mixer


def _timm_mixup() -> Mixer:
    from timm.data.mixup import Mixup

    mixer: Mixer = Mixup(mixup_alpha=0.0, cutmix_alpha=1.0, prob=0.5, label_smoothing=0.0, num_classes=CLASSES)
    return mixer


MIXERS: dict[str, Callable[[], Mixer]] = {
    "the authors' CutMix": authors_cutmix,
    "torchvision v2.CutMix": _torchvision_cutmix,
    "timm Mixup": _timm_mixup,
}
"""What builds a mixer, by name; building fails if its library is not there."""
