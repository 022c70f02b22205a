"""How the trials of a study are trained, in one line: one value where the arms agree, otherwise all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search_spaces.study import Study
from sweep.terminal.domain import describe_domain
from trainables.config import CosineSchedule, Optimizer, StepSchedule, TriangularSchedule


def describe_training(study: Study) -> str:
    """Return optimiser, rates, decay and batches of a study.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> describe_training(load_study("budget", scale="paper"))
        'Training: sgd, learning rate 0.1 (step: x0.1 at 50 %, 75 %), weight decay 0.0001 on all parameters; batches
        of 64 images, precision fp32.'
    """
    configs = {arm: study.declared_config(arm, study.draw(arm, 0), replicate=0) for arm in study.arms}

    def of_arm(arm: str, path: str, value_of: Callable[[Any], Any]) -> str:
        space = study.space_of(arm)
        if path in space:
            return describe_domain(space[path])
        return "varied" if any(each.startswith(f"{path}.") for each in space) else str(value_of(configs[arm]))

    def valued(path: str, value_of: Callable[[Any], Any]) -> str:
        return " or ".join(dict.fromkeys(of_arm(arm, path, value_of) for arm in study.arms))

    decay = valued("optimizer.weight_decay", lambda config: f"{config.optimizer.weight_decay:g}")
    what = valued("optimizer.decay_on", lambda config: _DECAY_ON[config.optimizer.decay_on])
    return (
        f"Training: {valued('optimizer.name', lambda config: config.optimizer.name)}, learning rate "
        f"{valued('optimizer.lr', lambda config: f'{config.optimizer.lr:g}')} "
        f"({valued('optimizer.schedule', lambda config: _describe_schedule(config.optimizer))}), weight decay {decay} "
        f"on {what}; batches of {valued('data.batch_size', lambda config: config.data.batch_size)} images, precision "
        f"{valued('model.precision', lambda config: config.model.precision)}."
    )


_DECAY_ON = {"weights": "weights without norms and biases", "all": "all parameters"}


def _describe_schedule(optimizer: Optimizer) -> str:
    match optimizer.schedule:
        case StepSchedule(milestones_frac=marks, factor=factor):
            return f"step: x{factor:g} at {', '.join(f'{100 * mark:g} %' for mark in marks)}" if marks else "constant"
        case TriangularSchedule(peak_frac=peak):
            return f"triangular, highest at {100 * peak:g} %"
        case CosineSchedule(warmup_frac=warmup):
            return f"cosine after a warm-up of {100 * warmup:g} %" if warmup else "cosine"
