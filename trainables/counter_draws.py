"""Uniform draws computed from a key and the place of each number, equal to the bit on every device.

Each draw is a hash of the key, the row and the place in the row, computed with 32-bit integers that wrap around. So a
part of the rows needs no other row, no state has to be saved, and a GPU needs no copy of large arrays of draws.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.seeds import derive_seed

_FACTORS = (0x21F0AAAD, 0xD35A2D97 - (1 << 32))
"""Factors of the hash ``x ^= x >> 16; x *= a; x ^= x >> 15; x *= b; x ^= x >> 15`` of the list of low-bias hashes in
Wellons' hash-prospector; the second one is a negative number in 32 bits."""

_SHIFTS = (16, 15, 15)


def draw_key(*parts: int | str) -> np.ndarray:
    """Return the key of a set of draws, int32 [2], derived from ``parts`` as seeds are.

    Examples:
        >>> draw_key(7, "attack", 0).shape, bool((draw_key(7, "attack", 0) == draw_key(7, "attack", 1)).all())
        ((2,), False)
    """
    return np.array([derive_seed(*parts)], dtype=np.int64).view(np.int32)


def uniform_rows(key: Tensor, rows: range, row_size: int) -> Tensor:
    """Return draws in [0, 1), multiples of 2**-24: float32 [len(rows), row_size], on the device of the key.

    Args:
        key: int32 [2], of :func:`draw_key`. Only sets with different keys are independent.
        rows: consecutive rows of the set; the numbers of a row do not depend on the others.
        row_size: numbers per row; the first ones do not depend on it.

    Examples:
        >>> key = torch.from_numpy(draw_key(7, "attack", 0))
        >>> whole, part = uniform_rows(key, range(4), 3), uniform_rows(key, range(2, 4), 3)
        >>> whole.shape, torch.equal(whole[2:], part)
        (torch.Size([4, 3]), True)
    """
    of_row = _hashed(_counter(rows, key.device) ^ key[0])
    in_row = _hashed(_counter(range(row_size), key.device) ^ key[1])
    bits = _hashed(of_row[:, None] + in_row)
    return _shifted(bits, 8).float().mul_(2.0**-24)


def _counter(numbers: range, device: torch.device) -> Tensor:
    return torch.arange(numbers.start, numbers.stop, dtype=torch.int32, device=device)


def _hashed(values: Tensor) -> Tensor:
    """Hash int32 values in place."""
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        values ^= _shifted(values, shift)
        if factor != 1:
            values *= factor
    return values


def _shifted(values: Tensor, n_bits: int) -> Tensor:
    """Shift right and fill with zeros: torch repeats the sign."""
    return (values >> n_bits).bitwise_and_((1 << (32 - n_bits)) - 1)
