"""Who is mixed with whom."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trainables.strict import Frozen


class PermutePairing(Frozen):
    """Partner by a random permutation of the batch, as in the paper; a sample may meet itself."""

    kind: Literal["permute"] = "permute"

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw each sample's partner index: int64 [count]."""
        return rng.permutation(count)


Pairing = PermutePairing
