"""How many seeds a difference needs, and what a study's own can see: told before anything runs.

Two arms are compared by Student's t-test on their top-1 errors, in percentage points; arms whose trials share seeds by
the paired one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
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
"""SD over seeds of networks on CIFAR-100, for want of a measured one."""

MIN_POINTS, MAX_POINTS = 0.001, 100.0


@dataclass(frozen=True)
class SeedSpread:
    """How far seeds alone spread top-1 errors.

    Attributes:
        sd_points: SD of one configuration over seeds, percentage points.
        paired_sd_points: SD of the difference of two arms over the seeds that they share; None if none is known.
        source: the figures and where they are from, in words.
    """

    sd_points: float
    paired_sd_points: float | None
    source: str


def describe_power(study: Study, *, effect_points: float | None, sd_points: float | None, sd_from: Path | None) -> str:
    """Say how many seeds a difference of ``effect_points`` needs and what the study's own can see; "" if none is asked.

    Raises:
        RecordsError: ``sd_from`` is no sweep.
        UserError: a value out of range, both sources of an SD, one without an effect, or a sweep that shows none.
    """
    if effect_points is None:
        if sd_points is not None or sd_from is not None:
            raise UserError("--sd and --sd-from serve --effect, the difference to be seen in points: give it as well")
        return ""
    if sd_points is not None and sd_from is not None:
        raise UserError(f"--sd {sd_points:g} and --sd-from '{sd_from}' both give an SD: drop one of them")
    _check_in_range("--effect", effect_points)
    spread, n_seeds = _spread(sd_points, sd_from), seeds_of(study)
    # a confirmation compares all arms with the first at once
    comparisons = len(study.arms) - 1 if study.confirm is not None and len(study.arms) > 1 else 1
    alpha = ALPHA / comparisons
    needed = _alone_and_paired(
        spread, lambda sd, paired: f"{seeds_needed(effect_points, sd_points=sd, paired=paired, alpha=alpha):,}"
    )
    seen = _alone_and_paired(
        spread, lambda sd, paired: f"{detectable_points(n_seeds, sd_points=sd, paired=paired, alpha=alpha):.3g}"
    )
    level = f"two-sided {100 * ALPHA:g} %" + (f" for {comparisons} comparisons at once" if comparisons > 1 else "")
    own = (
        f"{n_seeds} seeds, which show {seen} points" if n_seeds > 1 else "one seed, which shows none: raise replicates"
    )
    return (
        f"Power (two arms, top-1 error, {level}, power {100 * POWER:g} %; {spread.source}):\n"
        f"a difference of {effect_points:g} points needs {needed} seeds an arm; here a configuration has {own}."
    )


def _alone_and_paired(spread: SeedSpread, figure: Callable[[float, bool], str]) -> str:
    alone = figure(spread.sd_points, False)
    if spread.paired_sd_points is None:
        return alone
    return f"{alone} (if arms share them {figure(spread.paired_sd_points, True)})"


def seeds_of(study: Study) -> int:
    """Return on how many seeds the study confirms a configuration; without that, trains those that it trains least."""
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
        sd, why = TYPICAL_SD_POINTS, "as is usual on CIFAR-100; give your own by --sd or --sd-from"
    else:
        _check_in_range("--sd", sd_points)
        sd, why = sd_points, "as given"
    return SeedSpread(sd, None, f"SD over seeds {sd:g} points, {why}")


def _check_in_range(name: str, points: float) -> None:
    if not MIN_POINTS <= points <= MAX_POINTS:  # nan neither
        raise UserError(f"{name} must be percentage points from {MIN_POINTS:g} to {MAX_POINTS:g}, got {points:g}")


def seed_spread(sweep_dir: Path) -> SeedSpread:
    """Pool how far completed trials of a sweep spread that differ in their seed only.

    Raises:
        RecordsError: there is no sweep.
        UserError: no two such trials, or they do not spread.
    """
    from scipy import stats

    confirm = read_sweep(sweep_dir, CONFIRM)
    tests = test_values(confirm.evaluations)
    errors = _final_errors(read_sweep(sweep_dir)) if tests.empty else _test_errors(confirm.trials, tests)
    squares, df = _within(errors.to_numpy())
    if df == 0:
        raise UserError(
            f"--sd-from '{sweep_dir}': no two completed trials that no rule could stop differ in their seed only: "
            "take a sweep with replicates, or give --sd"
        )
    sd = math.sqrt(squares / df)
    _check_in_range(f"--sd-from '{sweep_dir}': the SD over seeds", sd)
    lo, hi = (math.sqrt(squares / quantile) for quantile in stats.chi2.ppf((0.975, 0.025), df))
    paired_sd = _paired_sd(errors)
    words = f"SD over seeds {sd:.2g} points, 95 % interval {lo:.2g} to {hi:.2g}"
    if paired_sd is not None:
        words += f", of differences between arms that share them {paired_sd:.2g}"
    return SeedSpread(sd, paired_sd, f"{words}, measured in '{sweep_dir}'")


def _test_errors(trials: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """Test top-1 errors in points of a confirmation: a row a seed, a column ``(arm, configuration)``."""
    errors = tests[tests["metric"] == "top1_error"].set_index("trial")["value"]
    trials = trials.assign(configuration=trials["confirms"], points=100 * trials["trial"].map(errors))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _final_errors(records: SweepRecords) -> pd.DataFrame:
    """Validation top-1 errors in points after a search's last planned epoch: rows and columns as of tests.

    Of trials that early stopping had no say in: other survivors were chosen by their errors, and spread less.
    """
    trials = uncensored_trials(records.manifest, records.trials)
    final = final_epochs(trials, records.epochs)["val_top1_error"]
    params = [column for column in trials.columns if column.startswith("params.")]
    configuration = trials.groupby(["arm", *params], dropna=False, sort=False).ngroup()
    trials = trials.assign(configuration=configuration, points=100 * trials["trial"].map(final).astype(float))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _paired_sd(errors: pd.DataFrame) -> float | None:
    """SD of the differences of two arms over the seeds that they share, pooled over all pairs of configurations."""
    values, arms = errors.to_numpy(), errors.columns.get_level_values("arm").to_numpy()
    differences = (
        values[:, [place]] - values[:, place + 1 :][:, arms[place + 1 :] != arm] for place, arm in enumerate(arms)
    )
    squares, df = np.sum([_within(difference) for difference in differences], axis=0)
    return math.sqrt(squares / df) if squares > 0 else None


def _within(values: np.ndarray) -> tuple[float, int]:
    """Sum of squares about each column's mean of float [rows, columns], nan left out, and its degrees of freedom."""
    counts = np.isfinite(values).sum(axis=0)
    values, counts = values[:, counts > 1], counts[counts > 1]
    return float(np.nansum((values - np.nanmean(values, axis=0)) ** 2)), int((counts - 1).sum())
