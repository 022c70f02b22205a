"""Numerical precision of a device."""

from __future__ import annotations

import torch


def make_gpu_reproducible() -> None:
    """Set up a GPU to compute the same bits each time, and ``fp32`` without TF32."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def resolved_precision(requested: str, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32`` as requested; ``auto`` is bf16 if the device multiplies it natively."""
    if requested != "auto":
        return requested
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16" if native else "fp32"
