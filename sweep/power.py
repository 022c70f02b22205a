"""Seeds that a difference needs, and the difference that a study's seeds detect: computed before anything runs.

Two arms are compared by Student's t-test on their top-1 errors, in percentage points. Arms with the same seeds are
compared by the paired t-test.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweep.findings.confirmed import test_values
from sweep.findings.student_t import ALPHA, POWER, detectable_points, seeds_needed
from sweep.findings.summary import final_epochs, uncensored_trials
from sweep.records.reader import SweepRecords, read_sweep
from sweep.records.schema import CONFIRM
from trainables.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from search_spaces.study import Study

TYPICAL_SD_POINTS = 0.4
"""Usual SD over seeds of networks on CIFAR-100, for studies without a measured SD."""

MIN_POINTS, MAX_POINTS = 0.001, 100.0
"""Smallest and largest effect and SD, in percentage points."""


@dataclass(frozen=True)
class SeedSpread:
    """Spread of top-1 errors over seeds.

    Attributes:
        sd_points: SD of one configuration over seeds, percentage points.
        paired_sd_points: SD over seeds of the difference of two arms with the same seeds; None if it is not known.
        source: text with the values and their origin.
    """

    sd_points: float
    paired_sd_points: float | None
    source: str


@dataclass(frozen=True)
class Power:
    """Seeds that a difference needs, and the difference that a study's seeds detect.

    Attributes:
        effect_points: difference in top-1 error, percentage points.
        spread: spread of errors over seeds.
        n_comparisons: tests among which the level is divided.
        seeds_needed: seeds per arm that detect the difference.
        seeds_needed_paired: the same if both arms have the same seeds; None if the SD of differences is not known.
        study_seeds: seeds per configuration of the study.
        detectable_points: difference that these seeds detect; NaN for one seed.
        detectable_points_paired: the same if both arms have the same seeds; None as above.
    """

    effect_points: float
    spread: SeedSpread
    n_comparisons: int
    seeds_needed: int
    seeds_needed_paired: int | None
    study_seeds: int
    detectable_points: float
    detectable_points_paired: float | None

    def describe(self) -> str:
        """Return the numbers as two sentences after a line on the test."""
        needed = _alone_and_paired(f"{self.seeds_needed:,}", self.seeds_needed_paired, ",")
        detectable = _alone_and_paired(f"{self.detectable_points:.3g}", self.detectable_points_paired, ".3g")
        several = f" for {self.n_comparisons} comparisons together" if self.n_comparisons > 1 else ""
        study_seeds = (
            f"{self.study_seeds} seeds per configuration: they detect {detectable} points"
            if self.study_seeds > 1
            else "1 seed per configuration, which detects no difference: raise replicates"
        )
        return (
            f"Power (t-test of two arms, top-1 error, two-sided {100 * ALPHA:g} %{several}, power {100 * POWER:g} %; "
            f"{self.spread.source}):\n"
            f"Detecting a difference of {self.effect_points:g} points needs {needed} seeds per arm. "
            f"This study has {study_seeds}."
        )


def compute_power(
    study: Study, *, effect_points: float | None, sd_points: float | None, sd_from: Path | None
) -> Power | None:
    """Compute how many seeds a difference needs, and which difference the study's seeds detect.

    Args:
        study: the study.
        effect_points: the difference in top-1 error, percentage points; None: the result is None.
        sd_points: SD over seeds, percentage points; None: estimated from ``sd_from``, otherwise ``TYPICAL_SD_POINTS``.
        sd_from: sweep from which the SD is estimated.

    Raises:
        RecordsError: ``sd_from`` is not a sweep.
        UserError: a value is out of range, there are two sources of an SD or one without an effect, or the sweep has
            no SD over seeds.

    Example:
        >>> from search_spaces.discover import load_study
        >>> power = compute_power(load_study("position"), effect_points=0.5, sd_points=0.4, sd_from=None)
        >>> print(power.describe().splitlines()[1])
        Detecting a difference of 0.5 points needs 12 seeds per arm. This study has 3 seeds per configuration: they
        detect 1.23 points.
    """
    if effect_points is None:
        if sd_points is not None or sd_from is not None:
            raise UserError("--sd and --sd-from need --effect")
        return None
    if sd_points is not None and sd_from is not None:
        raise UserError(f"--sd {sd_points:g} and --sd-from '{sd_from}' both give an SD: drop one of them")
    _check_in_range("--effect", effect_points)
    spread, n_seeds = _spread(sd_points, sd_from), seeds_of(study)
    # a confirmation compares every other arm with the baseline, so that the level is divided among the comparisons
    n_comparisons = len(study.arms) - 1 if study.confirm is not None and len(study.arms) > 1 else 1
    alpha, sd, paired_sd = ALPHA / n_comparisons, spread.sd_points, spread.paired_sd_points
    needed_paired = detectable_paired = None
    if paired_sd is not None:
        needed_paired = seeds_needed(effect_points, sd_points=paired_sd, paired=True, alpha=alpha)
        detectable_paired = detectable_points(n_seeds, sd_points=paired_sd, paired=True, alpha=alpha)
    return Power(
        effect_points=effect_points,
        spread=spread,
        n_comparisons=n_comparisons,
        seeds_needed=seeds_needed(effect_points, sd_points=sd, alpha=alpha),
        seeds_needed_paired=needed_paired,
        study_seeds=n_seeds,
        detectable_points=detectable_points(n_seeds, sd_points=sd, alpha=alpha),
        detectable_points_paired=detectable_paired,
    )


def _alone_and_paired(alone: str, paired: float | None, form: str) -> str:
    return alone if paired is None else f"{alone} (with the same seeds in both arms: {paired:{form}})"


def seeds_of(study: Study) -> int:
    """Return the number of seeds per configuration in the confirmation or, without one, in the search.

    In a search, configurations may have different numbers of seeds: the smallest is returned.

    Example:
        >>> from search_spaces.discover import load_study
        >>> seeds_of(load_study("position"))
        3
    """
    if study.confirm is not None:
        return study.confirm.seeds
    numbers = range(study.trials_per_arm)
    return min(
        count
        for arm in study.arms
        for count in Counter(json.dumps(study.draw(arm, number)) for number in numbers).values()
    )


def _spread(sd_points: float | None, sd_from: Path | None) -> SeedSpread:
    if sd_from is not None:
        return seed_spread(sd_from)
    if sd_points is None:
        sd, origin = TYPICAL_SD_POINTS, "the usual value on CIFAR-100; set another with --sd or --sd-from"
    else:
        _check_in_range("--sd", sd_points)
        sd, origin = sd_points, "given by --sd"
    return SeedSpread(sd, None, f"SD over seeds {sd:g} points, {origin}")


def _check_in_range(name: str, points: float) -> None:
    if not MIN_POINTS <= points <= MAX_POINTS:  # written so that nan is refused too
        raise UserError(f"{name} must be percentage points from {MIN_POINTS:g} to {MAX_POINTS:g}, got {points:g}")


def seed_spread(sweep_dir: Path) -> SeedSpread:
    """Return the pooled spread of a sweep's completed trials that differ in their seed only.

    The values are the test errors of a confirmation; without one, the validation errors of the search.

    Raises:
        RecordsError: there is no sweep.
        UserError: there are no two such trials, or their errors are equal.
    """
    from scipy import stats

    confirm = read_sweep(sweep_dir, CONFIRM)
    tests = test_values(confirm.evaluations)
    errors = _final_errors(read_sweep(sweep_dir)) if tests.empty else _test_errors(confirm.trials, tests)
    squares, df = _within(errors.to_numpy())
    if df == 0:
        raise UserError(
            f"--sd-from '{sweep_dir}': no two completed trials that no rule could stop differ in their seed only: "
            "name a sweep with replicates, or give --sd"
        )
    sd = math.sqrt(squares / df)
    _check_in_range(f"--sd-from '{sweep_dir}': the SD over seeds", sd)
    lo, hi = (math.sqrt(squares / quantile) for quantile in stats.chi2.ppf((0.975, 0.025), df))
    paired_sd = _paired_sd(errors)
    source = f"SD over seeds {sd:.2g} points (95 % interval {lo:.2g} to {hi:.2g})"
    if paired_sd is not None:
        source += f", SD of differences between arms with the same seeds {paired_sd:.2g} points"
    return SeedSpread(sd, paired_sd, f"{source}, measured in '{sweep_dir}'")


def _test_errors(trials: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """Return the test top-1 errors of a confirmation, in points: one row per seed, columns ``(arm, configuration)``."""
    errors = tests[tests["metric"] == "top1_error"].set_index("trial")["value"]
    trials = trials.assign(configuration=trials["confirms"], points=100 * trials["trial"].map(errors))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _final_errors(records: SweepRecords) -> pd.DataFrame:
    """Return validation top-1 errors after the last planned epoch of a search, in points, shaped as the test errors.

    Only trials that no rule could stop count: the other completed trials were selected by their errors, and their
    spread is too small.
    """
    trials = uncensored_trials(records.manifest, records.trials)
    final = final_epochs(trials, records.epochs)["val_top1_error"]
    params = [column for column in trials.columns if column.startswith("params.")]
    configuration = trials.groupby(["arm", *params], dropna=False, sort=False).ngroup()
    trials = trials.assign(configuration=configuration, points=100 * trials["trial"].map(final).astype(float))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _paired_sd(errors: pd.DataFrame) -> float | None:
    """Return the SD over seeds of the difference of two arms, pooled over all pairs of configurations."""
    values, arms = errors.to_numpy(), errors.columns.get_level_values("arm").to_numpy()
    differences = (
        values[:, [index]] - values[:, index + 1 :][:, arms[index + 1 :] != arm] for index, arm in enumerate(arms)
    )
    squares, df = np.sum([_within(difference) for difference in differences], axis=0)
    return math.sqrt(squares / df) if squares > 0 else None


def _within(values: np.ndarray) -> tuple[float, int]:
    """Return the sum of squares about the mean of each column and its degrees of freedom; NaN values are left out."""
    counts = np.isfinite(values).sum(axis=0)
    values, counts = values[:, counts > 1], counts[counts > 1]
    return float(np.nansum((values - np.nanmean(values, axis=0)) ** 2)), int((counts - 1).sum())
