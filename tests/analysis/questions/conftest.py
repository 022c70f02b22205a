"""Simulated sweeps of a study of a user's own, three arms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def make(simulate: Callable[..., Path]) -> Callable[..., Path]:
    """Write a sweep of three arms without early stopping and return its folder."""
    given = {"study": "my_own", "arms": ("off", "cutmix", "fmix"), "n_trials": 6, "n_epochs": 4, "stop": False}
    return lambda **more: simulate(**{**given, **more})
