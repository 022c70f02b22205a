"""CUDA graphs: the only module of the training that captures and replays; without CUDA there is nothing to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch


class Capture(Protocol):
    """Captures functions that launch operations on a device."""

    def warm_up(self, body: Callable[[], None]) -> None:
        """Run ``body`` where it will be captured, so that libraries allocate what they keep."""

    def capture(self, body: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """Record the operations of ``body`` without running them; return a function that runs them.

        Args:
            body: reads and writes the same tensors each time, and reads nothing from the device.
            generators: the generators that it draws from; each replay advances them.
        """

    def is_usable(self) -> bool:
        """Return whether the device still computes after an error of a capture."""


class CudaCapture:
    """Captures CUDA graphs, which share one pool of memory: the results of a replay are read before the next one."""

    def __init__(self, device: torch.device) -> None:
        """Prepare a stream of the device."""
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def warm_up(self, body: Callable[[], None]) -> None:
        """Run ``body`` on the stream of the capture."""
        present = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            body()
        present.wait_stream(self._stream)

    def capture(self, body: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """Record ``body`` as a CUDA graph; threads that copy or allocate meanwhile do not disturb it."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            body()
        self._pool = graph.pool()
        return graph.replay

    def is_usable(self) -> bool:
        """Return whether the GPU still computes."""
        try:
            return bool(torch.ones(1, device=self._device).add(1).item() == 2)
        except RuntimeError:
            return False


def open_capture(device: torch.device) -> Capture | None:
    """Return what captures steps on a device; None on a device without CUDA graphs."""
    return CudaCapture(device) if device.type == "cuda" and torch.cuda.is_available() else None
