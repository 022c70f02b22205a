"""Files of a part of one's own: its record, its fingerprint, and what other machines need of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.parts import Registry

LARGEST_SHIPPED_MIB = 100
"""Largest package of one's own that workers get; Ray itself takes about 500 MiB."""


@dataclass(frozen=True)
class OwnPart:
    """A class from outside this program that a study or an evaluation uses.

    Attributes:
        kind: kind of the part, for example ``mask family``.
        name: its name in the records.
        part: the class.

    Examples:
        >>> from trainables.mixing.masks.box import Box
        >>> record = OwnPart("mask family", "box", Box).record()
        >>> record["kind"], Path(record["file"]).name, len(record["sha256"])
        ('mask family', 'box.py', 64)
    """

    kind: str
    name: str
    part: type

    @property
    def file(self) -> Path:
        """File of the class."""
        return Path(inspect.getfile(self.part))

    @property
    def top(self) -> Path:
        """Folder of the top-level package, or the file of a module that belongs to no package."""
        n_parents = self.part.__module__.count(".")
        if self.file.name == "__init__.py":
            n_parents += 1
        return self.file.parents[n_parents - 1] if n_parents else self.file

    def record(self) -> dict[str, Any]:
        """Return the facts that the manifest of a sweep keeps.

        ``sha256`` is of the file of the class, ``package_sha256`` of all Python files of its top-level package.
        Distribution and version are null for code that is not installed.
        """
        distribution = _distribution(self.part.__module__.partition(".")[0])
        return {
            "kind": self.kind,
            "name": self.name,
            "class": f"{self.part.__module__}:{self.part.__qualname__}",
            "distribution": distribution,
            "version": None if distribution is None else importlib.metadata.version(distribution),
            "folder": str(self.top.parent),
            "file": str(self.file),
            "sha256": _file_sha256(self.file),
            "package_sha256": _package_sha256(self.top) if self.top.is_dir() else None,
        }


def own_part(registry: Registry[Any], name: str) -> OwnPart | None:
    """Return the part of a registry with this name if it comes from outside this program, otherwise None."""
    return None if name in registry else OwnPart(registry.kind, name, registry[name])


def shipped_paths(parts: Iterable[OwnPart]) -> list[Path]:
    """Return the packages and files that workers need: those that are not installed among other packages.

    Raises:
        UserError: a package is too large to be sent.
    """
    tops = sorted({part.top for part in parts if not _is_installed(part.file)})
    for top in tops:
        n_bytes = sum(file.stat().st_size for file in top.rglob("*") if file.is_file()) if top.is_dir() else 0
        if n_bytes > LARGEST_SHIPPED_MIB * 2**20:
            raise UserError(
                f"the package '{top}' has {n_bytes / 2**20:.0f} MiB, but at most {LARGEST_SHIPPED_MIB} MiB are sent to "
                "workers: move its data out of the folder, or install the package on all nodes"
            )
    return tops


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & {*file.resolve().parts})


def _distribution(top: str) -> str | None:
    """Return the installed distribution that a top-level module belongs to."""
    names = importlib.metadata.packages_distributions().get(top)
    return names[0] if names else None


def _package_sha256(folder: Path) -> str:
    """Return the digest of the names and digests of all Python files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)} {_file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _file_sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
