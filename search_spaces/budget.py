"""What every arm may spend: trials, epochs, early stopping and confirmation; limits of the whole sweep."""

from __future__ import annotations

from pydantic import Field, model_validator

from search_spaces.early_stopping import EarlyStopping
from search_spaces.early_stopping.none import NoStopping
from trainables.strict import Frozen

MAX_EPOCHS = "optimizer.max_epochs"
"""Path of a trial's planned epochs: they follow from the budget, unless the study's own space varies them."""

MAX_TRIALS = 10_000
"""Largest number of trials per arm: the names of trials have four digits, so that they sort by number."""

LONGEST_TRIAL_EPOCHS = 100_000
"""Largest number of epochs per trial, over 300 times the usual number: the records have a row per epoch."""

MAX_SEEDS = 1_000
"""Largest number of seeds per configuration."""

MAX_SEARCHES = 1_000
"""Largest number of searches per arm."""

SEEDS_WITHOUT_SEARCH = 5
"""Fresh seeds per configuration, by default, if nothing varies in any arm."""


class Limits(Frozen):
    """What ends a sweep before all its trials have run, or restarts a silent trial; None: no such limit.

    The sweep ends as after Ctrl-C: its records are written, and ``cutmix-sweep resume`` continues it.

    Attributes:
        wall_clock_h: hours since the command started; each ``resume`` counts anew.
        gpu_hours: GPU hours in all recorded epochs of the sweep, over all its runs: seconds of the epochs times
            the GPUs of a trial.
        failed_trials: failed trials of the sweep.
        silent_min: minutes after which a trial that reports nothing is restarted. An arm with slow epochs has longer:
            20 times its longest epoch so far. Before its first report, a trial has 6 times as long.

    Examples:
        >>> Limits(wall_clock_h=12.0, failed_trials=3).describe()
        'after 12 h wall clock or at 3 failed trials'
    """

    wall_clock_h: float | None = Field(default=None, gt=0)
    gpu_hours: float | None = Field(default=None, gt=0)
    failed_trials: int | None = Field(default=None, ge=1)
    silent_min: float | None = Field(default=10.0, gt=0)

    def describe(self) -> str:
        """Return when a sweep ends early; "" without a limit."""
        trials = "trial" if self.failed_trials == 1 else "trials"
        limits = [
            (self.wall_clock_h, f"after {self.wall_clock_h or 0:g} h wall clock"),
            (self.gpu_hours, f"after {self.gpu_hours or 0:g} GPU hours"),
            (self.failed_trials, f"at {self.failed_trials} failed {trials}"),
        ]
        return " or ".join(text for value, text in limits if value is not None)


class Budget(Frozen):
    """What every arm may spend, the same for all arms.

    Attributes:
        trials: trials per arm. A grid may leave it out: the default is then the size of the largest arm's grid times
            the replicates.
        max_epochs: planned epochs per trial; if the space varies ``optimizer.max_epochs``, the largest number.
        early_stopping: rule that may end a trial before its planned epochs; each arm has its own rungs. By default no
            trial is stopped.
        control_frac: fraction of each arm's trials that early stopping may not stop, the control cohort: it shows the
            cost of stopping.
        limits: what ends the whole sweep before all its trials have run, and when a silent trial is restarted.

    Examples:
        >>> budget = Budget(trials=16, max_epochs=30, early_stopping={"rule": "asha", "grace_period_epochs": 5})
        >>> budget.early_stopping.describe()
        'ASHA, first rung at 5 epochs, eta 3'
    """

    trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    max_epochs: int = Field(ge=1, le=LONGEST_TRIAL_EPOCHS)
    early_stopping: EarlyStopping = NoStopping()
    control_frac: float = Field(default=0.0, ge=0, lt=1)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _can_stop(self) -> Budget:
        self.early_stopping.check(max_epochs=self.max_epochs, trials=self.trials)
        return self


class Growth(Frozen):
    """What each arm of a sweep had before ``extend`` added searches.

    Attributes:
        configurations: sampled configurations per arm, in all its searches.
        searches: searches per arm.
    """

    configurations: int = Field(ge=1, le=MAX_TRIALS)
    searches: int = Field(ge=1, le=MAX_SEARCHES)


class Confirm(Frozen):
    """Independent searches per arm, whose winners are trained again from scratch on seeds that selected nothing.

    Full epochs, no early stopping, the same seeds in every arm. Only these trials are measured on test images, because
    the validation error of a search winner is too optimistic: the winner was selected by it.

    Another search finds another winner. So each search is one value of its arm, and the interval of the arm contains
    the luck of the search (Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, MLSys 2021).
    With one search, only the configurations that it found are compared.

    Attributes:
        configs: configurations per search, the best by the study's metric after their last planned epoch; only the
            best one is compared with other arms.
        searches: independent searches per arm, among which ``budget.trials`` is divided equally. If nothing varies in
            any arm, nothing is searched: the number is 1.
        seeds: trials per configuration; if nothing varies in any arm, the default is 5.
        growth: written by ``extend``; leave it out of a study file.

    Examples:
        >>> Confirm(searches=5, seeds=2).trials_per_arm
        10
    """

    configs: int = Field(default=1, ge=1, le=MAX_TRIALS)
    searches: int = Field(default=5, ge=1, le=MAX_SEARCHES)
    seeds: int = Field(default=1, ge=1, le=MAX_SEEDS)
    growth: tuple[Growth, ...] = Field(default=(), strict=False)

    @property
    def trials_per_arm(self) -> int:
        """Number of confirmation trials per arm, if each search has as many winners as asked for."""
        return self.searches * self.configs * self.seeds

    @model_validator(mode="after")
    def _grows(self) -> Confirm:
        before = Growth(configurations=1, searches=1)
        for growth in self.growth:
            if growth.configurations < before.configurations or growth.searches < before.searches:
                raise ValueError("confirm.growth shrinks: it is written by extend, leave it out of a study file")
            before = growth
        if self.growth and self.searches <= before.searches:
            raise ValueError(
                f"confirm.searches is {self.searches}, but there were {before.searches} before the last growth: "
                "confirm.growth is written by extend, leave it out of a study file"
            )
        return self

    def with_defaults(self, *, searched: bool) -> Confirm:
        """Return these values with the defaults for a study in which something varies, or nothing."""
        if searched:
            return self
        given = self.model_dump(include=self.model_fields_set)
        return Confirm.model_validate({"searches": 1, "seeds": SEEDS_WITHOUT_SEARCH, **given})

    def place(self, configuration: int) -> tuple[int, int]:
        """Return the search of an arm's sampled configuration, and the index of the configuration in this search.

        The searches take turns: configuration n belongs to search n mod ``searches``. Searches that were added later
        first take as many configurations as each search before them has. Then all searches take turns again.

        Examples:
            >>> [Confirm(searches=2).place(number) for number in range(4)]
            [(0, 0), (1, 0), (0, 1), (1, 1)]
            >>> grown = Confirm(searches=3, growth=({"configurations": 4, "searches": 2},))
            >>> [grown.place(number) for number in range(4, 8)]
            [(2, 0), (2, 1), (0, 2), (1, 2)]
        """
        later = [growth.searches for growth in self.growth[1:]] + [self.searches]
        before, searches = 0, self.growth[0].searches if self.growth else self.searches
        begun = 0
        for growth, n_searches in zip(self.growth, later, strict=True) if self.growth else ():
            if configuration >= growth.configurations:
                begun, before, searches = growth.configurations, growth.searches, n_searches
        new = searches - before
        if before and configuration - begun < new * (begun // before):
            index, search = divmod(configuration - begun, new)
            return before + search, index
        index, search = divmod(configuration, searches)
        return search, index
