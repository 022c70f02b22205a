"""Several trials on one GPU, each in a process of its own, as in a sweep; with and without MPS."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
from collections.abc import Iterator, Mapping
from multiprocessing.synchronize import Event
from typing import Any

from sweep.mps import Mps
from tests.gpu.context import NO_GPU, Context, NotRun
from tests.gpu.sections.speed import EPOCHS, UNIT, model_of
from tests.gpu.trials import Way, new_trial, noise_images
from trainables.gpu_memory import claim_memory

FORK = multiprocessing.get_context("fork")
"""Children of a process that has imported torch, but has not started CUDA."""


def run(context: Context) -> None:
    """Measure all trials together for growing numbers of trials, first what the goals need."""
    mps = Mps(f"/tmp/cutmix-sweep-test-mps-{os.getuid()}", is_required=False)
    problem = mps.start() if context.on_gpu else NO_GPU
    try:
        for network, count, with_mps in _plan(context.scale.counts, can_mps=not problem):
            environment, how = (mps.environment(), "MPS") if with_mps else ({}, "time slices")
            _measure_together(context, network, count, environment, how)
    finally:
        mps.stop()
    if problem:
        context.skip("MPS", problem)


def _plan(counts: tuple[int, ...], *, can_mps: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield network, number of trials, and whether MPS is used, in the order of what they decide."""
    largest, *middle = reversed(counts[1:])
    for count in (1, largest, *middle):
        for network in ("tiny", "resnet18"):
            yield network, count, can_mps and count > 1
    if can_mps:
        for network in ("tiny", "resnet18"):
            yield network, largest, False
    for count in (1, largest, *middle):
        yield "cifar_resnet20", count, can_mps and count > 1


def _measure_together(context: Context, network: str, count: int, environment: Mapping[str, str], how: str) -> None:
    title = f"{network}, {count} at once, {how}"

    def measure() -> None:
        rates = run_processes(context, network, count, environment)
        context.info(title, sum(rates), UNIT, f"slowest {min(rates):,.0f}, fastest {max(rates):,.0f} per trial")

    context.part(title, measure, needs_s=10 + 4 * context.scale.window_s)


def run_processes(context: Context, network: str, count: int, environment: Mapping[str, str]) -> list[float]:
    """Return the images per second of each of ``count`` trials that run at the same time."""
    ready, answers, go = FORK.Queue(), FORK.Queue(), FORK.Event()
    workers = [
        FORK.Process(
            target=_work, args=(context, network, count, seed, dict(environment), ready, answers, go), daemon=True
        )
        for seed in range(count)
    ]
    try:
        for worker in workers:
            worker.start()
        _collect(ready, workers, time.time() + context.left_s)
        go.set()
        return _collect(answers, workers, time.time() + context.left_s)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _collect(answers: Any, workers: list[Any], until_s: float) -> list[Any]:
    """Return one answer of each worker."""
    got: list[Any] = []
    while len(got) < len(workers):
        try:
            got.append(answers.get(timeout=0.2))
        except queue.Empty:
            ended = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
            if ended:
                raise RuntimeError(f"{len(ended)} of {len(workers)} processes ended with {ended}") from None
            if time.time() > until_s:
                raise NotRun(f"{len(got)} of {len(workers)} processes answered in time") from None
    return got


def _work(
    context: Context,
    network: str,
    count: int,
    seed: int,
    environment: dict[str, str],
    ready: Any,
    answers: Any,
    go: Event,
) -> None:
    """Train one trial: warm up, wait for the common start, then count whole epochs for twice the window."""
    os.environ |= environment
    scale, model = context.scale, model_of(network, context)
    if context.on_gpu:
        claim_memory(1 / count)
    trial = new_trial(
        noise_images(scale.n_train // 4, scale.batch),
        context.device,
        model=model.name,
        width=model.width,
        batch=scale.batch,
        max_epochs=EPOCHS,
        way=Way(),
        sections={"mix": "cutmix"},
        seed=seed,
    )
    for _ in range(2):
        trial.run_epoch()
    ready.put(seed)
    go.wait()
    begun_s, images = time.perf_counter(), 0
    while time.perf_counter() - begun_s < 2 * scale.window_s:
        trial.run_epoch()
        images += trial.n_train
    answers.put(images / (time.perf_counter() - begun_s))
