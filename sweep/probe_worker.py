"""A process that trains on random images for a measurement: ``python -m sweep.probe_worker``.

It reads one JSON object per line from its standard input, an order of :mod:`sweep.probe`, and answers each by one line.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sweep.random_trial import ImageFacts, random_trial
from trainables.config import TrialConfig
from trainables.cores import set_threads
from trainables.gpu_memory import claim_memory, is_out_of_gpu_memory

if TYPE_CHECKING:
    from trainables.trial import Trial

FEW_BATCHES, MANY_BATCHES = 2, 64
"""Smallest and largest number of batches per measured epoch."""

MAX_IMAGE_BYTES = 256_000_000
"""Largest size of the random images."""

OUT_OF_MEMORY = "out of memory"
"""Value of ``error`` in an answer."""


class Worker:
    """Builds and measures one trial after another.

    Examples:
        >>> order = {"config": TrialConfig().model_dump_json(), "n_classes": 3, "height_px": 8, "width_px": 8}
        >>> order |= {"val_frac": 0.1, "n_batches": 2, "device": "cpu", "share": 1.0}
        >>> worker = Worker()
        >>> worker.answer({"build": order})["n_batches"]
        2
        >>> worker.answer({"measure": 0.0})["images"]
        256
    """

    _trial: Trial | None = None
    _image_bytes = 0

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Follow an order: ``build`` a trial and warm up, ``measure`` it for some seconds, or ``release`` it.

        An error of the trial is an answer with ``error``.
        """
        try:
            if "build" in order:
                self._release()
                return self._build(**order["build"])
            if "measure" in order:
                return self._measure(float(order["measure"]))
        except Exception as error:
            self._release()
            return {"error": OUT_OF_MEMORY if _is_out_of_memory(error) else f"{type(error).__name__}: {error}"}
        self._release()
        return {}

    def _build(
        self,
        config: str,
        n_classes: int,
        height_px: int,
        width_px: int,
        val_frac: float,
        n_batches: int | None,
        device: str,
        share: float,
        seconds: float = 1.0,
    ) -> dict[str, Any]:
        parsed, facts = TrialConfig.model_validate_json(config), ImageFacts(n_classes, height_px, width_px)
        if device == "cuda":
            claim_memory(share)
        if n_batches is None:
            self._begin(parsed, facts, FEW_BATCHES, val_frac, device)
            few_s = self._epoch_s()
            batch_bytes = parsed.data.batch_size * height_px * width_px * 3
            most = max(FEW_BATCHES, min(MANY_BATCHES, MAX_IMAGE_BYTES // batch_bytes))
            n_batches = min(most, max(FEW_BATCHES, round(FEW_BATCHES * seconds / few_s)))
            if n_batches == FEW_BATCHES:
                return {"n_batches": n_batches}
            self._release()
        self._begin(parsed, facts, n_batches, val_frac, device)
        return {"n_batches": n_batches}

    def _begin(self, config: TrialConfig, facts: ImageFacts, n_batches: int, val_frac: float, device: str) -> None:
        """Build the trial and run an epoch: kernels are chosen, and memory is allocated, at the first steps."""
        n_train = n_batches * config.data.batch_size
        n_val = max(1, math.ceil(n_train * val_frac))
        self._trial = random_trial(config, facts, n_train=n_train, n_val=n_val, device=device)
        side_px = 2 * config.data.pad_px
        pixels = (n_train + n_val) * (facts.height_px + side_px) * (facts.width_px + side_px)
        self._image_bytes = 0 if config.data.store == "jpeg" else 3 * pixels  # JPEGs stay on the host
        if device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._trial.run_epoch()

    def _epoch_s(self) -> float:
        assert self._trial is not None
        return self._trial.run_epoch().seconds

    def _measure(self, seconds: float) -> dict[str, Any]:
        assert self._trial is not None
        began_s, n_images = time.perf_counter(), 0
        while n_images == 0 or time.perf_counter() - began_s < seconds:
            self._trial.run_epoch()
            n_images += self._trial.n_train
        elapsed_s = time.perf_counter() - began_s
        return {"images": n_images, "seconds": elapsed_s, **_memory(self._trial, self._image_bytes)}

    def _release(self) -> None:
        from trainables.data.resident import release_images

        had_any, self._trial = self._trial is not None, None
        release_images()
        if had_any:
            gc.collect()
            _empty_cache()


def _memory(trial: Trial, image_bytes: int) -> dict[str, Any]:
    """Return the memory of a trial without its images, and on a GPU what all processes together leave of it."""
    if trial.device_name == "cpu":
        import psutil

        return {"device": "cpu", "peak_bytes": psutil.Process().memory_info().rss - image_bytes}
    import torch

    free, total = torch.cuda.mem_get_info()
    peak_bytes = torch.cuda.max_memory_allocated() - image_bytes
    sizes = {"peak_bytes": peak_bytes, "image_bytes": image_bytes, "used_bytes": total - free, "total_bytes": total}
    return {"device": trial.device_name, **sizes}


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or is_out_of_gpu_memory(error)


def main(read: Callable[[], str], write: Callable[[str], Any]) -> None:
    """Read orders and write their answers until the input ends."""
    worker = Worker()
    while line := read():
        write(json.dumps(worker.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as answers:
        os.dup2(2, 1)  # what the code of a trial prints is no answer
        set_threads(int(sys.argv[1]))
        main(sys.stdin.readline, answers.write)
