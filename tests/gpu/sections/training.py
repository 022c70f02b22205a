"""Whole trainings by the product alone: what accuracy comes out."""

from __future__ import annotations

import time
from functools import partial

from tests.gpu.context import Context
from tests.gpu.networks import RESNET18
from tests.gpu.trials import learnable_images, new_trial
from trainables.data.config import Data
from trainables.data.prepared import TrialData, prepare_data

ARMS = ("off", "cutmix", "mixup", "cutout")

LEAST_ACCURACY = 0.5
"""Of synthetic images with 100 classes; chance is 0.01."""


def run(context: Context) -> None:
    """Train ResNet-18 by four policies."""
    data = _data(context)
    for arm in ARMS:
        title = f"{arm}, {context.scale.epochs} epochs of {len(data.train_rows)} images"
        context.part(title, partial(_train, context, title, arm, data), needs_s=12 if context.on_gpu else 0)


def _train(context: Context, title: str, arm: str, data: TrialData) -> None:
    begun_s = time.perf_counter()
    trial = new_trial(
        data,
        context.device,
        model=RESNET18,
        width=context.scale.width,
        batch=context.scale.batch,
        max_epochs=context.scale.epochs,
        sections={"mix": arm},
        source=context.images or "digits",
    )
    while not trial.done:
        trial.run_epoch()
    took_s = time.perf_counter() - begun_s
    accuracy = 1 - trial.history[-1].val_top1_error
    remark = f"{took_s:.1f} s in all, {trial.history[-1].images_per_s:,.0f} images/s"
    if context.images or not context.on_gpu:
        context.info(title, 100 * accuracy, "% top-1", remark)
    else:
        context.check(title, accuracy >= LEAST_ACCURACY, 100 * accuracy, "% top-1", remark)


def _data(context: Context) -> TrialData:
    if context.images:
        return prepare_data(Data(source=context.images))
    return learnable_images(context.scale.n_train, context.scale.n_train // 9, classes=100 if context.on_gpu else 4)
