"""Agreement with torchvision and timm: their classes draw, and their draws are replayed in ours.

Pixels agree to the bit. So do targets where the box's share is a float32 as it stands (a power of two of pixels);
elsewhere libraries round lam and 1 - lam from float64, ours rounds lam alone, and no more than that one unit in the
last place of 1 is between them. Blends are compared at lam on a grid of 2^-24, on which 1 - lam is exact; off the
grid the same unit, times the pixels, is all that may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from torch import Tensor
from torchvision.transforms import v2

from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.masks.box import Box
from trainables.mixing.pastes import MixDraw
from trainables.mixing.position import ClipPosition
from trainables.mixing.size import BetaSize

CPU = torch.device("cpu")
ULP = 2**-23
N_CLASSES = 5

SHAPES = [(16, 16), (8, 32), (24, 20), (9, 31)]
EXACT = [(16, 16), (8, 32)]
LAYOUTS = [torch.channels_last, torch.contiguous_format]


class Replayed:
    """Stands in for a generator: hands out what a library drew."""

    def __init__(self, *numbers: Any) -> None:
        self._numbers = [np.atleast_1d(np.asarray(drawn, dtype=np.float64)) for drawn in numbers]

    def random(self, size: int) -> np.ndarray:
        drawn = self._numbers.pop(0)
        assert drawn.shape == (size,)
        return drawn


def draw(mix: Mix, images: Tensor, rng: Any = None) -> MixDraw:
    count, channels, height_px, width_px = images.shape
    view = BatchView((count, channels, height_px, width_px), np.zeros(count, dtype=np.int64))
    return draw_mix(mix, view, rng=np.random.default_rng(0) if rng is None else rng, device=CPU)


def images_of(count: int, height_px: int, width_px: int, layout: torch.memory_format, dtype: torch.dtype) -> Tensor:
    rng = np.random.default_rng(0)
    shape = (count, 3, height_px, width_px)
    pixels = rng.integers(0, 256, size=shape) if dtype == torch.uint8 else rng.standard_normal(shape)
    return torch.from_numpy(pixels).to(dtype).contiguous(memory_format=layout)


def labels_of(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(N_CLASSES, size=count))


def assert_agree(
    mix: Mix, drawn: MixDraw, images: Tensor, theirs: Tensor, their_targets: Tensor, *, exact_targets: bool
) -> None:
    smoothing = mix.label.smoothing
    assert torch.equal(mix_images(images, drawn), theirs)
    targets = mix_targets(labels_of(len(images)), drawn, n_classes=N_CLASSES, smoothing=smoothing)
    if exact_targets:
        assert torch.equal(targets, their_targets)
    torch.testing.assert_close(targets, their_targets, rtol=0, atol=ULP)


# ---------------------------------------------------------------- torchvision


def record_torchvision(monkeypatch: pytest.MonkeyPatch, *, grid: bool) -> tuple[list[float], list[int]]:
    """Return two lists that fill with torchvision's lam and its boxes' centres, x before y."""
    lams: list[float] = []
    centres: list[int] = []
    sample, randint = torch.distributions.Beta.sample, torch.randint

    def beta(self: torch.distributions.Beta, shape: Any = ()) -> Tensor:
        drawn = sample(self, shape)
        drawn = (drawn * 2**24).floor() / 2**24 if grid else drawn
        lams.append(float(drawn))
        return drawn

    def integer(high: int, *, size: tuple[int, ...]) -> Tensor:
        drawn = randint(high, size=size)
        centres.append(int(drawn))
        return drawn

    monkeypatch.setattr(torch.distributions.Beta, "sample", beta)
    monkeypatch.setattr(torch, "randint", integer)
    return lams, centres


TORCHVISION = {"granularity": "batch", "pairing": {"kind": "roll"}, "apply": {"prob": 1.0, "gate": "batch"}}


@pytest.mark.parametrize(("height_px", "width_px"), SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_torchvision_cutmix(
    height_px: int, width_px: int, layout: torch.memory_format, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lam and centre lead to the same box, the same pixels and the same targets."""
    lams, centres = record_torchvision(monkeypatch, grid=False)
    monkeypatch.setattr(BetaSize, "draw", lambda self, count, rng: np.array([1.0 - lams[-1]]))
    monkeypatch.setattr(
        ClipPosition, "centres", lambda self, sides, canvas: np.array([[centres[-1]], [centres[-2]]]) + 0.5
    )
    mix = Mix.model_validate({**TORCHVISION, "mask": {"family": "box", "whole_px": True}})
    images = images_of(7, height_px, width_px, layout, dtype)
    torch.manual_seed(0)
    for _ in range(25):
        theirs, their_targets = v2.CutMix(num_classes=N_CLASSES)(images, labels_of(7))
        exact = (height_px, width_px) in EXACT
        assert_agree(mix, draw(mix, images), images, theirs, their_targets, exact_targets=exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("grid", [True, False])
def test_torchvision_mixup(grid: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    lams, _ = record_torchvision(monkeypatch, grid=grid)
    monkeypatch.setattr(BetaSize, "draw", lambda self, count, rng: np.array([1.0 - lams[-1]]))
    mix = Mix.model_validate({"preset": "mixup", **TORCHVISION})
    images = images_of(7, 8, 20, layout, torch.float32)
    torch.manual_seed(0)
    for _ in range(25):
        theirs, their_targets = v2.MixUp(num_classes=N_CLASSES)(images, labels_of(7))
        drawn = draw(mix, images)
        if grid:
            assert_agree(mix, drawn, images, theirs, their_targets, exact_targets=True)
        largest = images.abs().max().item()
        torch.testing.assert_close(mix_images(images, drawn), theirs, rtol=0, atol=ULP * largest)
        targets = mix_targets(labels_of(7), drawn, n_classes=N_CLASSES)
        torch.testing.assert_close(targets, their_targets, rtol=0, atol=ULP)


@pytest.mark.parametrize("box", [(0, 0, 9, 16), (7, 2, 7, 9), (0, 0, 20, 24)])  # x1, y1, x2, y2; none, all
def test_torchvision_cutmix_at_the_ends(box: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x1, y1, x2, y2 = box
    images = images_of(6, 24, 20, torch.channels_last, torch.float32)
    mask = torch.zeros(1, 1, 24, 20, dtype=torch.bool)
    mask[:, :, y1:y2, x1:x2] = True
    lam = 1.0 - (x2 - x1) * (y2 - y1) / (20 * 24)
    monkeypatch.setattr(v2.CutMix, "make_params", lambda self, flat: {"box": box, "lam_adjusted": lam})
    monkeypatch.setattr(Box, "draw", lambda self, fractions, canvas: mask)
    mix = Mix.model_validate(TORCHVISION)
    theirs, their_targets = v2.CutMix(num_classes=N_CLASSES)(images, labels_of(6))
    exact = lam in (0.0, 1.0)
    assert_agree(mix, draw(mix, images), images, theirs, their_targets, exact_targets=exact)


@pytest.mark.parametrize("lam", [0.0, 0.34375, 0.5, 0.8125, 1.0])
def test_torchvision_mixup_at_the_ends(lam: float, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(5, 8, 20, torch.channels_last, torch.float32)
    monkeypatch.setattr(v2.MixUp, "make_params", lambda self, flat: {"lam": lam})
    mix = Mix.model_validate({"preset": "mixup", "size": {"kind": "fixed", "frac": 1 - lam}, **TORCHVISION})
    theirs, their_targets = v2.MixUp(num_classes=N_CLASSES)(images, labels_of(5))
    assert_agree(mix, draw(mix, images), images, theirs, their_targets, exact_targets=True)


# ---------------------------------------------------------------- timm


class TimmRecord:
    """What timm draws, in the order and form in which our draw asks for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, grid: bool = True) -> None:
        self.coins: list[np.ndarray] = []
        self.lams: dict[float, np.ndarray] = {}
        self.boxes: list[tuple[int, int, int, int]] = []
        legacy = np.random.mtrand._rand
        bbox_and_lam = timm_mixup.cutmix_bbox_and_lam

        def rand(*size: int) -> Any:
            drawn = legacy.random_sample(size or None)
            self.coins.append(np.atleast_1d(drawn))
            return drawn

        def beta(a: float, b: float, size: int | None = None) -> Any:
            drawn = legacy.beta(a, b, size=size)
            drawn = np.floor(drawn * 2**24) / 2**24 if grid else drawn
            self.lams[a] = np.atleast_1d(drawn)
            return drawn

        def box(*args: Any, **kwargs: Any) -> Any:
            edges, lam = bbox_and_lam(*args, **kwargs)
            self.boxes.append(tuple(int(edge) for edge in edges))
            return edges, lam

        monkeypatch.setattr(timm_mixup.np.random, "rand", rand)
        monkeypatch.setattr(timm_mixup.np.random, "beta", beta)
        monkeypatch.setattr(timm_mixup, "cutmix_bbox_and_lam", box)
        monkeypatch.setattr(BetaSize, "draw", lambda size, count, rng: 1 - self.lam(size.alpha, count))
        monkeypatch.setattr(Box, "draw", lambda mask, fractions, canvas: self.masks(fractions, canvas))
        self.wanted = np.zeros(0, dtype=bool)

    def clear(self) -> None:
        self.coins, self.lams, self.boxes = [], {}, []

    def lam(self, alpha: float, count: int) -> np.ndarray:
        drawn = self.lams.get(alpha, np.ones(1))  # not drawn if the gate or the switch decided otherwise
        return np.broadcast_to(drawn.astype(np.float32).astype(np.float64), (count,))

    def masks(self, fractions: np.ndarray, canvas: Canvas) -> Tensor:
        """Each box for the next sample that timm cut one for."""
        masks = torch.zeros(len(fractions), 1, canvas.height_px, canvas.width_px, dtype=torch.bool)
        for index, (y0, y1, x0, x1) in zip(np.flatnonzero(self.wanted), self.boxes, strict=True):
            masks[index, :, y0:y1, x0:x1] = True
        return masks

    def replay(self, mode: str, both: bool, kind: str, prob: float, switch_prob: float) -> Replayed:
        """Return the decisions in our order: whether the policy switches, then the gate of each policy."""
        if mode == "batch":
            gate, switch = self.coins[0], (self.coins[1:] or [np.ones(1)])[0]
        else:
            switch, gate = (self.coins if both else [np.ones(1), *self.coins])[-2:]
        cut = switch < switch_prob if both else np.full(gate.shape, kind == "cutmix")
        self.wanted = (gate < prob) & cut
        if not both:
            return Replayed(gate)
        switches = np.concatenate([switch, switch[::-1]]) if mode == "pair" else switch
        return Replayed(switches, gate, gate)


def timm_policy(mode: str, kind: str, prob: float, smoothing: float) -> Mix:
    """Timm's behaviour in our grammar: Mixup, CutMix, or one of them at random."""
    shared = {
        "granularity": {"batch": "batch", "pair": "pair", "elem": "sample"}[mode],
        "pairing": {"kind": "flip"},
        "apply": {"prob": prob, "gate": "batch" if mode == "batch" else "sample"},
        "label": {"smoothing": smoothing},
    }
    mixup = {"preset": "mixup", "size": {"kind": "beta", "alpha": ALPHAS["mixup"]}, **shared}
    cutmix = {"preset": "cutmix", "size": {"kind": "beta", "alpha": ALPHAS["cutmix"]}, **shared}
    if kind == "both":
        gate = "batch" if mode == "batch" else "sample"
        return Mix.model_validate(mixup | {"alternate": {"prob": 0.5, "gate": gate, "mix": cutmix}})
    return Mix.model_validate(mixup if kind == "mixup" else cutmix)


ALPHAS = {"mixup": 0.8, "cutmix": 1.0}


def timm_of(cls: type[timm_mixup.Mixup], mode: str, kind: str, prob: float, smoothing: float) -> timm_mixup.Mixup:
    alphas = {f"{name}_alpha": alpha if kind in (name, "both") else 0.0 for name, alpha in ALPHAS.items()}
    return cls(mode=mode, prob=prob, switch_prob=0.5, label_smoothing=smoothing, num_classes=N_CLASSES, **alphas)


def our_draw(record: TimmRecord, mix: Mix, images: Tensor, mode: str, kind: str) -> MixDraw:
    rng = record.replay(mode, kind == "both", kind, mix.apply.prob, 0.5)
    return draw(mix, images, cast(np.random.Generator, rng))


MODES = pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
KINDS = pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])


@MODES
@KINDS
@pytest.mark.parametrize("prob", [1.0, 0.5])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_timm(
    mode: str, kind: str, prob: float, layout: torch.memory_format, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = TimmRecord(monkeypatch)
    mix, library = timm_policy(mode, kind, prob, smoothing), timm_of(timm_mixup.Mixup, mode, kind, prob, smoothing)
    np.random.mtrand._rand.seed(0)
    for height_px, width_px in SHAPES * 3:
        record.clear()
        images = images_of(8, height_px, width_px, layout, torch.float32)
        theirs, their_targets = library(images.clone(), labels_of(8))
        drawn = our_draw(record, mix, images, mode, kind)
        # timm smooths the two one-hot labels, ours their mixture: equal in the reals, rounded in another order
        exact = smoothing == 0 and (kind == "mixup" or (height_px, width_px) in EXACT)
        assert_agree(mix, drawn, images, theirs, their_targets, exact_targets=exact)


@MODES
@KINDS
@pytest.mark.parametrize("layout", LAYOUTS)
def test_timm_on_bytes(mode: str, kind: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timm's collating class mixes uint8 and rounds what it blends."""
    record = TimmRecord(monkeypatch)
    mix, library = timm_policy(mode, kind, 0.7, 0.0), timm_of(timm_mixup.FastCollateMixup, mode, kind, 0.7, 0.0)
    np.random.mtrand._rand.seed(1)
    for height_px, width_px in SHAPES * 3:
        record.clear()
        images = images_of(8, height_px, width_px, layout, torch.uint8)
        batch = [(image.numpy().copy(), int(label)) for image, label in zip(images, labels_of(8), strict=True)]
        theirs, their_targets = library(batch)
        drawn = our_draw(record, mix, images, mode, kind)
        exact = kind == "mixup" or (height_px, width_px) in EXACT
        assert_agree(mix, drawn, images, theirs, their_targets, exact_targets=exact)


def test_timm_off_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    record = TimmRecord(monkeypatch, grid=False)
    mix, library = timm_policy("elem", "mixup", 1.0, 0.0), timm_of(timm_mixup.Mixup, "elem", "mixup", 1.0, 0.0)
    np.random.mtrand._rand.seed(2)
    for _ in range(20):
        record.clear()
        images = images_of(8, 6, 10, torch.channels_last, torch.float32)
        theirs, their_targets = library(images.clone(), labels_of(8))
        drawn = our_draw(record, mix, images, "elem", "mixup")
        largest = images.abs().max().item()
        torch.testing.assert_close(mix_images(images, drawn), theirs, rtol=0, atol=ULP * largest)
        targets = mix_targets(labels_of(8), drawn, n_classes=N_CLASSES)
        torch.testing.assert_close(targets, their_targets, rtol=0, atol=ULP)


def test_the_record_covers_what_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison would be empty if no draw pasted, kept, blended or cut anything."""
    record = TimmRecord(monkeypatch)
    mix, library = timm_policy("pair", "both", 0.5, 0.0), timm_of(timm_mixup.Mixup, "pair", "both", 0.5, 0.0)
    np.random.mtrand._rand.seed(0)
    seen: list[Sequence[bool]] = []
    for _ in range(10):
        record.clear()
        images = images_of(8, 16, 16, torch.channels_last, torch.float32)
        library(images.clone(), labels_of(8))
        drawn = our_draw(record, mix, images, "pair", "both")
        assert (drawn.applied == drawn.applied[::-1]).all()
        masks = [paste.mask.dtype == torch.bool for paste in drawn.pastes]
        seen.append((drawn.applied.any(), not drawn.applied.all(), True in masks, False in masks))
    assert np.array(seen).sum(axis=0).min() > 3
