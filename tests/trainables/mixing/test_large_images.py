"""The presets' laws at 224 px: area, coverage, labels and probability against plain NumPy, written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainables.merging import merged
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.pastes import MixDraw
from trainables.mixing.presets import PRESETS, expand_preset

PX, N_REFERENCE, N_DRAWS, CHUNK = 224, 20_000, 1_500, 100
PROBES = [(0, 0), (0, 112), (112, 112), (40, 190)]
"""Pixels at which the coverage is compared: a corner, an edge, the centre, and between them."""

Law = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Draws ``N_REFERENCE`` areas, float64 [n], and mask values at the probes, float64 [n, 4]."""


def uniform(rng: np.random.Generator, lo: float = 0.0, hi: float = 1.0) -> np.ndarray:
    return lo + (hi - lo) * rng.random(N_REFERENCE)


def distances(rng: np.random.Generator, side_px: np.ndarray, place: str) -> np.ndarray:
    """Distance of each pixel of an axis to the centre of a shape, float64 [n, 224]."""
    centre = PX * uniform(rng)
    if place == "inside":
        centre = side_px / 2 + (PX - side_px) * uniform(rng)
    elif place == "gauss":
        centre = PX * rng.normal(0.5, 0.25, N_REFERENCE)
        while (outside := (centre < 0) | (centre > PX)).any():
            centre[outside] = PX * rng.normal(0.5, 0.25, outside.sum())
    apart = np.abs(np.arange(PX) + 0.5 - centre[:, None])
    return np.minimum(apart, PX - apart) if place == "torus" else apart


def crossed(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area and probes of masks that are products of values along the rows and along the columns."""
    return rows.mean(axis=1) * columns.mean(axis=1), np.stack([rows[:, y] * columns[:, x] for y, x in PROBES], axis=1)


def box(
    frac: Callable[[np.random.Generator], np.ndarray] = uniform, place: str = "clip", aspect: float | None = None
) -> Law:
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        area = frac(rng)
        sides = [PX * np.sqrt(area)] * 2
        if aspect:
            ratio = np.clip(np.exp(np.log(aspect) * uniform(rng, -1, 1)), area, 1 / area)
            sides = [PX * np.sqrt(area * ratio), PX * np.sqrt(area / ratio)]
        return crossed(*((distances(rng, side, place) < side[:, None] / 2).astype(float) for side in sides))

    return draw


def authors_box(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The box of the CutMix authors' code, in whole pixels."""
    cut = (PX * np.sqrt(1 - rng.beta(1, 1, N_REFERENCE))).astype(int) // 2
    lines = []
    for _ in range(2):
        centre = rng.integers(PX, size=N_REFERENCE)
        first, last = np.clip(centre - cut, 0, PX), np.clip(centre + cut, 0, PX)
        lines.append(((np.arange(PX) >= first[:, None]) & (np.arange(PX) < last[:, None])).astype(float))
    return crossed(*lines)


def flat(alpha: float, *, smaller: bool = False) -> Law:
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        frac = 1 - rng.beta(alpha, alpha, N_REFERENCE)
        frac = np.minimum(frac, 1 - frac) if smaller else frac
        return frac, np.repeat(frac[:, None], 4, axis=1)

    return draw


def either(first: Law, second: Law) -> Law:
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        (area, probes), (other_area, other_probes) = first(rng), second(rng)
        heads = rng.random(N_REFERENCE) < 0.5
        return np.where(heads, area, other_area), np.where(heads[:, None], probes, other_probes)

    return draw


def cells(count: int | None) -> Law:
    """A random subset of ``count`` cells, or with None of all pixels: the probes are independent of each other."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        area = uniform(rng)
        if count is not None:
            area = np.floor(area * count + uniform(rng)) / count
        return area, (rng.random((N_REFERENCE, 4)) < area[:, None]).astype(float)

    return draw


def hmix(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    frac = uniform(rng)
    inner, probes = box(lambda _: frac / 2)(rng)
    outside = (frac - inner) / (1 - inner)
    return frac, np.where(probes > 0, 1.0, outside[:, None])


def bump(sigma_frac: Callable[[np.ndarray], np.ndarray], size: Callable[..., np.ndarray], *, inverts: bool) -> Law:
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        frac = size(rng)
        inverted = inverts & (frac > 0.5)
        sigma = PX * sigma_frac(np.where(inverted, 1 - frac, frac))[:, None]
        lines = (np.exp(-((distances(rng, frac, "clip") / sigma) ** 2) / 2) for _ in range(2))
        area, probes = crossed(*lines)
        return np.where(inverted, 1 - area, area), np.where(inverted[:, None], 1 - probes, probes)

    return draw


def quarter(_: np.random.Generator) -> np.ndarray:
    return np.full(N_REFERENCE, 0.25)


LAWS: dict[str, tuple[float, str, Law]] = {
    "cutmix": (0.5, "area", box()),
    "cutmix_scheduled": (0.25, "area", box()),  # at a quarter of the run
    "cutmix_fixed_size": (0.5, "area", box(quarter)),
    "cutmix_complete_label": (0.5, "half", box()),
    "cutmix_one_hot": (0.5, "larger", box()),
    "cutmix_center_gaussian": (0.5, "area", box(place="gauss")),
    "feature_cutmix": (0.5, "area", box()),
    "cutmix_torus": (0.5, "area", box(place="torus")),
    "cutout": (1.0, "kept", box(quarter)),
    "random_erasing": (0.5, "kept", box(lambda rng: uniform(rng, 0.02, 0.4), "inside", 1 / 0.3)),
    "resizemix": (1.0, "area", box(lambda rng: uniform(rng, 0.1, 0.8) ** 2, "inside")),
    "mixup": (1.0, "area", flat(1.0)),
    "manifold_mixup": (1.0, "area", flat(2.0)),
    "fmix": (1.0, "area", cells(None)),
    "gridmix": (1.0, "area", cells(16)),
    "hmix": (1.0, "area", hmix),
    "gmix": (1.0, "area", bump(lambda frac: np.sqrt(frac / (2 * np.pi)), uniform, inverts=True)),
    "smoothmix": (0.5, "area", bump(np.copy, lambda rng: uniform(rng, 0.25, 0.5), inverts=False)),
    "torchvision": (1.0, "area", either(flat(0.2), authors_box)),
    "torchvision_cutmix": (1.0, "area", authors_box),
    "timm": (1.0, "area", either(flat(0.8), authors_box)),
    "timm_pair": (1.0, "area", either(flat(0.8), authors_box)),
    "timm_elem": (1.0, "area", either(flat(0.8), authors_box)),
    "composer_cutmix": (1.0, "area", authors_box),
    "composer_mixup": (1.0, "area", flat(0.2, smaller=True)),
}
"""Probability, label rule and law of each preset's mask."""

LABELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "area": lambda area: 1 - area,
    "half": lambda area: np.where((area > 0) & (area < 1), 0.5, 1 - area),
    "larger": lambda area: np.sign(0.5 - area) / 2 + 0.5,
    "kept": np.ones_like,
}


def by_sample(name: str, **apply: float) -> Mix:
    """Return the preset with every draw and decision per sample: many draws of its law in one batch."""
    each: dict[str, Any] = {"granularity": "sample", "apply": {"gate": "sample", **apply}}
    parts = expand_preset(name)
    if parts["alternate"]:
        each["alternate"] = {"gate": "sample", "mix": dict(each)}
    return Mix.model_validate(merged(parts, each))


def drawn_of(mix: Mix, count: int, side_px: int, rng: np.random.Generator, t: float) -> MixDraw:
    view = BatchView((count, 3, side_px, side_px), np.arange(count))
    return draw_mix(mix, view, rng=rng, device=torch.device("cpu"), t=t)


def our_draws(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return areas, probes and label weights of ``N_DRAWS`` mixed samples."""
    mix, rng = by_sample(name, prob=1.0), np.random.default_rng(5)
    columns: list[tuple[np.ndarray, ...]] = []
    for _ in range(N_DRAWS // CHUNK):
        drawn = drawn_of(mix, CHUNK, PX, rng, t=1.0)
        area, probes = np.zeros(CHUNK), np.zeros((CHUNK, 4))
        for paste in drawn.pastes:
            mask = paste.mask[:, 0].expand(-1, PX, PX).numpy()
            rows = slice(None) if paste.rows is None else paste.rows
            area[rows] = mask.mean(axis=(1, 2), dtype=np.float64)
            probes[rows] = np.stack([mask[:, y, x] for y, x in PROBES], axis=1)
        columns.append((area, probes, drawn.weight.double().numpy()))
    area, probes, weight = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return area, probes, weight


@pytest.mark.parametrize("name", LAWS)
def test_the_law_at_224_px(name: str) -> None:
    prob, label, law = LAWS[name]
    applied = drawn_of(by_sample(name), 5000, 2, np.random.default_rng(4), t=0.25).applied.mean()
    assert applied == pytest.approx(prob, abs=4 * np.sqrt(prob * (1 - prob) / 5000))
    area, probes, weight = our_draws(name)
    np.testing.assert_allclose(weight, LABELS[label](area), atol=2e-6)
    their_area, their_probes = law(np.random.default_rng(6))

    def moments(areas: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.column_stack([areas, areas**2, np.minimum(areas, 1 - areas), values])

    ours, theirs = moments(area, probes), moments(their_area, their_probes)
    error = np.sqrt(ours.var(axis=0) / len(ours) + theirs.var(axis=0) / len(theirs))
    difference = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
    assert (difference <= 4 * error + 1e-6).all(), difference / error


def test_every_preset_that_needs_no_images_has_its_law_here() -> None:
    """Presets of several parts have theirs in ``test_partners.py``, with sides that are not equal."""
    mixes = {name: Mix.model_validate(name) for name in PRESETS}
    several = {
        name for name, mix in mixes.items() if mix.partners.count > 1 or mix.mask.family in ("quadrants", "stack")
    }
    assert set(LAWS) == {name for name, mix in mixes.items() if not mix.needs} - several - {"off"}
