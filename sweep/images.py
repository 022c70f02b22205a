"""Images of a sweep: where they lie now, and whether they are the images that the sweep was started with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data.cache_dir import default_cache_dir
from trainables.data.contents import Contents, SplitContent, digests_of
from trainables.data.duplicates import REMEDY, describe_duplicates
from trainables.data.places import Place
from trainables.data.sources.base import Split
from trainables.data.sources.registry import absolute_source, open_source, split_source, split_text
from trainables.errors import DataWarning, UserError

if TYPE_CHECKING:
    from search_spaces.study import Study

ShowWarning = Callable[[str], None]

Fingerprints = Mapping[str, Mapping[str, str]]
"""Fingerprint by content of each split, by source and split."""

SPLITS = {"train": "training", "test": "test"}


def sources_of(study: Study) -> list[str]:
    """Return the data sources of a study, as its configurations spell them."""
    configs = (config for arm in study.arms for config in study.extremes(arm))
    return list(dict.fromkeys(config.data.source for config in configs))


def show_duplicates(study: Study, show_warning: ShowWarning) -> None:
    """Show one warning per data source of a study with equal images in two classes, or in training and test split.

    Raises:
        UserError: the images cannot be read.
    """
    for source in sources_of(study):
        text = describe_duplicates(open_source(source))
        if text:
            show_warning(f"{source}: {text}; {REMEDY}")


def present_places(manifest: Mapping[str, Any], sources: Iterable[str], data: str | None) -> dict[str, Place]:
    """Return where the images of each source lie now.

    Args:
        manifest: manifest of the sweep.
        sources: data sources of its study.
        data: present place of the images, as ``--data`` spells it; None: where the last run of the sweep read them.

    Raises:
        UserError: the sweep does not read such a source, or the images of a source are gone.
    """
    last = manifest["runs"][-1].get("data", {}) if manifest["runs"] else {}
    places = {source: Place(last.get(source, source)) for source in dict.fromkeys(sources)}
    if data is not None:
        given = absolute_source(data)
        places |= dict.fromkeys(_sources_at(given, manifest, list(places)), Place(given))
    for source, place in places.items():
        name, path = split_source(place.source)
        if path is not None and not path.exists():
            raise UserError(
                f"the images of '{source}' are not in '{path}': restore them; if they were moved, give their present "
                f"place: --data {name}:PATH"
            )
    return places


def _sources_at(given: str, manifest: Mapping[str, Any], sources: list[str]) -> list[str]:
    """Return the sources of the study whose images lie in a given place: by name, several of a name by content."""
    name = split_text(given)[0]
    opened = open_source(given)
    named = [source for source in sources if split_text(source)[0] == name]
    if len(named) > 1:
        content = SplitContent(opened, "train", default_cache_dir()).computed()
        older = opened.fingerprint("train")
        recorded = {source: manifest["data"].get(source) for source in named}
        named = [source for source, old in recorded.items() if older == old or content == _train(old)]
    if not named:
        listed = ", ".join(f"'{source}'" for source in sources)
        raise UserError(f"--data '{given}': these are not the images of this sweep, which reads {listed}")
    return named


def _train(recorded: object) -> object:
    return recorded.get("train") if isinstance(recorded, Mapping) else None


def read_contents(
    recorded: Mapping[str, Any], places: Mapping[str, Place], splits: Iterable[Split]
) -> dict[str, dict[str, str]]:
    """Return the fingerprints of recorded splits by content: unknown files are read, which is faster than decoding.

    Sources without files, and those of which an older version recorded a plain text, are left out.

    Args:
        recorded: ``data`` of the manifest.
        places: present place of each source.
        splits: splits that are read.

    Raises:
        UserError: a file cannot be read, or changed while it was read.
    """
    contents: dict[str, dict[str, str]] = {}
    for source, place in places.items():
        old = recorded.get(source)
        for split in splits:
            if not isinstance(old, Mapping) or split not in old:
                continue
            fingerprint = SplitContent(open_source(place.source), split, default_cache_dir()).computed()
            if fingerprint is not None:
                contents.setdefault(source, {})[split] = fingerprint
    return contents


def check_same_images(
    recorded: Mapping[str, Any], present: Fingerprints, places: Mapping[str, Place], sweep_dir: Path
) -> None:
    """Check that the images have the content that a sweep was started with.

    Args:
        recorded: ``data`` of the manifest: for each source the fingerprints of the splits that were read; a plain text
            from an older version is the fingerprint of the training images by names, sizes and times.
        present: fingerprints of the splits that are read now.
        places: present place of each source.
        sweep_dir: folder of the sweep.

    Raises:
        UserError: a split differs; the message says which, and how many files differ if that is known.
    """
    ending = "restore them, or start a new sweep with: cutmix-sweep run"
    for source, old in recorded.items():
        new = present.get(source, {})
        if isinstance(old, str) and _older_fingerprint(source, places) != old:
            raise UserError(
                f"the training images of '{source}' differ from the images that '{sweep_dir}' was started with (an "
                f"older version recorded names, sizes and times of the files): {ending}"
            )
        if isinstance(old, str):
            continue
        for split, name in SPLITS.items():
            if split in old and split in new and old[split] != new[split]:
                raise UserError(
                    f"the {name} images of '{source}' differ from the images that '{sweep_dir}' was started with"
                    f"{_describe_difference(old[split], new[split])}: {ending}"
                )


def _older_fingerprint(source: str, places: Mapping[str, Place]) -> str:
    return open_source(places[source].source if source in places else source).fingerprint("train")


def _describe_difference(old: str, new: str) -> str:
    """Return in words how many files of two contents differ; "" if this node does not know the files of both."""
    before, after = (digests_of(fingerprint, default_cache_dir()) for fingerprint in (old, new))
    if before is None or after is None:
        return ""
    changed = sorted(name for name in before.keys() & after if before[name] != after[name])
    missing, added = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    counts = [(changed, "changed"), (missing, "missing"), (added, "new")]
    described = ", ".join(f"{len(names)} {word}" for names, word in counts if names)
    return f" (of {len(before)} files, {described}; for example {[*changed, *missing, *added][0]})"


def with_images(manifest: Mapping[str, Any], present: Fingerprints) -> dict[str, Any]:
    """Return a manifest that also records the fingerprints of the splits that are read now."""
    recorded = manifest["data"]
    old = {source: splits if isinstance(splits, Mapping) else {} for source, splits in recorded.items()}
    new = {source: {**old.get(source, {}), **splits} for source, splits in present.items()}
    return {**manifest, "data": {**recorded, **new}}


def recorded_places(manifest: Mapping[str, Any]) -> dict[str, Place]:
    """Return the place of each source in the last run, with the contents that workers must find there."""
    last = manifest["runs"][-1].get("data", {}) if manifest["runs"] else {}
    return {
        source: Place(last.get(source, source), Contents(splits.get("train"), splits.get("test")))
        for source, splits in manifest["data"].items()
        if isinstance(splits, Mapping)
    }


@contextmanager
def show_data_warnings(show_warning: ShowWarning) -> Iterator[None]:
    """Show warnings about images as lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, DataWarning):
                show_warning(str(message))
            else:
                show(message, category, *place)

        warnings.showwarning = show_line  # type: ignore[assignment]
        yield
