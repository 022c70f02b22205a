"""What a study can show: the difference that its searches or seeds detect, computed before anything runs.

Each arm is compared with the baseline by Student's paired t-test on top-1 errors, in percentage points. The pairs are
searches of equal number or trials with equal seeds, as in the verdict of a sweep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sweep.findings.searches import Unit
from sweep.findings.spread import MAX_POINTS, Spread, check_points, format_sd, search_spread, seed_spread
from sweep.findings.student_t import ALPHA, MIN_SEEDS, POWER, detectable_points, power, seeds_needed
from trainables.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from search_spaces.study import Study

LONG_RUN_EPOCHS, VERY_SHORT_RUN_EPOCHS = 100, 10
"""Planned epochs from which a run counts as long, and below which it counts as very short."""

TYPICAL_SD_POINTS = {"long": 0.4, "short": 1.0, "very short": 8.0}
"""Usual SD over seeds: of networks on CIFAR-100 after full training, and of small networks after short runs.

After very few epochs the error still falls steeply, and winners differ by many points.
"""

TYPICAL_WINNER_SD = 0.5
"""Usual SD of the true errors of the winners of small searches, relative to the SD over seeds.

With it, the SD over searches is 1.1 points for short runs and 8.9 points for very short ones. Measured were 0.67 points
(CIFAR-10, 25 epochs, 5 searches of 3), 0.73 points (digits, 20 epochs, 5 searches of 4) and 8.7 points (digits, 4
epochs, 5 searches of 3).
"""

UNITS: dict[Unit, str] = {"search": "searches", "seed": "seeds"}
"""Plural of what is counted in a comparison."""


class Comparison(NamedTuple):
    """Comparison of an arm with the baseline.

    Attributes:
        arm: the arm.
        n: number of pairs.
        sd_factor: SD of a difference relative to the SD of a difference of two trials: the values of a grid are means
            over the settings of an arm, whose trials are taken as independent.
    """

    arm: str
    n: int
    sd_factor: float


@dataclass(frozen=True)
class Power:
    """Difference that a study detects, and the searches or seeds that a given difference needs.

    Attributes:
        baseline: arm that the others are compared with.
        unit: what is counted, searches or seeds.
        n_units: searches or seeds per arm, the smallest number over the comparisons.
        n_comparisons: tests among which the level is divided.
        averages_settings: whether the value of an arm is a mean over several settings of a grid.
        spread: spread of errors over these units.
        obstacle: why the study detects no difference; "" if it does.
        detectable_points: smallest and largest difference over the comparisons that is found with probability
            ``POWER``, percentage points; None if no difference is.
        effect_points: difference in top-1 error that is asked for, percentage points; None if none is.
        units_needed: searches or seeds per arm that find it with probability ``POWER``; None without an effect.
        power: probability that this study finds it, the smallest over the comparisons; None if it finds no difference.
    """

    baseline: str
    unit: Unit
    n_units: int
    n_comparisons: int
    averages_settings: bool
    spread: Spread
    obstacle: str
    detectable_points: tuple[float, float] | None
    effect_points: float | None
    units_needed: int | None
    power: float | None

    def describe(self) -> str:
        """Return one line: the difference that the study detects, or why it detects none."""
        if self.detectable_points is None:
            return f"Detects no difference. {self.obstacle}"
        points = " to ".join(dict.fromkeys(f"{value:.2g}" for value in self.detectable_points))
        together = f" for {self.n_comparisons} comparisons together" if self.n_comparisons > 1 else ""
        means = ", means over the settings of an arm" if self.averages_settings else ""
        return (
            f"Detects a difference of {points} points to {self.baseline} with probability {100 * POWER:g} % "
            f"(paired t-test at {100 * ALPHA:g} %{together}; {self.n_units} {UNITS[self.unit]} per arm{means}; "
            f"{self.spread.source})."
        )

    def describe_effect(self) -> str:
        """Return what the given difference needs, and how probably the study finds it; "" without an effect."""
        if self.effect_points is None:
            return ""
        effect = format_sd(self.effect_points, digits=6)
        needed = f"A difference of {effect} needs {self.units_needed:,} {UNITS[self.unit]} per arm"
        if self.power is None:
            return f"{needed} (power {100 * POWER:g} %; {self.spread.source})."
        return (
            f"{needed} (power {100 * POWER:g} %). "
            f"This study has {self.n_units} and finds it with probability {100 * self.power:.0f} %."
        )


def compute_power(
    study: Study,
    *,
    effect_points: float | None = None,
    sd_points: float | None = None,
    sd_from: Path | None = None,
) -> Power:
    """Compute which difference a study detects, and how many searches or seeds a given difference needs.

    The number of searches is computed where something varies in an arm and winners are confirmed. On a grid without a
    confirmation, and where nothing varies, the number of seeds is computed.

    Args:
        study: the study.
        effect_points: a difference in top-1 error, percentage points; None: none.
        sd_points: SD of an arm over searches, each the mean of its seeds, or over seeds, percentage points; None:
            estimated from ``sd_from``, otherwise a typical value.
        sd_from: sweep from which the SD is estimated, by :func:`~sweep.findings.spread.search_spread` or
            :func:`~sweep.findings.spread.seed_spread`.

    Raises:
        RecordsError: ``sd_from`` is not a sweep.
        UserError: a value is out of range, there are two sources of an SD, or the sweep does not show the SD.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> power = compute_power(load_study("schedule"), effect_points=1.0, sd_points=0.5)
        >>> power.n_units, power.unit, power.units_needed
        (15, 'seed', 11)
        >>> power = compute_power(load_study("alpha_prob"), effect_points=2.0, sd_points=1.0)
        >>> power.n_units, power.unit, power.units_needed, round(power.power or 0, 2)
        (5, 'search', 9, 0.38)
    """
    if sd_points is not None and sd_from is not None:
        raise UserError(f"--sd {sd_points:g} and --sd-from '{sd_from}' both give an SD: drop one of them")
    if effect_points is not None:
        check_points("--effect", effect_points)
    unit = unit_of(study)
    spread = _spread(study, unit, sd_points, sd_from)
    compared = comparisons(study, unit)
    n_units = min((comparison.n for comparison in compared), default=0)
    alpha = ALPHA / max(1, len(compared))
    sds = [spread.paired_sd_points * comparison.sd_factor for comparison in compared]
    obstacle = _obstacle(study, unit, n_units)
    points = []
    if not obstacle:
        points = [
            detectable_points(comparison.n, sd_points=sd, paired=True, alpha=alpha)
            for comparison, sd in zip(compared, sds, strict=True)
        ]
        if max(points) > MAX_POINTS:  # an error rate has no larger difference
            obstacle, points = f"{n_units} {UNITS[unit]} per arm are too few.", []
    needed = found = None
    if effect_points is not None:
        largest = max(sds, default=spread.paired_sd_points)
        needed = seeds_needed(effect_points, sd_points=largest, paired=True, alpha=alpha)
    if effect_points is not None and points:
        found = min(
            power(effect_points, n_seeds=comparison.n, sd=sd, paired=True, alpha=alpha)
            for comparison, sd in zip(compared, sds, strict=True)
        )
    return Power(
        baseline=study.baseline,
        unit=unit,
        n_units=n_units,
        n_comparisons=len(compared),
        averages_settings=unit == "seed" and study.confirm is None and any(map(study.is_searched, study.arms)),
        spread=spread,
        obstacle=obstacle,
        detectable_points=(min(points), max(points)) if points else None,
        effect_points=effect_points,
        units_needed=needed,
        power=found,
    )


def unit_of(study: Study) -> Unit:
    """Return what is counted in a comparison of a study's arms.

    Searches where something varies, seeds where nothing does. A grid without a confirmation runs all its settings, so
    its seeds are counted.
    """
    is_searched = any(map(study.is_searched, study.arms))
    return "search" if is_searched and (study.confirm is not None or study.search != "grid") else "seed"


def comparisons(study: Study, unit: Unit) -> list[Comparison]:
    """Return the comparisons of all other arms with the baseline.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> comparisons(load_study("alpha_prob"), "search")[0]
        Comparison(arm='cutout', n=5, sd_factor=1.0)
    """
    others = [arm for arm in study.arms if arm != study.baseline]
    if study.confirm is not None or unit == "search":
        n = study.n_searches if unit == "search" or study.confirm is None else study.confirm.seeds
        return [Comparison(arm, n, 1.0) for arm in others]
    settings = {arm: study.n_grid_points(arm) if study.search == "grid" else 1 for arm in study.arms}
    seeds = {arm: study.trials_per_arm // n_settings for arm, n_settings in settings.items()}
    own = study.baseline
    return [
        Comparison(arm, min(seeds[arm], seeds[own]), math.sqrt((1 / settings[arm] + 1 / settings[own]) / 2))
        for arm in others
    ]


def _obstacle(study: Study, unit: Unit, n_units: int) -> str:
    """Return why a study detects no difference; "" if it does."""
    if len(study.arms) == 1:
        return "1 arm: there is nothing to compare."
    if unit == "search" and study.confirm is None:
        return "The winners of the searches are not confirmed: set confirm.searches."
    if n_units >= MIN_SEEDS:
        return ""
    if unit == "search":
        return "1 search per arm: no number of seeds shows a difference between the arms; raise confirm.searches."
    return "1 seed per configuration: raise replicates."


def _spread(study: Study, unit: Unit, sd_points: float | None, sd_from: Path | None) -> Spread:
    units, seeds = UNITS[unit], 1 if study.confirm is None else study.confirm.seeds
    if sd_points is not None:
        check_points("--sd", sd_points)
        return Spread(sd_points, None, f"SD over {units} {format_sd(sd_points, digits=6)}, given by --sd")
    if sd_from is not None and unit == "search":
        configurations = max(1, study.trials_per_search // study.replicates)
        return search_spread(sd_from, configurations=configurations, seeds=seeds, metric=study.metric)
    if sd_from is not None:
        return seed_spread(sd_from)
    length = _length(study.budget.max_epochs)
    sd = TYPICAL_SD_POINTS[length]
    if unit == "search":
        sd *= math.hypot(TYPICAL_WINNER_SD, 1 / math.sqrt(seeds))
    return Spread(sd, None, f"SD over {units} {format_sd(sd)}, assumed: typical of {length} runs")


def _length(max_epochs: int) -> str:
    if max_epochs < VERY_SHORT_RUN_EPOCHS:
        return "very short"
    return "long" if max_epochs >= LONG_RUN_EPOCHS else "short"
