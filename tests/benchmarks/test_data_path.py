"""From stored images to the input of the network: crop, flip, CutMix, normalised batch."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from trainables.data.batches import Normalizer, TrainBatches
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix

COUNT, SIDE_PX, BATCH, CLASSES = 4096, 32, 128, 10
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


class ArrayImages(Dataset):  # type: ignore[type-arg]
    """Images in memory, transformed one by one, as torchvision's examples do."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images, self._labels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels
        self._transform = v2.Compose(
            [
                v2.RandomCrop(SIDE_PX, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


def test_data_path_against_a_dataloader(compare) -> None:  # type: ignore[no-untyped-def]
    """Per-sample CutMix on images in memory, against one box per batch after a DataLoader; one core each."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(COUNT, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    labels = rng.integers(CLASSES, size=COUNT)
    cutmix = v2.CutMix(num_classes=CLASSES)
    loader = DataLoader(
        ArrayImages(images, labels), BATCH, shuffle=True, collate_fn=lambda rows: cutmix(*default_collate(rows))
    )
    device = torch.device("cpu")
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    batches = TrainBatches(padded, labels, np.arange(COUNT), pad_px=4, batch_size=BATCH, flip=True, device=device)
    normalize = Normalizer.from_statistics(
        np.array(MEAN, np.float32), np.array(STD, np.float32), width_px=SIDE_PX, device=device
    )
    policy = Mix.model_validate({"preset": "cutmix", "apply": {"prob": 1.0}})

    def ours() -> None:
        for batch in batches.epoch(order_rng=rng, augment_rng=rng):
            images = normalize(batch.images)
            view = BatchView((len(images), 3, SIDE_PX, SIDE_PX), batch.classes)
            draw = draw_mix(policy, view, rng=rng, device=device)
            mix_images(images, draw)
            mix_targets(batch.labels, draw, n_classes=CLASSES)

    def theirs() -> None:
        for _ in loader:
            pass

    assert (
        compare("data path against a DataLoader with torchvision transforms", ours=ours, theirs=theirs, rounds=5) >= 10
    )
