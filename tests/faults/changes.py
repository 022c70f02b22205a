"""Kinds of faults: what changes between a run and its resumption: images, study, program version."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.kinds import Fault, Skipped, kind
from tests.faults.strikes import Strike, WorkingFolder
from tests.faults.sweeps import TARGETS

VERSION_3 = Path(__file__).parent / "version_3"
"""Sweep that the last program with records of version 3 began; it was killed in its first confirmation trials."""


def interrupted_elsewhere(fault: Fault) -> Path:
    """Begin with an interrupted sweep on its own copy of the images, which may be changed; return the images."""
    images = fault.folder / "images"
    shutil.copytree(fault.lab.images, images)
    study = fault.lab.study("plain", images=images, folder=fault.folder)
    strike = Strike(TARGETS["report"], fault.luck.randint(2, 14), "SIGKILL", str(fault.marker()))
    fault.run(["run", str(study), "--out", str(fault.sweep_dir)], strike, status=(-9,))
    fault.plant()
    return images


def refused_until_restored(fault: Fault, images: Path, change: Callable[[], None]) -> None:
    """Change the images: the sweep is refused. Restore them: it ends in the same numbers."""
    saved = fault.folder / "saved"
    shutil.copytree(images, saved)
    change()
    fault.injected()
    fault.refuse(["resume", str(fault.sweep_dir)], "image")
    shutil.rmtree(images)
    saved.rename(images)
    fault.run(["resume", str(fault.sweep_dir)])
    fault.compare(fault.lab.undisturbed("plain"), ignored=["config"])


@kind("one image changed", weight=4)
def image_changed(fault: Fault) -> None:
    """A pixel of one training or test image changes, with size and time kept: ``resume`` is refused."""
    images = interrupted_elsewhere(fault)
    path = fault.luck.choice(sorted(images.rglob("*.png")))
    fault.outcome.place = str(path.relative_to(images))

    def change() -> None:
        times = path.stat()
        pixels = np.array(Image.open(path))
        pixels[fault.luck.randrange(len(pixels)), 0] ^= 1
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    refused_until_restored(fault, images, change)


@kind("two images swapped", weight=3)
def images_swapped(fault: Fault) -> None:
    """Two images of two classes are swapped, with the times kept: ``resume`` is refused."""
    images = interrupted_elsewhere(fault)
    split = fault.luck.choice(["train", "test"])
    one, other = (
        fault.luck.choice(sorted((images / split / f"c{label}").iterdir())) for label in fault.luck.sample(range(3), 2)
    )
    fault.outcome.place = f"{one.relative_to(images)} and {other.relative_to(images)}"

    def change() -> None:
        third = one.with_name("third")
        for source, target in ((one, third), (other, one), (third, other)):
            source.rename(target)

    refused_until_restored(fault, images, change)


@kind("test images removed", weight=3)
def test_images_removed(fault: Fault) -> None:
    """Some test images are gone between run and resumption: no mean over two test sets, ``resume`` is refused."""
    images = interrupted_elsewhere(fault)
    paths = fault.luck.sample(sorted((images / "test").rglob("*.png")), 3)
    fault.outcome.place = ", ".join(str(path.relative_to(images)) for path in paths)
    refused_until_restored(fault, images, lambda: [path.unlink() for path in paths] and None)


@kind("images touched or moved", weight=4)
def images_moved(fault: Fault) -> None:
    """The same images have other times, or are at another place: the sweep resumes and ends in the same numbers."""
    images = interrupted_elsewhere(fault)
    options = []
    if fault.luck.random() < 0.5:
        for path in images.rglob("*.png"):
            os.utime(path)
        fault.outcome.place = "touched"
    else:
        moved = images.rename(fault.folder / "moved")
        options = ["--data", f"imagefolder:{moved}"]
        fault.outcome.place = "moved"
    fault.injected()
    fault.run(["resume", str(fault.sweep_dir), *options])
    fault.compare(fault.lab.undisturbed("plain"), ignored=["config"])


@kind("edited study", weight=5)
def edited_study(fault: Fault) -> None:
    """The study in ``sweep.json`` is edited, its checksums made right again: ``resume`` is refused in one line."""
    from trainables.intact import checksum_of

    fault.copy(fault.lab.interrupted("plain", fault.luck.choice([4, 7])))
    path, change = fault.sweep_dir / "sweep.json", fault.luck.choice(["seed", "range", "epochs", "arm"])
    good = path.read_bytes()
    manifest = json.loads(good)
    study = manifest["study"]
    if change == "seed":
        study["seed"] = manifest["seed"] = study["seed"] + 1
    elif change == "range":
        study["space"]["optimizer.lr"]["hi"] = 0.9
    elif change == "epochs":
        study["budget"]["max_epochs"] += 1
    else:
        study["arms"]["mixup"] = {**study["arms"]["cutmix"], "mix": "mixup"}
    manifest.pop("sha256", None)
    edited = json.dumps({**manifest, "sha256": checksum_of(manifest)}, indent=2)
    copy = fault.sweep_dir / "records" / "sweep.json"
    copies = [path, copy] if copy.exists() and fault.luck.random() < 0.5 else [path]
    saved = {file: file.read_bytes() for file in copies}
    for file in copies:
        file.write_text(edited + "\n", encoding="utf-8")
    fault.outcome.place = f"{change}, {len(copies)} files"
    fault.injected()
    fault.refuse(["resume", str(fault.sweep_dir)], "study")
    for file, content in saved.items():
        file.write_bytes(content)
    fault.run(["resume", str(fault.sweep_dir)])
    fault.compare(fault.lab.undisturbed("plain"))


@kind("upgrade between run and resume", weight=3)
def upgrade(fault: Fault) -> None:
    """A sweep of record version 3 is resumed, checked, exported: recorded rows stay, and the others are computed."""
    fault.copy(VERSION_3)
    manifest = json.loads((VERSION_3 / "sweep.json").read_text(encoding="utf-8"))
    if manifest["versions"]["numpy"] != np.__version__:
        raise Skipped(f"recorded with NumPy {manifest['versions']['numpy']}, which decodes the digits")
    before = _rows(VERSION_3)
    fault.injected()
    fault.run(["status", str(fault.sweep_dir)])
    fault.run(["resume", str(fault.sweep_dir)], WorkingFolder(str(fault.folder)))
    fault.run(["check", str(fault.sweep_dir)])
    fault.run(["export", str(fault.sweep_dir), "--to", str(fault.folder / "tables")])
    after = _rows(fault.sweep_dir)
    for name, rows in before.items():
        lost = rows.keys() - after[name].keys()
        fault.outcome.lost += len(lost)
        if name != "trials" and (other := [key for key in rows.keys() - lost if rows[key] != after[name][key]]):
            fault.outcome.different += len(other)
            fault.problem(f"{name}: {other[:2]} has other values after the upgrade")
    epochs = {trial: sum(key[0] == trial for key in after["epochs"]) for (trial,) in after["trials"]}
    if len(epochs) != 8 or set(epochs.values()) != {2} or len(after["evaluations"]) != 16:
        fault.problem(f"the sweep is not complete: {epochs}")
    for path in (VERSION_3 / "models").iterdir():
        if not (fault.sweep_dir / "models" / path.name).exists():
            fault.problem(f"{path.name} is gone")


def _rows(sweep_dir: Path) -> dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]:
    """Return the rows of each table by key, without the columns that version 3 did not have."""
    from sweep.records.reader import read_table
    from sweep.records.schema import EPOCHS, EVALUATIONS, TRIALS

    columns = {"epochs": ["train_loss", "val_top1_error", "val_nll", "lr", "seconds"], "evaluations": ["value", "n"]}
    result: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
    for table in (TRIALS, EPOCHS, EVALUATIONS):
        rows = read_table(sweep_dir, table).astype(object)
        rows = rows.where(rows.notna(), None)
        names = columns.get(table.name, ["status"])
        result[table.name] = {
            tuple(row[name] for name in table.key): tuple(row[name] for name in names)
            for row in rows.to_dict("records")
        }
    return result
