"""What a section is given: sizes, device, the time that is left, and where rows go."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.gpu.rows import FAIL, INFO, PASS, SKIP, Row, append_row

NO_GPU = "needs a GPU"


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    Attributes:
        n_train: images of an epoch that is timed.
        check_batch: images per step where bits are compared.
        check_steps: whole steps per epoch there; the product captures a step only if an epoch has enough of its kind.
        batch: images per step where speed is measured.
        large_batch: images per step of the comparison with a large batch.
        bound_batch: images per step of the bound.
        width: factor on the channels of ResNet-18.
        window_s: seconds of a measurement.
        counts: numbers of trials that share the GPU.
        epochs: epochs of the training from start to end.
    """

    n_train: int = 45_000
    check_batch: int = 32
    check_steps: int = 24
    batch: int = 128
    large_batch: int = 512
    bound_batch: int = 1024
    width: float = 1.0
    window_s: float = 1.5
    counts: tuple[int, ...] = (1, 2, 4, 8)
    epochs: int = 10


TINY = Scale(
    n_train=96,
    check_batch=8,
    check_steps=3,
    batch=16,
    large_batch=32,
    bound_batch=32,
    width=0.125,
    window_s=0.05,
    counts=(1, 2),
    epochs=3,
)
"""Sizes with which a CPU runs through all sections; the figures mean nothing."""


class NotRun(Exception):
    """A part that cannot run here; its message says why."""


class Context:
    """One section in progress.

    Attributes:
        section: name of the section.
        scale: sizes.
        device: a GPU, or the CPU with ``--tiny``.
        images: data source with real images, for example ``cifar100:FOLDER``; empty: synthetic ones.
        out: folder for files.
        rows: rows of this section so far.
    """

    def __init__(
        self,
        section: str,
        *,
        scale: Scale,
        out: Path,
        started_s: float,
        until_s: float,
        device: str,
        only: str = "",
        images: str = "",
    ) -> None:
        """Prepare a section that must end at ``until_s``, in seconds of ``time.time``; CUDA is not started."""
        self.section = section
        self.scale = scale
        self.out = out
        self.images = images
        self.rows: list[Row] = []
        self.device = torch.device(device)
        self._only = re.compile(only)
        self._started_s, self._until_s = started_s, until_s

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device.type == "cuda"

    @property
    def left_s(self) -> float:
        """Seconds until the section must end."""
        return self._until_s - time.time()

    def info(self, name: str, value: float | None = None, unit: str = "", remark: str = "") -> None:
        """Add a figure without a law."""
        self._add(name, INFO, value, unit, remark)

    def check(self, name: str, holds: bool, value: float | None = None, unit: str = "", remark: str = "") -> None:
        """Add a law that holds or does not."""
        self._add(name, PASS if holds else FAIL, value, unit, remark)

    def skip(self, name: str, why: str) -> None:
        """Add a part that is not run."""
        self._add(name, SKIP, None, "", why)

    def need_gpu(self) -> None:
        """Raise :class:`NotRun` without a GPU."""
        if not self.on_gpu:
            raise NotRun(NO_GPU)

    def part(self, title: str, function: Callable[[], None], *, needs_s: float = 2.0) -> None:
        """Run a part of the section: an error becomes a row that fails, and the next part runs.

        A part is not run if there is less time than ``needs_s`` left, or if it needs a library that is not there.
        Nothing is written about a part that was not asked for.
        """
        if not self._only.search(title):
            return
        try:
            if self.left_s < needs_s:
                raise NotRun(f"no time: {self.left_s:.0f} s left, {needs_s:.0f} s needed")
            function()
        except NotRun as reason:
            self.skip(title, str(reason))
        except ModuleNotFoundError as error:
            self.skip(title, f"needs {str(error.name).partition('.')[0]}")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.check(title, holds=False, remark=f"{text[:300]} ({Path(place.filename).name}:{place.lineno})")

    def _add(self, name: str, verdict: str, value: float | None, unit: str, remark: str) -> None:
        row = Row(self.section, name, verdict, value, unit, remark, at_s=time.time() - self._started_s)
        self.rows.append(row)
        append_row(self.out / "rows.jsonl", row)
        print(row.as_line(), flush=True)
