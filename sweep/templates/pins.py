"""Versions of the packages on this machine, so that the nodes of a cluster get the same ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trainables.errors import UserError

PACKAGE = "cutmix-sweep"

EXTRAS = ("eval", "fast", "storage", "timm")
"""Extras that nodes have: what evaluation, mixing, URLs and networks use. Reports are written elsewhere."""


def node_extras() -> list[str]:
    """Return the extras that nodes have, as far as the installed package has them.

    Examples:
        >>> "eval" in node_extras()
        True
    """
    provided = distribution(PACKAGE).metadata.get_all("Provides-Extra") or []
    return [extra for extra in EXTRAS if extra in provided]


def pinned_versions(package: str = PACKAGE, extras: Iterable[str] = EXTRAS) -> list[str]:
    """Return what a package needs, directly or not, each as ``NAME==VERSION`` with the version installed here.

    The list is a constraints file for pip. A local part of a version, such as ``+cpu``, is left out, so that the same
    file serves builds for CPUs and for GPUs. What is not installed here, for example because it is for another
    operating system, is left out.

    Raises:
        UserError: ``package`` itself is not installed.

    Examples:
        >>> [line.split("==")[0] for line in pinned_versions() if line.startswith(("ray=", "torch="))]
        ['ray', 'torch']
    """
    try:
        distribution(package)
    except PackageNotFoundError:
        raise UserError(f"the package {package} is not installed here: install it with pip, not by a path") from None
    versions: dict[str, str] = {}
    open_: list[tuple[str, frozenset[str]]] = [(package, frozenset(extras))]
    seen = set(open_)
    while open_:
        name, wanted = open_.pop()
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        versions[canonicalize_name(name)] = installed.version.partition("+")[0]
        for text in installed.requires or ():
            needed = Requirement(text)
            if _applies(needed, wanted):
                step = (canonicalize_name(needed.name), frozenset(needed.extras))
                if step not in seen:
                    seen.add(step)
                    open_.append(step)
    versions.pop(package)
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def plain_version(version: str) -> str:
    """Return the digits of a version, for example of Python: ``3.11.7+`` and ``3.14.0rc1`` have no image of their own.

    Examples:
        >>> plain_version("3.11.7+"), plain_version("3.14.0rc1")
        ('3.11.7', '3.14.0')
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return found[0] if found else version


def _applies(needed: Requirement, extras: frozenset[str]) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or ("",))
