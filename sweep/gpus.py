"""Names and memory of the GPUs of this machine, by NVIDIA's management library: asking torch would start CUDA.

A process that has started CUDA keeps a part of the memory of each GPU until it ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def gpu_names() -> list[str]:
    """Return the names of the GPUs that programs of this process may use; none without a driver of NVIDIA.

    Examples:
        >>> gpu_names()  # doctest: +SKIP
        ['NVIDIA H100 80GB HBM3', 'NVIDIA H100 80GB HBM3']
    """
    return _of_each_gpu(lambda pynvml, handle: str(pynvml.nvmlDeviceGetName(handle)))


def gpu_bytes() -> list[int]:
    """Return the memory of each of these GPUs, bytes.

    Examples:
        >>> gpu_bytes()  # doctest: +SKIP
        [85520809984, 85520809984]
    """
    return _of_each_gpu(lambda pynvml, handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total))


def _of_each_gpu(read: Callable[[Any, Any], T]) -> list[T]:
    """Return what ``read`` returns for each GPU, given the library and the handle of the GPU."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [read(pynvml, handle) for handle in _visible(pynvml)]
    except pynvml.NVMLError:  # for example an id in CUDA_VISIBLE_DEVICES that no GPU has
        return []
    finally:
        pynvml.nvmlShutdown()


def _visible(pynvml: Any) -> list[Any]:
    """Return the handles of the GPUs that ``CUDA_VISIBLE_DEVICES`` names, by number or by id; all if it is not set."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    return [
        pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID(name)
        for name in names
    ]
