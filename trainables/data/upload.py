"""Copies from the host to a device that the host does not wait for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

AHEAD = 3
"""Number of batches that are gathered on the host while the device computes."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def empty_bytes(count: int, device: torch.device) -> Tensor:
    """Return memory on the host, uint8 [count], from which a copy to ``device`` does not block.

    For a GPU the memory is pinned. PyTorch uses it again only after all copies from it have ended.
    """
    return torch.empty(count, dtype=torch.uint8, pin_memory=device.type == "cuda" and torch.cuda.is_available())


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; for a GPU by one copy that the host does not wait for.

    Examples:
        >>> upload(np.array([1, 2]), torch.device("cpu"))
        tensor([1, 2])
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def computed_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, n_ahead: int = AHEAD
) -> Iterator[_Result]:
    """Yield ``function(item)`` for each item in order; a thread computes up to ``n_ahead`` results ahead.

    An error of the function is raised in place of its result. If the iteration is given up, the thread ends.

    Examples:
        >>> list(computed_ahead(lambda number: number**2, [1, 2, 3]))
        [1, 4, 9]
    """
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
