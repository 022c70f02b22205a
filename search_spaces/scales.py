"""Scales: the same question with less or more data, epochs and trials.

A study's file declares what is run without a scale. A scale overrides the file, and values set on the command line
override the scale. Most of a scale is common to all studies; a study's own ``scales`` hold its exceptions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.budget import MAX_EPOCHS
from search_spaces.paper_recipes import PAPER_RECIPES, PAPER_SOURCES, recipe_of
from search_spaces.resources import without_other_share
from trainables.data.sources.registry import split_text
from trainables.errors import UserError, did_you_mean, format_value
from trainables.merging import at_path, flattened, merged
from trainables.networks import NETWORKS
from trainables.strict import TAGS

SCALES: dict[str, dict[str, Any]] = {
    # seconds: a test of the whole pipeline
    "smoke": {
        "replicates": 1,
        "budget": {"trials": 2, "max_epochs": 2, "early_stopping": {"rule": "none"}},
        "confirm": {"configs": 1, "searches": 2, "seeds": 1},
        "base": {"data": {"train_frac": 0.05, "batch_size": 64}, "model": {"width": 0.25}},
    },
    # about an hour on two cores with a fifth of CIFAR-10 or similar images, given by --data
    "laptop": {
        "budget": {"max_epochs": 25},
        "base": {"data": {"train_frac": 0.2, "batch_size": 128}, "model": {"name": "tiny"}, "optimizer": {"lr": 0.2}},
    },
    # usual for ResNet-18 (DeVries and Taylor, 2017: 200 epochs, batch 128, weight decay 5e-4), with a cosine schedule
    "gpu": {
        "budget": {"max_epochs": 200},
        "base": {
            "data": {"source": "cifar100", "train_frac": 1.0, "val_frac": 0.1, "batch_size": 128},
            "model": {"name": "resnet18"},
            "optimizer": {"lr": 0.1, "weight_decay": 5e-4},
        },
        "resources": {"cpus": 2, "gpus": 1.0},
    },
    # Yun et al., ICCV 2019, and their code; ImageNet and CUB have recipes of their own
    "paper": PAPER_RECIPES["paper"],
}
"""Values by the scale's name, for every study."""

OWN_SCALES = (*SCALES, *(name for name in PAPER_RECIPES if name not in SCALES))
"""Keys of a study's own ``scales``; values for a recipe override those for its scale."""

SIZES = (MAX_EPOCHS, "data.train_frac", "model.name")
"""Paths of run length, amount of data and network; a study that varies them may set their values in its scales."""

MAY_CHANGE = (
    "budget",
    "replicates",
    "base.data",
    "base.augment",
    "base.model",
    "base.optimizer",
    "resources",
    "confirm",
)
"""Paths of a study that a scale may change; all other paths define the question."""


def scaled(
    values: Mapping[str, Any], scale: str | None, *, where: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the values of a study's file at a scale, without the key ``scales``; at no scale as they are.

    Args:
        values: values of the study's file.
        scale: name of the scale, or None.
        where: beginning of messages.
        given: values that will override the result. They decide which recipe of the paper fits: that of their source.

    Raises:
        UserError: no such scale, or the study's own scales change its meaning.
    """
    study = {key: value for key, value in values.items() if key != "scales"}
    exceptions = values.get("scales", {})
    _check_same_meaning(study, exceptions, where)
    if scale is None:
        return study
    if scale not in SCALES:
        raise UserError(f"--scale '{scale}' is unknown{did_you_mean(scale, SCALES)}")
    own, given = exceptions.get(scale, {}), given or {}
    common, layers = SCALES[scale], [own]
    if scale == "paper":
        named = _source_of(study)
        source = _source_of(given) or _source_of(own) or (named if named in PAPER_SOURCES else "")
        recipe = recipe_of(source)
        common = _with_source_of(study, PAPER_RECIPES[recipe], source)
        layers += [exceptions.get(recipe, {})] if recipe != scale else []
    over = functools.reduce(merged, [*layers, given])
    for changes in (_applicable(study, common, over), *layers):
        study = merged(without_other_share(study, changes), changes)
    return study


def _source_of(study: Mapping[str, Any]) -> str:
    """Return the name of a study's data source, or nothing if its values do not say it."""
    base = study.get("base")
    data = base.get("data") if isinstance(base, Mapping) else None
    source = data.get("source") if isinstance(data, Mapping) else None
    return split_text(source)[0] if isinstance(source, str) else ""


def _with_source_of(study: Mapping[str, Any], recipe: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a recipe without its data source if the study's file names the source, with its path."""
    if not source or source != _source_of(study):
        return recipe
    data = {key: value for key, value in recipe["base"]["data"].items() if key != "source"}
    return {**recipe, "base": {**recipe["base"], "data": data}}


def _networks(*parts: Any) -> Iterator[str]:
    """Yield the names of the networks of parts of a study: of their bases, their arms and their spaces."""
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        base, arms, domain = part.get("base"), part.get("arms"), _space_of(part).get("model.name")
        model = base.get("model") if isinstance(base, Mapping) else None
        yield from [model["name"]] if isinstance(model, Mapping) and isinstance(model.get("name"), str) else []
        yield from filter(_is_text, (domain.get("values") or ()) if isinstance(domain, Mapping) else ())
        yield from _networks(*arms.values()) if isinstance(arms, Mapping) else ()


def _applicable(study: Mapping[str, Any], common: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a common scale that apply to a study, whose values and theirs ``over`` overrides.

    These do not apply: values of varied paths, the number of trials of a grid, replicates of a random search, and the
    confirmation if the study confirms nothing; and the width or the last stride, if a network of the study has none. A
    study with one search is confirmed on as many seeds as the scale has searches.
    """
    excluded = {f"base.{_whole(path)}" for path in _space_of(study)}
    excluded.add("budget.trials" if study.get("search") == "grid" else "replicates")
    if not all(NETWORKS.declared(name, "has_width") for name in _networks(study, over)):
        excluded.add("base.model.width")
    apart_from_base = {"arms": study.get("arms")}  # the scale that sets the stride sets a network with it
    if "model.name" in _space_of(study) or not all(
        NETWORKS.declared(name, "has_last_stride") for name in _networks(apart_from_base, over)
    ):
        excluded.add("base.model.last_stride")
    values = dict(common)
    if "confirm" in values:
        values["confirm"] = _confirmation(study, values["confirm"])
    kept: dict[str, Any] = {}
    for path, value in flattened(values).items():
        if not any(f"{path}.".startswith(f"{other}.") for other in excluded):
            kept = merged(kept, at_path(path, value))
    return kept


def _whole(path: str) -> str:
    """Return a varied path; if it names a variant, the path of the whole, because its parameters go with it."""
    parent, _, key = path.rpartition(".")
    return parent if parent and key in TAGS else path


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _confirmation(study: Mapping[str, Any], common: Mapping[str, int]) -> Mapping[str, int]:
    """Return the values of a common scale for ``confirm``."""
    confirm = study.get("confirm")
    if confirm is None:
        return {}
    seeds = {"configs": common["configs"], "seeds": common["searches"]}
    if isinstance(confirm, Mapping) and confirm.get("searches") == 1:
        return seeds
    arms = study.get("arms")
    spaces = [_space_of(study), *(map(_space_of, arms.values()) if isinstance(arms, Mapping) else ())]
    if not any(_varies(domain) for space in spaces for domain in space.values()):
        return seeds
    # a search needs a whole round of the grid, or all replicates of a configuration: too many trials for two searches
    in_rounds = study.get("search") == "grid" or study.get("replicates", 1) != 1
    return {"searches": 1, **seeds} if in_rounds else common


def _check_same_meaning(study: Mapping[str, Any], exceptions: Any, where: str) -> None:
    if not isinstance(exceptions, Mapping):
        raise UserError(
            f"{where}: 'scales' must hold values by scale, for example smoke: {{replicates: 1}}, got "
            f"{format_value(exceptions)}"
        )
    may_change = [*MAY_CHANGE, *(f"space.{path}" for path in SIZES if path in _space_of(study))]
    for scale, changes in exceptions.items():
        if scale not in OWN_SCALES:
            raise UserError(f"{where}: 'scales.{scale}' is unknown{did_you_mean(str(scale), OWN_SCALES)}")
        if not isinstance(changes, Mapping):
            raise UserError(f"{where}: 'scales.{scale}' must be a mapping, got {format_value(changes)}")
        for path in flattened(changes) or changes:
            if not any(f"{path}.".startswith(f"{allowed}.") for allowed in may_change):
                raise UserError(
                    f"{where}: 'scales.{scale}' sets '{path}', but a scale may change the budget and not the question; "
                    f"valid: {', '.join(may_change)}"
                )


def _space_of(study_or_arm: Any) -> Mapping[str, Any]:
    """Return the space of a study or of an arm, as its file has it."""
    space = study_or_arm.get("space") if isinstance(study_or_arm, Mapping) else None
    return space if isinstance(space, Mapping) else {}


def _varies(domain: Any) -> bool:
    """Return whether a domain, as a file has it, has several values."""
    if not isinstance(domain, Mapping):
        return True
    values = domain.get("values")
    return domain.get("kind") != "fixed" and not (isinstance(values, list) and len(values) == 1)
