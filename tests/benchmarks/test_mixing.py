"""Mixing a batch, per sample: every mask family against torchvision, timm, a plain copy and a training step."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup
from torchvision.transforms import v2

from trainables.config import Model
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer, draw_mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.mixer import Mixer
from trainables.mixing.saliency import stand_in_maps
from trainables.models.build import build_model
from trainables.seeds import generator

CLASSES = 10
EPOCH = 10**9
"""Number of images to mix, as in a long epoch."""

CPU = torch.device("cpu")
Work = Callable[[], object]

SIZES = {"32 px, B=128": (128, 32, 40), "32 px, B=1024": (1024, 32, 10), "224 px, B=64": (64, 224, 5)}
"""Batch size, side in pixels and rounds."""

NO_SLOWER = ("box", "ellipse", "grid", "strip_h", "strip_v", "fourier")
"""Families that must be as fast as one box per batch."""

FOLLOWS_CONTENT = ("superpixel", "object")
"""Families that depend on the partner image; reported separately."""


def policies() -> dict[str, dict[str, Any]]:
    """Return a policy for every family, and policies with the other costly options."""
    always = {"preset": "cutmix", "apply": {"prob": 1.0}}
    plain = {
        name: {
            **always,
            "mask": {"family": name},
            "position": {"kind": _even(family.positions)},
            "partners": {"count": family.n_partners or 1},
        }
        for name, family in FAMILIES.items()
    }
    return plain | {
        "box, clipped": always,
        "box, soft edge": {**always, "mask": {"edge_px": 4.0}},
        "4 boxes": {**always, "mask": {"count": 4}},
        "noise box": {**always, "content": "noise"},
        "saliency box": {**always, "position": {"kind": "saliency"}},
        "ricap": {"preset": "ricap"},
        "3 images, boxes": {**always, "partners": {"count": 2}},
        "displaced box": {**always, "source": "displaced"},
        "resized box": {**always, "source": "resized", "position": {"kind": "inside"}},
    }


def _even(positions: tuple[str, ...]) -> str:
    return "torus" if "torus" in positions else positions[0]


@pytest.mark.parametrize("size", list(SIZES))
def test_mixing(size: str, benchmark, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """Draw, mix and label a batch on one thread; medians over rounds in which all take turns."""
    batch, side_px, rounds = SIZES[size]
    seconds = _in_turn(_works(batch, side_px), rounds=rounds)
    step_s = seconds.pop("training step", None)
    copy_s, torchvision_s, timm_s = (seconds[name] for name in ("copy", "torchvision", "timm"))
    rows = [f"| {size} | x copy | torchvision / ours | timm / ours | % of a `tiny` step |", "| --- " * 5 + "|"]
    for name, taken_s in seconds.items():
        share = f"{100 * taken_s / step_s:.1f}" if step_s else ""
        rows.append(
            f"| {name} | {taken_s / copy_s:.1f} | {torchvision_s / taken_s:.1f} | {timm_s / taken_s:.1f} | {share} |"
        )
    benchmark.extra_info.update(seconds)
    benchmark.pedantic(lambda: None, rounds=1)
    with capsys.disabled():
        print("\n\n" + "\n".join(rows))
    for name in NO_SLOWER:
        assert seconds[name] <= torchvision_s, name
        if side_px == 32:
            assert 10 * seconds[name] <= timm_s, name
    if step_s:
        for name in FAMILIES:
            assert name in FOLLOWS_CONTENT or seconds[name] <= 0.03 * step_s, name


MIXERS: dict[str, dict[str, Any]] = {
    "`torchvision_cutmix`": {"preset": "torchvision_cutmix"},
    "`cutmix`, each sample": {"preset": "cutmix", "apply": {"prob": 1.0}},
    "`mixup`, each sample": {"preset": "mixup"},
}


@pytest.mark.parametrize("size", ["32 px, B=128", "224 px, B=64"])
def test_mixer(size: str, benchmark, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """The mixer as a user calls it, beside torchvision and timm, on images as a DataLoader returns them."""
    batch, side_px, rounds = SIZES[size]
    seconds = _in_turn(_mixers(batch, side_px), rounds=rounds)
    torchvision_s, timm_s = seconds["torchvision"], seconds["timm, each sample"]
    rows = [f"| {size} | ms | torchvision / this | timm, each sample / this |", "| --- " * 4 + "|"]
    for name, taken_s in seconds.items():
        rows.append(f"| {name} | {1e3 * taken_s:.2f} | {torchvision_s / taken_s:.2f} | {timm_s / taken_s:.2f} |")
    # in memory that is reused: the time of an allocation varies more than what is compared
    overhead = seconds["`cutmix`, each sample, out="] / seconds["its draw and its application, out="] - 1
    rows.append(f"overhead of the mixer over the draw and its application: {100 * overhead:.1f} %")
    benchmark.extra_info.update(seconds, overhead=overhead)
    benchmark.pedantic(lambda: None, rounds=1)
    with capsys.disabled():
        print("\n\n" + "\n".join(rows))
    assert overhead < (0.1 if side_px > 32 else 0.2)
    for name in MIXERS:
        assert 3 * seconds[f"{name}, out="] <= timm_s, name
        assert seconds[f"{name}, out="] <= (1 if side_px > 32 else 2) * torchvision_s, name


def _mixers(batch: int, side_px: int) -> dict[str, Work]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((batch, 3, side_px, side_px), dtype=np.float32))
    labels, spare = torch.from_numpy(rng.integers(CLASSES, size=batch)), torch.empty_like(images)
    works: dict[str, Work] = {"torchvision": functools.partial(v2.CutMix(num_classes=CLASSES), images, labels)}
    for name, mode in {"timm, one box": "batch", "timm, each sample": "elem"}.items():
        works[name] = functools.partial(Mixup(0.0, 1.0, mode=mode, num_classes=CLASSES), images, labels)
    for name, policy in MIXERS.items():
        mixer = Mixer(policy, n_classes=CLASSES)
        works |= {
            name: functools.partial(mixer, images, labels),
            f"{name}, out=": functools.partial(mixer, images, labels, out=spare),
        }
    mix, view = Mix.model_validate(policies()["box, clipped"]), BatchView((batch, 3, side_px, side_px), labels.numpy())

    steps = itertools.count()

    def draw_and_apply() -> None:
        draw = draw_mix(mix, view, rng=generator(0, "mixer", next(steps)), device=CPU)
        mix_images(images, draw, out=spare)
        mix_targets(labels, draw, n_classes=CLASSES)

    return works | {"its draw and its application, out=": draw_and_apply}


def _works(batch: int, side_px: int) -> dict[str, Work]:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.standard_normal((batch, 3, side_px, side_px), dtype=np.float32))
    images, labels = (
        pixels.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(rng.integers(10, size=batch)),
    )
    plain, spare = images.contiguous(), torch.empty_like(images)
    one_box, per_sample = v2.CutMix(num_classes=CLASSES), Mixup(0.0, 1.0, mode="elem", num_classes=CLASSES)
    boxes = np.tile([side_px // 4, side_px // 4, side_px // 2, 3 * side_px // 4], (batch, 1))
    view = BatchView((batch, 3, side_px, side_px), labels.numpy(), images, boxes, stand_in_maps(images))
    works: dict[str, Work] = {
        "copy": lambda: spare.copy_(images),
        "torchvision": lambda: one_box(plain, labels),
        "timm": lambda: per_sample(plain, labels),
    }
    for name, policy in policies().items():
        works[name] = _ours(Mix.model_validate(policy), view, images, labels, spare, rng)
    if (batch, side_px) == (128, 32):
        works["training step"] = _training_step(images, labels)
    return works


def _ours(
    mix: Mix, view: BatchView, images: torch.Tensor, labels: torch.Tensor, spare: torch.Tensor, rng: np.random.Generator
) -> Work:
    drawer = MixDrawer(mix, rng=rng, device=CPU, n_samples=EPOCH)

    def work() -> None:
        draw = drawer.draw(view, t=0.5)
        mix_images(images, draw, out=spare)
        mix_targets(labels, draw, n_classes=CLASSES)

    return work


def _training_step(images: torch.Tensor, labels: torch.Tensor) -> Work:
    """Return a training step of the smallest network, as a trial runs it on this CPU."""
    net = build_model(Model(name="tiny"), n_classes=CLASSES, height_px=32, width_px=32, seed=0)
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))

    def work() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=native):
            logits = net(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


def _in_turn(works: Mapping[str, Work], *, rounds: int, repeats: int = 8) -> dict[str, float]:
    """Median seconds of each, over rounds in which all run ``repeats`` times in a row, one after the other.

    The order is another one in each round: what comes before leaves the caches and the allocator in its own state.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(works)):
            work = works[name]
            work()  # puts its data back into the cache
            started_s = time.perf_counter()
            for _ in range(repeats):
                work()
            taken[name].append((time.perf_counter() - started_s) / repeats)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
