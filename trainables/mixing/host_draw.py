"""The part of a draw that is on the host: which samples are mixed, with which partner, and all random numbers."""

from __future__ import annotations

import functools
from typing import Generic, NamedTuple

import numpy as np
import torch

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Alternate, Mix
from trainables.mixing.mask_pool import MaskPool, Masks
from trainables.mixing.masks.box import Box
from trainables.mixing.noise import draw_starts
from trainables.mixing.pairing import draw_partners

Arrays = dict[str, np.ndarray]
"""Random numbers of a batch by name."""


class HostDraw(NamedTuple, Generic[Masks]):
    """The draw of one policy as it is on the host.

    Attributes:
        applied: which samples are mixed, bool [B].
        n_applied: number of samples that are mixed.
        lam_nominal: fraction of the original image before clipping, float64 [B]; 1 for samples that are not mixed.
        arrays: what rendering needs besides the masks; names, types and shapes do not depend on the draw.
        masks: one mask per sample, pair or batch; see ``granularity`` of the policy.
    """

    applied: np.ndarray
    n_applied: int
    lam_nominal: np.ndarray
    arrays: Arrays
    masks: Masks


def draw_on_host(
    mix: Mix, prob: float, batch: BatchView, rng: np.random.Generator, device: torch.device, pool: MaskPool[Masks]
) -> HostDraw[Masks]:
    """Draw gate, partners, masks, shifts and noise, each for every sample, mixed or not.

    Two trials with the same seed that differ only in the probability then get the same partners and masks.
    """
    count, _, height_px, width_px = batch.shape
    owner, n_owners = owners_of(mix, count)
    applied = _gate(mix, prob, owner, n_owners, count, rng)
    partners = draw_partners(mix.pairing, mix.partners.count, batch.labels, rng)

    def canvas() -> Canvas:
        return Canvas(
            height_px=height_px,
            width_px=width_px,
            position=mix.position,
            rng=rng,
            device=device,
            batch=batch,
            partner=partners.T.reshape(-1),
        )

    masks = pool.take(n_owners, canvas)
    arrays: Arrays = {"partners": partners}
    if mix.source == "displaced":  # per mask, not per sample: samples that share a mask also show the same patch
        arrays["shift"] = rng.random((2, n_owners * mix.n_pastes)).T
    if mix.source == "region":  # of its own size and place, by the same rules
        boxes = Box().parameters(mix.size.draw(n_owners, rng), canvas())["edges"]
        arrays["region"] = boxes.reshape(-1, 4)
    if mix.content == "noise":
        arrays["noise"] = draw_starts(count, rng)
    fracs = masks.fracs if owner is None else masks.fracs[owner]
    lam_nominal = 1 - (fracs[:, 0] if len(partners) == 1 else np.minimum(fracs.sum(axis=1), 1))
    n_applied = int(np.count_nonzero(applied))
    if n_applied < count:
        lam_nominal = np.where(applied, lam_nominal, 1.0)
    if mix.content == "partner" and mix.label.lam == "nominal":
        arrays["lam_nominal"] = lam_nominal.astype(np.float32)
        # one partner gets the rest, to the last digit
        nominal = (fracs * applied[:, None]).T.astype(np.float32) if len(partners) > 1 else 1 - arrays["lam_nominal"]
        arrays["partner_fracs_nominal"] = nominal.reshape(len(partners), count)
    return HostDraw(applied, n_applied, lam_nominal, arrays, masks)


def owners_of(mix: Mix, count: int) -> tuple[np.ndarray | None, int]:
    """Return the index of each sample's size and mask, int64 [B] (None: its own), and the number of masks."""
    if mix.granularity == "batch":
        return np.zeros(count, dtype=np.int64), 1
    if mix.granularity == "pair":
        return _first_of_pair(count), (count + 1) // 2
    return None, count


@functools.lru_cache(maxsize=8)
def _first_of_pair(count: int) -> np.ndarray:
    """Return the first one of each pair (first with last, second with last but one, ...) per sample: int64 [B]."""
    index = np.arange(count)
    return np.minimum(index, index[::-1])


def draw_second_mixes(mix: Mix, alternate: Alternate, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return which samples the second policy mixes, bool [B].

    Partners that share a mask in one of the policies switch policy together.
    """
    if alternate.gate == "batch":
        return np.repeat(rng.random(1) < alternate.prob, count)
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
        return np.repeat(rng.random(1) < prob, count)
    if mix.granularity == "pair" and owner is not None:
        uniform: np.ndarray = rng.random(n_owners)[owner]
        return uniform < prob
    return rng.random(count) < prob
