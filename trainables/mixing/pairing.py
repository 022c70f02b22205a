"""Who is mixed with whom."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from trainables.strict import Frozen


class PermutePairing(Frozen):
    """Partner by a random permutation of the batch, as in the paper; a sample may meet itself."""

    kind: Literal["permute"] = "permute"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index, int64 [B], for a batch of classes, int64 [B]."""
        return rng.permutation(len(labels))


class DerangePairing(Frozen):
    """Partner by a random cycle through the whole batch: nobody meets itself (but the only one of a batch)."""

    kind: Literal["derange"] = "derange"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [B]."""
        return _next_in(rng.permutation(len(labels)))


class RollPairing(Frozen):
    """Partner is the sample before, as in torchvision: as random as the order of the batch, and nothing is drawn."""

    kind: Literal["roll"] = "roll"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each sample's partner index: int64 [B]."""
        return np.roll(np.arange(len(labels)), 1)


class FlipPairing(Frozen):
    """First with last, second with last but one, as in timm: partners of each other.

    The middle sample of an odd batch meets itself.
    """

    kind: Literal["flip"] = "flip"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each sample's partner index: int64 [B]."""
        return np.arange(len(labels))[::-1].copy()


class SameClassPairing(Frozen):
    """Partner of the same class, by a random cycle through the class; the only one of its class meets itself."""

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
    """Partner of another class, a permutation as long as no class holds more than half of the batch.

    Beyond that the surplus of the largest class draws its partners from the others with replacement; a batch of one
    class leaves everybody with itself.
    """

    kind: Literal["cross_class"] = "cross_class"

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [B]."""
        order, starts = _by_class(labels, rng)
        largest = int(np.diff(np.append(starts, len(order))).max())
        partner = np.empty_like(order)
        partner[order] = np.roll(order, -largest)
        alike = np.flatnonzero(labels[partner] == labels)
        if len(alike):
            others = np.flatnonzero(labels != labels[alike[0]])
            partner[alike] = rng.choice(others, size=len(alike)) if len(others) else alike
        return partner


Pairing = Annotated[
    PermutePairing | DerangePairing | RollPairing | FlipPairing | CrossClassPairing | SameClassPairing,
    Field(discriminator="kind"),
]


def _next_in(cycle: np.ndarray) -> np.ndarray:
    """Return who follows each sample in a cycle through all of them: int64 [B]."""
    partner = np.empty_like(cycle)
    partner[cycle] = np.roll(cycle, -1)
    return partner


def _by_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples class by class, classes and samples within each in random order, and where classes begin."""
    shuffled = rng.permutation(len(labels))
    _, ranks = np.unique(labels, return_inverse=True)
    classes = rng.permutation(ranks.max() + 1)[ranks]
    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    return order, starts
