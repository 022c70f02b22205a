"""From photographs of 500 x 375 px to training crops of 224 px: a store of JPEGs against torchvision's ImageFolder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from trainables.augment.config import Augment
from trainables.data.config import STORED_PX, Data
from trainables.data.jpeg_batches import JpegBatches
from trainables.data.jpegs.images import JpegImages
from trainables.data.store import open_split

COUNT, BATCH, SIZE_PX = 96, 32, 224


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cuttings of two photographs, at quality 95: about 90 kB each; the photographs of ImageNet have 110 kB."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split, count in (("train", COUNT), ("test", 2)):
        for index in range(count):
            whole = Image.fromarray(load_sample_images().images[index % 2])
            width, height = (500, 375) if index % 4 else (375, 500)
            scale = rng.uniform(max(width / whole.width, height / whole.height), 1.2)
            whole = whole.resize((round(scale * whole.width) + 1, round(scale * whole.height) + 1))
            left, top = rng.integers(whole.width - width), rng.integers(whole.height - height)
            path = root / split / f"class{index % 2}" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.crop((left, top, left + width, top + height)).save(path, quality=95)
    return root


def loader(root: Path) -> DataLoader[object]:
    """Return the input of most training loops on ImageNet: PyTorch's example, in this process."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE_PX),
            v2.RandomHorizontalFlip(),
            v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
        ]
    )
    return DataLoader(ImageFolder(str(root / "train"), transform), BATCH, shuffle=True)


@pytest.mark.parametrize(("stored_px", "lowest"), [(256, 3.5), (STORED_PX, 3.0), (500, 2.0)])
def test_crops_of_jpegs_against_a_dataloader(  # type: ignore[no-untyped-def]
    compare, photographs: Path, tmp_path: Path, stored_px: int, lowest: float
) -> None:
    """One core each, from files in memory. The last store has copies of the files."""
    data = Data(source=f"imagefolder:{photographs}", image_size_px=SIZE_PX, store="jpeg", stored_px=stored_px)
    images = open_split(data, "train", cache_dir=tmp_path)
    assert isinstance(images.images, JpegImages)
    augment = Augment.model_validate({"resized_crop": {}})
    batches = JpegBatches(
        images.images,
        images.labels,
        np.arange(COUNT),
        pad_px=0,
        batch_size=BATCH,
        flip=True,
        device=torch.device("cpu"),
        augment=augment,
    )
    theirs, rng = loader(photographs), np.random.default_rng(0)

    def ours() -> None:
        for _ in batches.epoch(order_rng=rng, augment_rng=rng):
            pass

    def all_of_theirs() -> None:
        for _ in theirs:
            pass

    n_bytes = images.images.n_bytes / COUNT / 1e3
    name = f"crops of JPEGs with stored_px {stored_px} ({n_bytes:.0f} kB each) against a DataLoader"
    assert compare(name, ours=ours, theirs=all_of_theirs, rounds=5) >= lowest
