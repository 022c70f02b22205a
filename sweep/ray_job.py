"""What the Ray dashboard says about the job of this process, and the board that it shows."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

BOARD_UID = "cutmix-sweep"
"""Name of the Grafana board of sweeps, in its address."""

DASHBOARD_VARIABLES = {"RAY_GRAFANA_DATA_DASHBOARD_UID": BOARD_UID}
"""Variables with which the Ray dashboard shows the board in the tab Ray Data: a sweep has no metrics of Ray Data."""

_FACTS: ContextVar[Mapping[str, str]] = ContextVar("facts about the job", default=MappingProxyType({}))


def sweep_id(storage: str) -> str:
    """Return six digits that tell sweeps of one name apart: a checksum of where a sweep is.

    Args:
        storage: folder or address of the sweep, as the metadata of its job have it.

    Examples:
        >>> sweep_id("/shared/box"), sweep_id("/scratch/box")
        ('0d464f', 'af67e0')
    """
    return hashlib.sha256(storage.encode("utf-8", "surrogateescape")).hexdigest()[:6]


@contextlib.contextmanager
def described_job(facts: Mapping[str, str]) -> Iterator[None]:
    """Return a context in which this process joins a Ray as a job with these facts as its metadata.

    Examples:
        >>> with described_job({"study": "box"}):
        ...     job_facts()
        {'study': 'box'}
    """
    before = _FACTS.set(facts)
    try:
        yield
    finally:
        _FACTS.reset(before)


def job_facts() -> dict[str, str]:
    """Return the facts about the job of this process."""
    return dict(_FACTS.get())
