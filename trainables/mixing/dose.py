"""The dose of a policy: how strongly it mixes, estimated by Monte Carlo with standard errors.

Policies are drawn by the code that training uses, with probability 1. The quantities that are known exactly
(probability, schedule, alternation of two policies) enter as factors. The dose is that of a training sample with a
partner of another class, before label smoothing, on the image even if maps inside the network are mixed. Granularity is
left out, because sharing a mask among samples does not change an expectation. All images of a sample count as being
of different classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Apply, Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.estimates import Estimate, estimate_of, mean_estimate, weighted_sum
from trainables.mixing.mask_geometry import boundary_px, coverage_of, regions
from trainables.mixing.pairing import RollPairing
from trainables.mixing.partners import shown_parts
from trainables.mixing.pastes import MixDraw
from trainables.mixing.saliency import stand_in_maps
from trainables.mixing.size import Size
from trainables.seeds import generator

if TYPE_CHECKING:
    from trainables.data.image_set import ImageSet

N_BATCHES = 32
"""Independent batches per measurement. The standard error is computed from their means, because the samples of a batch
are not independent: their sizes are stratified."""

BATCH_SIZE, BATCH_PX = 128, 1_500_000
"""Samples per batch, and the most mask pixels per batch: 6 MB if masks are soft."""

STRATA_DRAWS = 16
"""Pasted fractions drawn per fraction that is used."""

EXPOSURE_RELATIVE_SE, EXPOSURE_MAX_BATCHES = 0.0025, 512
"""When :func:`measure_exposure` stops; the exposures of matched arms then differ by far less than 2 %."""


@dataclass(frozen=True, eq=False)
class Dose:
    """How strongly a policy mixes images of one size.

    The first four are means over all samples of a run, including samples that are not mixed. The others are means over
    mixed samples only, so that shapes can be compared at different probabilities. For a policy that never mixes
    ``nothing_pasted`` is 1 and all others are 0.

    Attributes:
        mean_prob: probability that a sample is mixed, averaged over the planned steps; exact.
        pasted_frac: fraction of pixels that are pasted.
        exposure: all label fractions but the largest one, E[1 - max w]; with one partner E[min(w, 1 - w)]; 0 if the
            label stays.
        label_entropy: entropy of the label fractions, nats.
        nothing_pasted: probability that a sample that is to be mixed gets no pasted pixel.
        boundary_px: pairs of neighbouring pixels of different images; the total variation for soft masks.
        coverage_centre: probability that the pixel in the middle is pasted (mean of 2 or 4 if sides are even).
        coverage_edge: the same for the pixels in the middle of the four edges.
        coverage_corner: the same for the four corner pixels.
        coverage: the same for every pixel, float32 [H, W]; the mean value of the mask if it is soft.
        n_samples: mixed samples drawn.
    """

    mean_prob: float
    pasted_frac: Estimate
    exposure: Estimate
    label_entropy: Estimate
    nothing_pasted: Estimate
    boundary_px: Estimate
    coverage_centre: Estimate
    coverage_edge: Estimate
    coverage_corner: Estimate
    coverage: np.ndarray
    n_samples: int

    def as_columns(self) -> dict[str, float]:
        """Return the dose as columns of a trial's record: value by column name."""
        columns = {name: getattr(self, name).value for name in (*_OF_RUN, *_OF_MIXED)}
        columns |= {f"{name}_se": getattr(self, name).se for name in ("pasted_frac", "exposure")}
        return {f"dose_{name}": float(value) for name, value in ({"mean_prob": self.mean_prob} | columns).items()}


_OF_RUN = ("pasted_frac", "exposure", "label_entropy")
_OF_MIXED = ("nothing_pasted", "boundary_px", "coverage_centre", "coverage_edge", "coverage_corner")


def measure_dose(
    mix: Mix,
    *,
    height_px: int,
    width_px: int,
    data: ImageSet | None = None,
    n_samples: int | None = None,
    seed: int = 0,
) -> Dose:
    """Measure the dose of a policy; equal arguments give equal values.

    Args:
        mix: the policy.
        height_px: height of the images.
        width_px: width of the images.
        data: images of that size, needed only for policies that depend on images, boxes or maps of the network. Images
            are drawn from it and used without crop and flip. There is no network yet: the saliency of the images stands
            in for its maps.
        n_samples: least number of samples drawn per policy; None: 4096 at 32 px, 928 at 224 px.
        seed: seed of all random numbers.

    Raises:
        ValueError: the policy needs images or boxes that ``data`` lacks, or ``data`` has another size.

    Examples:
        >>> mix = Mix.model_validate({"preset": "mixup", "size": {"kind": "fixed", "frac": 0.25}})
        >>> dose = measure_dose(mix, height_px=8, width_px=8, n_samples=64)
        >>> dose.mean_prob, round(dose.pasted_frac.value, 4), round(dose.exposure.value, 4)
        (1.0, 0.25, 0.25)
        >>> measure_dose(Mix.model_validate("off"), height_px=8, width_px=8).exposure
        Estimate(value=0.0, se=0.0)
    """
    parts = [
        (frac, _policy_dose(_key(policy), height_px, width_px, _needed_data(policy, data), n_samples, seed, index))
        for index, (frac, policy) in enumerate(_mixed_fracs(mix))
    ]
    return _combine(parts, height_px, width_px)


def measure_exposure(
    mix: Mix, *, height_px: int, width_px: int, data: ImageSet | None = None, seed: int = 0
) -> Estimate:
    """Measure the exposure only, to a quarter of a percent; :attr:`Dose.exposure` is the same with a larger error.

    Args:
        mix: the policy.
        height_px: height of the images.
        width_px: width of the images.
        data: see :func:`measure_dose`.
        seed: seed of all random numbers.

    Raises:
        ValueError: see :func:`measure_dose`.

    Examples:
        >>> mix = Mix.model_validate({"preset": "mixup", "size": {"kind": "fixed"}, "apply": {"prob": 0.5}})
        >>> round(measure_exposure(mix, height_px=8, width_px=8).value, 4)  # half of the samples, a quarter each
        0.125
    """
    parts = [
        (frac, _exposure(_key(policy), height_px, width_px, _needed_data(policy, data), seed, index))
        for index, (frac, policy) in enumerate(_mixed_fracs(mix))
    ]
    return weighted_sum(parts)


def mean_dose(doses: Sequence[Dose]) -> Dose:
    """Return the mean dose of several policies, for example of several draws from a space.

    Measurements with the same seed share their random numbers, and policies that differ only in probability share the
    whole measurement. Standard errors are therefore averaged too: they do not decrease with the number of policies.
    """
    return Dose(
        mean_prob=math.fsum(dose.mean_prob for dose in doses) / len(doses),
        coverage=np.mean([dose.coverage for dose in doses], axis=0),
        n_samples=sum(dose.n_samples for dose in doses),
        **{name: mean_estimate([getattr(dose, name) for dose in doses]) for name in (*_OF_RUN, *_OF_MIXED)},
    )


@dataclass(frozen=True, eq=False)
class _PolicyDose:
    """The estimates of one policy with probability 1; ``coverage`` float32 [H, W]."""

    estimates: dict[str, Estimate]
    coverage: np.ndarray
    n_samples: int


@dataclass(frozen=True)
class _Spread:
    """Stratified draws from a size distribution: each sample keeps it, and the mean of a batch varies less."""

    size: Size

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions, float64 [count]: one of each ``STRATA_DRAWS`` neighbours."""
        pool = np.sort(self.size.draw(count * STRATA_DRAWS, rng)).reshape(count, STRATA_DRAWS)
        spread: np.ndarray = pool[np.arange(count), rng.integers(STRATA_DRAWS, size=count)]
        return spread


def _mixed_fracs(mix: Mix) -> list[tuple[float, Mix]]:
    """Return the policies that mix samples, each with the fraction of a run's samples that it mixes."""
    probs = (1.0,) if mix.alternate is None else (1 - mix.alternate.prob, mix.alternate.prob)
    fracs = [prob * policy.apply.mean_prob for prob, policy in zip(probs, mix.policies, strict=True)]
    return [(frac, policy) for frac, policy in zip(fracs, mix.policies, strict=True) if frac > 0]


def _key(policy: Mix) -> Mix:
    """Return the policy without the parts that its dose at probability 1 does not depend on: the key of the caches."""
    changes = {
        "apply": Apply(),
        "alternate": None,
        "pairing": RollPairing(),
        "granularity": "sample",
        "source": policy.source if policy.label.by == "class_map" or policy.source == "region" else "same",
        "layer": 0,
    }
    return policy.model_copy(update=changes)


def _needed_data(policy: Mix, data: ImageSet | None) -> ImageSet | None:
    """Return ``data`` if the policy needs images, boxes or maps of a network, otherwise None."""
    needs = policy.model_copy(update={"alternate": None}).needs
    if not needs:
        return None
    if data is None or ("boxes" in needs and data.boxes is None):
        needed = " and ".join(sorted(needs))
        raise ValueError(f"the policy needs the partners' {needed}: its dose cannot be measured without data with them")
    return data


@functools.lru_cache(maxsize=128)
def _policy_dose(
    policy: Mix, height_px: int, width_px: int, data: ImageSet | None, n_samples: int | None, seed: int, index: int
) -> _PolicyDose:
    least = N_BATCHES * BATCH_SIZE if n_samples is None else n_samples
    size = min(BATCH_SIZE, max(1, BATCH_PX // (height_px * width_px)), -(-least // N_BATCHES))
    n_batches = N_BATCHES if n_samples is None else max(N_BATCHES, -(-least // size))
    rows: list[list[float]] = []
    coverage = np.zeros((height_px, width_px))
    for draw in _draws(policy, height_px, width_px, data, size, n_batches, (seed, index)):
        masks = (
            draw.pastes[0].mask if len(draw.pastes) == 1 else torch.cat([paste.mask for paste in draw.pastes], dim=1)
        )
        shown = shown_parts(masks).numpy()
        batch_coverage = coverage_of(shown, height_px, width_px)
        coverage += batch_coverage
        rows.append([*_batch_means(draw, policy), boundary_px(shown, height_px, width_px), *regions(batch_coverage)])
    estimates = [estimate_of(np.array(column)) for column in zip(*rows, strict=True)]
    return _PolicyDose(
        estimates=dict(zip((*_OF_RUN, *_OF_MIXED), estimates, strict=True)),
        coverage=(coverage / n_batches).astype(np.float32),
        n_samples=n_batches * size,
    )


@functools.lru_cache(maxsize=4096)
def _exposure(policy: Mix, height_px: int, width_px: int, data: ImageSet | None, seed: int, index: int) -> Estimate:
    size = min(BATCH_SIZE, max(1, BATCH_PX // (height_px * width_px)))
    means: list[float] = []
    estimate = Estimate(0.0, math.inf)
    for draw in _draws(policy, height_px, width_px, data, size, EXPOSURE_MAX_BATCHES, (seed, index)):
        means.append(_batch_means(draw, policy)[1])
        if len(means) % N_BATCHES == 0:
            estimate = estimate_of(np.array(means))
            if estimate.se <= EXPOSURE_RELATIVE_SE * estimate.value:
                break
    return estimate


def _draws(
    policy: Mix,
    height_px: int,
    width_px: int,
    data: ImageSet | None,
    size: int,
    n_batches: int,
    stream: tuple[int, int],
) -> Iterator[MixDraw]:
    """Draw batches in which all samples are mixed; ``stream`` differs between two policies that alternate."""
    rng = generator("dose", *stream)
    # content does not change a mask, and noise would be drawn for nothing
    # two sizes per mask would both come from the same place of the order: they must stay independent
    draws_once = policy.mask.sizes_per_mask == 1 and policy.source != "region"
    size_law = _Spread(policy.size) if draws_once else policy.size
    always = policy.model_copy(update={"size": size_law, "content": "partner"})
    view = _viewer((size, 3, height_px, width_px), data, rng)
    for _ in range(n_batches):
        yield draw_mix(always, view(), rng=rng, device=torch.device("cpu"))


def _viewer(
    shape: tuple[int, int, int, int], data: ImageSet | None, rng: np.random.Generator
) -> Callable[[], BatchView]:
    """Return a function that returns a new batch per call; without ``data`` always the same batch without images."""
    labels = np.zeros(shape[0], dtype=np.int64)
    if data is None:
        return lambda: BatchView(shape, labels)
    if data.images.shape[1:3] != shape[2:]:
        raise ValueError(f"images have {data.images.shape[1:3]} pixels, but the dose is measured at {shape[2:]}")
    from trainables.data.batches import Normalizer

    normalize = Normalizer.from_statistics(data.mean, data.std, width_px=shape[3], device=torch.device("cpu"))

    def view() -> BatchView:
        rows = rng.integers(len(data), size=shape[0])
        boxes = None if data.boxes is None else data.boxes[rows].astype(np.int64)
        images = normalize(torch.from_numpy(data.images[rows]))
        return BatchView(shape, labels, images, boxes, stand_in_maps(images))

    return view


def _batch_means(draw: MixDraw, policy: Mix) -> tuple[float, float, float, float]:
    """Return means over a batch: pasted fraction, exposure, label entropy, fraction of samples with nothing pasted."""
    lam = draw.lam.numpy().astype(np.float64)
    pasted, nothing = 1 - lam.mean(), (lam == 1).mean()
    if policy.content != "partner":
        return float(pasted), 0.0, 0.0, float(nothing)
    weights = np.concatenate([draw.weight[None].numpy(), draw.partner_weights.numpy()]).astype(np.float64)
    if policy.label.by == "class_map":  # fractions of the label: these weights do not sum to 1
        total = weights.sum(axis=0)
        weights[0] = np.where(total > 0, weights[0] / np.maximum(total, 1e-12), 1.0)
    weights[:-1] = weights[:-1].clip(0, 1)
    weights[-1] = np.maximum(1 - weights[:-1].sum(axis=0), 0)  # with all digits: float32 has rounded it
    smaller = np.sort(weights, axis=0)[:-1]
    logs = np.log(np.maximum(smaller, np.finfo(np.float64).tiny))  # 0 * log 0 counts as 0
    rest = smaller.sum(axis=0)
    entropy = -((smaller * logs).sum(axis=0) + (1 - rest) * np.log1p(-rest))
    return float(pasted), float(rest.mean()), float(entropy.mean()), float(nothing)


def _combine(parts: Sequence[tuple[float, _PolicyDose]], height_px: int, width_px: int) -> Dose:
    """Return the dose of a run from its policies, each with the fraction of samples that it mixes."""
    mean_prob = math.fsum(frac for frac, _ in parts)
    if not parts:
        never = dict.fromkeys((*_OF_RUN, *_OF_MIXED), Estimate(0.0, 0.0)) | {"nothing_pasted": Estimate(1.0, 0.0)}
        return Dose(mean_prob=0.0, coverage=np.zeros((height_px, width_px), dtype=np.float32), n_samples=0, **never)
    of_run = {name: weighted_sum([(frac, part.estimates[name]) for frac, part in parts]) for name in _OF_RUN}
    of_mixed = {
        name: weighted_sum([(frac / mean_prob, part.estimates[name]) for frac, part in parts]) for name in _OF_MIXED
    }
    coverage = np.zeros((height_px, width_px), dtype=np.float32)
    for frac, part in parts:
        coverage += frac / mean_prob * part.coverage
    return Dose(
        mean_prob=mean_prob,
        coverage=coverage,
        n_samples=sum(part.n_samples for _, part in parts),
        **of_run,
        **of_mixed,
    )
