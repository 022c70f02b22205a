"""A pool of masks: the masks of several batches are drawn at a time, which spreads the fixed cost of drawing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.pasted_masks import PastedMasks, draw_pasted, plan_pasted

AHEAD_PX = 1 << 20
"""Pixels of the masks drawn at a time: 1 MB of hard masks, 1,024 masks of 32 px. More would not fit in the cache."""


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """Sizes and masks: the part of a draw that may be drawn before the batch is known.

    Attributes:
        fracs: requested fraction of the image for each partner, before clipping, float64 [n, K], on the host.
        masks: the masks in the order of pasting.
    """

    fracs: np.ndarray
    masks: PastedMasks

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.fracs)

    def __getitem__(self, part: slice) -> MaskBatch:
        """Return the masks of some samples."""
        return MaskBatch(self.fracs[part], self.masks[part])


@dataclass(frozen=True, eq=False)
class MaskPlan:
    """Sizes and masks that are drawn, but not rendered.

    Attributes:
        fracs: requested fraction of the image for each partner, before clipping, float64 [n, K].
        parameters: what the mask family renders, [n * K, ...] or [n, ...] each.
    """

    fracs: np.ndarray
    parameters: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.fracs)

    def __getitem__(self, part: slice) -> MaskPlan:
        """Return the masks of some samples."""
        first, last, _ = part.indices(len(self))
        rows = {name: len(values) // len(self) for name, values in self.parameters.items()}
        parameters = {name: values[first * rows[name] : last * rows[name]] for name, values in self.parameters.items()}
        return MaskPlan(self.fracs[part], parameters)


def draw_masks(mix: Mix, count: int, canvas: Canvas) -> MaskBatch:
    """Draw sizes and masks on a canvas."""
    fracs = mix.mask.draw_fracs(mix.size, mix.partners, count, canvas.rng)
    return MaskBatch(fracs, draw_pasted(mix, fracs, canvas))


def plan_masks(mix: Mix, count: int, canvas: Canvas) -> MaskPlan:
    """Draw sizes and the parameters of masks: the same random numbers as :func:`draw_masks`, and no pixel."""
    fracs = mix.mask.draw_fracs(mix.size, mix.partners, count, canvas.rng)
    return MaskPlan(fracs, plan_pasted(mix, fracs, canvas))


Masks = TypeVar("Masks", MaskBatch, MaskPlan)


class MaskPool(Generic[Masks]):
    """Masks for the samples of an epoch, drawn ahead for several batches where that cannot change the result.

    Masks are drawn batch by batch in three cases: they depend on the batch (``mix.needs``), samples share them (the
    pool counts the masks of each sample), or the layer varies (maps of different layers have different sizes).
    """

    def __init__(self, mix: Mix, n_samples: int, draw: Callable[[Mix, int, Canvas], Masks]) -> None:
        """Prepare the masks of ``n_samples`` samples in total under the policy ``mix``.

        Args:
            mix: the policy.
            n_samples: total number of samples of the batches to come.
            draw: :func:`draw_masks` or :func:`plan_masks`.
        """
        self._mix = mix
        self._left = n_samples
        self._draw: Callable[[Mix, int, Canvas], Masks] = draw
        self._ahead = not mix.needs and mix.granularity == "sample" and len(mix.layers) == 1
        self._drawn: Masks | None = None
        self._n_taken = 0
        self._ready: deque[Masks] = deque()

    def take(self, count: int, canvas_of_batch: Callable[[], Canvas]) -> Masks:
        """Return the next ``count`` masks; those drawn ahead are used if there are enough of them.

        Args:
            count: number of masks.
            canvas_of_batch: returns the canvas; called only if masks must be drawn.
        """
        if not self._ahead:
            return self._draw(self._mix, count, canvas_of_batch())
        if not self._ready or len(self._ready[0]) != count:
            drawn = self._enough(count, canvas_of_batch)
            self._drawn, self._n_taken = drawn, 0
            # divided at once: one slice after another takes half the time of a slice between batches
            self._ready = deque(drawn[first : first + count] for first in range(0, len(drawn), count))
        self._left -= count
        self._n_taken += count
        return self._ready.popleft()

    def _enough(self, count: int, canvas_of_batch: Callable[[], Canvas]) -> Masks:
        """Return at least ``count`` masks: what is left of those drawn ahead, or new ones."""
        if self._drawn is not None and len(self._drawn) - self._n_taken >= count:
            return self._drawn[self._n_taken : len(self._drawn)]
        canvas = canvas_of_batch()
        room = AHEAD_PX // (canvas.height_px * canvas.width_px * self._mix.n_pastes)
        # whole batches, so that no rest is thrown away. Never beyond the last sample of the epoch: a trial is saved
        # between epochs with the state of its generator alone, and masks in the pool would be lost
        return self._draw(self._mix, max(count, min(self._left, room // count * count)), canvas)
