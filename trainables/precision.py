"""Numerical precision and kernels of a device."""

from __future__ import annotations

import os

import torch

from trainables.config import ON_GPU_ONLY
from trainables.errors import UserError

CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Variable of the environment and its value: without it cuBLAS does not repeat its bits on several streams.

It is read when CUDA starts."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Type of autocast by precision; the other precisions have none."""

_TF32_CAPABILITY = (8, 0)
"""First compute capability whose GPUs have TF32: Ampere."""


def set_up_gpu(precision: str, kernels: str) -> None:
    """Set how this process computes on its GPU; the settings hold for all trials of the process.

    Args:
        precision: of :func:`resolved_precision`. Only ``tf32`` uses TF32.
        kernels: ``reproducible`` computes the same bits each time, ``fastest`` may not.
    """
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    is_fastest = kernels == "fastest"
    torch.backends.cudnn.benchmark = is_fastest
    torch.backends.cudnn.deterministic = not is_fastest
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def resolved_precision(requested: str, device: torch.device) -> str:
    """Return the precision as requested; ``auto`` is bf16 if the device multiplies it natively, otherwise fp32.

    Raises:
        UserError: the device does not have the precision.

    Examples:
        >>> resolved_precision("fp16", torch.device("cpu"))
        Traceback (most recent call last):
        trainables.errors.UserError: model.precision is 'fp16', which needs a GPU: use auto, bf16 or fp32, or set \
resources.gpus
    """
    if requested != "auto":
        _check_device_has(requested, device)
        return requested
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16" if native else "fp32"


def resolved_kernels(requested: str, device: torch.device) -> str:
    """Return the kernels as requested; those of a CPU are always reproducible."""
    return "reproducible" if device.type == "cpu" else requested


def _check_device_has(precision: str, device: torch.device) -> None:
    if precision in ON_GPU_ONLY and device.type == "cpu":
        raise UserError(
            f"model.precision is '{precision}', which needs a GPU: use auto, bf16 or fp32, or set resources.gpus"
        )
    if precision == "tf32" and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) < _TF32_CAPABILITY:
            name = torch.cuda.get_device_name(device)
            raise UserError(
                f"model.precision is 'tf32', which needs compute capability 8.0, but {name} has {major}.{minor}: use "
                "auto, fp16 or fp32"
            )
