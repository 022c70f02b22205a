"""Equal images where they falsify a result: in two classes, or in the training and the test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.data.cache_dir import default_cache_dir
from trainables.data.contents import SplitContent
from trainables.data.sources.base import SPLITS, Source

READ_BYTES = 2**30
"""Size of all files up to which they are read only to compare them; larger sets are compared once they are decoded."""


REMEDY = "remove one of each two equal images, because they bias the errors"
"""What to do about equal images."""


def describe_duplicates(source: Source, *, cache_dir: Path | None = None) -> str:
    """Return a sentence about equal images of a source in two classes, or in both splits; "" if there are none.

    Images are equal if their files are; links to one file are equal files. Nothing is known of a source without files,
    of images inside larger files, and of more than 1 GiB of files that were not decoded yet.

    Raises:
        UserError: the source's files cannot be read.

    Examples:
        >>> from trainables.data.sources.registry import open_source
        >>> describe_duplicates(open_source("digits"))
        ''
    """
    cache = default_cache_dir() if cache_dir is None else cache_dir
    digests: list[Mapping[str, str]] = []
    class_of: list[Callable[[str], str | None]] = []
    for split in SPLITS:
        content = SplitContent(source, split, cache)
        if content.files is None:
            return ""
        if content.known is None and content.snapshot.n_bytes > READ_BYTES:
            return ""
        known = content.digests()
        if known is None:
            known = content.files.digests()
            content.record({f"{content.files.root}/{name}": digest for name, digest in known.items()})
        images = content.files.class_of
        digests.append({name: digest for name, digest in known.items() if images(name) is not None})
        class_of.append(images)
    train, test = digests
    return describe_doubles(train, test, class_of=class_of[0])


def describe_doubles(
    train: Mapping[str, str], test: Mapping[str, str], *, class_of: Callable[[str], str | None]
) -> str:
    """Return a sentence about equal images; "" if there are none.

    Args:
        train: SHA-256 of each training image by name.
        test: SHA-256 of each test image by name.
        class_of: returns the class of a training image by its name.

    Examples:
        >>> train = {"cat/1.png": "0" * 64, "dog/7.png": "0" * 64, "dog/8.png": "1" * 64}
        >>> describe_doubles(train, {"dog/9.png": "1" * 64}, class_of=lambda name: name[:3])
        '2 of 3 training images are equal to an image of another class (cat/1.png and dog/7.png); 1 of 1 test...'
    """
    sentences = []
    if pairs := _in_two_classes(train, class_of):
        first, second = pairs[0]
        sentences.append(
            f"{len(pairs)} of {len(train)} training images are equal to an image of another class "
            f"({first} and {second})"
        )
    if pairs := _in_both(train, test):
        first, second = pairs[0]
        sentences.append(
            f"{len(pairs)} of {len(test)} test images are equal to a training image (test {first}, train {second})"
        )
    return "; ".join(sentences)


def _in_two_classes(train: Mapping[str, str], class_of: Callable[[str], str | None]) -> list[tuple[str, str]]:
    """Return each training image with an equal one of another class."""
    names, keys = list(train), _keys(train)
    order = np.argsort(keys, kind="stable")
    equal = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    groups: dict[str, list[str]] = {}
    for index in np.unique(np.concatenate([order[equal], order[equal + 1]])):
        groups.setdefault(train[names[index]], []).append(names[index])
    pairs = []
    for members in groups.values():
        by_class: dict[str | None, str] = {}
        for name in members:
            by_class.setdefault(class_of(name), name)
        if len(by_class) > 1:
            first, second = list(by_class.items())[:2]
            pairs += [(name, second[1] if class_of(name) == first[0] else first[1]) for name in members]
    return pairs


def _in_both(train: Mapping[str, str], test: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each test image that equals a training image, with that image."""
    train_keys, test_keys = _keys(train), _keys(test)
    train_names, test_names = list(train), list(test)
    shared = np.flatnonzero(np.isin(train_keys, test_keys))
    by_digest: dict[str, str] = {}
    for index in shared:
        by_digest.setdefault(train[train_names[index]], train_names[index])
    candidates = (test_names[index] for index in np.flatnonzero(np.isin(test_keys, train_keys)))
    return [(name, by_digest[test[name]]) for name in candidates if test[name] in by_digest]


def _keys(digests: Mapping[str, str]) -> npt.NDArray[np.uint64]:
    """Return the first 64 bits of each digest; equal keys are compared whole."""
    return np.fromiter((int(digest[:16], 16) for digest in digests.values()), dtype=np.uint64, count=len(digests))
