"""Every rule on many planted sweeps: what it must find, and what it must not do to an arm that learns slowly."""

from __future__ import annotations

import numpy as np
import pytest

from sweep.findings.replay import Curves, measure_replay, random_order, replay_order
from tests.search_spaces.early_stopping.variants import stopping_variants

STOPPING = stopping_variants(grace_period_epochs=2, interval_epochs=3)
N_EPOCHS, N_TRIALS, N_SWEEPS = 20, 12, 250

pytestmark = pytest.mark.parametrize("rule", STOPPING)


def planted(rng: np.random.Generator, *, lead: float, lag: float) -> Curves:
    """Two arms of falling curves; trial 0 of each leads by ``lead``, the second arm lags by ``lag`` until the end."""
    arm, epochs = np.repeat([0, 1], N_TRIALS), np.arange(1, N_EPOCHS + 1)
    level = rng.uniform(0.2, 0.4, 2 * N_TRIALS)
    level[::N_TRIALS] = 0.2 - lead
    falling = np.exp(-epochs / 4) + lag * arm[:, None] * np.maximum(0, 1 - epochs / N_EPOCHS)
    values = level[:, None] + falling + rng.normal(0, 0.05, (2 * N_TRIALS, N_EPOCHS))
    return Curves(arms=("fast", "slow"), arm=arm, search=np.zeros_like(arm), values=values, top1_error=values)


def played(rule: str, *, lead: float = 0.0, lag: float = 0.0) -> list[tuple[Curves, np.ndarray]]:
    sweeps = []
    for seed in range(N_SWEEPS):
        rng = np.random.default_rng(seed)
        curves = planted(rng, lead=lead, lag=lag)
        order = random_order(curves, rng=rng).tolist()
        sweeps.append((curves, replay_order(curves, order, STOPPING[rule], n_workers=4)))
    return sweeps


def test_finds_the_planted_winner(rule: str) -> None:
    """A lead of twice the noise: by chance 1 of 12 would win an arm; here 2 of 3 at least."""
    wins = 0
    for curves, ran in played(rule, lead=0.1):
        for first in (0, N_TRIALS):
            own = slice(first, first + N_TRIALS)
            final = np.where(ran[own] == N_EPOCHS, curves.values[own, -1], np.inf)
            wins += int(final.argmin() == 0)
    assert wins / (2 * N_SWEEPS) > 2 / 3


def test_a_slow_arm_gets_what_the_others_get(rule: str) -> None:
    """Although all its trials are worse until late, it spends as many epochs, within one trial's, and keeps as many."""
    epochs, kept = [], []
    for curves, ran in played(rule, lag=1.0):
        epochs.append([ran[curves.arm == arm].sum() for arm in (0, 1)])
        kept.append([measure_replay(curves, ran, curves.arm == arm)["kept_frac"] for arm in (0, 1)])
    fast, slow = np.mean(epochs, axis=0)
    assert abs(fast - slow) < N_EPOCHS
    fast_kept, slow_kept = np.mean(kept, axis=0)
    assert abs(fast_kept - slow_kept) < 1 / N_TRIALS


def test_saves_epochs(rule: str) -> None:
    assert np.mean([ran.mean() for _, ran in played(rule)]) < 0.9 * N_EPOCHS
