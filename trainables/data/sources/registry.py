"""Data sources by their short names, known without importing their readers."""

from __future__ import annotations

from pathlib import Path

from trainables.errors import did_you_mean

SOURCES = {"digits": False, "cifar10": False, "cifar100": False, "imagefolder": True, "tiny-imagenet": True}
"""Whether a source needs a path, by its name."""


def split_source(source: str) -> tuple[str, Path | None]:
    """Split ``"imagefolder:PATH"`` into its name and path (None where there is none).

    Raises:
        ValueError: the name is unknown, or its path is missing or empty.
    """
    name, colon, path = source.partition(":")
    if name not in SOURCES:
        raise ValueError(f"unknown data source {name!r}{did_you_mean(name, SOURCES)}")
    if (SOURCES[name] or colon) and not path:
        raise ValueError(f"data source {name!r} needs a path: '{name}:PATH'")
    if path and name == "digits":
        raise ValueError(f"data source 'digits' takes no path, got {path!r}")
    return name, Path(path).expanduser() if path else None
