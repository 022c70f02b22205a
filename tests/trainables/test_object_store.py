"""The client of object stores: addresses, conditions, repeated requests, and messages without secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import AWS, environment_of, s3_server
from trainables import object_store, storage_url, store_clients
from trainables.errors import UserError
from trainables.object_store import Conflict, ObjectStore, StorageError
from trainables.storage_url import StorageUrl, is_url, parse_url

pytest.importorskip("obstore")


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("s3://photos/sweeps/box/", "s3://photos/sweeps/box"),
            (Path("s3://photos/sweeps/box"), "s3://photos/sweeps/box"),
            ("gcs://photos/box", "gs://photos/box"),
            ("abfss://runs@lab.dfs.core.windows.net/box", "abfs://runs@lab/box"),
            ("file:///data/box", "/data/box"),
            (Path("file:///data/my%20box"), "/data/my box"),
        ],
    )
    def test_have_one_spelling(self, text: object, expected: str) -> None:
        assert is_url(text)
        assert str(parse_url(text)) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("s3://photos", "names no folder below the bucket"),
            ("s3://photos/../box", r"'\.\.' must consist of letters"),
            ("s3://photos/a b", "'a b' must consist of letters"),
            ("s3x://photos/box", "storage of the kind 's3x' is unknown; did you mean 's3'"),
            ("s3://-/box", "'-' is no name of a bucket"),
            ("file://server/box", "an absolute path"),
        ],
    )
    def test_that_are_wrong_are_refused(self, text: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            parse_url(text)

    def test_have_no_keys(self) -> None:
        with pytest.raises(UserError) as refused:
            parse_url("s3://AKIA123:secret@photos/box")
        assert "secret" not in str(refused.value)
        assert "AKIA123" not in str(refused.value)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    from obstore.store import MemoryStore

    monkeypatch.setattr(storage_url, "SCHEMES", (*storage_url.SCHEMES, "memory"))
    client = MemoryStore()
    monkeypatch.setitem(store_clients.OPENERS, "memory", lambda url: client)
    monkeypatch.setattr(object_store, "PAUSE_S", 0.0)
    return ObjectStore(StorageUrl("memory", "bucket", "box"), patience_s=0.05)


class TestRequests:
    def test_are_repeated_for_a_bounded_time(self, memory: ObjectStore) -> None:
        from obstore.exceptions import GenericError

        answers: list[Exception | str] = [GenericError("busy"), GenericError("busy"), "done"]

        def request() -> str:
            answer = answers.pop(0) if answers else GenericError("Generic S3 error: 503 slow down\nDebug source: x")
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert memory._request("lock", request) == "done"
        began_s = time.monotonic()
        with pytest.raises(StorageError) as failed:
            memory._request("lock", request, is_write=True)
        assert failed.value.describe() == "cannot write to 'memory://bucket/box/lock': 503 slow down"
        assert time.monotonic() - began_s >= 0.05

    def test_that_are_refused_are_not_repeated(self, memory: ObjectStore) -> None:
        from obstore.exceptions import PermissionDeniedError

        n_requests = 0

        def refuse() -> None:
            nonlocal n_requests
            n_requests += 1
            raise PermissionDeniedError("denied https://host/b?sig=SECRET&x=1")

        with pytest.raises(StorageError) as failed:
            memory._request("lock", refuse)
        assert (n_requests, failed.value.describe()) == (
            1,
            "cannot read 'memory://bucket/box/lock': denied https://host/b",
        )

    def test_are_counted(self, memory: ObjectStore, tmp_path: Path) -> None:
        memory.write("a", b"12345")
        memory.fetch("a", tmp_path / "a")
        memory.list()
        memory.describe("b")
        with pytest.raises(FileNotFoundError):
            memory.read("b")
        memory.delete(["a"])
        assert memory.counts.as_record() == {
            **{"n_read": 3, "n_written": 1, "n_listed": 1, "n_deleted": 1, "bytes_read": 5, "bytes_written": 5}
        }
        assert memory.counts.n_requests == 6


def test_keys_of_aws_configure_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    credentials, config = tmp_path / "credentials", tmp_path / "config"
    credentials.write_text("[lab]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n")
    config.write_text("[profile lab]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    expected = {"access_key_id": "KEY", "secret_access_key": "SECRET", "region": "eu-west-1"}
    assert store_clients._aws_profile() == expected
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OTHER")
    assert store_clients._aws_profile() == {}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 server on this machine, with the bucket ``photos``."""
    pytest.importorskip("moto.server")
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


class TestS3:
    @pytest.fixture
    def store(self, server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectStore:
        for name, value in environment_of(server).items():
            monkeypatch.setenv(name, value)
        url = parse_url(f"s3://photos/sweeps/{request.node.name}")
        assert isinstance(url, StorageUrl)
        return ObjectStore(url, patience_s=0.0)

    def test_conditional_writes(self, store: ObjectStore) -> None:
        first = store.write("lock", b"1", if_absent=True)
        with pytest.raises(Conflict):
            store.write("lock", b"2", if_absent=True)
        second = store.write("lock", b"2", if_same=first)
        with pytest.raises(Conflict):
            store.write("lock", b"3", if_same=first)
        assert store.read("lock") == (b"2", second)
        store.delete(["lock"])
        with pytest.raises(Conflict):
            store.write("lock", b"3", if_same=second)

    def test_objects(self, store: ObjectStore, tmp_path: Path) -> None:
        large = tmp_path / "model.pt"
        large.write_bytes(os.urandom(2**20) * 17)
        stored = store.write("models/off-0000.pt", large)
        store.write("records/counts.json", b"{}")
        store.write("sweep.json", b"{}")
        assert store.list() == {
            "models/off-0000.pt": stored,
            "records/counts.json": store.describe("records/counts.json"),
            "sweep.json": store.describe("sweep.json"),
        }
        assert list(store.list("records")) == ["records/counts.json"]
        assert list(store.list_top()) == ["sweep.json"]
        assert store.fetch("models/off-0000.pt", tmp_path / "copy.pt") == stored
        assert (tmp_path / "copy.pt").read_bytes() == large.read_bytes()
        store.rename("sweep.json", "sweep.json.damaged-1")
        store.delete(["records/counts.json", "records/missing"])
        assert set(store.list()) == {"models/off-0000.pt", "sweep.json.damaged-1"}
        with pytest.raises(FileNotFoundError):
            store.read("sweep.json")

    def test_a_missing_bucket_is_said_at_once(self, store: ObjectStore) -> None:
        url = parse_url("s3://no-such-bucket/box")
        assert isinstance(url, StorageUrl)
        with pytest.raises(StorageError) as failed:
            ObjectStore(url, patience_s=600.0).write("sweep.json", b"{}")
        assert failed.value.describe() == "cannot write to 's3://no-such-bucket/box': there is no such bucket"
