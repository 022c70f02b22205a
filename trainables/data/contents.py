"""Contents of splits that are known on this node: files that did not change since are not read again.

The folder ``contents`` of the cache has two kinds of files. ``KEY.json`` holds, for one folder and split, the state of
the files when they were read and the fingerprint of their content. ``LISTING-FINGERPRINT.sha256`` holds the SHA-256 of
each file of one content; its own SHA-256 is the fingerprint.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.data.fingerprints import Snapshot, SplitFiles, content_listing, fingerprint_of, parse_listing
from trainables.data.sources.base import Source, Split
from trainables.errors import UserError
from trainables.intact import DamagedFile, read_checked_json, write_checked_json
from trainables.parts import import_path, is_outside
from trainables.whole_file import write_whole

FOLDER = "contents"

LISTING_DIGITS = 16


@dataclass(frozen=True)
class Contents:
    """Fingerprints of the splits of one source by content; None: any content.

    Attributes:
        train: fingerprint of the training split, including the images that validate.
        test: fingerprint of the test split.
    """

    train: str | None = None
    test: str | None = None

    def of(self, split: Split) -> str | None:
        """Return the fingerprint of a split."""
        return self.train if split == "train" else self.test


ANY = Contents()


class SplitContent:
    """Content of one split of a source, by its present files.

    Examples:
        >>> from trainables.data.sources.registry import open_source
        >>> import tempfile
        >>> SplitContent(open_source("digits"), "test", Path(tempfile.mkdtemp())).known is None
        True
    """

    def __init__(self, source: Source, split: Split, cache: Path) -> None:
        """Read the state of the files, one ``stat`` per file.

        Raises:
            UserError: the split's folder is missing, or a file cannot be found.
        """
        self._source, self._split = source, split
        self._folder = cache / FOLDER
        self.files = source.files(split)
        self.snapshot = _snapshot(source, split, self.files)

    @property
    def known(self) -> str | None:
        """Fingerprint of the content, if these files were read in their present state; otherwise None."""
        try:
            recorded = read_checked_json(self._record)
        except (OSError, DamagedFile):  # to be computed again
            return None
        return str(recorded["fingerprint"]) if recorded["state"] == self.snapshot.state else None

    @property
    def possible(self) -> list[str]:
        """Fingerprints of the known contents that have files of the same names and sizes."""
        paths = self._folder.glob(f"{self.snapshot.listing[:LISTING_DIGITS]}-*.sha256")
        return sorted(path.stem.partition("-")[2] for path in paths)

    def computed(self) -> str | None:
        """Return the fingerprint, for which unknown files are read; None for a source without files.

        Raises:
            UserError: a file cannot be read, or changed while it was read.
        """
        return self.known or (None if self.files is None else self.record(self.files.digests()))

    def digests(self) -> dict[str, str] | None:
        """Return the SHA-256 of each file by its name, if these files were read in their present state."""
        fingerprint = self.known
        return None if fingerprint is None else digests_of(fingerprint, self._folder.parent)

    def record(self, digests: Mapping[str, str]) -> str:
        """Record the digests of what was read, by path or name; read the files that are missing among them.

        Returns:
            The fingerprint of the content.

        Raises:
            UserError: a file cannot be read, or the files changed since the state was read.
        """
        if self.files is not None:
            by_name = self.files.digests(digests)
            again = self._source.files(self._split)
            if again is None or again.snapshot().stamps != self.snapshot.stamps:
                raise UserError(
                    f"files in '{self.files.root}' changed while they were read: try again when nothing writes to them"
                )
        else:
            text = self._source.fingerprint(self._split)
            by_name = dict(digests) or {"fingerprint": hashlib.sha256(text.encode()).hexdigest()}
        listing = content_listing(by_name)
        fingerprint = fingerprint_of(listing)
        with contextlib.suppress(OSError):  # a cache that cannot be written can still be read; the files are read again
            path = self._folder / f"{self.snapshot.listing[:LISTING_DIGITS]}-{fingerprint}.sha256"
            if not path.exists() or path.read_bytes() != listing:
                write_whole(path, listing)
            where = "" if self.files is None else os.fsencode(self.files.root.absolute()).decode(errors="replace")
            facts = {"source": source_type(self._source), "split": self._split, "folder": where}
            write_checked_json(self._record, {**facts, "state": self.snapshot.state, "fingerprint": fingerprint})
        return fingerprint

    @property
    def _record(self) -> Path:
        root = "" if self.files is None else self.files.root.absolute()
        key = repr((source_type(self._source), str(root), self._split))
        return self._folder / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:20]}.json"


def _snapshot(source: Source, split: Split, files: SplitFiles | None) -> Snapshot:
    if files is not None:
        return files.settled_snapshot()
    state = hashlib.sha256(repr((source_type(source), source.fingerprint(split))).encode()).hexdigest()
    return Snapshot(state, state, state)


def digests_of(fingerprint: str, cache: Path) -> dict[str, str] | None:
    """Return the SHA-256 of each file of a content by its name; None if the content is not known on this node."""
    for path in (cache / FOLDER).glob(f"*-{fingerprint}.sha256"):
        with contextlib.suppress(OSError):
            listing = path.read_bytes()
            if fingerprint_of(listing) == fingerprint:
                return parse_listing(listing)
    return None


def source_type(source: Source) -> str:
    """Return the name of a source, or its import path: two packages may use one name."""
    return import_path(type(source)) if is_outside(type(source)) else source.name
