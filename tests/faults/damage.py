"""Kinds of faults: files of a finished or interrupted sweep, or of the image cache, that are damaged or gone.

What must hold: ``check`` sees it and ends with code 1; ``check --repair`` and ``resume`` regain everything, so that the
sweep equals the undisturbed one; each damaged file is kept under another name.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.faults.compare import set_aside_files
from tests.faults.kinds import FOREIGN, Fault, kind
from tests.faults.strikes import Environment

MANNERS = ("flip", "flip", "flip", "cut", "delete", "empty", "zeros", "swap")
"""How a file is damaged; one flipped bit is the likeliest."""

TABLES = ("trials", "epochs", "evaluations")


def damage(path: Path, manner: str, luck: random.Random) -> None:
    """Damage a file in one of :data:`MANNERS`; ``swap`` exchanges it with another file of the program in its folder."""
    content = bytearray(path.read_bytes())
    if manner == "delete":
        path.unlink()
    elif manner == "empty":
        path.write_bytes(b"")
    elif manner == "cut":
        path.write_bytes(content[: luck.randrange(len(content))])
    elif manner == "zeros":
        start = luck.randrange(len(content))
        content[start : start + 512] = bytes(len(content[start : start + 512]))
        path.write_bytes(content)
    elif manner == "swap":
        mine = {path.name, *(Path(name).name for name in FOREIGN)}
        others = [other for other in sorted(path.parent.glob(f"*{path.suffix}")) if other.name not in mine]
        others = [other for other in others if other.read_bytes() != bytes(content)]
        if others:
            other = luck.choice(others)
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        else:
            path.write_bytes(bytes(reversed(content)))
    else:
        content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)
        path.write_bytes(content)


def damage_some(fault: Fault, paths: Sequence[Path]) -> list[Path]:
    """Damage one of some files in a drawn manner; return the files that differ now."""
    before = {path: path.read_bytes() for path in paths}
    path, manner = fault.luck.choice(sorted(paths)), fault.luck.choice(MANNERS)
    damage(path, manner, fault.luck)
    changed = [path for path in before if not path.exists() or path.read_bytes() != before[path]]
    if not changed:  # zeros where zeros were
        damage(path, "flip", fault.luck)
        manner, changed = "flip", [path]
    fault.outcome.place = f"{manner} of {path.relative_to(fault.folder)}"
    fault.injected()
    return changed


def repair(fault: Fault, undisturbed: Path, damaged: Sequence[Path], *, resume_alone: bool = True) -> None:
    """Check the damaged sweep, repair it, check it again, and compare it."""
    contents = {path.read_bytes() for path in damaged if path.exists()}
    folder = str(fault.sweep_dir)
    child = fault.run(["check", folder, "--json"], status=(1,))
    for path in damaged:
        if path.exists() and path.name not in child.output:
            fault.problem(f"check does not name {path.relative_to(fault.sweep_dir)}", child)
    if not resume_alone or fault.luck.random() < 0.5:
        fault.run(["check", folder, "--repair"], status=(0, 1))  # 1: resume has to run a trial again
    fault.run(["resume", folder])
    fault.run(["check", folder])
    fault.compare(undisturbed)
    kept = {path.read_bytes() for path in set_aside_files(fault.sweep_dir) if path.is_file()}
    if missing := contents - kept:
        fault.problem(f"{len(missing)} of {len(contents)} damaged files were not kept under another name")


def records_of(fault: Fault, folder: str = "records") -> list[Path]:
    """Return the parts of the tables."""
    parts = [path for table in TABLES for path in (fault.sweep_dir / folder / table).glob("part-*-*.parquet")]
    if not parts:
        raise AssertionError(f"there are no parts in {folder}")
    return parts


@kind("damaged part", weight=22)
def part(fault: Fault) -> None:
    """One part of a table is damaged or gone, and its copy is whole: the rows come from the copy."""
    fault.copy(fault.lab.undisturbed("plain"))
    repair(fault, fault.lab.undisturbed("plain"), damage_some(fault, records_of(fault)))


@kind("damaged copy of a part", weight=12)
def copy_of_part(fault: Fault) -> None:
    """The copy of a part is damaged or gone, and the part is whole."""
    fault.copy(fault.lab.undisturbed("plain"))
    paths = records_of(fault, "records/copies")
    repair(fault, fault.lab.undisturbed("plain"), damage_some(fault, paths), resume_alone=False)


@kind("damaged part and copy", weight=22)
def part_and_copy(fault: Fault) -> None:
    """A part and its copy are both damaged or gone: the rows are lost, and their trials run or are measured again."""
    fault.copy(fault.lab.undisturbed("plain"))
    place = fault.luck.choice(sorted(records_of(fault)))
    damaged = [place, fault.sweep_dir / "records" / "copies" / place.parent.name / place.name]
    manners = []
    for path in damaged:
        manners.append(fault.luck.choice([manner for manner in MANNERS if manner not in ("swap", "zeros")]))
        damage(path, manners[-1], fault.luck)
    fault.outcome.place = f"{' and '.join(manners)} of {place.relative_to(fault.folder)} and its copy"
    fault.injected(2)
    repair(fault, fault.lab.undisturbed("plain"), damaged)


@kind("lost end of a table", weight=10)
def lost_end(fault: Fault) -> None:
    """The last part of a table is gone, with its copy: nothing but the counts shows it."""
    fault.copy(fault.lab.undisturbed("plain"))
    table = fault.luck.choice(TABLES)
    last = max((fault.sweep_dir / "records" / table).glob("part-*-*.parquet"))
    last.unlink()
    (fault.sweep_dir / "records" / "copies" / table / last.name).unlink()
    fault.outcome.place = f"{table}, {last.name}"
    fault.injected()
    repair(fault, fault.lab.undisturbed("plain"), [])


@kind("lost table", weight=5)
def lost_table(fault: Fault) -> None:
    """All parts of a table are gone, with their copies."""
    fault.copy(fault.lab.undisturbed("plain"))
    table = fault.luck.choice(TABLES)
    for folder in ("records", "records/copies"):
        for path in (fault.sweep_dir / folder / table).glob("part-*-*.parquet"):
            path.unlink()
    fault.outcome.place = table
    fault.injected()
    repair(fault, fault.lab.undisturbed("plain"), [])


@kind("damaged counts", weight=10)
def counts(fault: Fault) -> None:
    """The file with the numbers of rows is damaged or gone."""
    fault.copy(fault.lab.undisturbed("plain"))
    repair(fault, fault.lab.undisturbed("plain"), damage_some(fault, [fault.sweep_dir / "records" / "counts.json"]))


@kind("damaged manifest", weight=12)
def manifest(fault: Fault) -> None:
    """``sweep.json`` or its copy is damaged or gone: the other one is whole."""
    fault.copy(fault.lab.undisturbed("plain"))
    path = fault.luck.choice([fault.sweep_dir / "sweep.json", fault.sweep_dir / "records" / "sweep.json"])
    damaged = damage_some(fault, [path])
    repair(fault, fault.lab.undisturbed("plain"), damaged)


@kind("damaged manifest and copy", weight=6)
def manifest_and_copy(fault: Fault) -> None:
    """``sweep.json`` and its copy are damaged or gone: every command is refused in one line, and nothing is changed."""
    fault.copy(fault.lab.undisturbed("plain"))
    for path in (fault.sweep_dir / "sweep.json", fault.sweep_dir / "records" / "sweep.json"):
        damage(path, fault.luck.choice(["flip", "cut", "empty", "zeros"]), fault.luck)
    fault.injected(2)
    verb = fault.luck.choice(["resume", "status", "export", "evaluate"])
    fault.outcome.place = verb
    before = contents_of(fault.sweep_dir / "records" / "epochs")
    fault.refuse([verb, str(fault.sweep_dir)], "sweep.json")
    if contents_of(fault.sweep_dir / "records" / "epochs") != before:
        fault.problem("the records were changed")


@kind("damaged model", weight=22)
def model(fault: Fault) -> None:
    """The weights of a trained model are damaged, gone, or of another trial: the trial is trained again."""
    fault.copy(fault.lab.undisturbed("plain"))
    damaged = damage_some(fault, list((fault.sweep_dir / "models").glob("*.pt")))
    if any(path.exists() for path in damaged):
        trial = next(path.stem for path in damaged if path.exists())
        out = fault.folder / "model.pt"
        fault.refuse(["export-model", str(fault.sweep_dir), trial, "--out", str(out)], f"{trial}.pt")
    repair(fault, fault.lab.undisturbed("plain"), damaged, resume_alone=False)


@kind("damaged checkpoint", weight=14)
def checkpoint(fault: Fault) -> None:
    """The state of an interrupted trial is damaged, gone, or of another trial: the trial begins again."""
    undisturbed = fault.lab.undisturbed("plain")
    fault.copy(fault.lab.interrupted("plain", fault.luck.choice([4, 6, 12])))
    paths = list((fault.sweep_dir / "checkpoints").glob("*.pt"))
    if not paths:
        raise AssertionError("there is no checkpoint")
    other = next((fault.sweep_dir / "models").glob("*.pt"), None)
    if other is not None and fault.luck.random() < 0.15:
        shutil.copyfile(other, paths[0])
        damaged = paths[:1]
        fault.outcome.place = f"a model in place of {paths[0].name}"
        fault.injected()
    else:
        damaged = damage_some(fault, paths)
    contents = {path.read_bytes() for path in damaged if path.exists()}
    if fault.luck.random() < 0.3:
        fault.run(["check", str(fault.sweep_dir)], status=(0, 1))
        fault.run(["check", str(fault.sweep_dir), "--repair"], status=(0, 1))
    fault.finish("plain")
    fault.compare(undisturbed)
    kept = {path.read_bytes() for path in set_aside_files(fault.sweep_dir) if path.is_file()}
    if contents - kept:
        fault.problem("the damaged checkpoint was not kept under another name")


@kind("damaged image cache", weight=14)
def image_cache(fault: Fault) -> None:
    """A file of the image cache is damaged or gone: the next sweep decodes the images again."""
    undisturbed = fault.lab.undisturbed("plain")
    cache = fault.folder / "cache"
    shutil.copytree(fault.lab.cache, cache)
    files = [path for path in sorted(cache.rglob("*")) if path.is_file() and path.stat().st_size]
    path, manner = fault.luck.choice(files), fault.luck.choice(("flip", "flip", "cut", "delete", "empty", "zeros"))
    before = path.read_bytes()
    damage(path, manner, fault.luck)
    if path.exists() and path.read_bytes() == before:
        damage(path, "flip", fault.luck)
    fault.outcome.place = f"{manner} of {path.relative_to(cache)}"
    fault.injected()
    fault.finish("plain", Environment("CUTMIX_SWEEP_CACHE", str(cache)))
    fault.compare(undisturbed)


@kind("damage at several places", weight=8, slow=True)
def several(fault: Fault) -> None:
    """A part, a model and the manifest are damaged together."""
    fault.copy(fault.lab.undisturbed("plain"))
    damaged = damage_some(fault, records_of(fault))
    damaged += damage_some(fault, list((fault.sweep_dir / "models").glob("*.pt")))
    damaged += damage_some(fault, [fault.sweep_dir / "sweep.json"])
    fault.outcome.place = "a part, a model and the manifest"
    repair(fault, fault.lab.undisturbed("plain"), damaged, resume_alone=False)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder and their contents."""
    return {os.fspath(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
