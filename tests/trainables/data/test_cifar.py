from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data.sources.registry import open_source
from trainables.errors import UserError


def test_reads_the_published_layout(cifar_root: Path) -> None:
    train = open_source(f"cifar10:{cifar_root}").read("train")
    assert train.images.shape == (20, 32, 32, 3)
    assert train.labels.tolist() == [0, 1, 2, 3] * 5
    assert train.classes[3] == "class 3"
    assert train.boxes is None
    with (cifar_root / "cifar-10-batches-py/data_batch_2").open("rb") as file:
        planes = pickle.load(file)["data"][0].reshape(3, 32, 32)
    np.testing.assert_array_equal(train.images[4], planes.transpose(1, 2, 0))


def test_cifar100_reads_fine_labels(cifar_root: Path) -> None:
    source = open_source(f"cifar100:{cifar_root}")
    assert source.describe().n_classes == len(source.read("train").classes) == 100
    assert source.read("test", 16).images.shape == (2, 16, 16, 3)


def test_not_downloaded_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"{tmp_path}/downloads/cifar-10-batches-py.* --download"):
        open_source("cifar10").check()


def test_damaged_files_are_refused(cifar_root: Path) -> None:
    with (cifar_root / "cifar-10-batches-py/data_batch_2").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="damaged"):
        open_source(f"cifar10:{cifar_root}").read("train")


def test_download_goes_through_torchvision(cifar_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, root: Path, **_: Any) -> None:
        (cifar_root / "cifar-10-batches-py").rename(Path(root) / "cifar-10-batches-py")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    source = open_source(f"cifar10:{tmp_path / 'fetched'}")
    source.download()
    source.check()
    source.download()  # there already: nothing is fetched


def test_a_failing_download_is_refused(cifar_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    with pytest.raises(UserError, match="fetched: no route to host"):
        open_source(f"cifar10:{tmp_path / 'fetched'}").download()


def test_real_archive_as_image_folder(tmp_path: Path) -> None:
    folder = os.environ.get("CUTMIX_SWEEP_REAL_DATA")
    archive = Path(folder or "") / "cifar10-imagefolder.tar.xz"
    if folder is None or not archive.exists():
        pytest.skip("CUTMIX_SWEEP_REAL_DATA names no folder with cifar10-imagefolder.tar.xz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    source = open_source(f"imagefolder:{tmp_path}")
    assert source.describe().n_train == 50_000
    test = source.read("test")
    assert test.images.shape == (10_000, 32, 32, 3)
    assert (np.bincount(test.labels) == 1000).all()
