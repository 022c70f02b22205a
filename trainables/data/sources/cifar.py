"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test photographs of 32 x 32 px."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from filelock import FileLock

from trainables.data.cache_dir import default_cache_dir
from trainables.data.decoding import fit_images
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Allocate, Decoded, Description, Source, Split, in_memory
from trainables.errors import UserError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10 as TorchvisionCifar

SIDE_PX = 32
N_TRAIN = 50_000


class _Cifar(Source):
    """CIFAR read by torchvision, which checks the MD5 sum of each file.

    The path is the parent folder of ``folder``; the default is ``downloads`` in the cache folder.
    """

    needs_path = False
    has_boxes = False
    flips = True
    folder: ClassVar[str]
    file_names: ClassVar[dict[Split, tuple[str, ...]]]
    n_classes: ClassVar[int]
    torchvision_name: ClassVar[str]

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self._root = path if path is not None else default_cache_dir() / "downloads"

    def check(self) -> None:
        """Check that the files exist, without reading them.

        Raises:
            UserError: a file is missing: the set is not downloaded yet, or the path is wrong.
        """
        for name in (*self.file_names["train"], *self.file_names["test"]):
            if not (self._root / self.folder / name).is_file():
                raise UserError(
                    f"{self.name}: {self._root / self.folder / name} does not exist; "
                    f"add --download to download it, or pass its parent folder: '{self.name}:PATH'"
                )

    def classes(self) -> tuple[str, ...]:
        """Return the published names of the classes.

        Raises:
            UserError: as for :meth:`read`.
        """
        return tuple(self._opened("test").classes)

    def class_counts(self) -> list[int]:
        """Return the published numbers."""
        return [N_TRAIN // self.n_classes] * self.n_classes

    def files(self, split: Split) -> SplitFiles:
        """Return the split's files."""
        self.check()
        return SplitFiles(self._root / self.folder, self.file_names[split])

    def describe(self, image_size_px: int | None = None) -> Description:
        """Return the published numbers."""
        self.check()
        side_px = image_size_px or SIDE_PX
        return Description(N_TRAIN, self.n_classes, side_px, side_px)

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        """Unpickle a split in its published order.

        Raises:
            UserError: as for :meth:`check`, or a file differs from the published file.
        """
        data = self._opened(split)
        side_px = image_size_px or SIDE_PX
        images = allocate((len(data.data), side_px, side_px, 3))
        fit_images(data.data, images)
        return Decoded(images, np.array(data.targets, dtype=np.int64), tuple(data.classes), None)

    def download(self) -> None:
        """Download and unpack the archive if it is missing.

        Raises:
            UserError: the archive cannot be downloaded or stored.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with FileLock(self._root / f"{self.folder}.lock"):
                self._torchvision(train=True, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.name}: cannot be downloaded to {self._root}: {error}") from error

    def _opened(self, split: Split) -> TorchvisionCifar:
        self.check()
        try:
            return self._torchvision(train=split == "train", download=False)
        except RuntimeError as error:  # an MD5 sum differs
            raise UserError(
                f"{self.name}: the files in {self._root / self.folder} are damaged; "
                "remove the folder and download it again with --download"
            ) from error

    def _torchvision(self, *, train: bool, download: bool) -> TorchvisionCifar:
        from torchvision import datasets

        reader: Any = getattr(datasets, self.torchvision_name)
        with warnings.catch_warnings():
            # the published files were pickled by Python 2; NumPy 2.4.0 warns about the form of their dtypes
            warnings.filterwarnings(
                "ignore", message=r"dtype\(\): align", category=np.exceptions.VisibleDeprecationWarning
            )
            opened: TorchvisionCifar = reader(self._root, train=train, download=download)
        return opened


class Cifar10(_Cifar):
    """CIFAR-10: ten classes with 5,000 training images each.

    Examples:
        >>> Cifar10.spelling(), Cifar10.has_boxes
        ('cifar10', False)
    """

    name = "cifar10"
    reads = "CIFAR-10 in torchvision's layout; `--download` fetches it, `cifar10:PATH` reads an existing copy"
    folder = "cifar-10-batches-py"
    file_names: ClassVar[dict[Split, tuple[str, ...]]] = {
        "train": (*(f"data_batch_{number}" for number in range(1, 6)), "batches.meta"),
        "test": ("test_batch", "batches.meta"),
    }
    n_classes = 10
    torchvision_name = "CIFAR10"


class Cifar100(_Cifar):
    """CIFAR-100: a hundred classes (fine labels) with 500 training images each.

    Examples:
        >>> Cifar100.spelling(), Cifar100.n_classes
        ('cifar100', 100)
    """

    name = "cifar100"
    reads = "CIFAR-100 in torchvision's layout; `--download` fetches it, `cifar100:PATH` reads an existing copy"
    folder = "cifar-100-python"
    file_names: ClassVar[dict[Split, tuple[str, ...]]] = {"train": ("train", "meta"), "test": ("test", "meta")}
    n_classes = 100
    torchvision_name = "CIFAR100"
