"""Adding trials, seeds or arms to a study that was run, or changing its limits; its trials so far stay valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.budget import Confirm
from search_spaces.check import check_study
from search_spaces.discover import parse_setting, parse_value
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.merging import flattened, merged
from trainables.strict import parse


def extended(
    study: Study, *, trials: int = 0, searches: int = 0, seeds: int = 0, arms: Mapping[str, Any] | None = None
) -> Study:
    """Return the study with trials, searches, seeds or arms added; it contains each of the study's trials unchanged.

    Args:
        study: study that was run.
        trials: trials to add to each search of each arm.
        searches: searches to add to each arm, each with as many trials as the other searches.
        seeds: seeds to add to each confirmed configuration.
        arms: arms to add, as in a study file. They get as many searches and trials as the other arms.

    Raises:
        UserError: nothing is added, an arm exists already, or the result is not a valid study.
    """
    where = f"study '{study.name}'"
    if not (trials or searches or seeds or arms):
        raise UserError("nothing to add: give --add-trials, --add-searches, --add-seeds or --add-arms")
    values = study.model_dump(mode="json")
    if arms:
        values = merged(values, {"arms": _new_arms(study, arms), **_same_match(study)})
    if trials or searches:
        if study.budget.trials is None or study.search == "grid":
            raise UserError(
                f"{where}: its grid sets the number of trials, so --add-trials and --add-searches cannot add any: run "
                "the study again with more replicates"
            )
        total = (study.trials_per_search + trials) * (study.n_searches + searches)
        values = merged(values, {"budget": {"trials": total}})
    if searches:
        values = merged(values, {"confirm": _more_searches(study, searches, where)})
    if seeds:
        if study.confirm is None:
            raise UserError(f"{where} confirms nothing, so no seeds can be added: use cutmix-sweep confirm")
        values = merged(values, {"confirm": {"seeds": study.confirm.seeds + seeds}})
    return _checked(values, where)


def _more_searches(study: Study, searches: int, where: str) -> dict[str, Any]:
    """Return the changed values of ``confirm`` if searches are added to each arm."""
    if study.confirm is None:
        raise UserError(f"{where} confirms nothing, so no searches can be added: use cutmix-sweep confirm")
    if not any(map(study.is_searched, study.arms)):
        raise UserError(f"{where}: nothing varies in its arms, so there is nothing to search: use --add-seeds")
    now = {"configurations": study.trials_per_arm // study.replicates, "searches": study.n_searches}
    growth = [*study.confirm.model_dump(mode="json")["growth"], now]
    return {"searches": study.n_searches + searches, "growth": growth}


def confirmed(study: Study, *, seeds: int, configs: int | None = None, searches: int | None = None) -> Study:
    """Return the study with ``configs`` winners per search confirmed on a total of ``seeds`` seeds each.

    By default ``configs`` is the study's number, or one if the study confirms nothing. A study that confirms nothing
    has one search per arm. If its trials were independent, ``searches`` divides them into several searches.

    Raises:
        UserError: the study confirms more than that already, or its trials cannot be divided into searches.
    """
    where = f"study '{study.name}'"
    if configs is None:
        configs = 1 if study.confirm is None else study.confirm.configs
    if study.confirm is not None and (seeds < study.confirm.seeds or configs < study.confirm.configs):
        raise UserError(
            f"{where} confirms {_count(study.confirm.configs, 'configuration')} per search on "
            f"{_count(study.confirm.seeds, 'seed')} already; {_count(configs, 'configuration')} on "
            f"{_count(seeds, 'seed')} would be fewer"
        )
    if searches is not None and searches != study.n_searches:
        _check_divisible(study, where)
    values = study.model_dump(mode="json")
    confirm = {**(values["confirm"] or {"searches": searches or 1}), "configs": configs, "seeds": seeds}
    parse(Confirm, confirm, where=f"{where}, confirm")
    return _checked(values | {"confirm": confirm}, where)


def _check_divisible(study: Study, where: str) -> None:
    """Check that the trials of each arm's search are independent, so that they can be divided into searches."""
    if study.confirm is not None:
        raise UserError(
            f"{where} confirms {_count(study.n_searches, 'search', 'searches')} per arm already: add searches with "
            "cutmix-sweep extend --add-searches"
        )
    reason = None
    if study.search not in ("random", "grid"):
        reason = f"search '{study.search}' does not draw independent trials"
    elif study.budget.early_stopping.build(study.budget.max_epochs) is not None:
        reason = "early stopping compared the trials of the whole arm"
    elif any(map(study.points_of, study.arms)):
        reason = "all known points belong to the first search"
    if reason:
        raise UserError(
            f"{where}: its trials cannot be divided into searches, because {reason}: confirm one search with "
            "--searches 1, or start a new sweep"
        )


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {several or f'{one}s'}"


LIMITS = "budget.limits"
"""Path below which a study that was run may change its values: no trial depends on them."""


def limited(study: Study, settings: Sequence[str]) -> Study:
    """Return the study with other limits of its sweep, each ``budget.limits.NAME=VALUE``; ``null`` removes a limit.

    Raises:
        UserError: a setting changes something else, or is not valid.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> study = load_study("quickstart", settings=["budget.limits.gpu_hours=2"])
        >>> limited(study, ["budget.limits.gpu_hours=4"]).budget.limits.gpu_hours
        4.0
    """
    values = study.model_dump(mode="json")
    for setting in settings:
        changes = parse_setting(setting)
        if any(not f"{path}.".startswith(f"{LIMITS}.") for path in flattened(changes)):
            raise UserError(
                f"--set {setting}: only a limit of a sweep can be changed, for example {LIMITS}.wall_clock_h=4; "
                "for another study start a new sweep with: cutmix-sweep run"
            )
        values = merged(values, changes)
    return _checked(values, f"study '{study.name}'")


def parse_arms(text: str) -> dict[str, Any]:
    """Read ``--add-arms``: presets by name, ``fmix,gridmix``, or arms as in a study file, ``{soft: {mix: {...}}}``.

    Raises:
        UserError: the text is neither.

    Examples:
        >>> parse_arms("fmix,gridmix")
        {'fmix': {'mix': 'fmix'}, 'gridmix': {'mix': 'gridmix'}}
    """
    value = parse_value(text, where="--add-arms") if text.lstrip().startswith("{") else text
    if isinstance(value, str):
        return {name.strip(): {"mix": name.strip()} for name in value.split(",")}
    if not isinstance(value, dict):
        raise UserError(f"--add-arms takes presets, for example fmix,gridmix, or {{name: {{mix: ...}}}}, got '{text}'")
    return value


def _new_arms(study: Study, arms: Mapping[str, Any]) -> dict[str, Any]:
    for name in arms:
        if name in study.arms:
            raise UserError(f"study '{study.name}' has an arm '{name}' already")
    return dict(arms)


def _same_match(study: Study) -> dict[str, Any]:
    """Return the target that keeps the exposure of the present arms; without it new arms could change the old ones."""
    if study.match is None or study.match.target is not None:
        return {}
    return {"match": {"target": study.match_target(), "target_from_arms": True}}


def _checked(values: dict[str, Any], where: str) -> Study:
    study = parse(Study, values, where=where)
    check_study(study)
    return study
