"""Flips one bit at a time in every kind of file of a sweep, and asks ``check`` whether it sees it.

``python -m tests.faults.flips --flips 200``: for parts, their copies, counts, both manifests, models and checkpoints
``check`` must find the sweep damaged. Files of the image cache are opened in a new process each time, as a sweep opens
them: the images must be those of the whole cache, because the entry was decoded again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.faults import one_slot
from tests.faults.sweeps import Lab

PATTERNS = {
    "part": "records/[demt]*/part-*.parquet",
    "copy of a part": "records/copies/*/part-*.parquet",
    "counts": "records/counts.json",
    "manifest": "sweep.json",
    "copy of the manifest": "records/sweep.json",
    "model": "models/*.pt",
    "checkpoint": "checkpoints/*.pt",
}
"""Files of a sweep by kind."""

CACHE = "image cache"


def flip(path: Path, luck: random.Random) -> str:
    """Flip one bit of a file; return where."""
    content, place, bit = bytearray(path.read_bytes()), 0, luck.randrange(8)
    place = luck.randrange(len(content))
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.name}: byte {place}, bit {bit}"


def count_unseen(files: Sequence[Path], seen: Callable[[], bool], *, n_flips: int, luck: random.Random) -> list[str]:
    """Flip bits one at a time, each in a whole file; return the flips that were not seen."""
    unseen = []
    for _ in range(n_flips):
        path = luck.choice(sorted(files))
        whole = path.read_bytes()
        where = flip(path, luck)
        if not seen():
            unseen.append(where)
        path.write_bytes(whole)
    return unseen


def is_damaged(sweep_dir: Path) -> bool:
    """Return whether ``check`` finds the sweep damaged."""
    from sweep.check import check_sweep
    from sweep.records.errors import RecordsError
    from trainables.errors import UserError

    try:
        return not check_sweep(sweep_dir).is_whole
    except (UserError, RecordsError):
        return True


def opens_as(images: int, source: str, cache: Path) -> bool:
    """Open a copy of the image cache in a child; return whether the images are the right ones."""
    with tempfile.TemporaryDirectory(dir=cache.parent) as name:
        copy = Path(shutil.copytree(cache, Path(name) / "cache"))
        pid = os.fork()
        if not pid:
            code = 2
            try:
                code = int(images_in(copy, source) != images)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def images_in(cache: Path, source: str) -> int:
    """Return a number that depends on all that a trial reads from the cache."""
    import zlib

    from trainables.data.config import Data
    from trainables.data.store import open_split, open_train

    data, number = Data(source=source, batch_size=8, pad_px=2), 0
    for split in ("train", "test"):
        opened = open_split(data, split, cache_dir=cache)  # type: ignore[arg-type]
        for array in (opened.images, opened.labels, opened.mean, opened.std):
            number = zlib.crc32(array.tobytes(), number)
        number = zlib.crc32(repr(opened.classes).encode(), number)
    return zlib.crc32(open_train(data, cache_dir=cache)[1].tobytes(), number)


def flip_all(lab: Lab, *, n_flips: int, luck: random.Random) -> dict[str, list[str]]:
    """Flip bits in every kind of file; return the flips that were not seen, by kind."""
    result: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(dir=lab.folder) as name:
        whole = Path(shutil.copytree(lab.undisturbed("plain"), Path(name) / "whole"))
        begun = Path(shutil.copytree(lab.interrupted("plain", 4), Path(name) / "begun"))
        for folder in (whole, begun):
            if is_damaged(folder):
                raise AssertionError(f"check finds {folder.name} damaged, which nothing has damaged")
        for kind, pattern in PATTERNS.items():
            folder = begun if kind == "checkpoint" else whole
            files = list(folder.glob(pattern))
            result[kind] = count_unseen(files, lambda: is_damaged(folder), n_flips=n_flips, luck=luck)  # noqa: B023
            print(f"{kind}: {len(result[kind])} of {n_flips} flips not seen {result[kind][:3]}", flush=True)
        source, cache = f"imagefolder:{lab.images}", Path(shutil.copytree(lab.cache, Path(name) / "cache"))
        images = images_in(cache, source)
        files = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]
        result[CACHE] = count_unseen(files, lambda: opens_as(images, source, cache), n_flips=n_flips, luck=luck)
        print(f"{CACHE}: {len(result[CACHE])} of {n_flips} flips not seen {result[CACHE][:3]}", flush=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a flip was not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200, help="flips per kind of file (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all draws (default: 1)")
    given = parser.parse_args(argv)
    one_slot.install()
    with tempfile.TemporaryDirectory(prefix="flips-") as name:
        unseen: Mapping[str, list[str]] = flip_all(Lab(Path(name)), n_flips=given.flips, luck=random.Random(given.seed))
    return int(any(unseen.values()))


if __name__ == "__main__":
    sys.exit(main())
