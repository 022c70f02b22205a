"""The file ``models/verified.json``: which models were verified, so that each of them is read once."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sweep.ledger import model_damage, weights_path
from trainables.intact import DamagedFile, read_checked_json, write_checked_json

STAMPS = "verified.json"

_Stamp = list[int | str | None]
"""Size, time of modification, inode, and the recorded checksum that the file was compared with."""


class ModelStamps:
    """States in which the models of a sweep were verified.

    A file that changed, was replaced or copied has another state and is read again. `cutmix-sweep check` does not use
    the stamps: it finds also what a disk has lost without a trace in size and time.

    Attributes:
        sweep_dir: folder of the sweep.
    """

    def __init__(self, sweep_dir: Path) -> None:
        """Read the stamps of a sweep; without a readable file there are none."""
        self.sweep_dir = sweep_dir
        self._path = weights_path(sweep_dir, "").with_name(STAMPS)
        self._stamps: dict[str, _Stamp] = {}
        with contextlib.suppress(OSError, DamagedFile):
            self._stamps = read_checked_json(self._path)
        self._are_new = False

    def damage(self, trial: str, sha256: str | None) -> DamagedFile | None:
        """Return what is wrong with a model, as ``model_damage`` does; a file that has not changed is not read."""
        stamp = self._state(trial, sha256)
        if stamp is not None and self._stamps.get(trial) == stamp:
            return None
        damage = model_damage(self.sweep_dir, trial, sha256)
        if damage is None and stamp is not None:
            self._stamps[trial], self._are_new = stamp, True
        return damage

    def write(self) -> None:
        """Write the stamps if there are new ones; models are read again if that fails."""
        if self._are_new:
            with contextlib.suppress(OSError):
                write_checked_json(self._path, self._stamps, parents=False, durable=False)

    def _state(self, trial: str, sha256: str | None) -> _Stamp | None:
        try:
            status = weights_path(self.sweep_dir, trial).stat()
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns, status.st_ino, sha256]
