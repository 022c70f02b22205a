"""Check a part against the laws of its kind: a built-in one, or one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.discover import parse_setting
from search_spaces.early_stopping import RULES
from trainables.data.sources.registry import SOURCES, split_source, split_text
from trainables.errors import UserError, did_you_mean
from trainables.merging import merged
from trainables.mixing.masks import FAMILIES
from trainables.networks import NETWORKS
from trainables.parts import Registry, add_folder, base_of
from trainables.strict import parse

if TYPE_CHECKING:
    from trainables.contracts.law import Verdict
    from trainables.evaluation.subject import Subject


def check_laws(name: str, settings: Sequence[str] = ()) -> tuple[str, Iterator[Verdict]]:
    """Return the kind of a part, and the verdict on each law of its kind, one after another.

    Args:
        name: ``package.module:Class``, an entry point or a built-in name; for a source that reads files with its path,
            ``package.module:Class:PATH``.
        settings: parameters of the part, each ``parameter=value``.

    Raises:
        UserError: there is no such part, it is of no kind that can be checked, or a setting is not valid.

    Examples:
        >>> kind, verdicts = check_laws("half_plane")
        >>> kind, next(verdicts).reason
        ('mask family', '')
    """
    from trainables.contracts.law import judge

    add_folder(Path.cwd())
    values: dict[str, Any] = {}
    for setting in settings:
        values = merged(values, parse_setting(setting))
    try:
        registry = _registry_of(name)
        laws, case = _CASES[registry.kind](name, values)
    except ValueError as error:
        raise UserError(str(error)) from None
    return registry.kind, judge(laws, case)


def _registries() -> list[Registry[Any]]:
    from trainables.evaluation.axes import AXES

    return [FAMILIES, SOURCES, NETWORKS, AXES, RULES]


def _registry_of(name: str) -> Registry[Any]:
    """Return the registry of the kind of a part."""
    registries = _registries()
    short = split_text(name)[0]
    named = [registry for registry in registries if short in registry.names()]
    if len(named) > 1:
        kinds = " and a ".join(registry.kind for registry in named)
        raise UserError(f"'{name}' is a {kinds}: give the import path package.module:Class")
    if named:
        return named[0]
    if ":" not in short:
        names = [each for registry in registries for each in registry.names()]
        raise UserError(f"no part has the name '{name}'{did_you_mean(name, names)}, or package.module:Class")
    return base_of(short, registries)


def _mask(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    from trainables.contracts.masks import LAWS

    return LAWS, parse(FAMILIES[name], values, where=f"--set, {name}")


def _rule(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    from search_spaces.rule_contract import LAWS

    if name == "none":
        raise UserError("the rule 'none' stops no trial: there is no law to check")
    return LAWS, parse(RULES[name], values, where=f"--set, {name}")


def _source(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    from trainables.contracts.sources import LAWS, SourceCase

    _refuse_settings("data source", values)
    short, path = split_source(name)
    return LAWS, SourceCase(SOURCES[short], path)


def _network(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    from trainables.contracts.networks import LAWS

    _refuse_settings("network", values)
    NETWORKS[name]
    return LAWS, name


def _axis(name: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    from trainables.contracts.axes import LAWS, AxisCase
    from trainables.evaluation.axes import AXES

    return LAWS, AxisCase(parse(AXES[name], values, where=f"--set, {name}"), _small_subject())


def _refuse_settings(kind: str, values: Mapping[str, Any]) -> None:
    if values:
        raise UserError(f"--set {next(iter(values))}: a {kind} has no settings")


_CASES: dict[str, Callable[[str, Mapping[str, Any]], tuple[Any, Any]]] = {
    "mask family": _mask,
    "data source": _source,
    "network": _network,
    "evaluation axis": _axis,
    "early-stopping rule": _rule,
}
"""Laws and what they are checked on, by kind of part."""


@cache
def _small_subject() -> Subject:
    """Return a small network, trained on a few of the digits for one epoch, with its images."""
    import tempfile

    import torch

    from trainables.config import TrialConfig
    from trainables.data.prepared import prepare_data
    from trainables.evaluation.subject import Subject
    from trainables.models.saved import model_state, read_model
    from trainables.trial import Trial

    values = {
        "data": {"source": "digits", "train_frac": 0.1},
        "model": {"width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 1},
    }
    config = TrialConfig.model_validate(values)
    trial = Trial(config, prepare_data(config.data))
    result = trial.run_epoch()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model_state(trial), Path(folder) / "trial.pt")
        saved = read_model(Path(folder) / "trial.pt")
    record = {"seconds": 1.0, "images_per_s": 1.0, "epochs": 1, "n_train": trial.n_train}
    return Subject(saved, record=record, curve={"epoch": [1.0], "val_top1_error": [result.val_top1_error]})
