"""Random generators derived from their purpose; there is no global randomness."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all ``parts``, in their order, and on nothing else.

    ``derive_seed(7, "weights")`` and ``derive_seed(7, "order")`` are independent streams of seed 7. The parts are
    hashed, because NumPy's own SeedSequence treats ``[7]`` and ``[7, 0]`` alike.

    Examples:
        >>> derive_seed(7, "weights") == derive_seed(7, "order")
        False
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator seeded by :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(*parts))
