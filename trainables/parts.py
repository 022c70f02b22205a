"""Parts by name: built-in classes, and one's own classes by import path or by entry point.

A part is a mask family, a data source, a network, an evaluation axis or an early-stopping rule. The same registry finds
the built-in parts of a kind and ``package.module:Class``, in the command as in a worker.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError, core_schema, to_json

from trainables.errors import did_you_mean

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

OWN_PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")
"""Packages of this program: their classes are built in."""

_FOLDERS: list[Path] = []
"""Folders in which modules of one's own are looked for, after all installed packages.

It is empty at first: what only reads a recorded sweep imports no file that happens to lie in the working directory.
"""


class Registry(dict[str, type[T]], Generic[T]):
    """Classes of one kind of part by name. As a mapping it contains the built-in ones; ``[name]`` finds one's own too.

    Attributes:
        kind: what a part is called in messages, for example ``mask family``.
        base: class that the parts derive from.
        group: group of entry points that name parts of this kind.
        declares: class attributes without a default that each part declares.

    Examples:
        >>> from trainables.mixing.masks import FAMILIES
        >>> FAMILIES["box"].__name__, "box" in FAMILIES
        ('Box', True)
        >>> FAMILIES["shapes.stars:Star"]
        Traceback (most recent call last):
        ValueError: mask family 'shapes.stars:Star': there is no module 'shapes' in the installed packages or ...
    """

    def __init__(
        self, kind: str, base: type[T], built_in: Mapping[str, type[T]], *, group: str, declares: tuple[str, ...] = ()
    ) -> None:
        """Take the built-in parts by name."""
        super().__init__(built_in)
        self.kind, self.base, self.group, self.declares = kind, base, group, declares
        self._found: dict[str, type[T]] = {}

    def __missing__(self, name: str) -> type[T]:
        """Return a part of one's own.

        Raises:
            ValueError: there is no such part, or its class is not one of this kind.
        """
        if name not in self._found:
            self._found[name] = self._import(name)
        return self._found[name]

    def names(self) -> list[str]:
        """Return the names that are valid without an import path: built-in parts and entry points.

        Raises:
            ValueError: an entry point has the name of a built-in part.
        """
        entry_points = _entry_points(self.group)
        if clash := sorted(self.keys() & entry_points):
            raise ValueError(
                f"{self.kind} '{clash[0]}' is built in, but the entry point '{clash[0]}' of the group '{self.group}' "
                f"names {entry_points[clash[0]]}: give the entry point another name"
            )
        return [*self, *entry_points]

    def is_own(self, name: str) -> bool:
        """Return whether a name means a part of one's own: an import path or an entry point."""
        return name not in self and (":" in name or name in _entry_points(self.group))

    def found(self, name: str) -> type[T] | None:
        """Return a part that is built in or was found before, without importing anything."""
        return self.get(name) or self._found.get(name)

    def name_of(self, part: type[T]) -> str:
        """Return a name by which every process finds a class: its built-in name, or its import path."""
        return next((name for name, built_in in self.items() if built_in is part), import_path(part))

    def _listed(self) -> list[str]:
        """Return what a message about an unknown name lists."""
        return sorted(self.names())

    def _import(self, name: str) -> type[T]:
        path = name if ":" in name else _entry_points(self.group).get(name, name)
        if ":" not in path:
            hint = did_you_mean(name, self.names(), listed=self._listed())
            raise ValueError(f"unknown {self.kind} {name!r}{hint}, or package.module:Class")
        try:
            return self._checked(_class_at(path, self.base))
        except ValueError as error:
            raise ValueError(f"{self.kind} '{name}': {error}") from None

    def _checked(self, part: Any) -> type[T]:
        where = f"class '{part.__qualname__}' of module '{part.__module__}' ({_file_of(sys.modules[part.__module__])})"
        if not issubclass(part, self.base):
            raise ValueError(f"{where} does not derive from {self.base.__module__}.{self.base.__qualname__}")
        if inspect.isabstract(part):
            missing = ", ".join(sorted(part.__abstractmethods__))
            raise ValueError(f"{where} is abstract: it does not define {missing}")
        if undeclared := [name for name in self.declares if not hasattr(part, name)]:
            raise ValueError(f"{where} does not declare {', '.join(undeclared)}")
        for name, built_in in self.items():
            if part is built_in:
                raise ValueError(f"{where} is built in: use its name '{name}'")
            if getattr(part, "name", None) == name:
                raise ValueError(f"{where} has the name '{name}' of a built-in one: give it another name")
        return part  # type: ignore[no-any-return]


def base_of(path: str, registries: Sequence[Registry[Any]]) -> Registry[Any]:
    """Return the registry whose base class the class at an import path derives from.

    Raises:
        ValueError: the class cannot be imported, or derives from none of the base classes.
    """
    part = _class_at(path, tuple(registry.base for registry in registries))
    for registry in registries:
        if issubclass(part, registry.base):
            return registry
    bases = ", ".join(f"{registry.base.__module__}.{registry.base.__qualname__}" for registry in registries)
    raise ValueError(f"class '{path}' is no part: it derives from none of {bases}")


def add_folder(folder: Path) -> None:
    """Look for modules of one's own in a folder too, after all installed packages."""
    if folder not in _FOLDERS:
        _FOLDERS.append(folder)


def import_path(part: type) -> str:
    """Return ``package.module:Class``.

    Examples:
        >>> from trainables.mixing.masks.box import Box
        >>> import_path(Box)
        'trainables.mixing.masks.box:Box'
    """
    return f"{part.__module__}:{part.__qualname__}"


def is_outside(part: type) -> bool:
    """Return whether a class does not belong to this program."""
    return part.__module__.partition(".")[0] not in OWN_PACKAGES


def name_by_import_path(part: Any, tag: str) -> None:
    """Name a configuration class from outside this program: the default of its field ``tag`` is its import path.

    A class of one's own declares no name. It may inherit the name of a built-in class, which must not stay.
    """
    if is_outside(part):
        part.__pydantic_fields__[tag] = FieldInfo(annotation=str, default=import_path(part))
        part.model_rebuild(force=True)


def validate_own(model: type[ModelT], values: Any) -> ModelT:
    """Return values validated as JSON: a study file and a manifest have a list where a class may declare a tuple."""
    return model.model_validate_json(to_json(values, inf_nan_mode="constants"))


class OpenUnion:
    """Annotation that opens a union of built-in configuration classes to classes of one's own.

    The built-in members are validated, serialised and described as before.
    """

    def __init__(self, registry: Registry[Any], tag: str) -> None:
        """Take the registry of the members, and the key that names one of them."""
        self.registry, self.tag = registry, tag
        OPEN_UNIONS[tag] = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema of the union, with a validator around it that finds one's own members."""
        return core_schema.no_info_wrap_validator_function(
            self._validate, handler(source), serialization=core_schema.simple_ser_schema("any")
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON Schema of the union, with one more member: a class of one's own."""
        described = handler(schema)
        pattern = "|".join([":", *(f"^{re.escape(name)}$" for name in _entry_points(self.registry.group))])
        name = {"type": "string", "pattern": pattern, "description": "package.module:Class, or an entry point"}
        own = {"type": "object", "properties": {self.tag: name}, "required": [self.tag]}
        return {**described, "oneOf": [*described["oneOf"], own]}

    def _validate(self, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, self.registry.base) and is_outside(type(value)):
            return value
        name = value.get(self.tag) if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name in self.registry:
            return handler(value)
        if not self.registry.is_own(name):
            expected = ", ".join(f"'{each}'" for each in self.registry.names())
            raise PydanticKnownError(
                "union_tag_invalid", {"discriminator": f"'{self.tag}'", "tag": name, "expected_tags": expected}
            )
        return validate_own(self.registry[name], value)


OPEN_UNIONS: dict[str, Registry[Any]] = {}
"""Registry by the key that names a member of an open union."""


@functools.cache
def _entry_points(group: str) -> dict[str, str]:
    """Return import paths by name, as installed packages declare them."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=group)}


def _class_at(path: str, base: type | tuple[type, ...]) -> type:
    module_name, _, class_name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ValueError("must have the form package.module:Class")
    if module_name == "__main__":
        raise ValueError("a class of a script or notebook cannot be imported by workers: write it to a file")
    module = _module(module_name)
    part = getattr(module, class_name, None)
    if not isinstance(part, type):
        classes = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, base) and is_outside(value)
        ]
        valid = did_you_mean(class_name, classes) if classes else ", and no other class of the kind"
        raise ValueError(f"module '{module_name}' ({_file_of(module)}) has no class '{class_name}'{valid}")
    return part


def _module(name: str) -> ModuleType:
    for folder in _FOLDERS:
        if str(folder) not in sys.path:  # at the end: a file of the user must not hide a package of this program
            sys.path.append(str(folder))
    importlib.invalidate_caches()
    _check_one_place(name.partition(".")[0])
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(_describe_missing(str(error.name))) from None
        raise ValueError(_describe_failure(name, error)) from None
    except (Exception, SystemExit) as error:  # whatever the module does while it is imported
        raise ValueError(_describe_failure(name, error)) from None


def _check_one_place(top: str) -> None:
    """Check that a top-level module is in one of the folders: Python would import the first one for every study."""
    folders = dict.fromkeys(folder.resolve() for folder in _FOLDERS)
    places = [path for folder in folders for path in (folder / f"{top}.py", folder / top / "__init__.py")]
    found = [str(path) for path in places if path.is_file()]
    if len(found) > 1:
        raise ValueError(
            f"there are several modules '{top}': '{found[0]}' and '{found[1]}': give one of them another name, or run "
            "the command in another folder"
        )


def _describe_missing(name: str) -> str:
    """Return where a module was looked for, and how the user can let it be found."""
    if not _FOLDERS:
        return (
            f"there is no module '{name}' in the installed packages or on PYTHONPATH; no other folder is searched for "
            "a recorded sweep: if you trust the module, add its folder to PYTHONPATH, or install it"
        )
    folders = ", ".join(f"'{folder}'" for folder in _FOLDERS)
    return (
        f"there is no module '{name}' in the installed packages or in {folders}: run the command in its folder, put it "
        "beside the study, or install it"
    )


def _describe_failure(name: str, error: BaseException) -> str:
    """Return one line: the module, what went wrong, and the last line of code that is not Python's own."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
        frames = [each for each in frames if each.filename != __file__] or frames
        place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "no file"
    return f"module '{name}' cannot be imported: {type(error).__name__}: {' '.join(str(error).split())} ({place})"


def _file_of(module: ModuleType) -> str:
    return f"'{module.__file__}'" if getattr(module, "__file__", None) else "no file"
