"""The largest trial of each arm, and the memory of a GPU that it needs at least."""

from __future__ import annotations

import functools

from search_spaces.study import Study
from sweep.random_trial import ImageFacts
from trainables.config import TrialConfig
from trainables.errors import UserError


def largest_config(study: Study, arm: str, facts: ImageFacts) -> TrialConfig:
    """Return the configuration of an arm's space whose training step computes most, at the corners of the space.

    Each parameter in turn takes its corner with the most work per step. A corner that is not valid is left out.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> setting = "space[model.width]={kind: choice, values: [0.25, 0.75, 0.5]}"
        >>> study = load_study("quickstart", settings=[setting])
        >>> largest_config(study, "off", ImageFacts(n_classes=10, height_px=32, width_px=32)).model.width
        0.75
    """
    params = next(study.corner_params(arm))
    best = study.declared_config(arm, params, replicate=0)
    for path, domain in study.space_of(arm).items():
        for value in domain.corners():
            try:
                config = study.declared_config(arm, params | {path: value}, replicate=0)
            except UserError:
                continue
            if step_flops(config, facts) > step_flops(best, facts):
                best, params = config, params | {path: value}
    return best


def step_flops(config: TrialConfig, facts: ImageFacts) -> int:
    """Return the floating-point operations of a training step, mixing left out."""
    return config.data.batch_size * _network(config.model_dump_json(include={"model", "adversarial"}), facts)[0]


def state_bytes(config: TrialConfig, facts: ImageFacts) -> int:
    """Return the memory that a trial needs between its steps: weights, gradients, momentum and moving average.

    Feature maps come on top: they are known only by measuring.

    Examples:
        >>> facts = ImageFacts(n_classes=10, height_px=32, width_px=32)
        >>> plain = state_bytes(TrialConfig(), facts)
        >>> plain == 3 * state_bytes(TrialConfig.model_validate({"optimizer": {"momentum": 0.0}}), facts) // 2
        True
    """
    optimizer = config.optimizer
    copies = 2 + (optimizer.momentum > 0) + (optimizer.ema_decay is not None)
    return copies * _network(config.model_dump_json(include={"model", "adversarial"}), facts)[1]


@functools.lru_cache(maxsize=64)
def _network(sections: str, facts: ImageFacts) -> tuple[int, int]:
    """Return the operations per training image of a network with its attack, and the bytes of its weights."""
    from trainables.evaluation.axes.cost import training_flops
    from trainables.models.build import build_model

    config, size = TrialConfig.model_validate_json(sections), {"height_px": facts.height_px, "width_px": facts.width_px}
    net = build_model(config.model, n_classes=facts.n_classes, seed=0, **size)
    return training_flops(net, config, **size), sum(parameter.nbytes for parameter in net.parameters())
