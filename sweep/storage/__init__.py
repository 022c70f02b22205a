"""Sweeps at any place: a folder, a shared folder, or an address of an object store."""

from sweep.storage.opened import Opened, Place, local_folder, opened, place_of

__all__ = ["Opened", "Place", "local_folder", "opened", "place_of"]
