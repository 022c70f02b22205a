"""Folder for decoded and downloaded data that is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "CUTMIX_SWEEP_CACHE"
"""Environment variable that names the cache folder."""


def default_cache_dir() -> Path:
    """Return ``$CUTMIX_SWEEP_CACHE``, else ``$XDG_CACHE_HOME/cutmix-sweep``, else ``~/.cache/cutmix-sweep``.

    An empty variable counts as unset.
    """
    folder = os.environ.get(CACHE_VARIABLE)
    if folder:
        return Path(folder).expanduser()
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "cutmix-sweep"
