"""Small generated copies of each source's layout."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def noise(seed: int, height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a noise image of the given size and mode to a path."""

    def write(path: Path, *, seed: int = 0, height: int = 12, width: int = 12, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, height, width).convert(mode).save(path)
        return path

    return write


@pytest.fixture
def imagefolder_root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two classes of 12 x 12 px: five training images each, two test images of the first."""
    root = tmp_path / "photos"
    for label, name in enumerate(("cat", "dog")):
        for index in range(5):
            write_image(root / "train" / name / f"{index}.png", seed=10 * label + index)
    for index in range(2):
        write_image(root / "test" / "cat" / f"{index}.png", seed=100 + index)
    return root


@pytest.fixture
def tiny_imagenet_root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two classes of 64 x 64 px in the official layout: three training images, one for validation."""
    root = tmp_path / "tiny"
    wnids = ("n02", "n01")
    for wnid in wnids:
        lines = []
        for index in range(3):
            write_image(root / f"train/{wnid}/images/{wnid}_{index}.JPEG", seed=index, height=64, width=64)
            lines.append(f"{wnid}_{index}.JPEG\t{index}\t10\t63\t20\n")
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("".join(lines))
    for index in range(2):
        write_image(root / f"val/images/val_{index}.JPEG", seed=9 + index, height=64, width=64)
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t63\t63\nval_1.JPEG\tn01\t5\t6\t7\t8\n")
    (root / "wnids.txt").write_text("\n".join(wnids))
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\n")
    return root


@pytest.fixture
def cub_root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two species in the official layout: two training images and a test image of each, of 40 x 30 px."""
    root = tmp_path / "CUB_200_2011"
    species = ("001.Black_footed_Albatross", "002.Fish_Crow")
    files = [f"{name}/{index}.jpg" for name in species for index in range(3)]
    for number, file in enumerate(files):
        write_image(root / "images" / file, seed=number, height=40, width=30)
    tables = {
        "classes.txt": species,
        "images.txt": files,
        "image_class_labels.txt": [1, 1, 1, 2, 2, 2],
        "train_test_split.txt": [1, 0, 1, 1, 1, 0],
        "bounding_boxes.txt": [f"{4.0 + number} 8.0 15.5 24.0" for number in range(6)],
    }
    for name, values in tables.items():
        (root / name).write_text("".join(f"{number} {value}\n" for number, value in enumerate(values, start=1)))
    return root


def annotation(wnid: str, *boxes: tuple[int, int, int, int]) -> str:
    """An annotation as ILSVRC has them, of objects at inclusive xmin, ymin, xmax, ymax."""
    objects = "".join(
        f"<object><name>{wnid}</name><pose>Unspecified</pose><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    return f"<annotation><folder>val</folder><size><width>48</width><height>32</height></size>{objects}</annotation>"


@pytest.fixture
def imagenet_root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two classes of 32 x 48 px in the official layout: three training images each, two flat ones for validation."""
    root = tmp_path / "imagenet"
    boxes = root / "Annotations/CLS-LOC"
    for wnid in ("n02", "n01"):
        (boxes / "train" / wnid).mkdir(parents=True)
        for index in range(3):
            seed = 3 * int(wnid[1:]) + index
            write_image(root / f"train/{wnid}/{wnid}_{index}.JPEG", seed=seed, height=32, width=48)
            (boxes / f"train/{wnid}/{wnid}_{index}.xml").write_text(annotation(wnid, (10 + index, 2, 39, 29)))
    (boxes / "val").mkdir()
    for index, wnid in enumerate(("n02", "n01")):
        write_image(root / f"val/ILSVRC2012_val_{index}.JPEG", seed=20 + index, height=32, width=48)
        text = annotation(wnid, (20, 4, 25, 6), (12, 4, 35, 15), (14, 4, 20, 9))
        (boxes / f"val/ILSVRC2012_val_{index}.xml").write_text(text)
    return root


class _Python2Pickler(pickle.Pickler):
    """Spells a dtype as Python 2 did: with integers where NumPy 2.4 wants booleans."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, (value.str[1:], 0, 1), value.__reduce__()[2]
        return NotImplemented


def _dump(path: Path, content: dict[str, Any]) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


def _batch(seed: int, count: int, n_classes: int, key: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
    return {"data": pixels, key: [int(label) for label in np.arange(count) % n_classes]}


def _register(
    reader: Any,
    monkeypatch: pytest.MonkeyPatch,
    train: list[list[str]],
    test: list[list[str]],
    meta: list[str],
) -> None:
    """Have torchvision take the generated files for the published ones."""
    monkeypatch.setattr(reader, "train_list", train)
    monkeypatch.setattr(reader, "test_list", test)
    monkeypatch.setattr(reader, "meta", reader.meta | {"filename": meta[0], "md5": meta[1]})


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 with five batches of 4 images and 3 test images; CIFAR-100 with 20 and 2."""
    from torchvision import datasets

    root = tmp_path / "cifar"
    ten, hundred = root / "cifar-10-batches-py", root / "cifar-100-python"
    _register(
        datasets.CIFAR10,
        monkeypatch,
        [_dump(ten / f"data_batch_{n}", _batch(n, 4, 10, "labels")) for n in range(1, 6)],
        [_dump(ten / "test_batch", _batch(6, 3, 10, "labels"))],
        _dump(ten / "batches.meta", {"label_names": [f"class {n}" for n in range(10)]}),
    )
    _register(
        datasets.CIFAR100,
        monkeypatch,
        [_dump(hundred / "train", _batch(7, 20, 100, "fine_labels"))],
        [_dump(hundred / "test", _batch(8, 2, 100, "fine_labels"))],
        _dump(hundred / "meta", {"fine_label_names": [f"class {n}" for n in range(100)]}),
    )
    monkeypatch.setattr("trainables.data.sources.cifar.N_TRAIN", 20)
    return root
