"""Equal arms in whole sweeps: several searches find no winner, and one search finds a configuration that is luckier.

A small part of the benchmark of the same name.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.sweep.simulated_sweeps import ARMS, Setting, differing_frac, run_sweeps

SEARCHES = Setting(spread=2.0, noise=1.2, searches=5, trials=4, seeds=1, early_stopping=True, own_draws=True)
ONE_SEARCH = dataclasses.replace(SEARCHES, searches=1, trials=8, seeds=10, early_stopping=False)
N_SWEEPS = 6


def test_several_searches_name_no_false_winner(tmp_path: Path) -> None:
    assert differing_frac(run_sweeps(SEARCHES, range(N_SWEEPS), tmp_path)) == 0


def test_one_search_finds_configurations_that_differ_by_luck(tmp_path: Path) -> None:
    assert differing_frac(run_sweeps(ONE_SEARCH, range(N_SWEEPS), tmp_path)) >= 0.5


def test_several_searches_find_a_true_gain(tmp_path: Path) -> None:
    """With TPE and several seeds per winner; the arm that gains starts slowly."""
    setting = dataclasses.replace(SEARCHES, spread=0.5, seeds=2, search="tpe", gain=4.0, handicap=8.0)
    sweeps = run_sweeps(setting, range(3), tmp_path)
    gained = sweeps[sweeps["arm"] == ARMS[-1]]
    assert gained["differs"].tolist() == [True] * 3
    assert (gained["difference"] < -2).all()
