"""Quasi-random points: they fill a space more evenly than random ones, however many there come to be."""

from __future__ import annotations

import numpy as np


def halton_point(number: int, *, n_dims: int, rng: np.random.Generator) -> list[float]:
    """Return point ``number``, from 0, of a Halton sequence (Halton, Numerische Mathematik 1960) in [0, 1)^n_dims.

    The k-th coordinate has the k-th prime as its base. Its digits are permuted at random (Owen, arXiv 1706.02808), in
    the same way in all points of a sequence: generators in equal states give points of one sequence.
    """
    from scipy.stats import qmc  # slow to import

    if n_dims == 0:
        return []
    return [float(value) for value in qmc.Halton(n_dims, rng=rng).fast_forward(number).random(1)[0]]
