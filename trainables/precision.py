"""What a device computes with."""

from __future__ import annotations

import torch


def make_gpu_reproducible() -> None:
    """Let a GPU compute the same bits each time, and ``fp32`` mean fp32."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def resolved_precision(wanted: str, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32``: what is wanted, or for ``auto`` bf16 where the device multiplies it natively."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16" if native else "fp32"
