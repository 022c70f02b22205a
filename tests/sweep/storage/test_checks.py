"""Checks of a store before a sweep: by `doctor` on this machine, and on each node of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep.doctor import OK, WRONG, _storage
from sweep.node_check import Request, UrlStorage, judge, look_around, versions_here
from sweep.records.beginning import SIGN
from sweep.storage import opened
from tests.sweep.storage.test_mirror import stored
from trainables.object_store import ObjectStore, StorageError
from trainables.storage_url import StorageUrl, parse_url


def test_doctor_uses_the_store_as_a_sweep_does(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = _storage(Path(bucket))
    assert (check.name, check.state) == ("storage for records", OK)
    assert check.found.startswith(f"'{bucket}': objects written, read, locked and deleted in 0.")
    assert stored(bucket) == []
    write = ObjectStore.write
    monkeypatch.setattr(ObjectStore, "write", lambda self, name, content, **_: write(self, name, content))
    check = _storage(Path(bucket))
    assert (check.state, "two processes could write the same sweep" in check.found) == (WRONG, True)
    assert "conditional writes" in check.fix
    assert stored(bucket) == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://photos", "names no folder below the bucket"),
        ("memory://bucket/sweeps", "cannot write to 'memory://bucket/sweeps/doctor-"),
    ],
)
def test_doctor_says_what_is_wrong(bucket: str, monkeypatch: pytest.MonkeyPatch, place: str, message: str) -> None:
    def refuse(self: ObjectStore, name: str, *_: Any, **__: Any) -> None:
        raise StorageError(self.url.child(name), "access denied", is_write=True)

    monkeypatch.setattr(ObjectStore, "write", refuse)
    check = _storage(Path(place))
    assert (check.state, message in check.found) == (WRONG, True)
    assert check.fix


def test_a_node_is_checked_through_the_store(bucket: str) -> None:
    here, elsewhere = (parse_url(url) for url in (bucket, f"{bucket}-2"))
    assert isinstance(here, StorageUrl)
    assert isinstance(elsewhere, StorageUrl)
    request = Request("77", UrlStorage(here), versions_here())
    with opened(bucket, write=True, new=True):
        request.storage.write(f"{SIGN}77", "77")
        assert judge(request, look_around(request, "5f"), "5f") == ""
        assert (
            judge(request, look_around(request, "5f"), "6a") == f"this machine does not see what it writes to '{here}'"
        )
        request.storage.remove(f"{SIGN}77")
    assert stored(bucket) == []
    lost = Request("77", UrlStorage(elsewhere), versions_here())
    assert judge(lost, look_around(lost, "5f"), "5f").startswith(f"it does not see '{elsewhere}' (no such object)")
