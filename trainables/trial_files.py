"""Files of one trial in a worker: state, model and log, in a folder that all nodes share or in an object store."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data.cache_dir import default_cache_dir
from trainables.intact import DAMAGED, DamagedFile, set_aside
from trainables.object_store import ObjectStore, StorageError
from trainables.request_counts import RequestCounts
from trainables.storage_url import StorageUrl, parse_url
from trainables.stored_log import StoredLog
from trainables.whole_file import write_whole

HURRY_S = 10.0
"""Time for which sending the last state of a trial is repeated: it may be computed again."""


class TrialFiles(ABC):
    """Where a trial keeps its state, its model and its log.

    Attributes:
        checkpoint: local file of the state.
        weights: local file of the model.
        log: local file of the log; None: there is no log.
    """

    checkpoint: Path
    weights: Path
    log: Path | None

    @abstractmethod
    def fetch_state(self) -> None:
        """Bring the last state to :attr:`checkpoint`; the file is missing if there is no state."""

    @abstractmethod
    def fetch_model(self) -> None:
        """Bring the model to :attr:`weights`; the file is missing if there is no model."""

    @abstractmethod
    def write_state(self, content: memoryview, *, is_done: bool) -> None:
        """Write a state to :attr:`checkpoint`, and send it to where all nodes see it.

        Args:
            content: content of the file.
            is_done: whether the trial is done: other nodes then need its model, not its state.

        Raises:
            OSError: the file cannot be written. A state that cannot be sent is sent later.
        """

    @abstractmethod
    def send_model(self) -> None:
        """Receive that the model was written; return when it is where all nodes see it."""

    @abstractmethod
    def send_log(self) -> None:
        """Receive that the log has its last line."""

    @abstractmethod
    def set_aside(self, error: DamagedFile) -> str:
        """Rename a damaged state or model; return the new name."""

    @abstractmethod
    def close(self, *, is_done: bool) -> None:
        """Send a state that could not be sent, unless the trial is done: then its model replaces the state."""

    @abstractmethod
    def hurry(self, content: memoryview | None) -> None:
        """Send the last state at once, first writing ``content`` if it is newer: the node is about to end."""

    @abstractmethod
    def take_counts(self) -> dict[str, int] | None:
        """Return the requests to an object store since the last call; None without a store."""


class SharedFiles(TrialFiles):
    """Files in the folder of the sweep, which all nodes share.

    Examples:
        >>> SharedFiles(Path("box/checkpoints/off-0000.pt"), Path("box/models/off-0000.pt")).take_counts() is None
        True
    """

    def __init__(self, checkpoint: Path, weights: Path, log: Path | None = None) -> None:
        """Keep the state, the model and the log in these files."""
        self.checkpoint, self.weights, self.log = checkpoint, weights, log

    def fetch_state(self) -> None:
        """Do nothing: the file is the state."""

    def fetch_model(self) -> None:
        """Do nothing: the file is the model."""

    def write_state(self, content: memoryview, *, is_done: bool) -> None:
        """Write the file; a sweep that was deleted meanwhile stays deleted."""
        write_whole(self.checkpoint, content, parents=False)

    def send_model(self) -> None:
        """Do nothing."""

    def send_log(self) -> None:
        """Do nothing."""

    def set_aside(self, error: DamagedFile) -> str:
        """Rename a damaged state or model; return the new name."""
        return set_aside(error.path).name

    def close(self, *, is_done: bool) -> None:
        """Do nothing."""

    def hurry(self, content: memoryview | None) -> None:
        """Do nothing: a loss of this node costs what a kill costs."""

    def take_counts(self) -> None:
        """Return None: there is no store."""


class StoredFiles(TrialFiles):
    """Files below the cache folder of the node, and objects of the sweep in an object store.

    Each state is written to the node's disk, and then sent. A trial that continues on another node begins with the last
    state that was sent. If a state cannot be sent, the next one is, or the same one at the end of the trial on this
    node. The log is sent with a state, at most once per minute, and at the end of the trial on this node.
    """

    log: Path

    def __init__(self, url: StorageUrl, trial: str, *, sweep_key: str) -> None:
        """Open the store.

        Args:
            url: address of the sweep.
            trial: name of the trial.
            sweep_key: text that differs between two sweeps at one address: no file of an older one is used.
        """
        folder = default_cache_dir() / "storage" / url.key / f"worker-{sweep_key}"
        self._names = {"state": f"checkpoints/{trial}.pt", "model": f"models/{trial}.pt"}
        self.checkpoint, self.weights = (folder / name for name in self._names.values())
        self.log = folder / f"logs/{trial}.txt"
        for path in (self.checkpoint, self.weights, self.log):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._store = ObjectStore(url)
        self._stored_log = StoredLog(self._store, f"logs/{trial}.txt", self.log)
        self._counted = RequestCounts()
        self._sending = threading.RLock()  # a signal may come while the last state is sent
        self._is_new = False

    def fetch_state(self) -> None:
        """Bring the last state to the local file: the node's own, unless another node has sent a later one."""
        tag = _Tag(self.checkpoint)
        stored = self._store.describe(self._names["state"])
        if stored is None:
            if tag.read():  # it was sent, and then removed: the trial had ended
                self.checkpoint.unlink(missing_ok=True)
                tag.write("")
        elif stored.e_tag != tag.read() or not self.checkpoint.exists():
            tag.write(self._store.fetch(self._names["state"], self.checkpoint).e_tag)

    def fetch_model(self) -> None:
        """Bring the model to the local file, which is removed if there is none."""
        tag = _Tag(self.weights)
        stored = self._store.describe(self._names["model"])
        if stored is None:
            self.weights.unlink(missing_ok=True)
        elif stored.e_tag != tag.read() or not self.weights.exists():
            tag.write(self._store.fetch(self._names["model"], self.weights).e_tag)

    def write_state(self, content: memoryview, *, is_done: bool) -> None:
        """Write the state to the node's disk, and send it, with the log if that is due."""
        write_whole(self.checkpoint, content)
        if is_done:
            return
        self._is_new = True
        with contextlib.suppress(StorageError):  # the next state may be sent
            self._send()
            if self._stored_log.is_due:
                self._stored_log.send()

    def send_model(self) -> None:
        """Send the model; the state of the trial is not needed any more."""
        self._is_new = False
        _Tag(self.weights).write(self._store.write(self._names["model"], self.weights).e_tag)

    def send_log(self) -> None:
        """Send the log; if that fails, it is sent when the trial is closed."""
        with contextlib.suppress(StorageError):
            self._stored_log.send()

    def set_aside(self, error: DamagedFile) -> str:
        """Rename a damaged state or model, here and in the store; return the new name in the store."""
        name = self._names["state" if error.path == self.checkpoint else "model"]
        error.path.unlink(missing_ok=True)
        _Tag(error.path).write("")
        number = 1
        while self._store.describe(f"{name}{DAMAGED}-{number}") is not None:
            number += 1
        with contextlib.suppress(FileNotFoundError):  # it was damaged on this node only
            self._store.rename(name, f"{name}{DAMAGED}-{number}")
        return f"{name}{DAMAGED}-{number}"

    def close(self, *, is_done: bool) -> None:
        """Send a state that could not be sent, unless the trial is done; then remove the files of this node."""
        self._store.patience_s = HURRY_S
        if not is_done:
            self._send()
        self._stored_log.send()
        # the node need not keep what the store has
        for path in (self.checkpoint, self.weights, self.log):
            path.unlink(missing_ok=True)
            _Tag(path).write("")

    def hurry(self, content: memoryview | None) -> None:
        """Send the last state and the log at once, without much patience."""
        self._store.patience_s = HURRY_S
        if content is not None:
            write_whole(self.checkpoint, content)
            self._is_new = True
        with contextlib.suppress(StorageError):
            self._send()
            self._stored_log.send()

    def take_counts(self) -> dict[str, int]:
        """Return the requests since the last call."""
        now = RequestCounts(**self._store.counts.as_record())
        new = {name: number - getattr(self._counted, name) for name, number in now.as_record().items()}
        self._counted = now
        return new

    def _send(self) -> None:
        with self._sending:
            if not self._is_new:
                return
            content = self.checkpoint.read_bytes()
            _Tag(self.checkpoint).write(self._store.write(self._names["state"], content).e_tag)
            self._is_new = False


class _Tag:
    """File beside a local file that says of which object it is a copy, or a successor."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.tag")

    def read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except OSError:
            return ""

    def write(self, tag: str) -> None:
        if tag:
            write_whole(self._path, tag, durable=False)
        else:
            self._path.unlink(missing_ok=True)


def trial_files(config: Mapping[str, Any]) -> TrialFiles:
    """Return the files of a trial from what its worker is told.

    Args:
        config: ``checkpoint_path``, ``weights_path`` and ``log_path``, which may be missing; or ``storage``, an
            address, with ``sweep_key``.
    """
    url = str(config.get("storage", ""))
    if not url:
        log = Path(config["log_path"]) if config.get("log_path") else None
        return SharedFiles(Path(config["checkpoint_path"]), Path(config["weights_path"]), log)
    address = parse_url(url)
    assert isinstance(address, StorageUrl)
    return StoredFiles(address, str(config["trial"]), sweep_key=str(config["sweep_key"]))


def local_model(place: str) -> Path:
    """Return the file of a model; one in an object store is copied to the cache folder of this node first.

    Args:
        place: path of the model, or its address.

    Raises:
        FileNotFoundError: there is no such model.
        StorageError: the store does not answer, or refuses.

    Examples:
        >>> local_model("box/models/off-0000.pt")
        PosixPath('box/models/off-0000.pt')
    """
    folder, _, name = place.rpartition("/models/")
    if "://" not in folder:
        return Path(place)
    url = parse_url(folder)
    assert isinstance(url, StorageUrl)
    store, path = ObjectStore(url), default_cache_dir() / "storage" / url.key / "models" / name
    stored, tag = store.describe(f"models/{name}"), _Tag(path)
    if stored is None:
        raise FileNotFoundError(2, "no such object", place)
    if tag.read() != stored.e_tag or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tag.write(store.fetch(f"models/{name}", path).e_tag)
    return path
