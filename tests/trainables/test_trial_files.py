"""State and model of a trial in an object store: kept on the node first, and sent; the log with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import storage_url, store_clients
from trainables.intact import DamagedFile
from trainables.object_store import ObjectStore, StorageError
from trainables.storage_url import StorageUrl
from trainables.trial_files import StoredFiles, local_model

pytest.importorskip("obstore")

URL = StorageUrl("memory", "bucket", "box")


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectStore:
    from obstore.store import MemoryStore

    client = MemoryStore()
    monkeypatch.setattr(storage_url, "SCHEMES", (*storage_url.SCHEMES, "memory"))
    monkeypatch.setitem(store_clients.OPENERS, "memory", lambda url: client)
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "node-a"))
    return ObjectStore(URL)


def open_files(*, sweep: str = "first") -> StoredFiles:
    return StoredFiles(URL, "off-0000", sweep_key=sweep)


def save(files: StoredFiles, epoch: int, *, is_done: bool = False) -> None:
    files.write_state(memoryview(f"epoch {epoch}".encode()), is_done=is_done)


@contextlib.contextmanager
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no file be sent."""

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("memory://bucket", "no answer", is_write=True)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "write", refuse)
        yield


def state_of(files: StoredFiles) -> str | None:
    files.fetch_state()
    return files.checkpoint.read_text() if files.checkpoint.exists() else None


def stored(store: ObjectStore) -> dict[str, str]:
    return {name: store.read(name)[0].decode() for name in store.list()}


def test_another_node_continues_from_the_last_state(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_files()
    assert state_of(files) is None
    for epoch in (1, 2, 3):
        save(files, epoch)
    assert stored(store) == {"checkpoints/off-0000.pt": "epoch 3"}
    files.close(is_done=False)
    assert files.take_counts()["n_written"] == 3
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "node-b"))
    other = open_files()
    assert state_of(other) == "epoch 3"
    save(other, 4)
    other.close(is_done=False)
    assert state_of(open_files()) == "epoch 4"


def test_the_state_of_the_node_is_used_unless_another_node_was_later(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_files()
    save(files, 1)
    files.close(is_done=False)
    killed = open_files()
    assert state_of(killed) == "epoch 1"
    with unreachable(monkeypatch):
        save(killed, 2)  # and the worker is killed before the state can be sent
    assert state_of(open_files()) == "epoch 2"
    store.write("checkpoints/off-0000.pt", b"epoch 9")
    assert state_of(open_files()) == "epoch 9"


def test_a_state_of_an_older_sweep_is_not_used(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files()
    with unreachable(monkeypatch):
        save(files, 5)
    assert state_of(open_files(sweep="second")) is None
    files.hurry(None)  # and the worker is killed: its state stays on the node
    store.delete(["checkpoints/off-0000.pt"])  # the trial has ended, and is run again
    assert state_of(open_files()) is None


def test_a_state_that_could_not_be_sent_is_sent_at_the_end(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files()
    with unreachable(monkeypatch):
        save(files, 1)
    assert stored(store) == {}
    files.close(is_done=False)
    assert stored(store) == {"checkpoints/off-0000.pt": "epoch 1"}


def test_a_completed_trial_has_a_model_and_no_state(store: ObjectStore) -> None:
    """A state after the last epoch stays on the node, until the trial has been reported."""
    files = open_files()
    save(files, 1, is_done=True)
    assert state_of(files) == "epoch 1"
    files.weights.write_text("weights")
    files.send_model()
    files.close(is_done=True)
    assert stored(store) == {"models/off-0000.pt": "weights"}
    assert not files.checkpoint.exists()
    assert files.take_counts()["n_written"] == 1
    assert files.take_counts()["n_written"] == 0
    assert local_model(f"{URL}/models/off-0000.pt").read_text() == "weights"


def test_a_node_that_ends_sends_its_state(store: ObjectStore) -> None:
    files = open_files()
    save(files, 6)
    files.hurry(memoryview(b"epoch 7"))
    assert stored(store) == {"checkpoints/off-0000.pt": "epoch 7"}


def test_damaged_files_are_set_aside_in_the_store(store: ObjectStore) -> None:
    store.write("checkpoints/off-0000.pt", b"damaged")
    files = open_files()
    assert state_of(files) == "damaged"
    assert files.set_aside(DamagedFile(files.checkpoint, "cut off")) == "checkpoints/off-0000.pt.damaged-1"
    assert stored(store) == {"checkpoints/off-0000.pt.damaged-1": "damaged"}
    assert state_of(files) is None


def test_the_log_of_all_nodes_is_kept(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a worker that was killed: what it had not sent, and nothing twice."""

    def write(files: StoredFiles, text: str) -> None:
        with files.log.open("a") as file:
            file.write(text)

    files = open_files()
    write(files, "a begins\n")
    files.send_log()
    files.send_log()
    assert files.take_counts()["n_written"] == 1
    write(files, "a epoch 1\n")
    files.close(is_done=False)
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "node-b"))
    killed = open_files()
    write(killed, "b begins\n")
    killed.hurry(None)
    write(killed, "b epoch 2\n")  # not sent
    again = open_files()
    write(again, "b begins again\n")
    again.close(is_done=True)
    assert not again.log.exists()
    assert stored(store) == {
        "logs/off-0000.txt": "a begins\na epoch 1\nb begins\nb epoch 2\nb begins again\n",
    }


def test_a_log_is_sent_with_a_state_but_not_each_time(store: ObjectStore) -> None:
    files = open_files()
    files.log.write_text("begins\n")
    for epoch in range(1, 4):
        save(files, epoch)
    files.log.write_text("begins, and more\n")
    save(files, 4)
    assert stored(store)["logs/off-0000.txt"] == "begins\n"
    files.close(is_done=False)
    assert stored(store)["logs/off-0000.txt"] == "begins, and more\n"
