"""Folders of images with broken images, links and odd names."""

from __future__ import annotations

import os
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.inputs.base import Input, Supplies
from tests.faults.inputs.studies import SMALL

ODD_NAMES = (
    "=cmd()",
    "[bold]x",
    "a[x]b",
    "a\nb",
    "\udcff",
    "x" * 200,
    " ",
    "ünï ☃",
    "-rf",
    "__MACOSX",
    "..x",
    "%s",
)


def write_photos(folder: Path) -> None:
    """Write four training images and two test images of each of two classes, 16 x 16 pixels."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def odd_photos(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a command on a folder of images with one or two things wrong."""
    photos = folder / "photos"
    shutil.copytree(supplies.photos, photos)
    labels = [_change(photos, rng, supplies) for _ in range(rng.choice((1, 1, 2)))]
    (folder / "small.yaml").write_text(SMALL.replace("train_frac: 0.1, ", ""), encoding="utf-8")
    source = f"imagefolder:{photos}"
    match rng.randrange(6):
        case 0 | 1:
            arguments = ["plan", "small.yaml", "--data", source]
        case 2:
            arguments = ["doctor", "--data", source, "--out", str(folder)]
        case 3:
            arguments = ["preview", "small.yaml", "--data", source, "--out", "mixed.png"]
        case _:
            arguments = ["run", "small.yaml", "--data", source, "--out", str(folder / "sweep")]
    return Input(arguments, "; ".join(labels))


def _change(photos: Path, rng: random.Random, supplies: Supplies) -> str:
    """Change one image, class or split; return what was done."""
    images = sorted(path for path in photos.rglob("*.png") if path.is_file() and not path.is_symlink())
    if not images:
        return "nothing left"
    path = rng.choice(images)
    return f"{path.relative_to(photos)} {rng.choice(_CHANGES)(path, photos, rng)}"


def _break(path: Path, photos: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    half, unknown = content[: len(content) // 2], content.replace(b"IDAT", b"IDAX")
    path.write_bytes(
        rng.choice(
            (b"", b"no image", half, unknown, b"\xff\xd8\xff\xe0" + bytes(50), b"GIF89a" + bytes(9), rng.randbytes(500))
        )
    )
    return "is broken"


def _enlarge(path: Path, photos: Path, rng: random.Random) -> str:
    sides = (
        (0, 0),
        (1, 1),
        (2**31 - 1, 1),
        (60_000, 60_000),
        (13_000, 13_000),
        (1, 2**24),
        (9_000, 9_000),
        (5_000, 5_000),
    )
    width, height = rng.choice(sides)
    path.write_bytes(_png(width, height))
    return f"has {width} x {height} pixels"


def _change_mode(path: Path, photos: Path, rng: random.Random) -> str:
    mode, suffix = rng.choice((("F", "tif"), ("I", "tif"), ("CMYK", "jpg"), ("1", "png"), ("P", "gif"), ("LA", "png")))
    path.unlink()
    Image.new(mode, (16, 16)).save(path.with_suffix(f".{suffix}"))
    return f"has mode {mode}"


def _link(path: Path, photos: Path, rng: random.Random) -> str:
    path.unlink()
    targets = (path.name, "nothing", "/dev/zero", "/dev/null", "..", "/etc/passwd", "../../test/cat/0.png", "x" * 300)
    target = rng.choice(targets)
    path.symlink_to(target)
    return f"is a link to {target}"


def _make_pipe(path: Path, photos: Path, rng: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "is a pipe"


def _make_folder(path: Path, photos: Path, rng: random.Random) -> str:
    path.unlink()
    (path / "deep" / "deeper").mkdir(parents=True)
    return "is a folder"


def _delete_class(path: Path, photos: Path, rng: random.Random) -> str:
    shutil.rmtree(path.parent)
    if rng.random() < 0.5:
        path.parent.write_bytes(b"no folder")
    return "and its class are gone"


def _rename_class(path: Path, photos: Path, rng: random.Random) -> str:
    name = rng.choice(ODD_NAMES)
    for folder in photos.glob(f"*/{path.parent.name}"):
        folder.rename(folder.with_name(name))
    return f"has the class {name!r}"


def _link_class(path: Path, photos: Path, rng: random.Random) -> str:
    folder = path.parent
    shutil.rmtree(folder)
    target = rng.choice((folder.name, "nothing", "..", "../../train", "/proc", "../train/cat", "/dev/null"))
    folder.symlink_to(target)
    return f"has a class that is a link to {target}"


def _delete_split(path: Path, photos: Path, rng: random.Random) -> str:
    shutil.rmtree(path.parent.parent)
    return "and its split are gone"


_CHANGES = (_break, _break, _enlarge, _change_mode, _link, _make_pipe, _make_folder, _delete_class, _rename_class)
_CHANGES += (_link_class, _delete_split)


def _png(width: int, height: int) -> bytes:
    """Return a PNG of one bit per pixel, all black; the rows of a large one are missing."""
    rows = (b"\0" + bytes((width + 7) // 8)) * height if width * height <= 13_000**2 else b""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
