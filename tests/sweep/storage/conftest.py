"""Stores in memory, which have the conditional writes of S3, and small sweeps in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.storage import mirror
from trainables import storage_url, store_clients
from trainables.object_store import ObjectStore

pytest.importorskip("obstore")


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the product catches it."""


class Requests:
    """Hook before each request: counts those that change the store, and ends the process at one of them.

    Attributes:
        n_changes: requests so far that change the store.
        kill_at: number of the request that is not sent any more; None: all are sent.
    """

    def __init__(self) -> None:
        self.n_changes = 0
        self.kill_at: int | None = None
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.n_changes += 1
        self.names.append(name)
        if self.kill_at is not None and self.n_changes >= self.kill_at:
            raise Killed


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The requests that change a store; they are sent one after another, in an order that does not vary."""
    hook, request = Requests(), ObjectStore._request

    def hooked(self: ObjectStore, name: str, send: Callable[[], Any], *, is_write: bool = False) -> Any:
        if is_write:
            hook(name)
        return request(self, name, send, is_write=is_write)

    monkeypatch.setattr(ObjectStore, "_request", hooked)
    monkeypatch.setattr(mirror, "THREADS", 1)
    return hook


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Address of an empty folder in a store in memory; this machine's cache folder is empty too."""
    from obstore.store import MemoryStore

    store = MemoryStore()
    monkeypatch.setattr(storage_url, "SCHEMES", (*storage_url.SCHEMES, "memory"))
    monkeypatch.setitem(store_clients.OPENERS, "memory", lambda url: store)
    use_machine(monkeypatch, tmp_path / "node-a")
    return "memory://bucket/sweeps/box"


def use_machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """From now on this process has the cache folder of another machine."""
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(cache))
