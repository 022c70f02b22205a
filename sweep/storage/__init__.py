"""Sweeps at any place: a folder, a shared folder, or an address of an object store."""

from sweep.storage.opened import Opened, opened

__all__ = ["Opened", "opened"]
