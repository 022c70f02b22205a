"""Quasi-random points: any number of them fills a space more evenly than random points."""

from __future__ import annotations

import numpy as np


def halton_point(number: int, *, n_dims: int, rng: np.random.Generator) -> list[float]:
    """Return point ``number``, counted from 0, of a scrambled Halton sequence in [0, 1)^n_dims.

    Halton, Numerische Mathematik 1960. The base of coordinate k is the k-th prime. Its digits are permuted at random
    (Owen, arXiv 1706.02808), in the same way in all points of a sequence: generators in equal states give points of the
    same sequence.

    Args:
        number: number of the point.
        n_dims: number of coordinates.
        rng: generator of the permutations, in its initial state.
    """
    from scipy.stats import qmc  # slow to import

    if n_dims == 0:
        return []
    return [float(value) for value in qmc.Halton(n_dims, rng=rng).fast_forward(number).random(1)[0]]
