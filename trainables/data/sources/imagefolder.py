"""Images in one folder per class: the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.decoding import common_size, decode
from trainables.data.files import image_files
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Allocate, Decoded, Description, Source, Split, in_memory
from trainables.errors import UserError

LAYOUT = "expected <class>/*.jpg (or png, webp, ...) in the folders train and test (or val)"


class ImageFolder(Source):
    """Training images in ``PATH/train/<class>/*.jpg``, test images in ``PATH/test/<class>/*.jpg``.

    Without a folder ``test``, the folder ``val`` is the test split. If both exist, ``val`` is ignored, because
    validation images are drawn from ``train``. Classes are the folders of ``train``, sorted by name. A class may be
    absent from the test split. Images may be in subfolders of a class folder, and of any size and colour mode.

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
        """Check for missing folders, empty classes, and test classes without training images.

        Raises:
            UserError: the message names the folder and what is expected.
        """
        classes = self._names("train")
        unknown = [name for name in self._names("test") if name not in classes]
        if unknown:
            raise UserError(
                f"imagefolder: {self._folder('test') / unknown[0]} is a class that "
                f"{self._folder('train')} does not have; valid: {', '.join(classes)}"
            )

    def classes(self) -> tuple[str, ...]:
        """Return the names of the folders of ``train``."""
        return tuple(self._names("train"))

    def files(self, split: Split) -> SplitFiles:
        """Return the split's images, relative to the folder of the split."""
        folder = self._folder(split)
        return SplitFiles(folder, image_files(folder), class_of=lambda name: name.partition("/")[0])

    def describe(self, image_size_px: int | None = None) -> Description:
        """Count the training images and read the headers of some."""
        self.check()
        names = self._names("train")
        size = common_size(self._files("train"), image_size_px)
        return Description(sum(len(members) for members in names.values()), len(names), *size)

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        """Decode a split, sorted by class, then by name; the default size is that of the training images.

        Raises:
            UserError: as for :meth:`check`, or an image cannot be read.
        """
        self.check()
        classes = self.classes()
        names = self._names(split)
        files = self._files(split)
        images = allocate((len(files), *common_size(self._files("train"), image_size_px), 3))
        _, digests = decode(files, images)
        counts = [len(names.get(name, ())) for name in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
        return Decoded(images, labels, classes, None, digests)

    def _folder(self, split: Split) -> Path:
        assert self._path is not None  # checked by the registry
        choices = ("train",) if split == "train" else ("test", "val")
        for choice in choices:
            if (self._path / choice).is_dir():
                return self._path / choice
        missing = self._path / " or ".join(choices) if self._path.is_dir() else self._path
        raise UserError(f"imagefolder: the folder {missing} does not exist; {LAYOUT}")

    def _names(self, split: Split) -> dict[str, list[str]]:
        """Return the images of each class, relative to the class folder, both sorted."""
        folder = self._folder(split)
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not classes:
            raise UserError(f"imagefolder: {folder} contains no class folder; {LAYOUT}")
        names = {name: image_files(folder / name) for name in classes}
        for name, members in names.items():
            if not members:
                raise UserError(f"imagefolder: the class folder {folder / name} contains no image; {LAYOUT}")
        return names

    def _files(self, split: Split) -> list[str]:
        folder = self._folder(split)
        return [f"{folder}/{name}/{member}" for name, members in self._names(split).items() for member in members]
