"""Numbers of requests to an object store, and of bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RequestCounts:
    """Requests to a store, and bytes, without the retries of the client.

    Examples:
        >>> counts = RequestCounts(n_read=2, n_written=1, bytes_written=10)
        >>> counts += RequestCounts(n_read=1)
        >>> counts.as_record()
        {'n_read': 3, 'n_written': 1, 'n_listed': 0, 'n_deleted': 0, 'bytes_read': 0, 'bytes_written': 10}
    """

    n_read: int = 0
    n_written: int = 0
    n_listed: int = 0
    n_deleted: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __iadd__(self, other: RequestCounts) -> RequestCounts:
        """Add other requests."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    @property
    def n_requests(self) -> int:
        """Number of all requests."""
        return self.n_read + self.n_written + self.n_listed + self.n_deleted

    def as_record(self) -> dict[str, int]:
        """Return the counts by name."""
        return dict(vars(self))
