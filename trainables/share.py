"""The share of a batch that one worker of several computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Rows of a batch that one worker computes; all random draws are made for the whole batch.

    Attributes:
        n_batch: images of the whole batch.
        rows: consecutive rows of this worker; no row if the batch has fewer images than there are workers.

    Examples:
        >>> [Share.of(5, rank=rank, n_workers=2).rows for rank in (0, 1)]
        [slice(0, 2, None), slice(2, 5, None)]
    """

    n_batch: int
    rows: slice

    @classmethod
    def of(cls, n_batch: int, *, rank: int, n_workers: int) -> Share:
        """Return the share of worker ``rank``, from 0; the shares differ by at most one row."""
        start, stop = (n_batch * number // n_workers for number in (rank, rank + 1))
        return cls(n_batch, slice(start, stop))
