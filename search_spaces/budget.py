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


class Limits(Frozen):
    """What ends a sweep before all its trials have run; without a value there is no such limit.

    The sweep ends as after Ctrl-C: its records are written, and ``cutmix-sweep resume`` continues it.

    Attributes:
        wall_clock_h: hours since the command started; each ``resume`` counts anew.
        gpu_hours: GPU hours in all recorded epochs of the sweep, over all its runs: seconds of the epochs times
            ``resources.gpus``.
        failed_trials: failed trials of the sweep.

    Examples:
        >>> Limits(wall_clock_h=12.0, failed_trials=3).describe()
        'after 12 h wall clock or at 3 failed trials'
    """

    wall_clock_h: float | None = Field(default=None, gt=0)
    gpu_hours: float | None = Field(default=None, gt=0)
    failed_trials: int | None = Field(default=None, ge=1)

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
        limits: what ends the whole sweep before all its trials have run.

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


class Confirm(Frozen):
    """Training each arm's best configurations again from scratch, on seeds that selected nothing.

    Full epochs, no early stopping, the same seeds in every arm. Only these trials are measured on test images, because
    the validation error of a search winner is too optimistic: the winner was selected by it.

    Attributes:
        configs: configurations per arm, the best by the study's metric after their last planned epoch.
        seeds: trials per configuration.
    """

    configs: int = Field(default=1, ge=1, le=MAX_TRIALS)
    seeds: int = Field(default=5, ge=2, le=MAX_SEEDS)
