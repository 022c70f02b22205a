"""Parts of one's own that a study uses."""

from __future__ import annotations

from search_spaces.early_stopping import RULES
from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.data.sources.registry import SOURCES, split_source
from trainables.mixing.masks import FAMILIES
from trainables.networks import NETWORKS
from trainables.own_part import OwnPart, own_part


def own_parts(study: Study) -> list[OwnPart]:
    """Return the masks, sources, networks and the rule of a study that come from outside this program.

    Raises:
        UserError: a part cannot be imported, or an arm has no valid configuration.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> own_parts(load_study("quickstart"))
        []
    """
    found = {part: None for arm in study.arms for config in study.extremes(arm) for part in _parts_of(config)}
    rule = own_part(RULES, study.budget.early_stopping.rule)
    return [*found, *([] if rule is None else [rule])]


def _parts_of(config: TrialConfig) -> list[OwnPart]:
    parts = [own_part(FAMILIES, policy.mask.family) for policy in config.mix.policies]
    parts += [own_part(SOURCES, split_source(config.data.source)[0]), own_part(NETWORKS, config.model.name)]
    return [part for part in parts if part is not None]
