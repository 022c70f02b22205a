"""The steps of an epoch from a table on the device: launched one operation after another, or replayed as a graph."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainables.cuda_graphs import Capture
from trainables.data.batches import TrainBatches
from trainables.epoch_planner import CHANGES, MIX, MapShape, named
from trainables.epoch_table import TablePart, Variant
from trainables.mixing.batch_view import BatchView
from trainables.mixing.draw import MixDrawer
from trainables.mixing.pastes import RenderedDraw
from trainables.step import StepInputs, StepRates, TrainStep

MIN_STEPS = 8
"""Steps of a variant in a part of the table for which a capture pays: it costs about as much as ten steps."""

WARM_UP_STEPS = 3
"""Steps before a capture, in which libraries choose algorithms and allocate memory."""

CHECKED_STEPS = 2
"""Steps after which the captured step must have the bits of the eager step."""

Body = Callable[[], None]


class TableStep:
    """Runs the steps of a table. Each step reads the row that a counter on the device points to, and moves it.

    The steps of a variant that occurs often are captured once, if the device can capture. Before a captured step is
    used, it is compared with the eager step on the same rows, and the state is restored. If their bits differ, or if
    the capture fails, all steps are eager from then on.

    Attributes:
        reason: why no step is captured; "" if steps are.
        has_fallen_back: whether steps should have been captured, but cannot.
    """

    def __init__(
        self,
        step: TrainStep,
        batches: TrainBatches,
        drawer: MixDrawer,
        *,
        shapes: Mapping[int, MapShape],
        generators: Sequence[torch.Generator],
        capture: Capture | None,
        reason: str,
        device: torch.device,
    ) -> None:
        """Take the parts of a trial.

        Args:
            step: trains on a batch.
            batches: gathers images that are resident on the device.
            drawer: renders the planned draws; it is kept as long as the captured steps.
            shapes: shape of what is mixed at each layer.
            generators: generators on the device that a step draws from.
            capture: captures steps; None: all steps are eager.
            reason: why no step is captured.
            device: device of the trial.
        """
        self.reason = reason
        self.has_fallen_back = False
        self._step = step
        self._batches = batches
        self._drawer = drawer
        self._shapes = shapes
        self._generators = generators
        self._capture = capture
        self._device = device
        self._rows = torch.zeros((0, 0), dtype=torch.uint8, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._replays: dict[Variant, Body] = {}
        step.keep_tensors()

    @property
    def is_captured(self) -> bool:
        """Whether steps are replayed; before the first step, whether they will be if nothing fails."""
        return not self.reason

    def train(self, part: TablePart) -> None:
        """Run the steps of a part of the table; nothing is read from the device, except for a new captured step."""
        self._hold(part.block)
        counts = Counter(part.variants)
        for variant in part.variants:
            if variant not in self._replays and self._capture is not None and counts[variant] >= MIN_STEPS:
                self._try_to_capture(variant)
            self._replays.get(variant, functools.partial(self._body, variant))()
        if self._capture is not None:
            often = max(counts.values())
            why = f"only {often} steps of an epoch are alike, and a capture pays from {MIN_STEPS} steps on"
            self.reason = "" if self._replays else why

    def _hold(self, block: Tensor) -> None:
        """Copy rows to the device, into the memory that captured steps read; steps in progress read it before that."""
        n_rows, row_bytes = block.shape
        if n_rows > self._rows.shape[0] or row_bytes > self._rows.shape[1]:
            largest = max(n_rows, self._rows.shape[0]), max(row_bytes, self._rows.shape[1])
            self._rows = torch.zeros(largest, dtype=torch.uint8, device=self._device)
            self._replays.clear()  # they would read the previous rows
        self._rows[:n_rows, :row_bytes].copy_(block, non_blocking=True)
        self._at.zero_()

    def _body(self, variant: Variant) -> None:
        """Train on the present row: only operations on the device, which depend on the variant alone."""
        row = variant.layout.unpack(self._rows.index_select(0, self._at)[0])
        self._at += 1
        images, labels = self._batches.gather(row["samples"], row["tops"], row["lefts"], row["flipped"])
        plan, changes = named(row, MIX), named(row, CHANGES)
        shape = (variant.n_batch, *self._shapes[variant.layer])

        def draw(maps: Tensor, images: Tensor) -> RenderedDraw:
            seen = functools.cache(functools.partial(self._step.net_maps, images, labels))
            return self._drawer.render(plan, BatchView(shape, _NO_LABELS, images, maps=seen))

        rates = StepRates(row["lr"], row.get("ema_factor"), row.get("drop_prob", 0.0), row.get("attack_key"))
        self._step.run(StepInputs(images, labels, changes, variant.layer, draw, rates))

    def _try_to_capture(self, variant: Variant) -> None:
        assert self._capture is not None
        before = self._state()
        try:
            replay = self._captured(self._capture, variant, before)
        except RuntimeError as error:  # errors of CUDA, of memory and of operations that cannot be captured
            if not self._capture.is_usable():
                raise
            replay = None
            self._fall_back(f"the capture failed ({str(error).splitlines()[0]})")
        self._restore(before)
        if replay is not None:
            self._replays[variant] = replay

    def _captured(self, capture: Capture, variant: Variant, before: _State) -> Body | None:
        """Return the captured step of a variant; None if its bits differ from those of the eager step."""
        body = functools.partial(self._body, variant)
        for _ in range(WARM_UP_STEPS):
            self._restore(before)
            capture.warm_up(body)
        eager = self._after(body, before)
        self._restore(before)
        replay = capture.capture(body, self._generators)
        captured = self._after(replay, before)
        if not eager.equals(captured):
            self._fall_back("the captured step does not have the bits of the eager step")
            return None
        return replay

    def _fall_back(self, reason: str) -> None:
        self._capture = None
        self._replays.clear()
        self.reason, self.has_fallen_back = reason, True

    def _after(self, step: Body, before: _State) -> _State:
        """Return the state after some steps from the present row, each on this row."""
        self._restore(before)
        for _ in range(CHECKED_STEPS):
            self._at.copy_(before.tensors[0])
            step()
        return self._state()

    def _tensors(self) -> list[Tensor]:
        return [self._at, *self._step.tensors()]

    def _state(self) -> _State:
        tensors = [tensor.detach().clone() for tensor in self._tensors()]
        return _State(tensors, [generator.get_state() for generator in self._generators])

    def _restore(self, state: _State) -> None:
        with torch.no_grad():
            for tensor, value in zip(self._tensors(), state.tensors, strict=True):
                tensor.copy_(value)
        for generator, value in zip(self._generators, state.generators, strict=True):
            generator.set_state(value)


class _State:
    """Copies of all that a step changes."""

    def __init__(self, tensors: Sequence[Tensor], generators: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.generators = generators

    def equals(self, other: _State) -> bool:
        """Return whether all bits are equal; NaN equals NaN."""
        pairs = zip((*self.tensors, *self.generators), (*other.tensors, *other.generators), strict=True)
        return all(torch.equal(_bits(ours), _bits(theirs)) for ours, theirs in pairs)


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bits(values: Tensor) -> Tensor:
    return values.view(_INTEGERS[values.element_size()])


_NO_LABELS = torch.zeros(0, dtype=torch.int64).numpy()
"""The labels are on the device; rendering needs none."""
