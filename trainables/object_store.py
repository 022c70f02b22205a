"""Client of an object store: whole objects, conditional writes, bounded retries, counted requests.

``obstore`` (extra ``storage``) is imported when a store is opened.
"""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from trainables.errors import UserError
from trainables.extras import check_extra
from trainables.request_counts import RequestCounts
from trainables.storage_url import StorageUrl
from trainables.store_clients import OPENERS
from trainables.whole_file import whole_file

PATIENCE_S = 120.0
"""Longest time for which a request that fails is repeated while a sweep runs."""

READER_PATIENCE_S = 20.0
"""The same for a command that only reads."""

PART_BYTES = 8 * 2**20
"""Size of the parts in which a large object is sent."""

DELETE_AT_ONCE = 1000
"""Largest number of objects that one request deletes."""

PAUSE_S = 1.0
_REASON_CHARS = 160

T = TypeVar("T")


class StorageError(OSError):
    """A request to an object store failed, also when it was repeated.

    Attributes:
        is_write: whether something was to be written.
    """

    def __init__(self, url: str, reason: str, *, is_write: bool) -> None:
        """Describe a request to ``url``."""
        super().__init__(errno.EIO, reason, url)
        self.is_write = is_write

    def describe(self) -> str:
        """Return the error in one sentence.

        Examples:
            >>> StorageError("s3://photos/box/lock", "access denied", is_write=True).describe()
            "cannot write to 's3://photos/box/lock': access denied"
        """
        return f"cannot {'write to' if self.is_write else 'read'} '{self.filename}': {self.strerror}"


class Conflict(Exception):
    """A conditional write was refused: the object exists already, or is not the one that was read."""


@dataclass(frozen=True)
class StoredObject:
    """What a store says about an object.

    Attributes:
        size: size in bytes.
        e_tag: text that changes with the content.
        version: number of the version, where the store has one; Google Cloud Storage compares it.
    """

    size: int
    e_tag: str
    version: str | None = None


class ObjectStore:
    """The objects below one address; names are relative to it, with slashes.

    Several threads may use it at once.

    Attributes:
        url: the address.
        counts: requests so far.
        patience_s: time for which a failing request is repeated.
    """

    def __init__(self, url: StorageUrl, *, patience_s: float = PATIENCE_S) -> None:
        """Open the store; no request is sent yet.

        Raises:
            UserError: the extra ``storage`` is not installed, or the settings of the store are not valid.
        """
        check_extra("storage", needed_by=f"the address '{url}'")
        self.url = url
        self.counts = RequestCounts()
        self.patience_s = patience_s
        self._counting = threading.Lock()
        try:
            self._store = OPENERS[url.scheme](url)
        except Exception as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"'{url}' cannot be opened: {_reason(error)}") from None

    def read(self, name: str) -> tuple[bytes, StoredObject]:
        """Return the content of an object, and what the store says about it.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: the store does not answer, or refuses.
        """
        import obstore

        def read() -> tuple[bytes, StoredObject]:
            result = obstore.get(self._store, self._path(name))
            return bytes(result.bytes()), _stored(result.meta)

        try:
            content, stored = self._request(name, read)
        finally:
            self._count(n_read=1)
        self._count(bytes_read=len(content))
        return content, stored

    def fetch(self, name: str, path: Path) -> StoredObject:
        """Copy an object to a local file, which is complete or absent; return what the store says about it.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: the store does not answer, or refuses.
        """
        import obstore

        def fetch() -> StoredObject:
            result = obstore.get(self._store, self._path(name))
            with whole_file(path, durable=False) as file:
                for chunk in result.stream(min_chunk_size=PART_BYTES):
                    file.write(chunk)
            return _stored(result.meta)

        try:
            stored = self._request(name, fetch)
        finally:
            self._count(n_read=1)
        self._count(bytes_read=stored.size)
        return stored

    def write(
        self, name: str, content: bytes | Path, *, if_absent: bool = False, if_same: StoredObject | None = None
    ) -> StoredObject:
        """Write a whole object: a reader sees the old content or the new content.

        Args:
            name: name of the object.
            content: the content, or the file that has it.
            if_absent: write only if there is no such object.
            if_same: write only if the object is still this one.

        Raises:
            Conflict: the condition does not hold. A repeated request may also have succeeded at its first attempt: the
                caller reads the object to know.
            StorageError: the store does not answer, or refuses.
            FileNotFoundError: the file is missing.
        """
        import obstore

        size = content.stat().st_size if isinstance(content, Path) else len(content)
        mode: Any = "create" if if_absent else "overwrite"
        if if_same is not None:
            mode = {"e_tag": if_same.e_tag} | ({} if if_same.version is None else {"version": if_same.version})

        def write() -> StoredObject:
            result = obstore.put(self._store, self._path(name), content, mode=mode, chunk_size=PART_BYTES)
            return StoredObject(size, str(result["e_tag"]), _version(result))

        try:
            stored = self._request(name, write, is_write=True)
        except FileNotFoundError:
            if if_same is None:
                raise
            raise Conflict(self.url.child(name)) from None  # the object is gone
        n_parts = -(-size // PART_BYTES)
        self._count(n_written=1 if n_parts < 2 else n_parts + 2, bytes_written=size)
        return stored

    def describe(self, name: str) -> StoredObject | None:
        """Return what the store says about an object; None if there is none."""
        import obstore

        try:
            meta = self._request(name, lambda: obstore.head(self._store, self._path(name)))
        except FileNotFoundError:
            return None
        finally:
            self._count(n_read=1)
        return _stored(meta)

    def list(self, folder: str = "") -> dict[str, StoredObject]:
        """Return all objects below a folder by name, at any depth."""
        import obstore

        path = self._path(folder).rstrip("/")

        def list_all() -> tuple[dict[str, StoredObject], int]:
            pages = list(obstore.list(self._store, prefix=path, chunk_size=DELETE_AT_ONCE))
            return {self._name(meta["path"]): _stored(meta) for page in pages for meta in page}, len(pages)

        found, n_pages = self._request(folder, list_all)
        self._count(n_listed=max(1, n_pages))
        return found

    def list_top(self, folder: str = "") -> dict[str, StoredObject]:
        """Return the objects directly below a folder by name; "" is the address itself."""
        import obstore

        path = self._path(folder).rstrip("/")
        result = self._request(folder, lambda: obstore.list_with_delimiter(self._store, prefix=path))
        self._count(n_listed=1)
        return {self._name(meta["path"]): _stored(meta) for meta in result["objects"]}

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; a missing one is no error."""
        import obstore

        def delete(paths: list[str]) -> None:
            try:
                obstore.delete(self._store, paths)
            except FileNotFoundError:  # a store in memory: the others of the batch may be left
                for path in paths:
                    try:
                        obstore.delete(self._store, path)
                    except FileNotFoundError:
                        continue

        paths = [self._path(name) for name in names]
        for first in range(0, len(paths), DELETE_AT_ONCE):
            batch = paths[first : first + DELETE_AT_ONCE]
            self._request(self._name(batch[0]), partial(delete, batch), is_write=True)
            self._count(n_deleted=1 if self.url.scheme == "s3" else len(batch))

    def rename(self, name: str, new: str) -> None:
        """Rename an object; an object of the new name is replaced.

        Raises:
            FileNotFoundError: there is no such object.
        """
        import obstore

        self._request(name, lambda: obstore.copy(self._store, self._path(name), self._path(new)), is_write=True)
        self._count(n_written=1)
        self.delete([name])

    def _path(self, name: str) -> str:
        return f"{self.url.folder}/{name}"

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.url.folder}/")

    def _count(self, **numbers: int) -> None:
        with self._counting:
            self.counts += RequestCounts(**numbers)

    def _request(self, name: str, request: Callable[[], T], *, is_write: bool = False) -> T:
        """Send a request, and repeat it while the store does not answer."""
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        began_s = time.monotonic()
        while True:
            try:
                return request()
            except (AlreadyExistsError, PreconditionError):
                raise Conflict(self.url.child(name)) from None
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise StorageError(self.url.child(name), _reason(error), is_write=is_write) from None
            except FileNotFoundError as error:
                if re.search("NoSuchBucket|bucket does not exist|ContainerNotFound", str(error)):
                    raise StorageError(str(self.url), "there is no such bucket", is_write=is_write) from None
                if error.filename is None:  # from the store, not from this machine
                    raise FileNotFoundError(errno.ENOENT, "no such object", self.url.child(name)) from None
                raise
            except BaseError as error:
                if time.monotonic() - began_s >= self.patience_s or _is_final(error):
                    raise StorageError(self.url.child(name), _reason(error), is_write=is_write) from None
            time.sleep(PAUSE_S)


def _stored(meta: Any) -> StoredObject:
    return StoredObject(int(meta["size"]), str(meta["e_tag"]), _version(meta))


def _version(meta: Any) -> str | None:
    """Return the number of a version; S3 answers `null` to some requests if a bucket keeps no versions."""
    version = meta["version"]
    return None if version in (None, "null") else str(version)


def _is_final(error: Exception) -> bool:
    """Return whether a repeated request would fail in the same way: a wrong bucket, endpoint or credential."""
    text = str(error)
    return (
        re.search(r"\b(400|404) |NoSuchBucket|169\.254\.169\.254|metadata\.google|InvalidAccessKeyId", text) is not None
    )


def _reason(error: Exception) -> str:
    """Return an error of the client in one line, without the parts of an address that may hold a signature.

    Examples:
        >>> _reason(ValueError("Generic S3 error: Error performing PUT http://host/b?sig=1 in 3ms\\n\\nDebug: x"))
        'Error performing PUT http://host/b'
    """
    text = re.sub(r"(\w+://[^\s?]*)\?\S*", r"\1", str(error).partition("\n")[0])
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    text = re.sub(r"^Generic \w+ error: ", "", text)
    text = re.sub(r" in [\d.]+(ms|s|µs)\b.*?(?= - |$)", "", text)
    text = re.sub(r": <\?xml.*", "", text) + (f" ({code[1]})" if code else "")
    if "169.254.169.254" in text:
        return "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use `aws configure`"
    if "metadata.google" in text:
        return "no credentials were found: set GOOGLE_APPLICATION_CREDENTIALS, or use `gcloud auth application-default`"
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 3]}..."
