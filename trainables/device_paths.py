"""Which of two ways computes pixels: the faster ways of a CPU, or the tensor operations of every device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ON_HOST = ContextVar("on_host", default=True)


def on_host(device: torch.device) -> bool:
    """Return whether pixels are computed in the faster ways that only a CPU has, which justify a second code path."""
    return device.type == "cpu" and _ON_HOST.get()


@contextlib.contextmanager
def tensor_operations() -> Iterator[None]:
    """Render by the tensor operations of a GPU, on the host too: tests compare both ways with each other.

    Examples:
        >>> import torch
        >>> with tensor_operations():
        ...     on_host(torch.device("cpu"))
        False
    """
    token = _ON_HOST.set(False)
    try:
        yield
    finally:
        _ON_HOST.reset(token)
