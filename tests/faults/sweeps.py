"""Small studies that end in seconds, the images for them, and what an undisturbed run of them leaves."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.faults import one_slot
from tests.faults.strikes import Counter, Setting

SIDE_PX, N_CLASSES, N_TRAIN, N_TEST = 12, 3, 10, 6
"""Size of the images, number of classes, images per class."""

IMAGES_WRITTEN_S = 1_700_000_000
"""Time of the image files."""

N_PARTS = 5
"""Parts of a table that are merged into one: so few that a small sweep merges."""

TARGETS = {
    "decoding": "PIL.Image:open",
    "training": "trainables.rates:lr_factor",
    "validation": "trainables.trial:Trial.validate",
    "test": "trainables.data.prepared:prepare_test",
    "report": "sweep.conductor:Conductor.on_report",
    "flush": "sweep.records.writer:RecordsWriter.flush",
    "merge": "sweep.records.writer:merge_parts",
}
"""Functions at whose calls a sweep is disturbed, by what happens there; an undisturbed run counts the calls."""

_BASE = {
    "question": "Does a fault change a number?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.03, "hi": 0.5}},
    "budget": {"trials": 2, "max_epochs": 2, "early_stopping": {"rule": "none"}, "limits": {"failed_trials": 1}},
    "confirm": {"searches": 2, "configs": 1, "seeds": 1},
    "resources": {"checkpoint_s": 0},  # each epoch writes its state: a kill leaves one that can be damaged
    "base": {"data": {"batch_size": 8, "pad_px": 2}, "model": {"name": "tiny", "width": 0.25, "precision": "fp32"}},
}

_BY_TIME = {"resources.checkpoint_s": None}
"""States only before a pause and at the end: these trials are shorter than the time between two states."""

STUDIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "asha": {
        **_BY_TIME,
        "budget.early_stopping": {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2},
        "budget.trials": 4,
        "budget.control_frac": 0.3,
        "confirm": None,
    },
    "promotion": {
        **_BY_TIME,
        "budget.early_stopping": {
            "rule": "asha",
            "mode": "promote",
            "grace_period_epochs": 1,
            "reduction_factor": 2,
            "min_recorded": 2,
        },
        "budget.trials": 4,
        "confirm": None,
    },
    "hyperband": {
        **_BY_TIME,
        "budget.early_stopping": {"rule": "hyperband", "grace_period_epochs": 1, "reduction_factor": 2},
        "budget.trials": 4,
        "budget.max_epochs": 4,
        "confirm": None,
    },
    "tpe": {**_BY_TIME, "search": "tpe", "budget.trials": 4, "budget.max_epochs": 1, "confirm": None},
}
"""Studies by name, as changes of one that searches at random, stops no trial early, and confirms."""


def write_images(folder: Path, *, suffix: str = ".png") -> Path:
    """Write a folder of noise images with a colour per class, 3 classes, in ``train`` and ``test``; return it.

    The files, and their times, are the same on every machine if they are written as ``.bmp``.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, label in itertools.product(("train", "test"), range(N_CLASSES)):
        (folder / split / f"c{label}").mkdir(parents=True)
        for number in range(N_TRAIN if split == "train" else N_TEST):
            pixels = (rng.random((SIDE_PX, SIDE_PX, 3)) * 150).astype(np.uint8)
            pixels[:, :, label] += 60
            path = folder / split / f"c{label}" / f"{number:03d}{suffix}"
            Image.fromarray(pixels).save(path)
            os.utime(path, (IMAGES_WRITTEN_S, IMAGES_WRITTEN_S))
    return folder


def study_values(name: str, source: str, **changes: Any) -> dict[str, Any]:
    """Return a study of :data:`STUDIES` on a data source; ``changes`` have dotted paths, ``__`` for each dot."""
    values = json.loads(json.dumps(_BASE))
    values["base"]["data"]["source"] = source
    for path, value in {**STUDIES[name], **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
    return values


@dataclass
class Lab:
    """Undisturbed sweeps, made when they are asked for, and the place of disturbed ones.

    Attributes:
        folder: everything is below it.
        images: folder of images.
        cache: image cache of all sweeps.
    """

    folder: Path
    images: Path = field(init=False)
    cache: Path = field(init=False)
    _counts: dict[str, dict[str, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.images, self.cache = self.folder / "images", self.folder / "cache"
        if not self.images.exists():
            write_images(self.images)
        os.environ["CUTMIX_SWEEP_CACHE"] = str(self.cache)

    def study(self, name: str, *, images: Path | None = None, folder: Path | None = None, **changes: Any) -> Path:
        """Write the file of a study and return it."""
        path = (folder or self.folder) / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(study_values(name, f"imagefolder:{images or self.images}", **changes), sort_keys=False)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        return path

    def run_command(self, name: str, sweep_dir: Path) -> list[str]:
        """Return the command that begins a sweep."""
        return ["run", str(self.study(name)), "--out", str(sweep_dir)]

    def undisturbed(self, name: str) -> Path:
        """Return the folder of an undisturbed sweep, with the calls of :data:`TARGETS` counted."""
        return self._made(name, lambda sweep_dir, log, hooks: self._run(self.run_command(name, sweep_dir), log, hooks))

    def changed(self, name: str, verb: str, *options: str) -> Path:
        """Return a copy of an undisturbed sweep on which another command was run to its end."""
        original = self.undisturbed(name)

        def make(sweep_dir: Path, log: Path, hooks: Sequence[Callable[[], object]]) -> None:
            shutil.copytree(original, sweep_dir)
            self._run([verb, str(sweep_dir), *options], log, hooks)

        return self._made(f"{name}-{verb}", make)

    def interrupted(self, name: str, call: int = 4) -> Path:
        """Return a sweep that was killed when the report number ``call`` came: it has a checkpoint."""
        from tests.faults.strikes import Strike

        def make(sweep_dir: Path, log: Path, hooks: Sequence[Callable[[], object]]) -> None:
            strike = Strike(TARGETS["report"], call, "SIGKILL", str(log.with_suffix(".struck")))
            child = one_slot.run(self.run_command(name, sweep_dir), log, hooks=[*hooks, strike])
            assert child.status == -9, child.output

        return self._made(f"{name}-interrupted-{call}", make)

    def counts(self, name: str) -> Mapping[str, int]:
        """Return the number of calls by key of :data:`TARGETS`, and of operations on files as ``files``."""
        if name not in self._counts:
            folder = self.folder / "counts" / name
            self._counts[name] = {path.name: path.stat().st_size for path in folder.iterdir()}
        return self._counts[name]

    def _made(self, name: str, make: Callable[[Path, Path, Sequence[Callable[[], object]]], None]) -> Path:
        sweep_dir = self.folder / "undisturbed" / name
        if not sweep_dir.exists():
            counts = self.folder / "counts" / name
            for folder in (counts, sweep_dir.parent):
                folder.mkdir(parents=True, exist_ok=True)
            targets = {**TARGETS, "files": str(sweep_dir)}
            counters = [Counter(target, str(counts / key)) for key, target in targets.items()]
            modules = one_slot.ImportedModules(self.folder / f"{name}.modules")
            make(sweep_dir, self.folder / f"{name}.log", [small_parts, *counters, modules])
            if modules.file.exists():  # not of a child that was killed
                modules.load()
        return sweep_dir

    def _run(self, argv: Sequence[str], log: Path, hooks: Sequence[Callable[[], object]]) -> None:
        child = one_slot.run(argv, log, hooks=hooks)
        assert child.status == 0, f"{argv}: status {child.status}\n{child.output}"


small_parts = Setting("sweep.records.writer:MERGE_PARTS", N_PARTS)
"""Hook of every child: tables are merged after few parts."""
