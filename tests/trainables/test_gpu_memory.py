"""Errors of a GPU by their texts, and the memory that a process may use."""

from __future__ import annotations

import pytest
import torch

from trainables.faults import fault_of
from trainables.gpu_memory import RESERVE_BYTES, breaks_gpu, claim_memory, is_out_of_gpu_memory, memory_fraction

TOO_LARGE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 10.01 GiB. GPU 0 has a total capacity of 14.75 GiB"),
    RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
    torch.AcceleratorError("CUDA error: out of memory"),
]
BROKEN = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
]
OTHERS = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear for a non-contiguous input."),
    RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu"),
    ValueError("CUDA out of memory"),
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", TOO_LARGE)
def test_the_memory_of_the_gpu_is_used_up(error: Exception) -> None:
    assert (is_out_of_gpu_memory(error), breaks_gpu(error)) == (True, False)


@pytest.mark.parametrize("error", BROKEN)
def test_the_process_has_lost_its_gpu(error: Exception) -> None:
    assert (is_out_of_gpu_memory(error), breaks_gpu(error)) == (False, True)


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_are_of_the_trial_or_of_the_memory_of_the_machine(error: Exception) -> None:
    assert (is_out_of_gpu_memory(error), breaks_gpu(error)) == (False, False)
    assert fault_of(error) in ("trial", "memory")


def test_trials_that_share_a_gpu_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for total_gib in (8, 16, 80):
        total = total_gib * 2**30
        for number in (2, 3, 8):
            bound = memory_fraction(1 / number, total) * total
            assert bound + RESERVE_BYTES <= total / number or bound == pytest.approx(total / number / 2)
    seen: list[float] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 16 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", seen.append)
    for share in (0.5, 1.0):
        claim_memory(share)
    assert seen == [0.5 - 0.75 / 16, 1.0]
