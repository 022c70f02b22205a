"""Proof by simulation: how often a sweep of equal arms names a winner, and how often it finds a true difference.

Simulated trials report to the real conductor, which writes real records; the verdict is read from them. The whole file
takes about 90 minutes on one core.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from sweep.findings.student_t import ALPHA
from sweep.power import compute_power
from tests.sweep.simulated_sweeps import ARMS, Setting, differing_frac, run_sweeps

N_SWEEPS, N_POWER, N_ONE_SEARCH = 1_000, 600, 200
"""Sweeps of each cell of a table; a multiple of the number of variants."""

SPREADS = ((0.0, 1.0), (1.0, 1.0), (2.0, 1.2))
"""SD of true errors over the configurations of an arm, and noise of a validation error, points."""

DESIGNS = ((5, 4, 1), (8, 4, 1), (5, 8, 3))
"""Searches per arm, trials per search, seeds per winner."""

VARIANTS = [{"search": search, "own_draws": own_draws} for search in ("random", "tpe") for own_draws in (False, True)]
"""Samplers, with equal draws in all arms and with draws of each arm: each has an equal part of a cell's sweeps."""

GAIN = 2.0
"""True difference of one arm, points."""

HANDICAP = 8.0
"""Points by which one arm is worse at its start, and which are gone at the end."""

designs = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: "x".join(map(str, design)))
hours = pytest.mark.timeout(3 * 3600)


def run_cell(setting: Setting, n_sweeps: int, folder: Path) -> pd.DataFrame:
    """Run ``n_sweeps`` of a setting, divided among its variants."""
    numbers = range(n_sweeps // len(VARIANTS))
    frames = [run_sweeps(dataclasses.replace(setting, **variant), numbers, folder) for variant in VARIANTS]
    return pd.concat([frame.assign(sweep=frame["sweep"] + place / 10) for place, frame in enumerate(frames)])


def largest_frac(nominal: float, n_sweeps: int) -> float:
    """Return a fraction plus two standard errors over ``n_sweeps``."""
    return nominal + 2 * math.sqrt(nominal * (1 - nominal) / n_sweeps)


def say(capsys: pytest.CaptureFixture[str], rows: Sequence[str]) -> None:
    with capsys.disabled():
        print("\n\n" + "\n".join(rows))


@hours
@designs
def test_false_winners(  # type: ignore[no-untyped-def]
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path, design: tuple[int, int, int]
) -> None:
    """Equal arms: the verdict finds some arm different in at most 5 % of sweeps, with and without early stopping."""
    fracs = {}
    for spread in SPREADS:
        for early_stopping in (False, True):
            setting = Setting(*spread, *design, early_stopping=early_stopping)
            fracs[spread, early_stopping] = differing_frac(run_cell(setting, N_SWEEPS, tmp_path))
    benchmark.pedantic(lambda: None, rounds=1)
    rows = [f"| spread / noise | early stopping off | ASHA | ({design}, {N_SWEEPS:,} sweeps per cell)"]
    rows.append("| --- | --- | --- |")
    rows += [
        f"| {spread[0]:g} / {spread[1]:g} | {100 * fracs[spread, False]:.1f} % | {100 * fracs[spread, True]:.1f} % |"
        for spread in SPREADS
    ]
    say(capsys, rows)
    benchmark.extra_info.update({str(cell): frac for cell, frac in fracs.items()})
    assert max(fracs.values()) <= largest_frac(ALPHA, N_SWEEPS)


@hours
def test_one_search_names_false_winners(  # type: ignore[no-untyped-def]
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """After one search of 16 and five seeds, the configurations found differ although the arms are equal.

    So the verdict on one search is about the configurations.
    """
    fracs = {spread: differing_frac(run_cell(Setting(*spread, 1, 16, 5), N_ONE_SEARCH, tmp_path)) for spread in SPREADS}
    benchmark.pedantic(lambda: None, rounds=1)
    cells = ", ".join(f"{100 * frac:.0f} % at {spread}" for spread, frac in fracs.items())
    say(capsys, [f"one search of 16, five seeds: configurations found for equal arms differ in {cells}"])
    benchmark.extra_info.update({str(spread): frac for spread, frac in fracs.items()})
    assert fracs[0.0, 1.0] <= largest_frac(ALPHA, N_ONE_SEARCH)
    assert fracs[1.0, 1.0] > 0.2


@hours
@designs
def test_power(  # type: ignore[no-untyped-def]
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path, design: tuple[int, int, int]
) -> None:
    """A true gain is found as often as ``plan --effect`` promises for the SD of the simulated winners.

    With draws of each arm, differences between searches are normal, and the promise holds within 3 points. With equal
    draws, two arms often pick the same configuration and then differ by their seeds alone: the tails are heavier than
    those of the normal distribution, for which the power is computed.
    """
    rows, errors = [], {}
    for spread in SPREADS[1:]:
        for own_draws in (False, True):
            setting = Setting(*spread, *design, gain=GAIN, own_draws=own_draws)
            sweeps = run_sweeps(setting, range(N_POWER), tmp_path)
            gained = sweeps[sweeps["arm"] == ARMS[-1]]
            # the difference of a sweep is a mean over its searches, and the plan takes the SD of one arm
            sd_points = float(gained["difference"].std()) * math.sqrt(design[0] / 2)
            promised = compute_power(setting.study, effect_points=GAIN, sd_points=sd_points).power
            assert promised is not None
            found = float((gained["differs"] & (gained["difference"] < 0)).mean())
            draws = "of each arm" if own_draws else "equal"
            rows.append(f"| {spread[0]:g} / {spread[1]:g} | {draws} | {100 * found:.1f} % | {100 * promised:.1f} % |")
            errors[spread, own_draws] = abs(found - promised)
    benchmark.pedantic(lambda: None, rounds=1)
    heading = f"| spread / noise | draws | found | promised | ({design}, a gain of {GAIN:g} points, {N_POWER} sweeps)"
    say(capsys, [heading, "| --- | --- | --- | --- |", *rows])
    sampling = 2 * math.sqrt(0.25 / N_POWER)
    assert all(error <= (0.03 if own_draws else 0.07) + sampling for (_, own_draws), error in errors.items())


@hours
def test_a_slow_start_is_no_disadvantage(  # type: ignore[no-untyped-def]
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With early stopping, an arm that starts slowly and ends equal is neither better nor worse."""
    sweeps = run_cell(Setting(1.0, 1.0, 5, 4, 1, early_stopping=True, handicap=HANDICAP), N_SWEEPS, tmp_path)
    slow = sweeps[sweeps["arm"] == ARMS[-1]]
    mean, se = slow["difference"].mean(), slow["difference"].std() / math.sqrt(len(slow))
    frac = differing_frac(sweeps)
    benchmark.pedantic(lambda: None, rounds=1)
    say(
        capsys, [f"an arm that starts slowly: {mean:+.3f} points (SE {se:.3f}), some arm differs in {100 * frac:.1f} %"]
    )
    assert abs(mean) <= 3 * se
    assert frac <= largest_frac(ALPHA, N_SWEEPS)
