"""Axes measure the same on images that are decoded when they are read, and never read all of them at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.evaluation.conftest import SIDE_PX, given
from trainables.data.image_set import ImageSet
from trainables.data.jpegs.codec import encode_jpeg
from trainables.data.jpegs.images import JpegImages
from trainables.evaluation.axes.calibration import Calibration
from trainables.evaluation.axes.classification import Classification
from trainables.evaluation.axes.corruption import Corruption
from trainables.evaluation.axes.localization import Localization
from trainables.evaluation.axes.ood import OutOfDistribution
from trainables.evaluation.base import Axis
from trainables.evaluation.subject import Subject

LARGEST_BATCH = 25


class _Watched(JpegImages):
    """Images of which only some are read at once."""

    def read(self, rows: np.ndarray, out: np.ndarray, *, n_threads: int | None = None) -> None:
        assert len(rows) <= LARGEST_BATCH
        super().read(rows, out, n_threads=n_threads)


def as_jpegs(images: ImageSet) -> ImageSet:
    contents = [np.frombuffer(encode_jpeg(image), np.uint8) for image in images.images]
    offsets, sizes = np.cumsum([0, *map(len, contents)]), np.tile(images.images.shape[1:3], (len(images), 1))
    return replace(images, images=_Watched(np.concatenate(contents), offsets, sizes, sides_px=(SIDE_PX, SIDE_PX)))


def decoded(images: ImageSet) -> ImageSet:
    pixels = np.stack([images.images[row] for row in range(len(images))])
    return replace(images, images=pixels)


@pytest.mark.parametrize(
    "axis",
    [
        Classification(),
        Calibration(),
        Localization(n_images=20, n_thresholds=10),
        Corruption(n_images=12, kinds=("gaussian_noise",), severities=(3,)),
        OutOfDistribution(n_images=20, sets=("uniform",)),
    ],
    ids=lambda axis: axis.name,
)
def test_the_values_are_those_of_decoded_images(
    subject: Subject, axis: Axis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path))
    config = subject.saved.config
    evaluation = config.evaluation.model_copy(update={"batch_size": LARGEST_BATCH})
    subject.saved = replace(subject.saved, config=config.model_copy(update={"evaluation": evaluation}))
    test, train = as_jpegs(subject.test), as_jpegs(subject.data.images)
    measured: list[Any] = []
    for change in (lambda images: images, decoded):
        data = replace(subject.data, images=change(train))
        measured.append(axis.measure(given(subject, test=change(test), data=data)))
    assert measured[0].values == measured[1].values
    assert measured[0].pictures == measured[1].pictures
