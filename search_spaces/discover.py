"""Finding and loading studies: built-in studies by name, a user's study by path, with values that override it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.check import check_study
from search_spaces.names import NAME, proposed_name
from search_spaces.other_files import describe_other_file
from search_spaces.overriding import extended_values, overridden
from search_spaces.scales import scaled
from search_spaces.study import Study
from search_spaces.yaml_text import MAX_CHARS, check_size, parse_yaml
from trainables.data.sources.registry import absolute_source, split_text
from trainables.errors import UserError, did_you_mean, shorten, shorten_path
from trainables.merging import at_path, flattened, merged
from trainables.parts import add_folder
from trainables.strict import parse

STUDIES_DIR = Path(__file__).parent / "studies"

DEFAULT_NAME = "my_study"
"""Name of a study whose values are given without a name and without a file."""

_KEY = r"([^.\[\]\s]+|\[[^\[\]]+\])"
"""One key of a path: plain, or in square brackets."""


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
    add_folder(Path.cwd())
    values = _values_of(study)
    where = f"study '{shorten(str(values['name']))}'"
    if isinstance(study, Study) and scale is not None:
        raise UserError(f"{where} is loaded already: give the scale '{scale}' where it is loaded")
    given: dict[str, Any] = {}
    for setting in settings if scale is not None else ():
        given = merged(given, parse_setting(setting))
    values = scaled(values, scale, where=where, given=given)
    for setting in settings:
        values = with_setting(values, setting)
    loaded = parse(Study, _with_absolute_sources(values), where=where)
    check_study(loaded)
    return loaded


def _values_of(study: str | Path | Mapping[str, Any] | Study) -> dict[str, Any]:
    """Return the values of a study, always with its name, and without the key ``extends``."""
    if isinstance(study, Study):
        return study.model_dump(mode="json")
    if isinstance(study, Mapping):
        values = {"name": DEFAULT_NAME, **study}
        where = f"study '{shorten(str(values['name']))}'"
        _check_size(values, where)
        return extended_values(values, _extended_file, folder=Path(), where=where)
    path = _find_with_parts(str(study))
    values = read_values(path)
    if "name" not in values:
        values["name"] = _name_of_file(path)
    return extended_values(values, _extended_file, folder=path.parent, where=f"study '{path}'", path=path)


def _name_of_file(path: Path) -> str:
    """Return the name of a study whose file gives none."""
    if not re.fullmatch(NAME, path.stem):
        name, quoted = proposed_name(path.stem), shorten_path(path)
        raise UserError(
            f"study '{quoted}' gives no name, and the name of its file is not one: a study's name has small letters, "
            f"digits and '_', and a letter first: rename the file to {name}{path.suffix}, or write into it name: {name}"
        )
    return path.stem


def _extended_file(name_or_path: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return file and values of a study that another one extends, a path relative to that one's folder."""
    is_path = name_or_path not in built_in_studies() and _is_path(name_or_path)
    path = _find_with_parts(str(folder / Path(name_or_path).expanduser()) if is_path else name_or_path)
    return path.resolve(), read_values(path)


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
    if not equals or not re.fullmatch(rf"{_KEY}(\.{_KEY}|\[[^\[\]]+\])*", path):
        raise UserError(
            f"--set has the form path=value, for example budget.trials=8, got '{shorten(setting)}': one dot stands "
            "between two keys, and a key that contains dots stands in square brackets"
        )
    value = parse_value(text, where=f"--set {shorten(path)}")
    for bracketed, plain in reversed(re.findall(r"\[([^\[\]]+)\]|([^.\[\]]+)", path)):
        value = {bracketed or plain: value}
    result: dict[str, Any] = value
    return result


def with_setting(values: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return the values of a study with a setting ``path=value``; ``null`` drops an arm or a parameter of a space.

    Raises:
        UserError: the setting has another form, or it cannot change anything.

    Examples:
        >>> with_setting({"arms": {"off": {"mix": "off"}, "cutout": {"mix": "cutout"}}}, "arms.cutout=null")
        {'arms': {'off': {'mix': 'off'}}}
    """
    path = shorten(setting.partition("=")[0])
    changes = parse_setting(setting)
    result = overridden(values, changes, where=f"--set {path}")
    if result == values and not flattened(changes):
        raise UserError(f"--set {path}: an empty mapping changes nothing: leave it out, or give a key and its value")
    return result


def parse_value(text: str, *, where: str) -> Any:
    """Return a value of the command line as a study file would contain it.

    Raises:
        UserError: the text is not valid YAML.
    """
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{where}: cannot read the value '{shorten(text)}': {error}") from None


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
    if not isinstance(source, str):
        return dict(part)
    absolute = absolute_source(source)
    try:
        Path(split_text(absolute)[2]).exists()
    except (OSError, ValueError) as error:  # too long a name, a NUL
        raise UserError(f"--data or data.source: '{shorten(source)}': {_reason(error)}") from None
    return merged(part, {"base": at_path("data.source", absolute)})


def _find_with_parts(name_or_path: str) -> Path:
    """Return the file of a study; modules beside a file of the user are found from now on."""
    path = _find(name_or_path)
    if path.parent != STUDIES_DIR:
        add_folder(path.absolute().parent)
    return path


def folder_of(study: str | Path | Mapping[str, Any] | Study) -> Path | None:
    """Return the folder of a study file; None for a built-in study, and for values without a file.

    Examples:
        >>> folder_of("project/small.yaml"), folder_of("quickstart")
        (PosixPath('project'), None)
    """
    if not isinstance(study, str | Path) or str(study) in built_in_studies() or not _is_path(str(study)):
        return None
    return Path(study).parent


def _is_path(name_or_path: str) -> bool:
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path


def _find(name_or_path: str) -> Path:
    if name_or_path in built_in_studies():
        return STUDIES_DIR / f"{name_or_path}.yaml"
    path, quoted = Path(name_or_path), shorten_path(name_or_path)
    if not _is_path(name_or_path):
        raise UserError(
            f"unknown study '{quoted}'{did_you_mean(name_or_path, built_in_studies())}, or the path of a .yaml file"
        )
    try:
        if path.is_dir():
            raise UserError(f"study '{quoted}' is a folder: give the path of the .yaml file")
        if not path.is_file():
            raise UserError(f"no study file '{quoted}'")
    except (OSError, ValueError) as error:  # too long a name, a NUL
        raise UserError(f"no study file '{quoted}': {_reason(error)}") from None
    return path


def read_values(path: Path) -> dict[str, Any]:
    """Read the values of a YAML file, unchecked.

    Raises:
        UserError: the file cannot be read, or is not a mapping.
    """
    quoted = shorten_path(path)
    try:
        if path.stat().st_size > 4 * MAX_CHARS:  # UTF-8 has at most four bytes per character
            raise UserError(f"cannot read study '{quoted}': it has more than {MAX_CHARS:,} characters")
        values = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"cannot read study '{quoted}': it is not text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read study '{quoted}': {_reason(error)}") from None
    if values is None:
        raise UserError(f"study '{quoted}' is empty: it must be a mapping with the keys question, arms, budget, ...")
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else "a single value"
        raise UserError(f"study '{quoted}' is {kind}: it must be a mapping with the keys question, arms, budget, ...")
    if other := describe_other_file(values):
        raise UserError(f"'{quoted}' is not a study: {other}")
    return values


def _check_size(values: Mapping[str, Any], where: str) -> None:
    try:
        check_size(values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _reason(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)
