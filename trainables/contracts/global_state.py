"""Global random generators, which no part may use."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch

from trainables.contracts.law import require


@contextlib.contextmanager
def check_no_global_draws(where: str) -> Iterator[None]:
    """Check that a block leaves the global generators of Python, NumPy and torch as they are.

    Examples:
        >>> with check_no_global_draws("example"):
        ...     np.random.default_rng(0).random() < 1
        True
    """
    states: dict[str, Callable[[], object]] = {
        "random": random.getstate,
        "numpy.random": lambda: pickle.dumps(np.random.get_state(legacy=False)),  # noqa: NPY002
        "torch": lambda: pickle.dumps(torch.get_rng_state().tolist()),
    }
    before = {name: state() for name, state in states.items()}
    yield
    for name, state in states.items():
        require(state() == before[name], f"{where}: the global generator of {name} was used")
