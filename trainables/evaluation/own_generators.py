"""Libraries that draw from torch's global generators, made repeatable without a change of these generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_generators(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators of the host and of one device for a block, and restore them afterwards.

    Use it around code of a library that takes no generator, for example torchvision's sampling of proposals. What the
    block draws then depends on the seed alone.

    Args:
        seed: 0 to 2**63 - 1.
        device: device of the block; the generators of other devices are not touched.

    Examples:
        >>> with own_generators(7):
        ...     first = torch.rand(1)
        >>> with own_generators(7):
        ...     torch.equal(first, torch.rand(1))
        True
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also reseed the generators of devices that are not restored
        torch.default_generator.manual_seed(seed)
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield
