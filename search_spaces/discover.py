"""Finding and loading studies: built-in studies by name, a user's study by path, with values that override it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.check import check_study
from search_spaces.scales import scaled
from search_spaces.study import Study
from trainables.data.sources.registry import absolute_source
from trainables.errors import UserError, did_you_mean
from trainables.merging import at_path, merged
from trainables.parts import add_folder
from trainables.strict import parse

STUDIES_DIR = Path(__file__).parent / "studies"


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


def load_study(name_or_path: str, *, scale: str | None = None, settings: Sequence[str] = ()) -> Study:
    """Load a study and check that all its trials are valid.

    Args:
        name_or_path: name of a built-in study, or path of a YAML file.
        scale: name of the scale, the amount to spend; None: as the file declares it.
        settings: values that override file and scale, each ``path=value`` with a dotted path and a YAML value.

    Raises:
        UserError: no such study or scale, unreadable YAML, an unknown key, a value out of range.

    Examples:
        >>> study = load_study("quickstart", scale="smoke", settings=["budget.max_epochs=3"])
        >>> study.budget.max_epochs, list(study.arms)
        (3, ['off', 'cutout', 'mixup', 'cutmix'])
    """
    path = _find(name_or_path)
    values = _read(path)
    if path.parent != STUDIES_DIR:
        add_folder(path.absolute().parent)
    if values.setdefault("name", path.stem) != path.stem:
        raise UserError(f"'{path}': name is '{values['name']}', but the file is called '{path.stem}'")
    values = scaled(values, scale, where=f"study '{path.stem}'")
    for setting in settings:
        values = merged(values, parse_setting(setting))
    _make_sources_absolute(values)
    study = parse(Study, values, where=f"study '{path.stem}'")
    check_study(study)
    return study


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


def _make_sources_absolute(values: dict[str, Any]) -> None:
    """Make data paths absolute, so that they are valid wherever a trial runs and the sweep is resumed."""
    arms = values.get("arms")
    for part in (values, *(arms.values() if isinstance(arms, dict) else ())):
        data = part["base"].get("data") if isinstance(part, dict) and isinstance(part.get("base"), dict) else None
        source = data.get("source") if isinstance(data, dict) else None
        if isinstance(source, str):
            part["base"] = merged(part["base"], at_path("data.source", absolute_source(source)))


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
