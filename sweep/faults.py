"""The kind of a failure that Ray reports: a lost process or machine, memory or disk used up."""

from __future__ import annotations

import re

from trainables.faults import DISK, MEMORY, NODE, WORKER

_PATTERNS = {
    MEMORY: r"OutOfMemoryError|running low on memory|memory usage threshold|node_out_of_memory",
    DISK: r"OutOfDiskError|local disk is full|no space left on device|disk quota exceeded",
    NODE: r"NodeDiedError|LocalRayletDied|its node (has )?died|node was (terminated|drained|preempted)|node has died|"
    r"raylet (has |process )?(died|crashed)",
}
"""Texts of Ray by kind. Ray names the kernel's OOM killer as one of several possible causes of every lost process."""

_OF_GPU = re.compile(r"AcceleratorError|CUDA error|CUDA driver error|(CUDNN|CUBLAS)_STATUS_|MPS client|Triton Error")
"""Texts of errors after which a process can use its GPU no more."""


def is_gpu_fault(error: str) -> bool:
    """Return whether an error that ended a worker came from its GPU: another program on the GPU may have caused it.

    Examples:
        >>> is_gpu_fault("torch.AcceleratorError: CUDA error: an illegal memory access was encountered")
        True
        >>> is_gpu_fault("The actor is dead because its worker process has died")
        False
    """
    return _OF_GPU.search(error) is not None


def fault_of_worker(error: str) -> str:
    """Return the kind of an error with which Ray ended a trial: ``memory``, ``disk``, ``node``, otherwise ``worker``.

    Examples:
        >>> fault_of_worker("The actor died because its node has died. Node Id: 5f")
        'node'
        >>> fault_of_worker("The actor is dead because its worker process has died, perhaps by the OOM killer")
        'worker'
    """
    return next((fault for fault, pattern in _PATTERNS.items() if re.search(pattern, error, re.IGNORECASE)), WORKER)
