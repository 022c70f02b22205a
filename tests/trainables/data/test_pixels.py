"""Pixels of files as people have them, against the arrays that the files were made from."""

from __future__ import annotations

import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from trainables.data import decoding, pixels
from trainables.data.decoding import common_size, count_with_frames, decode
from trainables.errors import UserError

BITS, KIND, PHOTOMETRIC, LOW, HIGH = 258, 339, 262, 340, 341
RAMP = np.linspace(0, 1, 24 * 16).reshape(24, 16)
"""Grey values from black to white."""


def decoded(path: Path, *, upright: bool = False, shape: tuple[int, int] = RAMP.shape) -> np.ndarray:
    out = np.empty((1, *shape, 3), np.uint8)
    decode([str(path)], out, upright=upright)
    return out[0]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write_png(path: Path, samples: np.ndarray, *, size: tuple[int, int] | None = None) -> None:
    """Write RGB or RGBA samples with 16 bits, which Pillow cannot write, or a header that promises another size."""
    height, width = size or samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if samples.shape[2] == 3 else 6, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_tiff(path: Path, samples: np.ndarray, **tags: float) -> None:
    numbers = {"low": LOW, "high": HIGH, "photometric": PHOTOMETRIC}
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[numbers[name]] = value
    Image.fromarray(samples).save(path, tiffinfo=info)


def write_12_bits(path: Path, samples: np.ndarray) -> None:
    """Write a TIFF file of 12 bits per sample: two samples in three bytes."""
    first, second = samples.reshape(-1, 2).astype(int).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()
    height, width = samples.shape
    values = {256: width, 257: height, BITS: 12, 259: 1, PHOTOMETRIC: 1, 273: 8, 277: 1, 278: height, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory)


def write_grey_png(path: Path, samples: np.ndarray, significant_bits: int) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"sBIT", bytes([significant_bits]))
    Image.fromarray(samples).save(path, pnginfo=info)


def write_pgm(path: Path, samples: np.ndarray, largest: int) -> None:
    height, width = samples.shape
    path.write_bytes(f"P5 {width} {height} {largest}\n".encode() + samples.astype(">u2").tobytes())


def whole(largest: int) -> np.ndarray:
    return np.rint(RAMP * largest).astype(np.uint16)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "float.tif": lambda path: write_tiff(path, (3 * RAMP - 1).astype(np.float32), low=-1.0, high=2.0),
    "hounsfield.tif": lambda path: write_tiff(path, (RAMP * 2000 - 1000).astype(np.int32), low=-1000, high=1000),
    "high_only.tif": lambda path: write_tiff(path, whole(4095), high=4095),
    "white_is_0.tif": lambda path: write_tiff(path, whole(65535)[::-1, ::-1].copy(), photometric=0),
    "12_bits.tif": lambda path: write_12_bits(path, whole(4095)),
    "16_bits.tif": lambda path: write_tiff(path, whole(65535)),
    "16_bits.png": lambda path: Image.fromarray(whole(65535)).save(path),
    "colour.png": lambda path: write_png(path, np.repeat(whole(65535)[..., None], 3, axis=2)),
    "lower_12_bits.png": lambda path: write_grey_png(path, whole(4095), 12),
    "upper_12_bits.png": lambda path: write_grey_png(path, whole(4095) << 4, 12),
    "12_bits.pgm": lambda path: write_pgm(path, whole(4095), 4095),
    "16_bits.pgm": lambda path: write_pgm(path, whole(65535), 65535),
    "16_bits.jp2": lambda path: Image.fromarray(whole(65535)).save(path, irreversible=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_are_scaled_by_the_range_that_the_file_states(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    image = decoded(tmp_path / name)
    assert (image == image[..., :1]).all()
    assert np.abs(image[..., 0] - 255 * RAMP).max() <= 1
    assert (image[0, 0, 0], image[-1, -1, 0]) == (0, 255)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "float.tif": (lambda path: write_tiff(path, RAMP.astype(np.float32)), "32-bit float samples.*SMinSampleValue"),
    "int32.tif": (lambda path: write_tiff(path, (RAMP * 255).astype(np.int32)), "32-bit signed integer samples"),
    "nan.tif": (lambda path: write_tiff(path, np.full((4, 4), np.nan, np.float32), low=0, high=1), "NaN or infinite"),
    "12_bits.png": (
        lambda path: Image.fromarray(whole(4092)).save(path),
        r"1 images with 16 bits per sample.*12_bits\.png: their values need 12 bits only.*4,095 or 65,535",
    ),
    "10_bits.tif": (lambda path: write_tiff(path, whole(1023)), "need 10 bits only"),
    "colour.png": (lambda path: write_png(path, np.repeat(whole(4095)[..., None], 3, axis=2)), "need 12 bits only"),
    "opaque.png": (
        lambda path: write_png(path, np.stack([*3 * [whole(4095)], np.full(RAMP.shape, 65535)], axis=2)),
        "need 12 bits only",
    ),
    "large.png": (
        lambda path: write_png(path, np.zeros((1, 1, 3)), size=(9000, 9001)),
        r"large\.png is too large: it has 9001 x 9000 pixels, at most 67,108,864",
    ),
    "bomb.png": (lambda path: write_png(path, np.zeros((1, 1, 3)), size=(20000, 20000)), "has 400,000,000 pixels"),
    "long.png": (
        lambda path: (path.touch(), os.truncate(path, 2**29 + 1)),  # it takes no space on the disk
        r"long\.png is too large: it has 536,870,913 bytes, at most 536,870,912",
    ),
    "empty.png": (lambda path: path.write_bytes(b""), "it is empty"),
    "icon.png": (lambda path: Image.new("RGB", (32, 32)).save(path, "ICO"), "in none of the formats JPEG, PNG"),
    "page.png": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "in none of the formats JPEG, PNG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_file_does_not_state_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write, words = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=words) as refused:
        decoded(tmp_path / name)
    assert name in str(refused.value)
    assert len(str(refused.value)) < 500


def test_dark_images_are_right_beside_one_that_uses_16_bits(tmp_path: Path) -> None:
    for name, largest in (("dark", 4095), ("bright", 40000), ("black", 0)):
        Image.fromarray(whole(largest)).save(tmp_path / f"{name}.png")
    out = np.empty((3, *RAMP.shape, 3), np.uint8)
    decode([str(tmp_path / f"{name}.png") for name in ("dark", "bright", "black")], out)
    assert [image.max() for image in out] == [4095 >> 8, 40000 >> 8, 0]
    assert decoded(tmp_path / "black.png").max() == 0


def test_a_16_bit_image_is_read_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "STRIP_PX", 5 * 16)
    write_12_bits(tmp_path / "12_bits.tif", whole(4095))
    assert np.abs(decoded(tmp_path / "12_bits.tif")[..., 0] - 255 * RAMP).max() <= 1


@pytest.mark.parametrize(("mode", "colour", "expected"), [("1", 1, 255), ("L", 7, 7), ("LA", (7, 9), 7)])
def test_grey_modes(tmp_path: Path, mode: str, colour: Any, expected: int) -> None:
    Image.new(mode, RAMP.shape[::-1], colour).save(tmp_path / "grey.png")
    assert (decoded(tmp_path / "grey.png") == expected).all()


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""Stored pixels of an upright image by orientation, from the table of the EXIF standard."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_photographs_are_turned_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(decoded(path, upright=True), upright)
    assert common_size([str(path)], None, upright=True) == (24, 16)


def test_a_reduced_jpeg_is_turned_upright_too(tmp_path: Path) -> None:
    stored = np.zeros((320, 480, 3), np.uint8)
    stored[:, :240] = 255  # left; after a turn by 90 degrees to the right, the upper half
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(stored).save(tmp_path / "phone.jpg", exif=exif)
    upright = decoded(tmp_path / "phone.jpg", upright=True, shape=(24, 16))
    assert (upright[:11] > 250).all()
    assert (upright[13:] < 5).all()
    as_stored = decoded(tmp_path / "phone.jpg", shape=(16, 24))
    assert (as_stored[:, :11] > 250).all()


def test_broken_metadata_do_no_harm(tmp_path: Path) -> None:
    Image.fromarray(np.full((*RAMP.shape, 3), 9, np.uint8)).save(
        tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    )
    assert (decoded(tmp_path / "a.png", upright=True) == 9).all()


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_the_first_frame_is_read_and_others_are_counted(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", RAMP.shape[::-1], (value, value, value)) for value in (0, 255, 80)]
    path, single = tmp_path / f"moving.{ending}", tmp_path / f"still.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(single)
    assert (decoded(path) == 0).all()
    assert count_with_frames([str(single), str(path)]) == 1


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [10, 10, 40, 10, 10, 10, 40, 10, 10, 40]
    for number, side in enumerate(sides):
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
    in_work, most, changed = [], [], threading.Condition()

    def read(image: Image.Image, *args: Any, **kwargs: Any) -> Any:
        with changed:
            in_work.append(image.width**2)
            most.append(sum(in_work))
            changed.notify_all()
            if image.width == 10:  # another small image may be read beside it
                changed.wait_for(lambda: any(100 < n_px < 1600 for n_px in most), timeout=60)
        time.sleep(0.002)
        result = pixels.read_pixels(image, *args, **kwargs)
        with changed:
            in_work.remove(image.width**2)
        return result

    monkeypatch.setattr(decoding, "MAX_PX", 500)
    monkeypatch.setattr(decoding, "FILES_PER_TASK", 1)
    monkeypatch.setattr(decoding, "usable_cores", lambda: 8)
    monkeypatch.setattr(decoding, "read_pixels", read)
    decode([str(tmp_path / f"{number}.png") for number in range(len(sides))], np.empty((len(sides), 4, 4, 3), np.uint8))
    assert max(most) == 1600  # a large image alone
    assert 200 <= max(n_px for n_px in most if n_px != 1600) <= 500  # small images together
