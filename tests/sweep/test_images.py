"""A sweep goes on with the images that it was started with, wherever they are, and with no others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from search_spaces.discover import load_study
from search_spaces.extension import confirmed
from search_spaces.study import Study
from sweep.display import SilentDisplay
from sweep.doctor import WARNING, _data
from sweep.images import recorded_places, show_duplicates, with_images
from sweep.launch import resume_sweep
from sweep.manifest import new_manifest, with_run
from sweep.preparation import prepare
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest
from trainables.data.sources.imagefolder import ImageFolder
from trainables.data.sources.registry import open_source
from trainables.errors import UserError
from trainables.strict import parse


class Resumed(Exception):
    """All checks have passed: Ray would start now."""


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def cluster(*_: object, **__: object) -> None:
        raise Resumed

    monkeypatch.setattr("sweep.engine.cluster", cluster)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.bmp")
    return tmp_path / "images"


@pytest.fixture
def study(images: Path, tmp_path: Path) -> Study:
    path = tmp_path / "small.yaml"
    values = {
        "question": "Does it matter?",
        "arms": {"off": {"mix": "off"}},
        "budget": {"trials": 1, "max_epochs": 1},
        "base": {"data": {"source": f"imagefolder:{images}"}},
    }
    path.write_text(yaml.safe_dump(values))
    return load_study(str(path))


@pytest.fixture
def sweep_dir(study: Study, tmp_path: Path) -> Path:
    """A sweep that has begun; its study has no confirmation, so that it has read the training images alone."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    manifest = new_manifest(study, folder, "", prepare(study, download=False))
    write_manifest(folder, with_run(manifest, "", images={source: source for source in manifest["data"]}))
    return folder


def confirm(study: Study) -> Study:
    return confirmed(study, seeds=2, configs=None, searches=None)


def change(image: Path) -> None:
    """Change a pixel; size and time of modification stay the same."""
    times = image.stat().st_mtime_ns
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(times, times))


def source_of(manifest: dict[str, Any]) -> str:
    (source,) = manifest["data"]
    return source


class TestContent:
    def test_the_splits_that_are_read_are_recorded(self, sweep_dir: Path, study: Study) -> None:
        manifest = read_manifest(sweep_dir)
        source = source_of(manifest)
        assert [*manifest["data"][source]] == ["train"]
        with_test = prepare(confirm(study), download=False)
        assert [*with_test[source]] == ["train", "test"]
        after = with_images(manifest, with_test)
        assert after["data"][source] == manifest["data"][source] | with_test[source]

    def test_touched_or_rewritten_images_are_the_same(self, sweep_dir: Path, images: Path) -> None:
        for path in images.rglob("*.bmp"):
            path.write_bytes(path.read_bytes())
        with pytest.raises(Resumed):
            resume_sweep(sweep_dir)

    @pytest.mark.parametrize(
        ("harm", "message"),
        [
            (lambda root: change(root / "train/dog/1.bmp"), "of 8 files, 1 changed; for example dog/1.bmp"),
            (lambda root: (root / "train/dog/1.bmp").unlink(), "of 8 files, 1 missing; for example dog/1.bmp"),
            (
                lambda root: shutil.copy(root / "train/cat/0.bmp", root / "train/cat/9.bmp"),
                "of 8 files, 1 new; for example cat/9.bmp",
            ),
        ],
    )
    def test_changed_training_images_are_refused(
        self, sweep_dir: Path, images: Path, harm: Any, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before they are decoded."""
        harm(images)
        monkeypatch.setattr(ImageFolder, "read", lambda *_, **__: pytest.fail("decoded"))
        with pytest.raises(UserError, match=rf"the training images of '.*' differ .* \({message}\): restore them"):
            resume_sweep(sweep_dir)
        assert not list(sweep_dir.rglob("*.parquet"))

    def test_changed_test_images_are_refused_within_a_confirmation(
        self, sweep_dir: Path, study: Study, images: Path
    ) -> None:
        manifest = read_manifest(sweep_dir)
        write_manifest(sweep_dir, with_images(manifest, prepare(confirm(study), download=False)))
        (images / "test/cat/3.bmp").unlink()
        with pytest.raises(UserError, match=r"the test images of '.*' differ .* \(of 8 files, 1 missing; .*cat/3.bmp"):
            resume_sweep(sweep_dir, change=confirm)
        with pytest.raises(Resumed):  # a search does not read them
            resume_sweep(sweep_dir)

    def test_the_fingerprint_of_an_older_version_is_compared_once(self, sweep_dir: Path, images: Path) -> None:
        manifest = read_manifest(sweep_dir)
        source = source_of(manifest)
        older = manifest | {"data": {source: open_source(source).fingerprint("train")}}
        write_manifest(sweep_dir, older)
        with pytest.raises(Resumed):
            resume_sweep(sweep_dir)
        assert with_images(older, manifest["data"])["data"] == manifest["data"]
        os.utime(images / "train/cat/0.bmp", (1, 1))
        with pytest.raises(UserError, match=r"differ .*older version recorded names, sizes and times"):
            resume_sweep(sweep_dir)


def test_the_records_are_repaired_once(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair reads every file."""
    monkeypatch.setattr("sweep.records.writer.repair_records", lambda _: pytest.fail("repaired again"))
    with pytest.raises(Resumed):
        resume_sweep(sweep_dir)


class TestPlace:
    def test_moved_images_are_found_by_their_present_place(
        self, sweep_dir: Path, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = read_manifest(sweep_dir)
        source = source_of(before)
        moved = images.rename(images.with_name("moved"))
        with pytest.raises(UserError, match=r"are not in '.*images': .* their present place: --data imagefolder:PATH"):
            resume_sweep(sweep_dir)
        monkeypatch.chdir(moved.parent)
        with pytest.raises(Resumed):
            resume_sweep(sweep_dir, data="imagefolder:moved")
        with_place = with_run(before, "resume", images={source: f"imagefolder:{moved}"})
        assert with_place["study"] == before["study"]
        place = recorded_places(with_place)[source]
        assert (place.source, place.contents.train) == (f"imagefolder:{moved}", before["data"][source]["train"])
        write_manifest(sweep_dir, with_place)
        with pytest.raises(Resumed):  # where the last run found them
            resume_sweep(sweep_dir)
        assert with_run(with_place, "status")["runs"][-1]["data"] == with_place["runs"][-1]["data"]

    def test_other_images_are_refused(self, sweep_dir: Path, images: Path) -> None:
        other = shutil.copytree(images, images.with_name("other"))
        change(other / "train/cat/2.bmp")
        for data, message in (
            (f"imagefolder:{other}", r"training images of '.*' differ .*1 changed"),
            ("digits", r"--data 'digits': these are not the images of this sweep, which reads 'imagefolder:"),
            ("imagefolder:/nowhere", "are not in '/nowhere'"),
            ("imagefoler:x", "did you mean 'imagefolder'"),
        ):
            with pytest.raises(UserError, match=message):
                resume_sweep(sweep_dir, data=data)

    def test_of_several_folders_the_one_with_this_content_has_moved(
        self, study: Study, images: Path, tmp_path: Path
    ) -> None:
        other = shutil.copytree(images, tmp_path / "other")
        change(other / "train/cat/2.bmp")
        values = study.model_dump(mode="json")
        values["arms"]["on"] = {"mix": "cutmix", "base": {"data": {"source": f"imagefolder:{other}"}}}
        both = parse(Study, values, where="study")
        folder = tmp_path / "sweep"
        folder.mkdir()
        write_manifest(folder, new_manifest(both, folder, "", prepare(both, download=False)))
        moved = other.rename(tmp_path / "moved")
        with pytest.raises(Resumed):
            resume_sweep(folder, data=f"imagefolder:{moved}")

    def test_a_matched_dose_is_computed_from_moved_images(self, study: Study, images: Path, tmp_path: Path) -> None:
        """The conductor computes configurations from the size of the images, from images for some policies."""
        values = study.model_dump(mode="json") | {"match": {"target": 0.2, "arms": ["on"]}}
        values["arms"]["on"] = {"mix": "cutmix"}
        matched = parse(Study, values, where="study")
        folder = tmp_path / "matched"
        folder.mkdir()
        manifest = new_manifest(matched, folder, "", prepare(matched, download=False))
        moved = images.rename(tmp_path / "moved")
        places = dict.fromkeys(manifest["data"], f"imagefolder:{moved}")
        write_manifest(folder, with_run(manifest, "", images=places))
        with pytest.raises(Resumed):
            resume_sweep(folder)


class Shown(SilentDisplay):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def show_warning(self, text: str) -> None:
        self.warnings.append(text)


class TestWarnings:
    def test_equal_images_in_two_classes_and_in_both_splits_are_counted(self, study: Study, images: Path) -> None:
        display = Shown()
        show_duplicates(study, display.show_warning)
        assert display.warnings == []
        shutil.copy(images / "train/cat/1.bmp", images / "train/dog/7.bmp")
        (images / "test/dog/8.bmp").symlink_to(images / "train/dog/2.bmp")
        show_duplicates(study, display.show_warning)
        (line,) = display.warnings
        assert "2 of 9 training images are equal to an image of another class (cat/1.bmp and dog/7.bmp)" in line
        assert "1 of 9 test images are equal to a training image (test dog/8.bmp, train dog/2.bmp)" in line
        check = _data(f"imagefolder:{images}")
        assert check.state == WARNING
        assert "1 of 9 test images" in check.found

    def test_a_rebuilt_entry_of_the_cache_is_said(
        self, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path / "cache"))
        prepare(study, download=False)
        (images,) = (tmp_path / "cache").glob("imagefolder-train-*/images.npy")
        images.write_bytes(images.read_bytes()[:-1])
        display = Shown()
        prepare(study, download=False, display=display)
        (line,) = display.warnings
        assert line.startswith("the decoded images in '")
