"""Images in one folder per class: the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.decoding import common_size, count_with_frames
from trainables.data.files import (
    SYSTEM_FILES,
    describe_passed_over,
    image_files,
    list_files,
    printable,
    printable_path,
    subfolders,
)
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Description, Listed, Source, Split
from trainables.errors import UserError, did_you_mean

LAYOUT = "expected <class>/*.jpg (or png, webp, ...) in the folders train and test (or val)"


@dataclass(frozen=True)
class _Classes:
    """Class folders of a split.

    Attributes:
        names: images of each class, relative to the class folder, both sorted.
        passed_over: number of all other files by kind.
        empty: class folders without any file, apart from hidden and system files.
    """

    names: dict[str, list[str]]
    passed_over: Counter[str]
    empty: list[str]


class ImageFolder(Source):
    """Training images in ``PATH/train/<class>/*.jpg``, test images in ``PATH/test/<class>/*.jpg``.

    Without a folder ``test``, the folder ``val`` is the test split. If both exist, ``val`` is ignored, because
    validation images are drawn from ``train``. Classes are the folders of ``train``, sorted by name. A class may be
    absent from the test split. Images may be in subfolders of a class folder, and of any size and colour mode.

    Photographs are turned upright by their EXIF orientation, which torchvision's ``ImageFolder`` ignores. Files that
    are no image, hidden files and empty class folders are passed over; :meth:`notes` counts them.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("train/cat/1.png", "train/dog/1.png", "test/dog/2.png"):
        ...         (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("RGB", (20, 12)).save(Path(folder) / name)
        ...     photos = ImageFolder(Path(folder))
        ...     photos.classes(), photos.read("test", 8).images.shape
        (('cat', 'dog'), (1, 8, 8, 3))
    """

    name = "imagefolder"
    reads = "`PATH/train/CLASS/*` and `PATH/test/CLASS/*` (or `val`), any size; `base.data.image_size_px` resizes"
    needs_path = True
    path_names_data = True
    has_boxes = False
    flips = True

    def check(self) -> None:
        """Check for missing folders, classes without an image, and test classes without training images.

        Raises:
            UserError: the message names the folder and what is expected.
        """
        self._checked()

    def classes(self) -> tuple[str, ...]:
        """Return the names of the folders of ``train``."""
        return tuple(map(printable, self._names("train")))

    def class_counts(self) -> list[int]:
        """Return the number of training images per class."""
        return [len(members) for members in self._names("train").values()]

    def notes(self) -> list[str]:
        """Return which files and folders are passed over, and how many images have frames that are not used."""
        notes = []
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            folder, classes = self._folder(split), self._listed(split)
            where = f"imagefolder: in {printable_path(folder)}"
            if classes.passed_over:
                notes.append(f"{where}, {describe_passed_over(classes.passed_over)}")
            if classes.empty:
                more = f" and {len(classes.empty) - 1} more" if len(classes.empty) > 1 else ""
                notes.append(f"{where}, empty class folders are passed over: {printable(classes.empty[0])}{more}")
        if n_with_frames := count_with_frames(self._paths("train", self._names("train"))):
            notes.append(
                f"imagefolder: at least {n_with_frames} training images have several frames; the first frame is used"
            )
        return notes

    def files(self, split: Split) -> SplitFiles:
        """Return the split's images, relative to the folder of the split."""
        folder = self._folder(split)
        return SplitFiles(folder, image_files(folder), class_of=lambda name: name.partition("/")[0])

    def describe(self, image_size_px: int | None = None) -> Description:
        """Count the training images and read the headers of some."""
        train, _ = self._checked()
        files = self._paths("train", train)
        return Description(len(files), len(train), *common_size(files, image_size_px, upright=True))

    def listed(self, split: Split) -> Listed:
        """List a split, sorted by class, then by name.

        Raises:
            UserError: as for :meth:`check`.
        """
        train, test = self._checked()
        names = train if split == "train" else test
        counts = [len(names.get(name, ())) for name in train]
        labels = np.repeat(np.arange(len(train), dtype=np.int64), counts)
        return Listed(self._paths(split, names), labels, tuple(map(printable, train)), upright=True)

    def _checked(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return the images of each class of both splits; raise as :meth:`check`."""
        train, test = self._names("train"), self._names("test")
        if unknown := [name for name in test if name not in train]:
            raise UserError(
                f"imagefolder: {printable_path(self._folder('test') / unknown[0])} is a class that "
                f"{printable_path(self._folder('train'))} does not have{did_you_mean(unknown[0], train)}"
            )
        return train, test

    def _folder(self, split: Split) -> Path:
        assert self._path is not None  # checked by the registry
        choices = ("train",) if split == "train" else ("test", "val")
        for choice in choices:
            if (self._path / choice).is_dir():
                return self._path / choice
        missing = self._path / " or ".join(choices) if self._path.is_dir() else self._path
        raise UserError(f"imagefolder: the folder {missing} does not exist; {LAYOUT}")

    def _names(self, split: Split) -> dict[str, list[str]]:
        return self._listed(split).names

    def _listed(self, split: Split) -> _Classes:
        folder = self._folder(split)
        folders = subfolders(folder)
        classes = _Classes({}, Counter(folders.passed_over), [])
        for name in folders.names:
            listing = list_files(folder / name)
            if listing.names:
                classes.names[name] = listing.names
            elif listing.passed_over.keys() - {SYSTEM_FILES}:
                raise UserError(
                    f"imagefolder: the class folder {printable_path(folder / name)} contains no image, "
                    f"{describe_passed_over(listing.passed_over)}; convert them to PNG or JPEG, or remove the folder"
                )
            else:
                classes.empty.append(name)
            classes.passed_over.update(listing.passed_over)
        if not classes.names:
            found = f"; {describe_passed_over(classes.passed_over)}" if classes.passed_over else ""
            raise UserError(
                f"imagefolder: {printable_path(folder)} contains no class folder with images{found}; {LAYOUT}"
            )
        return classes

    def _paths(self, split: Split, names: dict[str, list[str]]) -> list[str]:
        folder = self._folder(split)
        return [f"{folder}/{name}/{member}" for name, members in names.items() for member in members]
