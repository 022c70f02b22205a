"""Finding and loading studies: built-in studies by name, a user's study by path, with values that override it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.check import check_study
from search_spaces.scales import scaled
from search_spaces.study import Study
from trainables.errors import UserError, did_you_mean
from trainables.merging import at_path, merged
from trainables.strict import parse

STUDIES_DIR = Path(__file__).parent / "studies"

DEFAULT_NAME = "my_study"
"""Name of a study whose values are given without a name and without a file."""


class _Loader(yaml.SafeLoader):
    """YAML without three traps: ``1e-4`` is a number, ``off`` is a name, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping and check that no key is repeated."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.IGNORECASE), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def built_in_studies() -> list[str]:
    """Return the names of the built-in studies.

    Examples:
        >>> "quickstart" in built_in_studies()
        True
    """
    return sorted(path.stem for path in STUDIES_DIR.glob("*.yaml"))


def load_study(
    study: str | Path | Mapping[str, Any] | Study, *, scale: str | None = None, settings: Sequence[str] = ()
) -> Study:
    """Load a study and check that all its trials are valid.

    Args:
        study: name of a built-in study, path of a YAML file, values as in such a file, or a study.
        scale: name of the scale, the amount to spend; None: as the file declares it.
        settings: values that override file and scale, each ``path=value`` with a dotted path and a YAML value.

    Raises:
        UserError: no such study or scale, unreadable YAML, an unknown key, a value out of range.

    Examples:
        >>> study = load_study("quickstart", scale="smoke", settings=["budget.max_epochs=3"])
        >>> study.budget.max_epochs, list(study.arms)
        (3, ['off', 'cutout', 'mixup', 'cutmix'])
        >>> arms = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}
        >>> values = {"question": "Does CutMix help?", "arms": arms, "budget": {"trials": 4, "max_epochs": 10}}
        >>> load_study(values).name
        'my_study'
    """
    values = _values_of(study)
    where = f"study '{values['name']}'"
    if isinstance(study, Study) and scale is not None:
        raise UserError(
            f"{where} is loaded already: give the scale '{scale}' where it is loaded from its file or values"
        )
    values = scaled(values, scale, where=where)
    for setting in settings:
        values = merged(values, parse_setting(setting))
    loaded = parse(Study, _with_absolute_sources(values), where=where)
    check_study(loaded)
    return loaded


def _values_of(study: str | Path | Mapping[str, Any] | Study) -> dict[str, Any]:
    """Return the values of a study, always with its name."""
    if isinstance(study, Study):
        return study.model_dump(mode="json")
    if isinstance(study, Mapping):
        return {"name": DEFAULT_NAME, **study}
    path = _find(str(study))
    values = _read(path)
    if values.setdefault("name", path.stem) != path.stem:
        raise UserError(f"'{path}': name is '{values['name']}', but the file is called '{path.stem}'")
    return values


def parse_setting(setting: str) -> dict[str, Any]:
    """Return the nested mapping that a setting ``path=value`` stands for.

    Square brackets enclose a key that contains dots itself, such as a parameter of a space.

    Raises:
        UserError: no ``=``, an empty path or an unreadable value.

    Examples:
        >>> parse_setting("budget.trials=8")
        {'budget': {'trials': 8}}
        >>> parse_setting("space[mix.size.alpha].hi=2")
        {'space': {'mix.size.alpha': {'hi': 2}}}
    """
    path, equals, text = setting.partition("=")
    keys = re.findall(r"\[([^\]]+)\]|([^.\[\]]+)", path)
    if not equals or not keys or re.sub(r"\[[^\]]+\]|[^.\[\]]+|\.", "", path):
        raise UserError(f"--set has the form path=value, for example budget.trials=8, got '{setting}'")
    value = parse_value(text, where=f"--set {path}")
    for bracketed, plain in reversed(keys):
        value = {bracketed or plain: value}
    result: dict[str, Any] = value
    return result


def parse_value(text: str, *, where: str) -> Any:
    """Return a value of the command line as a study file would contain it.

    Raises:
        UserError: the text is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: cannot read the value '{text}': {_first_line(error)}") from None


def _with_absolute_sources(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with absolute data paths, so that they are valid wherever a trial runs and a sweep resumes."""
    values = _with_absolute_source(values)
    arms = values.get("arms")
    if isinstance(arms, Mapping):
        values["arms"] = {
            name: _with_absolute_source(arm) if isinstance(arm, Mapping) else arm for name, arm in arms.items()
        }
    return values


def _with_absolute_source(part: Mapping[str, Any]) -> dict[str, Any]:
    data = part["base"].get("data") if isinstance(part.get("base"), Mapping) else None
    source = data.get("source") if isinstance(data, Mapping) else None
    name, colon, path = source.partition(":") if isinstance(source, str) else ("", "", "")
    if not (colon and path):
        return dict(part)
    absolute = f"{name}:{Path(path).expanduser().absolute()}"
    return merged(part, {"base": at_path("data.source", absolute)})


def _find(name_or_path: str) -> Path:
    if name_or_path in built_in_studies():
        return STUDIES_DIR / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and "/" not in name_or_path:
        raise UserError(
            f"unknown study '{name_or_path}'{did_you_mean(name_or_path, built_in_studies())}, "
            "or the path of a .yaml file"
        )
    if not path.is_file():
        raise UserError(f"no study file '{name_or_path}'")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read study '{path}': {_first_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"study '{path}' must be a mapping with the keys question, arms, budget, ...")
    return values


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
