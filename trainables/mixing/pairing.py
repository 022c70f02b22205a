"""Pairing: which sample of the batch is each sample's partner."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from trainables.strict import Frozen


class PermutePairing(Frozen):
    """Partners by a random permutation of the batch, as in the paper; a sample may be its own partner.

    Examples:
        >>> partner = PermutePairing().draw(np.zeros(5, dtype=np.int64), np.random.default_rng(0))
        >>> sorted(partner.tolist())
        [0, 1, 2, 3, 4]
    """

    kind: Literal["permute"] = "permute"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index, int64 [B], for a batch of classes, int64 [B]."""
        return rng.permutation(len(labels))


class DerangePairing(Frozen):
    """Partners by a random cycle through the whole batch: no sample is its own partner, except in a batch of one.

    Examples:
        >>> partner = DerangePairing().draw(np.zeros(5, dtype=np.int64), np.random.default_rng(0))
        >>> bool((partner != np.arange(5)).all())
        True
    """

    kind: Literal["derange"] = "derange"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [B]."""
        cycle = rng.permutation(len(labels))
        partner = np.empty_like(cycle)
        partner[cycle] = np.roll(cycle, -1)
        return partner


class RollPairing(Frozen):
    """The partner is the previous sample (torchvision): as random as the order of the batch; nothing is drawn.

    Examples:
        >>> RollPairing().draw(np.zeros(5, dtype=np.int64), np.random.default_rng(0)).tolist()
        [4, 0, 1, 2, 3]
    """

    kind: Literal["roll"] = "roll"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each sample's partner index: int64 [B]."""
        return np.roll(np.arange(len(labels)), 1)


class FlipPairing(Frozen):
    """First with last, second with last but one (timm): the partner of a partner is the sample itself.

    The middle sample of an odd batch is its own partner.

    Examples:
        >>> FlipPairing().draw(np.zeros(5, dtype=np.int64), np.random.default_rng(0)).tolist()
        [4, 3, 2, 1, 0]
    """

    kind: Literal["flip"] = "flip"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each sample's partner index: int64 [B]."""
        return np.arange(len(labels))[::-1].copy()


class SameClassPairing(Frozen):
    """Partner of the same class, by a random cycle through the class; a sample alone in its class is its own partner.

    Examples:
        >>> SameClassPairing().draw(np.array([0, 1, 0, 1, 2]), np.random.default_rng(0)).tolist()
        [2, 3, 0, 1, 4]
    """

    kind: Literal["same_class"] = "same_class"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [B]."""
        order, starts = _by_class(labels, rng)
        ends = np.append(starts[1:], len(order))
        following = np.arange(1, len(order) + 1)
        following[ends - 1] = starts
        partner = np.empty_like(order)
        partner[order] = order[following]
        return partner


class CrossClassPairing(Frozen):
    """Partner of another class: a permutation as long as no class has more than half of the batch.

    If one class has more, the samples of it that find no free partner draw one from the other classes with
    replacement. In a batch of a single class every sample is its own partner.

    Examples:
        >>> labels = np.array([0, 1, 0, 1, 2])
        >>> partner = CrossClassPairing().draw(labels, np.random.default_rng(0))
        >>> bool((labels[partner] != labels).all())
        True
    """

    kind: Literal["cross_class"] = "cross_class"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [B]."""
        order, starts = _by_class(labels, rng)
        largest = int(np.diff(np.append(starts, len(order))).max())
        partner = np.empty_like(order)
        # a shift by the size of the largest class leads out of every class, as long as it is at most half of the batch
        partner[order] = np.roll(order, -largest)
        same_class = np.flatnonzero(labels[partner] == labels)
        if len(same_class):
            others = np.flatnonzero(labels != labels[same_class[0]])
            partner[same_class] = rng.choice(others, size=len(same_class)) if len(others) else same_class
        return partner


Pairing = Annotated[
    PermutePairing | DerangePairing | RollPairing | FlipPairing | CrossClassPairing | SameClassPairing,
    Field(discriminator="kind"),
]


def draw_partners(pairing: Pairing, count: int, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` partners for each sample of a batch of classes, int64 [B]: indices, int64 [count, B].

    They are drawn independently of each other, so that two partners of a sample may be the same image. Partner k of
    ``roll`` is the k-th sample before.

    Examples:
        >>> draw_partners(RollPairing(), 2, np.zeros(4, dtype=np.int64), np.random.default_rng(0)).tolist()
        [[3, 0, 1, 2], [2, 3, 0, 1]]
    """
    if count == 1:
        return pairing.draw(labels, rng)[None]
    if pairing.kind == "roll":
        return np.stack([np.roll(np.arange(len(labels)), before) for before in range(1, count + 1)])
    return np.stack([pairing.draw(labels, rng) for _ in range(count)])


def _by_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples class by class, int64 [B], and the position at which each class begins.

    The order of the classes and of the samples within each class is random.
    """
    shuffled = rng.permutation(len(labels))
    _, ranks = np.unique(labels, return_inverse=True)
    classes = rng.permutation(ranks.max() + 1)[ranks]
    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    return order, starts
