"""A small ImageNet in the official layout: photographs of different sizes, with boxes, in two classes or more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tests.trainables.data.conftest import annotation

BOXES = "Annotations/CLS-LOC"


def write_mini_imagenet(root: Path, *, n_classes: int = 2, n_train: int = 6, n_val: int = 3, short_px: int = 48) -> str:
    """Write smooth random images, whose colour tells the class, as JPEGs of ``short_px`` to 1.5 ``short_px``.

    Returns:
        The source as ``--data`` spells it.
    """
    rng = np.random.default_rng(0)
    for label in range(n_classes):
        wnid = f"n{label:02}"
        for index in range(n_train):
            _write(root, f"train/{wnid}/{wnid}_{index}", f"train/{wnid}/{wnid}_{index}", label, short_px, rng)
        for index in range(n_val):
            name = f"ILSVRC2012_val_{n_classes * index + label}"
            _write(root, f"val/{name}", f"val/{name}", label, short_px, rng)
    return f"imagenet:{root}"


def _write(root: Path, image: str, boxes: str, label: int, short_px: int, rng: np.random.Generator) -> None:
    height, width = (int(rng.integers(short_px, short_px + short_px // 2 + 1)) for _ in range(2))
    path, xml = root / f"{image}.JPEG", root / BOXES / f"{boxes}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    xml.parent.mkdir(parents=True, exist_ok=True)
    photograph(rng, height, width, label).save(path, quality=95)
    x0, y0 = int(rng.integers(width // 3)), int(rng.integers(height // 3))
    xml.write_text(annotation(f"n{label:02}", (x0, y0, x0 + width // 2, y0 + height // 2)))


def photograph(rng: np.random.Generator, height: int, width: int, label: int = 0) -> Image.Image:
    """Return smooth random colours, brighter in the channel ``label``."""
    pixels = rng.integers(0, 160, (height, width, 3), dtype=np.uint8)
    pixels[..., label % 3] += 90
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
    spread = (np.asarray(image).astype(np.float32) - 128) * 3 + 128
    return Image.fromarray(spread.clip(0, 255).astype(np.uint8))
