"""Changing the study of a sweep while it runs: what is added must fit the run that is up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from search_spaces.extension import LIMITS, extended, limited
from search_spaces.match_checks import check_reachable
from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.strict import Frozen, parse

INTERRUPT = "end the run with cutmix-sweep stop, then extend it"
"""What to do if a running sweep cannot take an addition."""


class Additions(Frozen):
    """What ``extend`` adds to a study.

    Attributes:
        trials: trials to add to each search.
        searches: searches to add to each arm.
        seeds: seeds to add to each confirmed configuration.
        arms: arms to add, as in a study file.
    """

    trials: int = Field(default=0, ge=0)
    searches: int = Field(default=0, ge=0)
    seeds: int = Field(default=0, ge=0)
    arms: dict[str, Any] = {}

    def describe(self) -> str:
        """Return what is added, in words.

        Examples:
            >>> Additions(trials=4, arms={"fmix": {"mix": "fmix"}}).describe()
            'trials per search +4, arms fmix'
        """
        counts = [(self.trials, "trials per search"), (self.searches, "searches per arm"), (self.seeds, "seeds")]
        parts = [f"{noun} +{count}" for count, noun in counts if count]
        return ", ".join([*parts, *([f"arms {', '.join(self.arms)}"] if self.arms else [])])


def grown(study: Study, values: Mapping[str, Any]) -> Study:
    """Return the study of a running sweep with something added; its workers and decoded images stay as they are.

    Args:
        study: study that runs.
        values: values of :class:`Additions`.

    Raises:
        UserError: the study cannot be extended so, or a new arm needs what this run does not have.
    """
    added = parse(Additions, values, where="extend")
    changed = extended(study, trials=added.trials, searches=added.searches, seeds=added.seeds, arms=added.arms or None)
    if added.arms:
        _check_arms(study, changed)
    return changed


def _check_arms(study: Study, changed: Study) -> None:
    """Check that new arms use the images, the networks and the parts that the run has prepared."""
    new = {part.name: part for part in own_parts(changed) if part not in own_parts(study)}
    if new:
        raise UserError(
            f"the workers of this run do not have the {next(iter(new.values())).kind} '{next(iter(new))}': {INTERRUPT}"
        )
    prepared = {_prepared(config) for arm in study.arms for config in study.extremes(arm)}
    for arm in changed.arms:
        if any(_prepared(config) not in prepared for config in changed.extremes(arm)):
            raise UserError(f"arm '{arm}' uses other images or another network than the arms of this run: {INTERRUPT}")
    if changed.match is not None:
        check_reachable(changed)


def _prepared(config: Any) -> tuple[str, str]:
    return config.data.model_dump_json(), config.model.model_dump_json()


def with_setting(study: Study, name: str, value: str) -> Study:
    """Return the study of a running sweep with another limit.

    Raises:
        UserError: the name is no limit of a sweep, or the value is not valid.
    """
    if not name.startswith(f"{LIMITS}."):
        raise UserError(f"'{name}': a running sweep has no such value; valid: max_trials, {LIMITS}.NAME")
    return limited(study, [f"{name}={value}"])
