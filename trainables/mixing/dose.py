"""How strongly a policy mixes: figures in which policies can be compared, by Monte Carlo with their standard errors.

Policies are drawn by the code that training draws them with, always on, and what is known exactly (probability,
schedule, alternation of two policies) is put in as a factor. The dose is that of a training sample as the mixing sees
it: with a partner of another class, before label smoothing, on the image even where maps inside the network are mixed.
Sharing a mask among samples changes no expectation and is left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Apply, Mix
from trainables.mixing.draw import MixDraw, draw_mix
from trainables.mixing.pairing import RollPairing
from trainables.mixing.size import Size
from trainables.seeds import generator

if TYPE_CHECKING:
    from trainables.data.image_set import ImageSet

N_BATCHES = 32
"""Independent batches of a measurement: their means tell the standard error."""

BATCH_SIZE, BATCH_PX = 128, 1_500_000
"""Samples a batch, and the number of mask pixels that it may hold: 6 MB where masks are soft."""

STRATA_DRAWS = 16
"""Pasted fractions drawn for each one that is used."""

EXPOSURE_RELATIVE_SE, EXPOSURE_MAX_BATCHES = 0.0025, 512
"""When :func:`measure_exposure` stops: arms that are matched by it then differ by far less than 2 %."""


class Estimate(NamedTuple):
    """A Monte Carlo mean.

    Attributes:
        value: the mean.
        se: its standard error.
    """

    value: float
    se: float


@dataclass(frozen=True, eq=False)
class Dose:
    """How strongly a policy mixes images of one size.

    The first four are averages over all samples of a run, those that are not mixed among them; the others are of a
    sample that is mixed, so that they tell shapes apart whatever the probability. A policy that never mixes has zeros
    throughout and nothing pasted for certain.

    Attributes:
        mean_prob: chance of being mixed, averaged over the planned steps; exact.
        pasted_frac: share of the pixels that are foreign.
        exposure: the smaller one of both labels' shares, E[min(w, 1 - w)]; 0 where the label stays.
        label_entropy: entropy of the label's two shares, nats.
        nothing_pasted: chance that a sample which is to be mixed gets no foreign pixel.
        boundary_px: pairs of neighbouring pixels of which one is foreign; of soft masks their total variation.
        coverage_centre: chance of being foreign of the pixel in the middle (the mean of 2 or 4 where sides are even).
        coverage_edge: the same of the pixels in the middle of the four edges.
        coverage_corner: the same of the four corner pixels.
        coverage: the same of every pixel, float32 [H, W]; of soft masks the mean weight of the foreign pixel.
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
        """Return the figures as a trial's record holds them, by the names of its columns."""
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
    """Measure the dose of a policy; equal arguments give equal figures.

    Args:
        mix: the policy.
        height_px: height of the images.
        width_px: width of the images.
        data: images of that size, of which those drawn are looked at as they are, without crop and flip. Only
            policies that look at images or boxes need it.
        n_samples: samples drawn of each policy, at least; None: 4096 at 32 px, 928 at 224 px.
        seed: of all that is drawn.

    Raises:
        ValueError: the policy looks at what ``data`` do not hold, or they have another size.
    """
    parts = [
        (share, _measured(_key(policy), height_px, width_px, _looked_at(policy, data), n_samples, seed, place))
        for place, (share, policy) in enumerate(_shares(mix))
    ]
    return _combined(parts, height_px, width_px)


def measure_exposure(
    mix: Mix, *, height_px: int, width_px: int, data: ImageSet | None = None, seed: int = 0
) -> Estimate:
    """Measure the exposure alone, to a quarter of a percent: what :attr:`Dose.exposure` shows with its larger error.

    Args:
        mix: the policy.
        height_px: height of the images.
        width_px: width of the images.
        data: as in :func:`measure_dose`.
        seed: of all that is drawn.

    Raises:
        ValueError: as in :func:`measure_dose`.
    """
    parts = [
        (share, _exposure(_key(policy), height_px, width_px, _looked_at(policy, data), seed, place))
        for place, (share, policy) in enumerate(_shares(mix))
    ]
    return _weighted(parts)


def mean_dose(doses: Sequence[Dose]) -> Dose:
    """Average the doses of several policies, as of the draws from a space.

    Measurements of one seed share their random numbers, and policies that differ in probability alone the whole
    measurement. Their errors are therefore averaged as well: they do not fall with the number of policies.
    """
    return Dose(
        mean_prob=math.fsum(dose.mean_prob for dose in doses) / len(doses),
        coverage=np.mean([dose.coverage for dose in doses], axis=0),
        n_samples=sum(dose.n_samples for dose in doses),
        **{name: _mean_estimate([getattr(dose, name) for dose in doses]) for name in (*_OF_RUN, *_OF_MIXED)},
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """Figures of one policy that is always on; ``coverage`` float32 [H, W]."""

    figures: dict[str, Estimate]
    coverage: np.ndarray
    n_samples: int


@dataclass(frozen=True)
class _Spread:
    """A law of sizes with draws spread evenly over it: each sample has the same law, a batch has a steadier mean."""

    law: Size

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions, float64 [count], each one of ``STRATA_DRAWS`` neighbours."""
        pool = np.sort(self.law.draw(count * STRATA_DRAWS, rng)).reshape(count, STRATA_DRAWS)
        spread: np.ndarray = pool[np.arange(count), rng.integers(STRATA_DRAWS, size=count)]
        return spread


def _shares(mix: Mix) -> list[tuple[float, Mix]]:
    """Return the policies that mix at all, each with the share of a run's samples that it mixes."""
    chances = (1.0,) if mix.alternate is None else (1 - mix.alternate.prob, mix.alternate.prob)
    shares = [chance * policy.apply.mean_prob for chance, policy in zip(chances, mix.policies, strict=True)]
    return [(share, policy) for share, policy in zip(shares, mix.policies, strict=True) if share > 0]


def _key(policy: Mix) -> Mix:
    """Return a policy reduced to what its always-on dose depends on, so that measurements are shared."""
    changes = {
        "apply": Apply(),
        "alternate": None,
        "pairing": RollPairing(),
        "granularity": "sample",
        "source": "same",
        "layer": 0,
    }
    return policy.model_copy(update=changes)


def _looked_at(policy: Mix, data: ImageSet | None) -> ImageSet | None:
    """Return the images where the policy looks at them or at their boxes, else None."""
    needs = {policy.mask.looks_at, policy.position.looks_at} - {None}
    if not needs:
        return None
    if data is None or ("boxes" in needs and data.boxes is None):
        needed = " and ".join(sorted(str(need) for need in needs))
        raise ValueError(f"the policy looks at {needed}: its dose cannot be measured without data that have them")
    return data


@functools.lru_cache(maxsize=128)
def _measured(
    policy: Mix, height_px: int, width_px: int, data: ImageSet | None, n_samples: int | None, seed: int, place: int
) -> _Measured:
    wanted = N_BATCHES * BATCH_SIZE if n_samples is None else n_samples
    size = min(BATCH_SIZE, max(1, BATCH_PX // (height_px * width_px)), -(-wanted // N_BATCHES))
    n_batches = N_BATCHES if n_samples is None else max(N_BATCHES, -(-wanted // size))
    rows: list[list[float]] = []
    coverage = np.zeros((height_px, width_px))
    for draw in _draws(policy, height_px, width_px, data, size, n_batches, (seed, place)):
        mask = draw.pastes[0].mask.numpy()
        covered = _coverage(mask, height_px, width_px)
        coverage += covered
        rows.append([*_shares_of(draw, policy), _boundary_px(mask, height_px, width_px), *_regions(covered)])
    estimates = [_estimate(np.array(column)) for column in zip(*rows, strict=True)]
    return _Measured(
        figures=dict(zip((*_OF_RUN, *_OF_MIXED), estimates, strict=True)),
        coverage=(coverage / n_batches).astype(np.float32),
        n_samples=n_batches * size,
    )


@functools.lru_cache(maxsize=4096)
def _exposure(policy: Mix, height_px: int, width_px: int, data: ImageSet | None, seed: int, place: int) -> Estimate:
    size = min(BATCH_SIZE, max(1, BATCH_PX // (height_px * width_px)))
    means: list[float] = []
    estimate = Estimate(0.0, math.inf)
    for draw in _draws(policy, height_px, width_px, data, size, EXPOSURE_MAX_BATCHES, (seed, place)):
        means.append(_shares_of(draw, policy)[1])
        if len(means) % N_BATCHES == 0:
            estimate = _estimate(np.array(means))
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
    """Draw batches of samples that are all mixed; alternating policies have streams of their own."""
    rng = generator("dose", *stream)
    always = policy.model_copy(update={"size": _Spread(policy.size), "content": "partner"})
    view = _viewer((size, 3, height_px, width_px), data, rng)
    for _ in range(n_batches):
        yield draw_mix(always, view(), rng=rng, device=torch.device("cpu"))


def _viewer(
    shape: tuple[int, int, int, int], data: ImageSet | None, rng: np.random.Generator
) -> Callable[[], BatchView]:
    """Return what gives a new batch to look at; the same empty one each time where nobody looks."""
    labels = np.zeros(shape[0], dtype=np.int64)
    if data is None:
        return lambda: BatchView(shape, labels)
    if data.images.shape[1:3] != shape[2:]:
        raise ValueError(f"data have {data.images.shape[1:3]} pixels, the dose is to be measured at {shape[2:]}")
    from trainables.data.batches import Normalizer

    normalize = Normalizer.from_statistics(data.mean, data.std, width_px=shape[3], device=torch.device("cpu"))

    def view() -> BatchView:
        rows = rng.integers(len(data), size=shape[0])
        boxes = None if data.boxes is None else data.boxes[rows].astype(np.int64)
        return BatchView(shape, labels, normalize(torch.from_numpy(data.images[rows])), boxes)

    return view


def _shares_of(draw: MixDraw, policy: Mix) -> tuple[float, float, float, float]:
    """Means over a batch: pasted share, exposure, entropy of the label, share of samples without foreign pixels."""
    lam = draw.lam.numpy().astype(np.float64)
    pasted, nothing = 1 - lam.mean(), (lam == 1).mean()
    if policy.content != "partner":
        return float(pasted), 0.0, 0.0, float(nothing)
    weight = np.clip(draw.weight.numpy().astype(np.float64), 0, 1)
    least = np.minimum(weight, 1 - weight)
    logs = np.log(np.maximum(least, np.finfo(np.float64).tiny))
    entropy = -(least * logs + (1 - least) * np.log1p(-least))
    return float(pasted), float(least.mean()), float(entropy.mean()), float(nothing)


def _coverage(mask: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Mean of a batch of masks that broadcast to [B, 1, H, W]: float [H, W]."""
    if mask.dtype == np.bool_:  # fewer than 256 ones a pixel: summed as they lie, eight times as fast as widened
        mean = mask[:, 0].view(np.uint8).sum(axis=0, dtype=np.uint8) / len(mask)
    else:
        mean = mask[:, 0].mean(axis=0)
    covered: np.ndarray = np.broadcast_to(mean, (height_px, width_px))
    return covered


def _boundary_px(mask: np.ndarray, height_px: int, width_px: int) -> float:
    """Mean total variation of a batch of masks that broadcast to [B, 1, H, W]; borders of the image do not count."""
    rows, columns = mask.shape[2:]
    down: float = _variation(mask[:, :, 1:], mask[:, :, :-1]) * (width_px / columns)
    across: float = _variation(mask[..., 1:], mask[..., :-1]) * (height_px / rows)
    return (down + across) / len(mask)


def _variation(mask: np.ndarray, neighbour: np.ndarray) -> float:
    if mask.dtype == np.bool_:
        return float(np.count_nonzero(mask != neighbour))
    difference = mask - neighbour
    np.abs(difference, out=difference)
    return float(difference.sum())


def _regions(covered: np.ndarray) -> tuple[float, float, float]:
    """Coverage of centre, edges and corners, each the mean of the pixels that lie alike."""
    height_px, width_px = covered.shape
    y, x = [(height_px - 1) // 2, height_px // 2], [(width_px - 1) // 2, width_px // 2]
    ends = [0, -1]
    centre = covered[np.ix_(y, x)].mean()
    edge = (covered[np.ix_(ends, x)].mean() + covered[np.ix_(y, ends)].mean()) / 2
    return float(centre), float(edge), float(covered[np.ix_(ends, ends)].mean())


def _estimate(means: np.ndarray) -> Estimate:
    """Mean of the means of independent batches, float64 [n], with its standard error."""
    return Estimate(float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means))))


def _mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Average values and errors alike: right where all errors go the same way, else on the safe side."""
    return Estimate(*(math.fsum(part) / len(estimates) for part in zip(*estimates, strict=True)))


def _weighted(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Add independent estimates up, each times its weight."""
    value = math.fsum(weight * estimate.value for weight, estimate in parts)
    return Estimate(value, math.sqrt(math.fsum((weight * estimate.se) ** 2 for weight, estimate in parts)))


def _combined(parts: Sequence[tuple[float, _Measured]], height_px: int, width_px: int) -> Dose:
    """Put together the policies of a run, each with the share of samples that it mixes."""
    mean_prob = math.fsum(share for share, _ in parts)
    if not parts:
        never = dict.fromkeys((*_OF_RUN, *_OF_MIXED), Estimate(0.0, 0.0)) | {"nothing_pasted": Estimate(1.0, 0.0)}
        return Dose(mean_prob=0.0, coverage=np.zeros((height_px, width_px), dtype=np.float32), n_samples=0, **never)
    of_run = {name: _weighted([(share, part.figures[name]) for share, part in parts]) for name in _OF_RUN}
    of_mixed = {
        name: _weighted([(share / mean_prob, part.figures[name]) for share, part in parts]) for name in _OF_MIXED
    }
    coverage = np.zeros((height_px, width_px), dtype=np.float32)
    for share, part in parts:
        coverage += share / mean_prob * part.coverage
    return Dose(
        mean_prob=mean_prob,
        coverage=coverage,
        n_samples=sum(part.n_samples for _, part in parts),
        **of_run,
        **of_mixed,
    )
