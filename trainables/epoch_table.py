"""All draws of an epoch as a table in one block of bytes: one copy to the device per epoch, and none per step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.data.upload import empty_bytes

PART_BYTES = 1 << 26
"""Largest size of a part of the table, unless a single step is larger; an epoch of CIFAR fits in a twentieth of it."""

_ALIGNED_BYTES = 16
"""Fields begin at multiples of it, so that a device can read them by wide loads."""


@dataclass(frozen=True)
class Field:
    """An array in a row of the table."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """The byte after the last one."""
        return self.start + math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a step are in its row; equal layouts have equal names, types and shapes.

    Examples:
        >>> arrays = {"lr": np.array(0.1, np.float32), "samples": np.arange(3)}
        >>> layout, row = Layout.of(arrays), np.zeros(64, np.uint8)
        >>> layout.pack(arrays, row)
        >>> layout.unpack(torch.from_numpy(row))
        {'lr': tensor(0.1000), 'samples': tensor([0, 1, 2])}
    """

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Layout:
        """Return the layout of some arrays, in their order."""
        fields: list[Field] = []
        for name, values in arrays.items():
            start = -(-fields[-1].stop // _ALIGNED_BYTES) * _ALIGNED_BYTES if fields else 0
            fields.append(Field(name, values.dtype.str, values.shape, start))
        return cls(tuple(fields))

    @property
    def n_bytes(self) -> int:
        """Size of a row in bytes."""
        return self.fields[-1].stop if self.fields else 0

    def pack(self, arrays: Mapping[str, np.ndarray], row: np.ndarray) -> None:
        """Write arrays of this layout into a row, uint8 [at least n_bytes]."""
        for field in self.fields:
            row[field.start : field.stop] = np.ascontiguousarray(arrays[field.name]).reshape(-1).view(np.uint8)

    def unpack(self, row: Tensor) -> dict[str, Tensor]:
        """Return views of the arrays in a row, uint8 [at least n_bytes], whose memory is aligned."""
        types = {field.dtype: torch.from_numpy(np.empty(0, field.dtype)).dtype for field in self.fields}
        return {
            field.name: row[field.start : field.stop].view(types[field.dtype]).view(field.shape)
            for field in self.fields
        }


def unpacked(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Return arrays as tensors on a device; for a GPU by one copy that the host does not wait for.

    Examples:
        >>> unpacked({"codes": np.arange(2), "lr": np.array(0.5)}, torch.device("cpu"))
        {'codes': tensor([0, 1]), 'lr': tensor(0.5000, dtype=torch.float64)}
    """
    if device.type == "cpu" or not arrays:
        return {name: torch.from_numpy(values) for name, values in arrays.items()}
    layout = Layout.of(arrays)
    block = empty_bytes(layout.n_bytes, device)
    layout.pack(arrays, block.numpy())
    return layout.unpack(block.to(device, non_blocking=True))


@dataclass(frozen=True)
class Variant:
    """All that decides which operations a step launches: steps of the same variant differ in numbers only.

    Attributes:
        layer: layer at which the batch is mixed.
        n_batch: images of the batch.
        layout: the arrays of the step.
    """

    layer: int
    n_batch: int
    layout: Layout


@dataclass(frozen=True, eq=False)
class DrawnStep:
    """The draws of one step.

    Attributes:
        layer: layer at which the batch is mixed.
        n_batch: images of the batch.
        n_mixed: images that are mixed.
        lr: learning rate.
        arrays: all numbers that the device needs, by name.
    """

    layer: int
    n_batch: int
    n_mixed: int
    lr: float
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class TablePart:
    """Consecutive steps of an epoch.

    Attributes:
        block: their rows, uint8 [n, row_bytes], on the host; pinned for a GPU.
        variants: the variant of each step.
        n_mixed: images that are mixed in all of these steps.
        lr: learning rate of the last one.
        is_last: whether the epoch ends with this part.
    """

    block: Tensor
    variants: Sequence[Variant]
    n_mixed: int
    lr: float
    is_last: bool


def table_parts(
    steps: Iterator[DrawnStep], device: torch.device, *, part_bytes: int = PART_BYTES
) -> Iterator[TablePart]:
    """Yield the table of an epoch in parts; most epochs are one part.

    Args:
        steps: draws of the steps, in order.
        device: where the parts will be copied to.
        part_bytes: largest size of a part, unless a single step is larger.

    Examples:
        >>> steps = [DrawnStep(0, 1, 1, 0.1, {"samples": np.arange(3)})] * 5
        >>> parts = table_parts(iter(steps), torch.device("cpu"), part_bytes=48)
        >>> [(list(part.block.shape), part.n_mixed, part.is_last) for part in parts]
        [([2, 24], 2, False), ([2, 24], 2, False), ([1, 24], 1, True)]
    """
    waiting: list[tuple[DrawnStep, Layout]] = []
    row_bytes = 0
    for step in steps:
        layout = Layout.of(step.arrays)
        wider = max(row_bytes, layout.n_bytes)
        if waiting and wider * (len(waiting) + 1) > part_bytes:
            yield _part(waiting, row_bytes, device, is_last=False)
            waiting, wider = [], layout.n_bytes
        row_bytes = wider
        waiting.append((step, layout))
    yield _part(waiting, row_bytes, device, is_last=True)


def _part(
    steps: Sequence[tuple[DrawnStep, Layout]], row_bytes: int, device: torch.device, *, is_last: bool
) -> TablePart:
    block = empty_bytes(len(steps) * row_bytes, device).view(len(steps), row_bytes)
    for row, (step, layout) in zip(block.numpy(), steps, strict=True):
        layout.pack(step.arrays, row)
    return TablePart(
        block=block,
        variants=[Variant(step.layer, step.n_batch, layout) for step, layout in steps],
        n_mixed=sum(step.n_mixed for step, _ in steps),
        lr=steps[-1][0].lr,
        is_last=is_last,
    )


class EpochsAhead:
    """Draws the tables of the epochs in a thread: the next part, and the next epoch, while the device trains.

    The generators are then ahead of the training. So their states from before the epoch that is drawn ahead are kept:
    a trial is saved with them.
    """

    def __init__(
        self, parts_of: Callable[[int], Iterator[TablePart]], states: Callable[[], dict[str, Any]], n_epochs: int
    ) -> None:
        """Prepare to draw epochs.

        Args:
            parts_of: draws the epoch of a number, from 0, with generators that nothing else uses meanwhile.
            states: returns the present states of these generators.
            n_epochs: number of planned epochs: nothing is drawn beyond them.
        """
        self._parts_of = parts_of
        self._present_states = states
        self._n_epochs = n_epochs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="epoch-table")
        self._ahead: tuple[Iterator[TablePart], Future[TablePart]] | None = None
        self._states_before: dict[str, Any] = {}

    def parts(self, epoch: int) -> Iterator[TablePart]:
        """Yield the parts of an epoch; with the last one, begin to draw the next epoch."""
        parts, drawing = self._ahead or self._begun(epoch)
        while not (part := drawing.result()).is_last:
            drawing = self._thread.submit(next, parts)
            yield part
        self._ahead = None
        if epoch + 1 < self._n_epochs:
            self._states_before = self._present_states()
            self._ahead = self._begun(epoch + 1)
        yield part

    def states(self) -> dict[str, Any]:
        """Return the states of the generators after the epochs that were trained on."""
        return self._present_states() if self._ahead is None else self._states_before

    def stop(self) -> None:
        """Wait for the thread and forget what it has drawn; the caller then sets the states of the generators."""
        if self._ahead is not None:
            self._ahead[1].exception()
            self._ahead = None

    def _begun(self, epoch: int) -> tuple[Iterator[TablePart], Future[TablePart]]:
        parts = self._parts_of(epoch)
        return parts, self._thread.submit(next, parts)
