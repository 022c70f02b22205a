"""Memory of a GPU that several trials share: its bound for one process, and errors that say that it is used up."""

from __future__ import annotations

import contextlib
import gc
import re
import sys

RESERVE_BYTES = 768 * 2**20
"""Memory of a GPU that one process needs beside its tensors: CUDA's context, kernels and the state of its libraries."""

_USED_UP = re.compile(
    r"CUDA out of memory"
    r"|(CUDA|CUDA driver|cuFFT|HIP) error: out of memory"
    r"|Triton Error \[CUDA\]: out of memory"
    r"|Cuda failure( \d+)? 'out of memory'"  # NCCL
    r"|(CUDNN|CUBLAS|CUSOLVER|CUSPARSE|CUFFT)(_STATUS)?_ALLOC_FAILED"
    r"|CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
)
"""Texts of PyTorch, of its compiler, and of NVIDIA's libraries; that of the allocator for the CPU is none of them."""

_BROKEN = re.compile(r"(CUDNN|CUBLAS)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)")
"""Texts of errors after which the GPU cannot be used from the same process; they are plain RuntimeErrors."""


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the GPU is used up; the process can continue to use the GPU.

    Examples:
        >>> is_out_of_gpu_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
        True
        >>> is_out_of_gpu_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 GB"))
        False
    """
    import torch

    is_text_of_it = isinstance(error, RuntimeError) and _USED_UP.search(str(error)) is not None
    return is_text_of_it or isinstance(error, torch.OutOfMemoryError)


def breaks_gpu(error: BaseException) -> bool:
    """Return whether a process can use its GPU no more after an error; it can after it ran out of memory.

    Examples:
        >>> breaks_gpu(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
        True
        >>> breaks_gpu(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
        False
    """
    import torch

    if is_out_of_gpu_memory(error):
        return False
    is_text_of_it = isinstance(error, RuntimeError) and _BROKEN.search(str(error)) is not None
    return is_text_of_it or isinstance(error, torch.AcceleratorError)


def memory_fraction(share: float, total_bytes: int) -> float:
    """Return the fraction of a GPU's memory that the tensors of one process may use.

    It is the share of the process without ``RESERVE_BYTES``, but at least half of the share. A process with a whole GPU
    has no bound. So a trial runs out of memory by its own size, and not by that of its neighbours.

    Args:
        share: fraction of the GPU that the trial has.
        total_bytes: memory of the GPU.

    Examples:
        >>> [round(memory_fraction(share, 80 * 2**30), 4) for share in (1.0, 0.25, 0.01)]
        [1.0, 0.2406, 0.005]
    """
    return 1.0 if share >= 1 else max(share - RESERVE_BYTES / total_bytes, share / 2)


def claim_memory(share: float) -> None:
    """Release what the last trial has left in PyTorch's cache, and bound the memory that this process may use.

    Args:
        share: fraction of the GPU that the next trial has.
    """
    import torch

    release_memory()
    _, total_bytes = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(memory_fraction(share, total_bytes))


def release_memory() -> None:
    """Return the GPU memory of tensors that are not used any more; nothing happens in a process without CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    gc.collect()  # frames of an error, and other circles, hold tensors
    with contextlib.suppress(torch.AcceleratorError):  # an error of an earlier step: the next trial meets it again
        torch.cuda.empty_cache()
