"""Data sources by name: every class in this folder that names a source is found without a list."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from trainables.data.sources.base import Source
from trainables.discovery import import_variants
from trainables.errors import UserError, did_you_mean
from trainables.parts import Registry


def _discover() -> dict[str, type[Source]]:
    """Return the sources of this folder by name: no path first, then optional, then needed."""
    variants = import_variants(str(__package__), [str(Path(__file__).parent)], Source)
    sources = [source for source in variants if hasattr(source, "name")]
    sources.sort(key=lambda source: (source.needs_path, source.takes_path, source.name))
    return {source.name: source for source in sources}


SOURCES: Registry[Source] = Registry(
    "data source",
    Source,
    _discover(),
    group="cutmix_sweep.sources",
    declares=("name", "reads", "needs_path", "has_boxes", "flips"),
)
"""Class of each source, by its name."""

WITH_BOXES = tuple(name for name, source in SOURCES.items() if source.has_boxes)
"""Names of the sources that know the box of the object in each image."""


def source_help() -> str:
    """Return the valid values of ``--data``, separated by commas.

    Examples:
        >>> source_help()
        'digits, ...imagefolder:PATH, ...'
    """
    return ", ".join(source.spelling() for source in SOURCES.values())


def source_table() -> str:
    """Return a Markdown table with one row per source.

    Examples:
        >>> print(source_table())
        | source | what it reads | boxes | flips by default |
        | --- | --- | --- | --- |
        | `digits` | scikit-learn's digit scans ... | yes | no |
        ...
    """
    rows = ["| source | what it reads | boxes | flips by default |", "| --- | --- | --- | --- |"]
    for source in SOURCES.values():
        boxes, flips = ("yes" if value else "no" for value in (source.has_boxes, source.flips))
        rows.append(f"| `{source.spelling()}` | {source.reads} | {boxes} | {flips} |")
    return "\n".join(rows)


def split_text(source: str) -> tuple[str, str, str]:
    """Split ``"NAME:PATH"`` or ``"package.module:Class:PATH"`` as text; nothing is imported or checked.

    Returns:
        The name, and the colon and the path that follow it, or two empty texts.

    Examples:
        >>> split_text("imagefolder:photos"), split_text("shapes.data:Shapes:photos")
        (('imagefolder', ':', 'photos'), ('shapes.data:Shapes', ':', 'photos'))
        >>> split_text("shapes.data:Shapes")
        ('shapes.data:Shapes', '', '')
    """
    name, colon, rest = source.partition(":")
    if not colon or name in SOURCES or SOURCES.is_own(name):
        return name, colon, rest
    class_name, colon, path = rest.partition(":")
    return f"{name}:{class_name}", colon, path


def absolute_source(source: str) -> str:
    """Return a spelled source with an absolute path, which is valid in every folder.

    Examples:
        >>> absolute_source("digits"), absolute_source("imagefolder:/data/photos")
        ('digits', 'imagefolder:/data/photos')
    """
    name, colon, path = split_text(source)
    return f"{name}:{Path(path).expanduser().absolute()}" if colon and path else source


def split_source(source: str) -> tuple[str, Path | None]:
    """Split ``"NAME:PATH"`` into its name and path; NAME may be ``package.module:Class``.

    Returns:
        The name of the source, and the path or None.

    Raises:
        ValueError: the name is unknown, the path is missing or empty, or the source takes no path.

    Examples:
        >>> split_source("digits")
        ('digits', None)
        >>> split_source("imagefolder:photos")
        ('imagefolder', PosixPath('photos'))
    """
    name, colon, path = split_text(source)
    module = name.partition(":")[0]
    try:
        kind = SOURCES[name]
    except ValueError:
        # rather a mistyped NAME:PATH than a module; find_spec cannot find "__main__", which is always there
        if "." not in module and module != "__main__" and find_spec(module) is None:
            raise ValueError(
                f"unknown data source {module!r}{did_you_mean(module, SOURCES.names())}, or package.module:Class"
            ) from None
        raise
    if (kind.needs_path or colon) and not path:
        raise ValueError(f"data source {name!r} needs a path: '{name}:PATH'")
    if path and not kind.takes_path:
        raise ValueError(f"data source {name!r} takes no path, got {path!r}")
    return name, Path(path).expanduser() if path else None


def open_source(source: str) -> Source:
    """Return the reader of ``"digits"``, ``"cifar10[:PATH]"``, ``"imagefolder:PATH"`` and so on.

    Nothing is read yet: see :meth:`~trainables.data.sources.base.Source.check`.

    Raises:
        UserError: the name is unknown (the message says which name is near), the path is missing or empty, or the
            source takes no path.

    Examples:
        >>> open_source("digits").describe()
        Description(n_train=5752, n_classes=10, height_px=32, width_px=32)
    """
    try:
        name, path = split_source(source)
    except ValueError as error:
        raise UserError(str(error)) from None
    return SOURCES[name](path)


def is_same_source(source: str, other: str) -> bool:
    """Return whether two spelled sources hold the same data.

    A source that does not need a path is one published data set, wherever its files are. For the others the path
    decides; without a path, the name does.

    Examples:
        >>> is_same_source("cifar10", "cifar10:/data")
        True
        >>> is_same_source("imagefolder:photos", "imagefolder:paintings")
        False
    """
    (name, path), (other_name, other_path) = split_source(source), split_source(other)
    if name != other_name or path is None or other_path is None:
        return name == other_name
    return not SOURCES[name].needs_path or path.resolve() == other_path.resolve()
