"""The training loop of a trial against a simple loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.config import Model, Optimizer, TrialConfig
from trainables.data.config import Data
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.models.build import build_model
from trainables.trial import Trial

COUNT, BATCH = 1024, 128


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this CPU does not multiply bf16 natively"
)
def test_training_loop_against_plain_fp32(compare) -> None:  # type: ignore[no-untyped-def]
    """ResNet-20 with CutMix on one thread, against fp32 NCHW without augmentation on the same network."""
    rng = np.random.default_rng(0)
    padded = rng.integers(256, size=(COUNT, 40, 40, 3), dtype=np.uint8)
    images = ImageSet(
        images=padded[:, 4:36, 4:36],
        labels=rng.integers(10, size=COUNT),
        classes=tuple("0123456789"),
        boxes=None,
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    rows = np.arange(COUNT)
    config = TrialConfig(
        data=Data(batch_size=BATCH),
        model=Model(name="cifar_resnet20"),
        optimizer=Optimizer(max_epochs=1000),
        mix="cutmix",
    )
    trial = Trial(config, TrialData(images, padded, rows, rows[:1], flip=True))
    net = build_model(config.model, n_classes=10, height_px=32, width_px=32, seed=0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    plain_images = torch.tensor(images.images).permute(0, 3, 1, 2).float().contiguous() / 255
    plain_labels = torch.tensor(images.labels)

    def theirs() -> None:
        for start in range(0, COUNT, BATCH):
            loss = torch.nn.functional.cross_entropy(
                net(plain_images[start : start + BATCH]), plain_labels[start : start + BATCH]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    assert compare("training loop against plain fp32", ours=trial.run_epoch, theirs=theirs, rounds=5) >= 1.8
