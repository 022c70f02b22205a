"""Working folders of sweeps in object stores, below the cache folder of this machine.

A driver and those that read have folders of their own: the folder of a running driver is ahead of the store.
"""

from __future__ import annotations

from pathlib import Path

from trainables.data.cache_dir import default_cache_dir
from trainables.storage_url import StorageUrl


def driver_home(url: StorageUrl) -> Path:
    """Return the folder that a driver locks."""
    return default_cache_dir().resolve() / "storage" / url.key


def working_folder(url: StorageUrl, *, write: bool, whole: bool) -> Path:
    """Return the working folder of a process: its name is that of the sweep.

    Args:
        url: address of the sweep.
        write: whether the process writes.
        whole: whether all objects are needed, for a check.
    """
    return driver_home(url) / ("whole" if whole else "driver" if write else "reader") / url.name
