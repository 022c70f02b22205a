"""Addresses of object stores: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER``, ``abfs://CONTAINER@ACCOUNT/FOLDER``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from trainables.errors import UserError, did_you_mean, shorten

SCHEMES = ("s3", "gs", "abfs")
"""Schemes of object stores; ``file`` is a folder of this machine."""

EXAMPLE = "s3://bucket/sweeps/box"

_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "azure": "abfs"}
_AZURE_HOST = re.compile(r"\.(dfs|blob)\.core\.windows\.net$")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/+)(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_STEP = re.compile(r"[A-Za-z0-9_+=@,.-]+")


@dataclass(frozen=True)
class StorageUrl:
    """Address of a folder in an object store; it contains no key, no token and no endpoint.

    Attributes:
        scheme: one of :data:`SCHEMES`.
        bucket: bucket, or container of Azure.
        folder: names below the bucket, joined by slashes; not empty.
        account: storage account of Azure; "" elsewhere.

    Examples:
        >>> url = parse_url("s3://photos/sweeps/box/")
        >>> str(url), url.name, url.child("records/counts.json")
        ('s3://photos/sweeps/box', 'box', 's3://photos/sweeps/box/records/counts.json')
    """

    scheme: str
    bucket: str
    folder: str
    account: str = ""

    def __str__(self) -> str:
        """Return the address, without a slash at its end."""
        account = f"@{self.account}" if self.account else ""
        return f"{self.scheme}://{self.bucket}{account}/{self.folder}"

    @property
    def name(self) -> str:
        """Last name of the folder: the name of the sweep."""
        return self.folder.rpartition("/")[2]

    @property
    def key(self) -> str:
        """Text that differs between any two addresses, for a name of a file or folder."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    def child(self, name: str) -> str:
        """Return the address of an object in the folder."""
        return f"{self}/{name}" if name else str(self)


def is_url(text: object) -> bool:
    """Return whether a text is an address and not a path; a ``Path`` of an address has lost a slash.

    Examples:
        >>> is_url("s3://photos/box"), is_url(Path("s3://photos/box")), is_url("sweeps/box"), is_url("imagefolder:a/b")
        (True, True, False, False)
    """
    return _URL.fullmatch(str(text)) is not None


def parse_url(place: object) -> StorageUrl | Path:
    """Return the address that a text or a ``Path`` is; a path for ``file://``.

    Raises:
        UserError: the scheme is unknown, or a part of the address is missing or not valid.

    Examples:
        >>> parse_url("abfss://runs@lab.dfs.core.windows.net/box")
        StorageUrl(scheme='abfs', bucket='runs', folder='box', account='lab')
        >>> parse_url("file:///data/box")
        PosixPath('/data/box')
        >>> parse_url("s3://photos")
        Traceback (most recent call last):
        trainables.errors.UserError: 's3://photos': names no folder below the bucket, for example s3://bucket/sweeps/box
    """
    slashes = "///" if str(place).startswith("file:") else "//"
    text = re.sub(r"^([^:/]+):/(?!/)", rf"\1:{slashes}", str(place))
    match = _URL.fullmatch(text)
    if match is None:
        raise UserError(f"'{shorten(text)}': must be an address, for example {EXAMPLE}")
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme == "file":
        return _local_path(text, slashes, rest)
    scheme = _ALIASES.get(scheme, scheme)
    if scheme not in SCHEMES:
        known = (*SCHEMES, "file")
        raise UserError(f"'{shorten(text)}': storage of the kind '{scheme}' is unknown{did_you_mean(scheme, known)}")
    host, _, path = rest.partition("/")
    bucket, account = host, ""
    if scheme == "abfs":
        bucket, _, account = host.partition("@")
        account = _AZURE_HOST.sub("", account)
    elif "@" in host:
        raise UserError(
            f"an address of '{scheme}://' contains no key: set the usual environment variables, "
            f"and give the bucket alone, for example {EXAMPLE}"  # the text itself may hold a secret
        )
    return _checked(text, scheme, bucket, account, [step for step in path.split("/") if step])


def _checked(text: str, scheme: str, bucket: str, account: str, steps: list[str]) -> StorageUrl:
    shown = f"'{shorten(text)}'"
    if _BUCKET.fullmatch(bucket) is None:
        raise UserError(f"{shown}: '{shorten(bucket)}' is no name of a bucket, for example {EXAMPLE}")
    if account and _BUCKET.fullmatch(account) is None:
        raise UserError(f"{shown}: '{shorten(account)}' is no name of a storage account")
    if not steps:
        raise UserError(f"{shown}: names no folder below the bucket, for example {EXAMPLE}")
    for step in steps:
        if _STEP.fullmatch(step) is None or step in (".", ".."):
            raise UserError(
                f"{shown}: '{shorten(step)}' must consist of letters, digits and the characters _ + = @ , . -"
            )
    return StorageUrl(scheme, bucket, "/".join(steps), account)


def _local_path(text: str, slashes: str, rest: str) -> Path:
    host, slash, path = rest.partition("/") if len(slashes) == 2 else ("", "/", rest)
    if host not in ("", "localhost") or not slash:
        raise UserError(
            f"'{shorten(text)}': a file is named by file:// and an absolute path, for example file:///data/box"
        )
    return Path("/" + unquote(path))
