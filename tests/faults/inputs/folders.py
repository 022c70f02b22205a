"""Folders of sweeps with damaged, missing, swapped or odd files, and manifests with something wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from sweep.records.schema import MANIFEST
from tests.faults.inputs.base import Input, Supplies
from tests.faults.inputs.options import parameters_of_verbs
from tests.faults.inputs.values import mutate
from trainables.intact import CHECKSUM, checksum_of

GARBAGE = (b"", b"\0" * 1_000, b"PAR1", b"PAR1PAR1", b"{}", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe\0")
ODD_NAMES = (
    "x" * 250,
    "a\nb",
    "\udcff",
    "[bold]",
    "part-0-0.parquet",
    "part-x-y.parquet",
    "sweep.json",
    ".x",
    "=cmd()",
)
ODD_NAMES += ("part-000000000000-999999999999.parquet", "part-000000000099-000000000001.parquet", "x.damaged-1", "-rf")

VERBS = (
    *(["status"], ["status", "--json"], ["trials"], ["trials", "--json"], ["check"], ["check", "--json"]),
    *(["export"], ["export", "--format", "parquet"], ["export", "--format", "optuna"]),
    *(["export", "--format", "tensorboard"], ["replay", "--orders", "3"], ["report"], ["resume"]),
    *(["extend", "--add-trials", "1"], ["confirm", "--seeds", "2"], ["evaluate"], ["resume", "--retry-failed"]),
    *(["check", "--repair"], ["extend", "--add-arms", "fmix"], ["extend", "--add-searches", "1"]),
)
"""Verbs on the folder of a sweep; those that run trials or measurements end where Ray would start."""


def damaged_records(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a verb on a sweep of which one to three files or folders are damaged."""
    sweep = _copied(folder, rng, supplies)
    damages = [_damage(sweep, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    return Input(_verb(sweep, rng), "; ".join(damages))


def damaged_manifest(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a verb on a sweep whose manifest was changed; half of the changed ones have a right checksum."""
    sweep = _copied(folder, rng, supplies)
    copies = [path for path in (sweep / MANIFEST, sweep / "records" / MANIFEST) if path.exists()]
    original = copies[0].read_bytes()
    if rng.random() < 0.2:
        text = bytearray(original)
        for _ in range(rng.choice((1, 5))):
            place = rng.randrange(len(text))
            piece = rng.choice((b"", b"\0", b"\xff", b"}", b'"', b",", b"[" * 3_000, b"NaN", b"1e999", b"9" * 5_000))
            text[place : place + rng.randrange(4)] = piece
        content, label = bytes(text), "bytes of the manifest"
    elif rng.random() < 0.1:
        content, label = _with_code(json.loads(original), folder, supplies), "manifest that names code"
    else:
        manifest = json.loads(original)
        inside = rng.choice((manifest, manifest, manifest["study"], manifest["study"]["arms"], manifest["runs"][0]))
        mutate(inside, rng, rng.choice((1, 1, 1, 2, 3)))
        if rng.random() < 0.5:
            manifest.pop(CHECKSUM, None)
            manifest = {**manifest, CHECKSUM: checksum_of(manifest)}
        content, label = json.dumps(manifest).encode("utf-8", "surrogatepass"), "values of the manifest"
    for path in copies if rng.random() < 0.7 else copies[:1]:
        path.write_bytes(content)
    return Input(_verb(sweep, rng), label)


def _with_code(manifest: dict[str, object], folder: Path, supplies: Supplies) -> bytes:
    """Return a manifest that names a class in a module beside it; the module writes the trap."""
    sweep = folder / "sweep"
    (sweep / "trap.py").write_text(f"open({str(supplies.trap)!r}, 'w')\n", encoding="utf-8")
    part = {"kind": "mask", "name": "trap:Mask", "folder": str(sweep), "file": str(sweep / "trap.py")}
    manifest["parts"] = [{**part, "sha256": "0" * 64, "package_sha256": "0" * 64, "top": "trap", "code": None}]
    study = manifest["study"]
    assert isinstance(study, dict)
    study["arms"] = {**study["arms"], "trap": {"mix": {"preset": "cutmix", "mask": {"family": "trap:Mask"}}}}
    manifest.pop(CHECKSUM, None)
    return json.dumps({**manifest, CHECKSUM: checksum_of(manifest)}).encode()


def _copied(folder: Path, rng: random.Random, supplies: Supplies) -> Path:
    sweep = folder / "sweep"
    shutil.copytree(rng.choice(supplies.sweeps), sweep)
    return sweep


def _verb(sweep: Path, rng: random.Random) -> list[str]:
    verb, *options = rng.choice([verb for verb in VERBS if verb[0] in parameters_of_verbs()])
    if rng.random() < 0.1:
        return rng.choice(
            (
                ["status", str(sweep), "--why", "off-0000"],
                ["plan", "quickstart", "--effect", "1", "--sd-from", str(sweep)],
            )
        )
    return [verb, str(sweep), *options]


def _damage(sweep: Path, rng: random.Random) -> str:
    """Damage one file or folder of a sweep; return what was done."""
    files = sorted(
        path for path in sweep.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock"
    )
    if not files:
        return "nothing left"
    path = rng.choice(files)
    return f"{path.relative_to(sweep)} {rng.choice(_DAMAGES)(path, files, rng)}"


def _delete(path: Path, files: list[Path], rng: random.Random) -> str:
    path.unlink()
    return "deleted"


def _truncate(path: Path, files: list[Path], rng: random.Random) -> str:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))
    return "truncated"


def _replace(path: Path, files: list[Path], rng: random.Random) -> str:
    path.write_bytes(rng.choice((*GARBAGE, rng.randbytes(2_000))))
    return "replaced by garbage"


def _flip(path: Path, files: list[Path], rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 20)) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return "with flipped bits"


def _swap(path: Path, files: list[Path], rng: random.Random) -> str:
    other = rng.choice(files)
    content, other_content = path.read_bytes(), other.read_bytes()
    path.write_bytes(other_content)
    other.write_bytes(content)
    return f"swapped with {other.name}"


def _rename(path: Path, files: list[Path], rng: random.Random) -> str:
    path.rename(path.with_name(rng.choice(ODD_NAMES)))
    return "renamed"


def _make_folder(path: Path, files: list[Path], rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return "is a folder"


def _link(path: Path, files: list[Path], rng: random.Random) -> str:
    path.unlink()
    target = rng.choice((path.name, "nothing", "/dev/null", "/dev/zero", "..", "/"))
    path.symlink_to(target)
    return f"is a link to {target}"


def _make_pipe(path: Path, files: list[Path], rng: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "is a pipe"


def _delete_folder(path: Path, files: list[Path], rng: random.Random) -> str:
    shutil.rmtree(path.parent)
    if rng.random() < 0.5:
        path.parent.write_bytes(rng.choice(GARBAGE))
        return "and its folder replaced by a file"
    return "and its folder deleted"


def _add(path: Path, files: list[Path], rng: random.Random) -> str:
    added = path.with_name(rng.choice(ODD_NAMES))
    if not os.path.lexists(added):
        added.write_bytes(rng.choice((*GARBAGE, path.read_bytes())))
    return f"has {added.name!r} beside it"


_DAMAGES = (_delete, _truncate, _replace, _flip, _swap, _rename, _make_folder, _link, _make_pipe, _delete_folder, _add)
