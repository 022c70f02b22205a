"""Independent searches of a study, read from its manifest: how many, of how many trials, and of which arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["search", "seed"]
"""What is counted as n in a comparison of arms: independent searches, or seeds of one configuration."""


def n_searches(study: Mapping[str, Any]) -> int:
    """Return the number of independent searches per arm; 1 without a confirmation and in older records.

    Args:
        study: a study as it is recorded in a manifest.

    Examples:
        >>> n_searches({"confirm": {"configs": 1, "searches": 5, "seeds": 1}})
        5
        >>> n_searches({"confirm": {"configs": 1, "seeds": 5}}), n_searches({"confirm": None})
        (1, 1)
    """
    return int((study.get("confirm") or {}).get("searches", 1))


def unit_of(study: Mapping[str, Any]) -> Unit:
    """Return the unit of replication: ``search`` for several searches per arm, ``seed`` for one search.

    The seeds of one winner show the luck of training, not the luck of the search that picked the winner. Only values
    of independent searches contain both.

    Args:
        study: a study as it is recorded in a manifest.
    """
    return "search" if n_searches(study) > 1 else "seed"


def is_searched(study: Mapping[str, Any], arm: str) -> bool:
    """Return whether something varies in an arm: its winner is then one of several possible configurations.

    Args:
        study: a study as it is recorded in a manifest.
        arm: name of the arm.

    Examples:
        >>> study = {
        ...     "arms": {"off": {}, "cutmix": {"space": {"optimizer.lr": {"kind": "uniform", "lo": 0.1, "hi": 0.5}}}},
        ...     "space": {"optimizer.nesterov": {"kind": "fixed", "value": True}},
        ... }
        >>> is_searched(study, "off"), is_searched(study, "cutmix")
        (False, True)
    """
    return any(_n_values(domain) != 1 for domain in _space_of(study, arm).values())


def trials_per_search(study: Mapping[str, Any]) -> int:
    """Return the number of trials of one search of an arm.

    Args:
        study: a study as it is recorded in a manifest.

    Raises:
        ValueError: the study has no number of trials, and a continuous domain has no number of ``points``.

    Examples:
        >>> trials_per_search({"budget": {"trials": 20}, "confirm": {"searches": 5}})
        4
        >>> momentum = {"kind": "choice", "values": [0.8, 0.9]}
        >>> trials_per_search({"arms": {"off": {}}, "space": {"optimizer.momentum": momentum}, "replicates": 3})
        6
    """
    trials = study.get("budget", {}).get("trials")
    if trials is None:  # a grid runs all combinations of its largest arm
        trials = study.get("replicates", 1) * max(_n_grid_points(study, arm) for arm in study["arms"])
    return int(trials) // n_searches(study)


def _space_of(study: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return the domains of an arm by dotted path: the study's and the arm's own, which win."""
    return {**study.get("space", {}), **study["arms"][arm].get("space", {})}


def _n_values(domain: Mapping[str, Any]) -> int | None:
    """Return the number of values of a domain; None for a continuous one."""
    match domain["kind"]:
        case "fixed":
            return 1
        case "choice":
            return len(domain["values"])
        case "integers":
            return int(domain["hi"]) - int(domain["lo"]) + 1
        case _:
            points = domain.get("points")
            return None if points is None else int(points)


def _n_grid_points(study: Mapping[str, Any], arm: str) -> int:
    numbers = {path: _n_values(domain) for path, domain in _space_of(study, arm).items()}
    missing = [path for path, number in numbers.items() if number is None]
    if missing:
        raise ValueError(f"space of arm '{arm}', '{missing[0]}': a grid over an interval needs 'points'")
    return math.prod(number for number in numbers.values() if number is not None)
