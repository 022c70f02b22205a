"""Numbers that change from step to step: learning rate, weight of the average, rate of DropBlock, key of an attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainables.config import TrialConfig
from trainables.counter_draws import draw_key
from trainables.ema import factor_at
from trainables.models.dropblock import drop_prob_at
from trainables.optimizer import lr_factor


@dataclass(frozen=True, eq=False)
class HostRates:
    """The numbers of one step on the host.

    Attributes:
        lr: learning rate.
        ema_factor: weight of the network in the moving average; None: there is no average.
        drop_prob: intended fraction of pixels that DropBlock drops; 0.0: nothing is drawn.
        attack_key: key of the random start of an attack, int32 [2]; None: there is no attack.
    """

    lr: float
    ema_factor: float | None
    drop_prob: float
    attack_key: np.ndarray | None


class RateSchedule:
    """The numbers of each step of a trial, which depend on the configuration and on the step alone.

    Attributes:
        planned_steps: steps of all planned epochs.

    Examples:
        >>> schedule = RateSchedule(TrialConfig(), steps_per_epoch=10)
        >>> schedule.planned_steps, schedule.time(50), round(schedule.at(100).lr, 3)
        (200, 0.25, 0.05)
    """

    def __init__(self, config: TrialConfig, *, steps_per_epoch: int) -> None:
        """Prepare the schedules of a configuration."""
        self._config = config
        self.planned_steps = steps_per_epoch * config.optimizer.max_epochs

    def time(self, step: int) -> float:
        """Return the fraction of the planned steps that is done before a step, counted from 0."""
        return step / self.planned_steps

    def at(self, step: int) -> HostRates:
        """Return the numbers of a step, counted from 0."""
        config, t = self._config, self.time(step)
        optimizer, attack, dropblock = config.optimizer, config.adversarial, config.model.dropblock
        return HostRates(
            lr=optimizer.lr * lr_factor(optimizer.schedule, t),
            ema_factor=None if optimizer.ema_decay is None else factor_at(step, optimizer.ema_decay),
            drop_prob=0.0 if dropblock is None else drop_prob_at(dropblock, t),
            attack_key=None if attack is None else draw_key(config.seed, "attack", step),
        )
