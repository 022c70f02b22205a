from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data.decoding import decode, fit_boxes
from trainables.data.sources.registry import open_source
from trainables.data.usable import check_usable
from trainables.errors import UserError

Write = Callable[..., Path]


def test_pixels_classes_and_order(imagefolder_root: Path) -> None:
    train = open_source(f"imagefolder:{imagefolder_root}").read("train")
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0] * 5 + [1] * 5
    assert train.boxes is None
    with Image.open(imagefolder_root / "train/dog/3.png") as image:
        np.testing.assert_array_equal(train.images[8], np.asarray(image))


def test_val_is_held_out_only_without_test(imagefolder_root: Path, write_image: Write) -> None:
    source = open_source(f"imagefolder:{imagefolder_root}")
    write_image(imagefolder_root / "val/dog/0.png")
    assert source.read("test").labels.tolist() == [0, 0]
    (imagefolder_root / "test").rename(imagefolder_root / "elsewhere")
    assert source.read("test").labels.tolist() == [1]


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "jfif", "bmp", "webp", "png", "gif", "avif", "jp2"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats(imagefolder_root: Path, write_image: Write, ending: str, mode: str) -> None:
    path = write_image(imagefolder_root / f"train/cat/deep/er.{ending}", mode=mode)
    images = open_source(f"imagefolder:{imagefolder_root}").read("train").images
    with Image.open(path) as image:
        np.testing.assert_array_equal(images[5], np.asarray(image.convert("RGB")))


def test_colour_modes_become_rgb(imagefolder_root: Path, tmp_path: Path) -> None:
    folder = imagefolder_root / "train/cat"
    Image.new("RGBA", (12, 12), (250, 10, 20, 0)).save(folder / "m0.png")
    palette = Image.new("P", (12, 12), 0)
    palette.putpalette([7, 8, 9])
    palette.save(folder / "m1.png", transparency=b"\x00")
    Image.new("CMYK", (12, 12), (0, 0, 0, 255)).save(folder / "m2.jpg", quality=100)
    Image.fromarray(np.full((12, 12), 0x8040, dtype=np.uint16)).save(folder / "m3.png")
    images = open_source(f"imagefolder:{imagefolder_root}").read("train").images
    assert [tuple(image[0, 0]) for image in images[5:9]] == [
        (250, 10, 20),
        (7, 8, 9),
        (0, 0, 0),
        (128, 128, 128),
    ]


def test_photographs_are_upright(imagefolder_root: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(stored).save(imagefolder_root / "test/cat/0.png", exif=exif)
    images = open_source(f"imagefolder:{imagefolder_root}").read("test").images
    np.testing.assert_array_equal(images[0], stored[::-1, ::-1])


def test_one_odd_shape_is_kept(tmp_path: Path, write_image: Write) -> None:
    for split in ("train", "test"):
        write_image(tmp_path / split / "a/0.png", height=10, width=14)
    source = open_source(f"imagefolder:{tmp_path}")
    assert source.read("test").images.shape == (1, 10, 14, 3)
    assert source.describe(32).height_px == 32


@pytest.mark.parametrize(("short_sides", "expected_px"), [([17, 30, 60], 24), ([300, 400, 500], 224)])
def test_different_sizes_take_the_median_short_side(
    tmp_path: Path, write_image: Write, short_sides: list[int], expected_px: int
) -> None:
    for index, short in enumerate(short_sides):
        write_image(tmp_path / f"train/a/{index}.png", height=short, width=short + 5 * index)
    write_image(tmp_path / "test/a/0.png", height=9, width=9)
    source = open_source(f"imagefolder:{tmp_path}")
    for split in ("train", "test"):
        assert source.read(split).images.shape[1:] == (expected_px, expected_px, 3)


def test_the_centre_is_cropped_and_boxes_follow(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[4:12, 26:36] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    out = np.empty((1, 10, 10, 3), dtype=np.uint8)
    sizes, _ = decode([str(tmp_path / "wide.png")], out)
    assert sizes.tolist() == [[20, 60]]
    rows, columns = np.nonzero(out[0, ..., 0] > 127)
    boxes = fit_boxes(np.array([[4, 26, 12, 36], [0, 0, 20, 5]], dtype=np.int32), sizes, 10, 10)
    assert boxes[0].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] == [2, 3, 6, 8]
    assert boxes[1].tolist() == [0, 0, 10, 0]  # cut off


def test_large_jpegs_are_reduced_while_decoding(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    Image.fromarray(np.repeat(ramp[None, :, None], 800, axis=0).repeat(3, axis=2)).save(tmp_path / "big.jpg")
    out = np.empty((1, 16, 16, 3), dtype=np.uint8)
    assert decode([str(tmp_path / "big.jpg")], out)[0].tolist() == [[800, 800]]
    np.testing.assert_allclose(out[0, 8, :, 0], ramp.reshape(16, 50).mean(axis=1), atol=6)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0"])
def test_an_unreadable_image_is_refused_by_name(imagefolder_root: Path, content: bytes) -> None:
    (imagefolder_root / "train/dog/2.png").write_bytes(content)
    for image_size_px in (None, 8):
        with pytest.raises(UserError, match=r"dog/2\.png"):
            open_source(f"imagefolder:{imagefolder_root}").read("train", image_size_px)


def test_truncated_images_are_refused_by_name_all_at_once(imagefolder_root: Path) -> None:
    paths = [imagefolder_root / "test/cat" / f"{number}.png" for number in range(2)]
    for path in reversed(paths):
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UserError, match=r"cat/\d\.png: .*; repair or remove the file") as refused:
            open_source(f"imagefolder:{imagefolder_root}").read("test")
        assert ("; 1 more image cannot be used: " in str(refused.value)) == (path == paths[0])
    assert str(refused.value).endswith(str(paths[1]))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("train/heic/0.heic", "train/heic contains no image, 1 file passed over: 1 .heic; convert them"),
        ("test/dog/notes.txt", "test/dog contains no image, 1 file passed over: 1 .txt"),
        ("test/bird/0.png", "test/bird is a class that .* does not have; valid: cat, dog"),
    ],
)
def test_class_folders_are_checked(imagefolder_root: Path, write_image: Write, made: str, message: str) -> None:
    write_image(imagefolder_root / "made.png")
    (imagefolder_root / made).parent.mkdir(exist_ok=True)
    (imagefolder_root / "made.png").rename(imagefolder_root / made)
    with pytest.raises(UserError, match=message):
        open_source(f"imagefolder:{imagefolder_root}").check()


def test_what_is_passed_over_is_said(imagefolder_root: Path) -> None:
    source = open_source(f"imagefolder:{imagefolder_root}")
    assert check_usable(source) == []
    for name in ("train/__MACOSX/cat", "train/empty", "train/void", "test/dog"):
        (imagefolder_root / name).mkdir(parents=True)
    for name in (
        "train/__MACOSX/cat/0.png",
        "train/labels.csv",
        "train/cat/x.svg",
        "train/cat/y.svg",
        "test/dog/.DS_Store",
    ):
        (imagefolder_root / name).touch()
    frame = Image.new("L", (12, 12))
    frame.save(imagefolder_root / "train/dog/0.gif", save_all=True, append_images=[Image.new("L", (12, 12), 99)])
    train, test = imagefolder_root / "train", imagefolder_root / "test"
    assert check_usable(source) == [
        f"imagefolder: in {train}, 4 files passed over: 2 .svg, 1 .csv, 1 hidden or system",
        f"imagefolder: in {train}, empty class folders are passed over: empty and 1 more",
        f"imagefolder: in {test}, 1 file passed over: 1 hidden or system",
        f"imagefolder: in {test}, empty class folders are passed over: dog",
        "imagefolder: at least 1 training images have several frames; the first frame is used",
    ]
    assert source.classes() == ("cat", "dog")
    assert source.class_counts() == np.bincount(source.read("train").labels).tolist() == [5, 6]


def test_one_class_is_refused(imagefolder_root: Path) -> None:
    (imagefolder_root / "train/dog").rename(imagefolder_root / "dog")
    with pytest.raises(UserError, match="imagefolder: the only class is 'cat': at least two"):
        check_usable(open_source(f"imagefolder:{imagefolder_root}"))


def test_class_names_that_are_not_utf_8_are_text(imagefolder_root: Path) -> None:
    for split in ("train", "test"):
        (imagefolder_root / split / "cat").rename(imagefolder_root / split / os.fsdecode(b"caf\xe9"))
    source = open_source(f"imagefolder:{imagefolder_root}")
    assert source.read("test").classes == source.classes() == ("caf\\xe9", "dog")


def test_missing_parts_are_refused(imagefolder_root: Path, tmp_path: Path) -> None:
    (imagefolder_root / "test").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="test or val does not exist; expected"):
        open_source(f"imagefolder:{imagefolder_root}").check()
    (tmp_path / "flat/train").mkdir(parents=True)
    with pytest.raises(UserError, match="contains no class folder with images"):
        open_source(f"imagefolder:{tmp_path / 'flat'}").check()


def test_the_older_fingerprint_sees_names_sizes_and_times_but_no_place(imagefolder_root: Path) -> None:
    """Records of schema version 3 and older have it."""
    images = sorted((imagefolder_root / "test/cat").iterdir())
    lines = [f"cat/{path.name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\n" for path in images]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    moved = imagefolder_root.rename(imagefolder_root.with_name("moved"))
    assert open_source(f"imagefolder:{moved}").fingerprint("test") == expected
