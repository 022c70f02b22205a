"""What a checkpoint costs: the state of ResNet-18 with a moving average, written while the next epoch trains."""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.gpu.context import Context
from tests.gpu.networks import RESNET18
from tests.gpu.sections.speed import EPOCHS
from tests.gpu.trials import describe_difference, new_trial, noise_images, saved_state
from trainables.checkpoints import Checkpoints, pause_after
from trainables.trial import Trial
from trainables.trial_files import SharedFiles

MOST_COST = 0.05
"""Largest fraction of the time of a trial that its states may take."""

SOON_S = 1e-3
"""A pause after which every epoch writes a state, if the one before is written."""

MEASURED = 5
"""Epochs with states, and as many without."""


def run(context: Context) -> None:
    """Measure epochs with and without states."""
    title = "cost of states by time"
    context.part(title, partial(_measure, context, title), needs_s=8 * context.scale.window_s)


def _measure(context: Context, title: str) -> None:
    with tempfile.TemporaryDirectory(dir=context.out) as folder:
        trial = _new_trial(context)
        trial.run_epoch()
        plain_s = statistics.median(_epoch_s(trial) for _ in range(MEASURED))
        files = SharedFiles(Path(folder, "state.pt"), Path(folder, "model.pt"))
        checkpoints = Checkpoints(files, "trial", every_s=SOON_S)
        saves_s, epochs_s, writes_s = [], [], []
        for _ in range(MEASURED):
            begun_s = time.perf_counter()
            trial.run_epoch()
            trained_s = time.perf_counter()
            checkpoints.save(trial)
            saves_s.append(time.perf_counter() - trained_s)
            epochs_s.append(time.perf_counter() - begun_s)
            if (write_s := checkpoints.take_write_s()) is not None:
                writes_s.append(write_s)
        checkpoints.keep(trial)
        writes_s.append(checkpoints.take_write_s() or 0.0)
        read = checkpoints.read(partial(_new_trial, context))
        difference = "" if read is None else describe_difference(saved_state(trial), saved_state(read))
        checkpoints.close(is_done=False)
    write_s = statistics.median(writes_s)
    extra_s = statistics.median(epochs_s) - plain_s
    context.check("state read = state written", read is not None and not difference, remark=difference)
    context.info("epoch without states", plain_s, "s")
    context.info("longest stop of training for a state", max(saves_s), "s", f"written in {write_s:.2f} s beside it")
    remark = f"{extra_s:.3f} s per state, one each {pause_after(write_s):.0f} s"
    if context.on_gpu:
        cost = extra_s / pause_after(write_s)
        context.check(title, cost <= MOST_COST, 100 * cost, "%", remark)
    context.need_gpu()


def _epoch_s(trial: Trial) -> float:
    begun_s = time.perf_counter()
    trial.run_epoch()
    return time.perf_counter() - begun_s


def _new_trial(context: Context) -> Trial:
    return new_trial(
        noise_images(context.scale.n_train // 2, context.scale.batch),
        context.device,
        model=RESNET18,
        width=context.scale.width,
        batch=context.scale.batch,
        max_epochs=EPOCHS,
        sections={"mix": "cutmix", "optimizer": {"ema_decay": 0.999}},
    )
