"""Drawing: everything that is random about mixing a batch, before any pixel moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Alternate, Mix
from trainables.mixing.mask_pool import MaskPool
from trainables.mixing.noise import noise_images
from trainables.mixing.source import Displaced, Resized, displaced, resized


@dataclass(frozen=True, eq=False)
class Paste:
    """Foreign pixels for some samples of a batch.

    Attributes:
        rows: which samples, int64 [n], on the host; None: all of them, n = B.
        partner: index of each one's partner in the batch, int64 [n].
        mask: where foreign pixels go, broadcasting to [n, 1, H, W]: bool (hard) or float32 (soft); zero for samples
            that are not mixed.
        content: pixels to paste instead of a partner's, broadcasting to [n, C, H, W]; None: the partner's.
        source: which part of the partner is pasted; None: the same place.
    """

    rows: np.ndarray | None
    partner: Tensor
    mask: Tensor
    content: Tensor | None = None
    source: Displaced | Resized | None = None


@dataclass(frozen=True, eq=False)
class MixDraw:
    """What was drawn for one batch.

    Attributes:
        applied: which samples are mixed, bool [B], on the host.
        partner: index of each sample's partner, int64 [B].
        lam: realised share of the original, float32 [B]: 1 minus the mean of the mask.
        lam_nominal: share of the original before clipping, float64 [B], on the host; 1 for samples that are not mixed.
        weight: share of the original's class in the label, float32 [B].
        pastes: what goes where; no sample is in two of them.
    """

    applied: np.ndarray
    partner: Tensor
    lam: Tensor
    lam_nominal: np.ndarray
    weight: Tensor
    pastes: tuple[Paste, ...]

    @property
    def idle(self) -> bool:
        """Whether no sample of the batch is mixed."""
        return not self.pastes


def draw_layer(mix: Mix, rng: np.random.Generator) -> int:
    """Draw the layer that a batch is mixed at; of a single one nothing is drawn."""
    layers = mix.layers
    return layers[0] if len(layers) == 1 else layers[int(rng.integers(len(layers)))]


def draw_mix(mix: Mix, batch: BatchView, *, rng: np.random.Generator, device: torch.device, t: float = 0.0) -> MixDraw:
    """Draw everything that is random about mixing one batch; see :class:`MixDrawer`."""
    return MixDrawer(mix, rng=rng, device=device, n_samples=batch.shape[0]).draw(batch, t)


class MixDrawer:
    """Draws everything that is random about mixing, batch by batch.

    Attributes:
        mix: the policy.
    """

    def __init__(self, mix: Mix, *, rng: np.random.Generator, device: torch.device, n_samples: int) -> None:
        """Begin with batches that hold ``n_samples`` in all, as those of an epoch.

        Args:
            mix: the policy.
            rng: the only source of randomness. After the last sample nothing drawn from it waits to be used.
            device: where masks are made and mixing takes place.
            n_samples: samples that will be asked for.
        """
        self.mix = mix
        self._rng = rng
        self._device = device
        self._pools = [MaskPool(policy, n_samples) for policy in mix.policies]

    def draw(self, batch: BatchView, t: float) -> MixDraw:
        """Draw for the next batch.

        The same numbers are drawn whatever the gate decides, so that ``prob`` does not shift later draws; only a
        probability of 0 draws nothing.

        Args:
            batch: what may be looked at.
            t: share of the planned steps that are done, for the schedule.
        """
        policies = zip(self.mix.policies, self._pools, strict=True)
        if self.mix.alternate is None:
            ((mix, pool),) = policies
            return self._draw_one(mix, pool, batch, t)
        takes_over = _takes_over(self.mix, self.mix.alternate, batch.shape[0], self._rng)
        first, second = (self._draw_one(mix, pool, batch, t) for mix, pool in policies)
        return _either(first, second, takes_over, self._device)

    def _draw_one(self, mix: Mix, pool: MaskPool, batch: BatchView, t: float) -> MixDraw:
        count, _, height_px, width_px = batch.shape
        prob = mix.apply.prob_at(t)
        if prob == 0:
            return _no_mixing(count, self._device)
        owner, n_owners = _owners(mix, count)
        applied = _gate(mix, prob, owner, n_owners, count, self._rng)
        partner_host = mix.pairing.draw(batch.labels, self._rng)
        canvas = Canvas(
            height_px=height_px,
            width_px=width_px,
            position=mix.position,
            rng=self._rng,
            device=self._device,
            batch=batch,
            partner=partner_host,
        )
        shapes = pool.take(n_owners, canvas)
        mask, lam, lam_nominal = shapes.mask, shapes.lam, 1 - shapes.pasted_frac
        source: Displaced | Resized | None = None
        if mix.source == "displaced":
            source = displaced(mask, canvas)
        elif mix.source == "resized":
            source = resized(mask, canvas)
        if owner is not None:
            index = canvas.on_device(owner)
            mask, lam, lam_nominal = mask[index], lam[index], lam_nominal[owner]
            source = None if source is None else source[index]
        n_applied = np.count_nonzero(applied)
        if n_applied < count:
            left = canvas.on_device(~applied)
            mask = mask.masked_fill(left[:, None, None, None], 0)
            lam = lam.masked_fill(left, 1.0)
            lam_nominal = np.where(applied, lam_nominal, 1.0)
        partner = canvas.on_device(partner_host)
        paste = Paste(None, partner, mask, _content(mix, batch.shape, canvas), source)
        return MixDraw(
            applied=applied,
            partner=partner,
            lam=lam,
            lam_nominal=lam_nominal,
            weight=_weight(mix, lam, lam_nominal, canvas),
            pastes=(paste,) if n_applied else (),
        )


def _weight(mix: Mix, lam: Tensor, lam_nominal: np.ndarray, canvas: Canvas) -> Tensor:
    """Return the original's share of the label, float32 [B]; content without a class has none."""
    if mix.content != "partner":
        return torch.ones_like(lam)
    return mix.label.weight(lam if mix.label.lam == "realised" else canvas.on_device(lam_nominal.astype(np.float32)))


def _owners(mix: Mix, count: int) -> tuple[np.ndarray | None, int]:
    """Return whose size and mask each sample has, int64 [B] (None: its own), and how many there are."""
    if mix.granularity == "batch":
        return np.zeros(count, dtype=np.int64), 1
    if mix.granularity == "pair":
        return _first_of_pair(count), (count + 1) // 2
    return None, count


def _first_of_pair(count: int) -> np.ndarray:
    """Return which one of each sample and its partner, first with last and so on, comes first: int64 [B]."""
    index = np.arange(count)
    return np.minimum(index, index[::-1])


def _takes_over(mix: Mix, alternate: Alternate, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return which samples the second policy mixes, bool [B]: partners that share a mask change over together."""
    if alternate.gate == "batch":
        return np.broadcast_to(rng.random(1) < alternate.prob, (count,))
    coins: np.ndarray = rng.random(count) < alternate.prob
    if all(policy.granularity != "pair" for policy in mix.policies):
        return coins
    together: np.ndarray = coins[_first_of_pair(count)]
    return together


def _gate(
    mix: Mix, prob: float, owner: np.ndarray | None, n_owners: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    if mix.apply.gate == "batch":
        return np.broadcast_to(rng.random(1) < prob, (count,))
    if mix.granularity == "pair" and owner is not None:
        coins: np.ndarray = rng.random(n_owners)[owner]
        return coins < prob
    return rng.random(count) < prob


def _content(mix: Mix, shape: tuple[int, int, int, int], canvas: Canvas) -> Tensor | None:
    if mix.content == "zero":
        return torch.zeros((), device=canvas.device)
    return noise_images(shape, canvas) if mix.content == "noise" else None


def _no_mixing(count: int, device: torch.device) -> MixDraw:
    ones = torch.ones(count, device=device)
    partner = torch.arange(count, device=device)
    return MixDraw(np.zeros(count, dtype=bool), partner, ones, np.ones(count), ones, ())


def _either(first: MixDraw, second: MixDraw, takes_over: np.ndarray, device: torch.device) -> MixDraw:
    """Take the second draw where ``takes_over``, bool [B], says so, and the first one elsewhere."""
    if not takes_over.any():
        return first
    if takes_over.all():
        return second
    chosen = torch.from_numpy(takes_over.copy()).to(device, non_blocking=True)
    return MixDraw(
        applied=np.where(takes_over, second.applied, first.applied),
        partner=torch.where(chosen, second.partner, first.partner),
        lam=torch.where(chosen, second.lam, first.lam),
        lam_nominal=np.where(takes_over, second.lam_nominal, first.lam_nominal),
        weight=torch.where(chosen, second.weight, first.weight),
        pastes=(*_restricted(first, ~takes_over, device), *_restricted(second, takes_over, device)),
    )


def _restricted(draw: MixDraw, chosen: np.ndarray, device: torch.device) -> tuple[Paste, ...]:
    """Return the pastes of one policy's draw for the chosen samples that it mixes."""
    rows = np.flatnonzero(chosen & draw.applied)
    if not len(rows):
        return ()
    index = torch.from_numpy(rows).to(device, non_blocking=True)
    (paste,) = draw.pastes
    content = paste.content
    return (
        Paste(
            rows=rows,
            partner=paste.partner[index],
            mask=paste.mask[index],
            content=content[index] if content is not None and content.ndim else content,
            source=None if paste.source is None else paste.source[index],
        ),
    )
