"""Draw everything that is random about mixing a batch; no pixel is touched here."""

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
    """What is pasted into some samples of a batch, and where.

    Attributes:
        rows: the samples, int64 [n], on the host; None: all of them, n = B.
        partner: index of each sample's partner in the batch, int64 [n].
        mask: where pixels are pasted, broadcasting to [n, 1, H, W]: bool (hard) or float32 (soft); zero for samples
            that are not mixed.
        content: pixels to paste instead of the partner's, broadcasting to [n, C, H, W]; None: the partner's.
        source: which patch of the partner is pasted; None: the one at the same place.
    """

    rows: np.ndarray | None
    partner: Tensor
    mask: Tensor
    content: Tensor | None = None
    source: Displaced | Resized | None = None


@dataclass(frozen=True, eq=False)
class MixDraw:
    """The draw for one batch.

    Attributes:
        applied: which samples are mixed, bool [B], on the host.
        partner: index of each sample's partner, int64 [B].
        lam: realised fraction of the original image, float32 [B]: 1 minus the mean of the mask.
        lam_nominal: fraction of the original image before clipping, float64 [B], on the host; 1 for samples that are
            not mixed.
        weight: fraction of the original's class in the label, float32 [B].
        pastes: what is pasted where; each sample is in at most one of them.
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
    """Draw the layer at which a batch is mixed; if there is only one layer, nothing is drawn from ``rng``.

    Examples:
        >>> draw_layer(Mix.model_validate({"preset": "mixup", "layer": 2}), np.random.default_rng(0))
        2
    """
    layers = mix.layers
    return layers[0] if len(layers) == 1 else layers[int(rng.integers(len(layers)))]


def draw_mix(mix: Mix, batch: BatchView, *, rng: np.random.Generator, device: torch.device, t: float = 0.0) -> MixDraw:
    """Draw for a single batch; see :class:`MixDrawer`.

    Examples:
        >>> from trainables.mixing.apply import mix_images, mix_targets
        >>> images, labels = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
        >>> mix = Mix.model_validate({"preset": "cutmix_torus", "apply": {"prob": 1.0}, "size": {"kind": "fixed"}})
        >>> batch = BatchView((4, 3, 8, 8), labels.numpy())
        >>> draw = draw_mix(mix, batch, rng=np.random.default_rng(0), device=torch.device("cpu"))
        >>> draw.lam.tolist()
        [0.75, 0.75, 0.75, 0.75]
        >>> mix_images(images, draw).shape, mix_targets(labels, draw, n_classes=3).sum(dim=1).tolist()
        (torch.Size([4, 3, 8, 8]), [1.0, 1.0, 1.0, 1.0])
    """
    return MixDrawer(mix, rng=rng, device=device, n_samples=batch.shape[0]).draw(batch, t)


class MixDrawer:
    """Draw everything that is random about mixing, batch by batch.

    Attributes:
        mix: the policy.

    Examples:
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> drawer = MixDrawer(Mix.model_validate("mixup"), rng=rng, device=cpu, n_samples=8)
        >>> draws = [drawer.draw(BatchView((4, 3, 8, 8), np.arange(4)), t=0.0) for _ in range(2)]  # two batches of 4
        >>> [draw.lam.shape for draw in draws]
        [torch.Size([4]), torch.Size([4])]
    """

    def __init__(self, mix: Mix, *, rng: np.random.Generator, device: torch.device, n_samples: int) -> None:
        """Prepare to draw for ``n_samples`` samples in total, for example for one epoch.

        Args:
            mix: the policy.
            rng: the only source of randomness. After the last sample nothing that was drawn from it is left over, so
                that its state is all that a saved trial needs of the mixing.
            device: where masks are made and images are mixed.
            n_samples: total number of samples in all batches to come.
        """
        self.mix = mix
        self._rng = rng
        self._device = device
        self._pools = [MaskPool(policy, n_samples) for policy in mix.policies]

    def draw(self, batch: BatchView, t: float) -> MixDraw:
        """Draw for the next batch.

        The same numbers are drawn for every decision of the gate, so that ``prob`` does not shift later draws. Only
        for a probability of 0 nothing is drawn.

        Args:
            batch: the batch that is about to be mixed.
            t: fraction of the planned steps that is done, for the schedule.
        """
        policies = zip(self.mix.policies, self._pools, strict=True)
        if self.mix.alternate is None:
            ((mix, pool),) = policies
            return self._draw_one(mix, pool, batch, t)
        # both policies are drawn for the whole batch: the number of draws must not depend on which one is used
        second_mixes = _second_mixes(self.mix, self.mix.alternate, batch.shape[0], self._rng)
        first, second = (self._draw_one(mix, pool, batch, t) for mix, pool in policies)
        return _either(first, second, second_mixes, self._device)

    def _draw_one(self, mix: Mix, pool: MaskPool, batch: BatchView, t: float) -> MixDraw:
        count, _, height_px, width_px = batch.shape
        prob = mix.apply.prob_at(t)
        if prob == 0:
            return _no_mixing(count, self._device)
        # gate, partners and masks are drawn for every sample, mixed or not: two trials with the same seed that differ
        # only in prob then get the same partners and masks
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
        masks = pool.take(n_owners, canvas)
        mask, lam, lam_nominal = masks.mask, masks.lam, 1 - masks.pasted_frac
        # drawn per mask, not per sample: samples that share a mask also show the same patch
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
            # an empty mask instead of a selection of rows, which would copy the images (see mix_images)
            unmixed = canvas.on_device(~applied)
            mask = mask.masked_fill(unmixed[:, None, None, None], 0)
            lam = lam.masked_fill(unmixed, 1.0)
            lam_nominal = np.where(applied, lam_nominal, 1.0)
        partner = canvas.on_device(partner_host)
        # noise is drawn even if no sample is mixed, for the same reason as the masks
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
    """Return the original's fraction of the label, float32 [B]; 1 if the pasted content has no class."""
    if mix.content != "partner":
        return torch.ones_like(lam)
    return mix.label.weight(lam if mix.label.lam == "realised" else canvas.on_device(lam_nominal.astype(np.float32)))


def _owners(mix: Mix, count: int) -> tuple[np.ndarray | None, int]:
    """Return the index of each sample's size and mask, int64 [B] (None: its own), and the number of masks."""
    if mix.granularity == "batch":
        return np.zeros(count, dtype=np.int64), 1
    if mix.granularity == "pair":
        return _first_of_pair(count), (count + 1) // 2
    return None, count


def _first_of_pair(count: int) -> np.ndarray:
    """Return the first one of each pair (first with last, second with last but one, ...) per sample: int64 [B]."""
    index = np.arange(count)
    return np.minimum(index, index[::-1])


def _second_mixes(mix: Mix, alternate: Alternate, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return which samples the second policy mixes, bool [B].

    Partners that share a mask in one of the policies switch policy together.
    """
    if alternate.gate == "batch":
        return np.broadcast_to(rng.random(1) < alternate.prob, (count,))
    replaced: np.ndarray = rng.random(count) < alternate.prob
    if all(policy.granularity != "pair" for policy in mix.policies):
        return replaced
    together: np.ndarray = replaced[_first_of_pair(count)]
    return together


def _gate(
    mix: Mix, prob: float, owner: np.ndarray | None, n_owners: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return which samples are mixed, bool [B]."""
    if mix.apply.gate == "batch":
        return np.broadcast_to(rng.random(1) < prob, (count,))
    if mix.granularity == "pair" and owner is not None:
        uniform: np.ndarray = rng.random(n_owners)[owner]
        return uniform < prob
    return rng.random(count) < prob


def _content(mix: Mix, shape: tuple[int, int, int, int], canvas: Canvas) -> Tensor | None:
    """Return the pixels that are pasted instead of the partner's; None: the partner's."""
    if mix.content == "zero":
        return torch.zeros((), device=canvas.device)
    return noise_images(shape, canvas) if mix.content == "noise" else None


def _no_mixing(count: int, device: torch.device) -> MixDraw:
    """Return the draw in which no sample is mixed and every sample is its own partner."""
    ones = torch.ones(count, device=device)
    partner = torch.arange(count, device=device)
    return MixDraw(np.zeros(count, dtype=bool), partner, ones, np.ones(count), ones, ())


def _either(first: MixDraw, second: MixDraw, second_mixes: np.ndarray, device: torch.device) -> MixDraw:
    """Return the second draw for the samples in ``second_mixes``, bool [B], and the first one for the others."""
    if not second_mixes.any():
        return first
    if second_mixes.all():
        return second
    chosen = torch.from_numpy(second_mixes.copy()).to(device, non_blocking=True)
    return MixDraw(
        applied=np.where(second_mixes, second.applied, first.applied),
        partner=torch.where(chosen, second.partner, first.partner),
        lam=torch.where(chosen, second.lam, first.lam),
        lam_nominal=np.where(second_mixes, second.lam_nominal, first.lam_nominal),
        weight=torch.where(chosen, second.weight, first.weight),
        pastes=(*_restricted(first, ~second_mixes, device), *_restricted(second, second_mixes, device)),
    )


def _restricted(draw: MixDraw, chosen: np.ndarray, device: torch.device) -> tuple[Paste, ...]:
    """Return the pastes of one policy's draw for the chosen samples, bool [B], that the policy mixes."""
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
