"""Spread of an arm's test errors over searches or over seeds, measured in an earlier sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sweep.findings.confirmed import confirmed_values, test_values
from sweep.findings.searches import is_searched, n_searches, trials_per_search
from sweep.findings.student_t import LEVEL
from sweep.findings.summary import final_epochs, uncensored_trials
from sweep.records.reader import SweepRecords, read_both_phases
from trainables.errors import UserError

MIN_POINTS, MAX_POINTS = 0.001, 100.0
"""Smallest and largest SD and effect, in percentage points."""

MAX_RESAMPLED = 500
"""Largest number of configurations per arm that are resampled: pairs of them are counted for each pair of arms."""


@dataclass(frozen=True)
class Spread:
    """Spread of top-1 errors over the units of an arm, searches or seeds.

    Attributes:
        sd_points: SD of one arm, percentage points.
        difference_sd_points: SD of the differences between two arms, unit by unit; None if it is not known.
        source: text with the values and their origin.
    """

    sd_points: float
    difference_sd_points: float | None
    source: str

    @property
    def paired_sd_points(self) -> float:
        """SD of the differences; if it is not known, as if the arms were independent."""
        return math.sqrt(2) * self.sd_points if self.difference_sd_points is None else self.difference_sd_points


class _Variance(NamedTuple):
    """Variance in squared points, and its degrees of freedom; NaN and 0 if no two values differ in their unit only."""

    value: float
    df: int


def check_points(name: str, points: float) -> None:
    """Check that an SD or an effect is a sensible number of percentage points.

    Raises:
        UserError: it is out of range, or NaN.
    """
    if not MIN_POINTS <= points <= MAX_POINTS:  # written so that nan is refused too
        raise UserError(f"{name} must be percentage points from {MIN_POINTS:g} to {MAX_POINTS:g}, got {points:g}")


def format_sd(points: float, *, digits: int = 2) -> str:
    """Format an SD or an effect in percentage points, with at most ``digits`` significant digits.

    Examples:
        >>> format_sd(1.0), format_sd(0.8216), format_sd(1.25, digits=6)
        ('1 point', '0.82 points', '1.25 points')
    """
    number = f"{points:.{digits}g}"
    return f"{number} {'point' if number == '1' else 'points'}"


def seed_spread(sweep_dir: Path) -> Spread:
    """Return the pooled spread of a sweep's completed trials that differ in their seed only.

    The values are the test errors of a confirmation; without one, the validation errors of the search.

    Raises:
        RecordsError: there is no sweep.
        UserError: there are no two such trials, or their errors are equal.
    """
    errors = _seed_errors(*read_both_phases(sweep_dir))
    return _measured(sweep_dir, "seeds", _within(errors), _within_differences(errors), "")


def search_spread(sweep_dir: Path, *, configurations: int, seeds: int, metric: str) -> Spread:
    """Return the spread of the results of independent searches: of their winners, trained again on fresh seeds.

    In a sweep with several searches per arm, it is the spread of the test errors of the searches, pooled over the arms.
    If each winner was trained on several seeds, it is converted to the mean of ``seeds`` seeds.

    In a sweep with one search, or without a confirmation, it is approximated from the validation errors of the trials
    that no rule could stop. A search draws ``configurations`` of an arm's configurations with replacement and picks the
    lowest ``metric``; the distribution of the picked top-1 error is computed exactly. Equal trial numbers are drawn in
    all arms, because they share values and seeds. The picked error stands for the true error of the winner; it also
    contains noise of its validation images. If the sweep shows the variance over seeds, this variance is added for the
    fresh seeds. With few configurations per arm the approximation is rough.

    Args:
        sweep_dir: folder of the sweep.
        configurations: configurations per search in the study that is planned.
        seeds: fresh seeds per winner in that study.
        metric: metric by which that study picks winners.

    Raises:
        RecordsError: there is no sweep.
        UserError: too few trials are completed, or their errors are equal.
    """
    search, confirm = read_both_phases(sweep_dir)
    study = search.manifest["study"]
    if n_searches(study) > 1:
        values = confirmed_values(search, confirm)
        best = values[values["rank"] == 1].assign(points=lambda rows: 100 * rows["top1_error"].astype(float))
        errors = best.pivot_table(index=["search", "replicate"], columns="arm", values="points", observed=True)
        differences = _differences(errors)
        size = f" ({n_searches(study)} searches of {trials_per_search(study)} trials per arm)"
        return _measured(sweep_dir, "searches", _of_means(errors, seeds), _of_means(differences, seeds), size)
    return _resampled(sweep_dir, search, confirm, configurations, seeds, metric)


def _measured(sweep_dir: Path, units: str, variance: _Variance, paired: _Variance, size: str) -> Spread:
    from scipy import stats

    if variance.df == 0:
        missing = (
            "no two completed trials that no rule could stop differ in their seed only: name a sweep with replicates"
            if units == "seeds"
            else "no arm has two searches with a confirmed winner: complete the sweep"
        )
        raise UserError(f"--sd-from '{sweep_dir}': {missing}, or give --sd")
    sd = math.sqrt(variance.value)
    check_points(f"--sd-from '{sweep_dir}': the SD over {units}", sd)
    tails = ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    low, high = (sd * math.sqrt(variance.df / quantile) for quantile in stats.chi2.ppf(tails, variance.df))
    source = f"SD over {units} {format_sd(sd)} (95 % interval {low:.2g} to {high:.2g})"
    paired_sd = math.sqrt(paired.value) if paired.df and paired.value > 0 else None
    if paired_sd is not None:
        source += f", SD of the differences between arms {format_sd(paired_sd)}"
    return Spread(sd, paired_sd, f"{source}, measured in '{sweep_dir}'{size}")


def _seed_errors(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Return top-1 errors, in points: one row per seed, columns ``(arm, configuration)``."""
    tests = test_values(confirm.evaluations)
    return _final_errors(search) if tests.empty else _test_errors(confirm.trials, tests)


def _test_errors(trials: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    errors = tests[tests["metric"] == "top1_error"].set_index("trial")["value"]
    trials = trials.assign(configuration=trials["confirms"], points=100 * trials["trial"].map(errors))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _final_errors(records: SweepRecords) -> pd.DataFrame:
    """Return validation top-1 errors after the last planned epoch of a search.

    Only trials that no rule could stop count: the other completed trials were selected by their errors, and their
    spread is too small.
    """
    trials = uncensored_trials(records.manifest, records.trials)
    final = final_epochs(trials, records.epochs)["val_top1_error"]
    params = [column for column in trials.columns if column.startswith("params.")]
    configuration = trials.groupby(["arm", *params], dropna=False, sort=False).ngroup()
    trials = trials.assign(configuration=configuration, points=100 * trials["trial"].map(final).astype(float))
    return trials.pivot_table(index="seed", columns=["arm", "configuration"], values="points")


def _within(errors: pd.DataFrame) -> _Variance:
    """Return the pooled variance about the mean of each column; NaN values are left out."""
    values = errors.to_numpy(dtype=float)
    counts = np.isfinite(values).sum(axis=0)
    values, counts = values[:, counts > 1], counts[counts > 1]
    df = int((counts - 1).sum())
    return _Variance(float(np.nansum((values - np.nanmean(values, axis=0)) ** 2)) / df if df else math.nan, df)


def _differences(errors: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of all pairs of columns that belong to different arms, one column per pair."""
    arms = errors.columns.get_level_values("arm").to_numpy()
    values = errors.to_numpy(dtype=float)
    first, second = np.triu_indices(len(arms), k=1)
    other = arms[first] != arms[second]
    return pd.DataFrame(values[:, first[other]] - values[:, second[other]], index=errors.index)


def _within_differences(errors: pd.DataFrame) -> _Variance:
    return _within(_differences(errors))


def _of_means(errors: pd.DataFrame, seeds: int) -> _Variance:
    """Return the pooled variance over searches of a mean over ``seeds`` seeds.

    Args:
        errors: one row per search and seed (index ``search``, ``replicate``), one column per arm or pair of arms.
        seeds: seeds per search in the study that is planned. The variance over seeds is known if searches have several.
    """
    if errors.empty:
        return _Variance(math.nan, 0)
    groups = errors.groupby(level="search")
    between = _within(groups.mean())
    n_seeds = groups.count().to_numpy(dtype=float)
    n_means = int((n_seeds > 0).sum())
    df = int(n_seeds.sum()) - n_means
    if not between.df or df == 0:
        return between
    over_seeds = float(np.nansum((errors - groups.transform("mean")).to_numpy() ** 2)) / df
    recorded = float((1 / n_seeds[n_seeds > 0]).mean())
    if recorded == 1 / seeds:
        return between
    return _Variance(max(between.value - recorded * over_seeds, 0.0) + over_seeds / seeds, between.df)


def _resampled(
    sweep_dir: Path, search: SweepRecords, confirm: SweepRecords, configurations: int, seeds: int, metric: str
) -> Spread:
    tables = dict(_searched_arms(search, metric))
    if not tables or min(map(len, tables.values())) <= configurations:
        raise UserError(
            f"--sd-from '{sweep_dir}': its trials do not show how far searches differ: each arm in which something "
            f"varies needs more than {configurations} completed configurations that no rule could stop: give --sd"
        )
    own = [_variance_of_best(table, configurations) for table in tables.values()]
    pairs = [
        _variance_of_difference(first.add_suffix("_a").join(second.add_suffix("_b"), how="inner"), configurations)
        for first, second in itertools.combinations(tables.values(), 2)
    ]
    known = [value for value in pairs if math.isfinite(value)]
    errors = _seed_errors(search, confirm)
    fresh, fresh_paired = _within(errors), _within_differences(errors)
    has_seeds = fresh.df > 0
    sd = math.sqrt(float(np.mean(own)) + (fresh.value / seeds if has_seeds else 0.0))
    check_points(f"--sd-from '{sweep_dir}': the SD over searches", sd)
    paired_sd = None
    if known:
        paired_sd = math.sqrt(float(np.mean(known)) + (fresh_paired.value / seeds if fresh_paired.df else 0.0)) or None
    added = (
        f"plus a variance over seeds of {math.sqrt(fresh.value):.2g}^2"
        if has_seeds
        else "without the spread over fresh seeds, which is not known"
    )
    source = f"SD over searches {format_sd(sd)}"
    if paired_sd is not None:
        source += f", SD of the differences between arms {format_sd(paired_sd)}"
    origin = f"approximated by searches of {configurations} configurations resampled from the trials of '{sweep_dir}'"
    return Spread(sd, paired_sd, f"{source}, {origin}, {added}")


def _searched_arms(search: SweepRecords, metric: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each arm in which something varies, with one row per configuration: ``rank`` by the metric, ``points``.

    The index pairs configurations of different arms: the trial number, or the values of a grid.
    """
    study = search.manifest["study"]
    trials = uncensored_trials(search.manifest, search.trials)
    final = final_epochs(trials, search.epochs)[list(dict.fromkeys([metric, "val_top1_error"]))]
    trials = trials[trials["trial"].isin(final.index)].join(final, on="trial")
    if study["search"] == "grid":
        params = trials.filter(regex=r"^params\.").astype(str)
        key = pd.Series([" ".join(row) for row in params.itertuples(index=False, name=None)], index=trials.index)
    else:
        key = trials["number"] // study.get("replicates", 1)
    for arm in study["arms"]:
        if is_searched(study, arm):
            of_arm = trials[trials["arm"] == arm]
            means = of_arm.groupby(key[of_arm.index])[[*final.columns]].mean().dropna().iloc[:MAX_RESAMPLED]
            rank = means[metric].rank(method="first").astype(int) - 1
            yield arm, pd.DataFrame({"rank": rank, "points": 100 * means["val_top1_error"]})


def _variance_of_best(table: pd.DataFrame, n_drawn: int) -> float:
    """Return the variance of the points of the best-ranked of ``n_drawn`` configurations drawn with replacement."""
    points = table.sort_values("rank")["points"].to_numpy()
    n = len(points)
    survival = (np.arange(n, -1, -1) / n) ** n_drawn  # P(the best rank is at least i)
    weights = survival[:-1] - survival[1:]
    # n / (n - 1): exact for one configuration per search, and less biased for several
    return n / (n - 1) * float(weights @ points**2 - (weights @ points) ** 2)


def _variance_of_difference(pairs: pd.DataFrame, n_drawn: int) -> float:
    """Return the variance of the difference between two arms if the same configurations are drawn in both arms."""
    n = len(pairs)
    if n <= n_drawn:
        return math.nan
    rank_a, rank_b = (pairs[f"rank_{arm}"].rank().to_numpy(dtype=int) - 1 for arm in "ab")
    both = np.zeros((n + 1, n + 1))
    both[rank_a, rank_b] = 1
    at_least = both[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]  # configurations with ranks >= i and >= j
    survival = (at_least / n) ** n_drawn
    weights = survival[:-1, :-1] - survival[1:, :-1] - survival[:-1, 1:] + survival[1:, 1:]
    points_a, points_b = (pairs.sort_values(f"rank_{arm}")[f"points_{arm}"].to_numpy() for arm in "ab")
    differences = points_a[:, None] - points_b[None, :]
    mean = float((weights * differences).sum())
    return n / (n - 1) * (float((weights * differences**2).sum()) - mean**2)
