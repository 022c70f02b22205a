"""The embedded digits for tests that read them often: each canvas is drawn once per process."""

from __future__ import annotations

from functools import cache

from trainables.data.sources.base import Allocate, Decoded, Split, in_memory
from trainables.data.sources.digits import Digits


class DrawnOnce(Digits):
    """Digits that keep what was read, by split and size: to draw the canvases of a split takes a second."""

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        return _read(split, image_size_px)


@cache
def _read(split: Split, image_size_px: int | None) -> Decoded:
    return Digits().read(split, image_size_px)
