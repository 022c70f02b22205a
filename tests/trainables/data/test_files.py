"""The walk over folders: what it lists, counts and refuses."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from trainables.data.files import describe_passed_over, image_files, list_files, printable, subfolders
from trainables.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images and what lies around them."""
    for name in ("b.JFIF", "deep/er/a.gif", "deep/c.jp2", "notes.txt", "x.heic", "y.HEIC", "README"):
        (tmp_path / "class" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "class" / name).touch()
    for name in (".DS_Store", "deep/._c.jp2", "__MACOSX/b.jfif", "Thumbs.db"):
        (tmp_path / "class" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "class" / name).touch()
    return tmp_path / "class"


def test_every_file_is_listed_or_counted(folder: Path) -> None:
    listing = list_files(folder)
    assert listing.names == ["b.JFIF", "deep/c.jp2", "deep/er/a.gif"]
    assert describe_passed_over(listing.passed_over) == (
        "8 files passed over: 4 hidden or system, 2 .heic, 1 .txt, 1 without an ending"
    )
    assert subfolders(folder).names == ["deep"]


def test_many_kinds_are_one_short_line() -> None:
    text = describe_passed_over({f".{'x' * 300}{number}": 1 for number in range(100)} | {".txt": 7})
    assert text.startswith("107 files passed over: 7 .txt, 1 .xxxxx")
    assert text.endswith("95 of other kinds")
    assert len(text) < 250


def test_links_to_files_and_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/d.png").touch()
    (folder / "linked").symlink_to("../elsewhere")
    (folder / "again").symlink_to("../elsewhere")
    (folder / "e.png").symlink_to("b.JFIF")
    assert image_files(folder) == ["again/d.png", "b.JFIF", "deep/c.jp2", "deep/er/a.gif", "e.png", "linked/d.png"]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("e.png", "gone.png", r"class/deep/e\.png: there is no gone\.png; restore the file"),
        ("folder", "gone", r"deep/folder: there is no gone"),
        ("e.png", "e.png", r"deep/e\.png: it leads to itself"),
        ("up", "..", r"deep/up: it leads back to .*class, which contains it"),
        ("up", "../../class/deep", r"deep/up: it leads back to .*class/deep, which contains it"),
    ],
)
def test_links_that_lead_nowhere_or_back_are_refused(folder: Path, name: str, target: str, words: str) -> None:
    (folder / "deep" / name).symlink_to(target)
    with pytest.raises(UserError, match=words):
        list_files(folder)


def test_a_link_is_passed_over_if_it_is_not_called_an_image(folder: Path) -> None:
    (folder / "old.txt").symlink_to("gone.txt")
    assert list_files(folder).passed_over[".txt"] == 2


def test_two_folders_that_lead_to_each_other_are_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to(f"../{other}")
    with pytest.raises(UserError, match=r"a/link/link: it leads back to .*a, which contains it"):
        list_files(tmp_path / "a")


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "e.png")
    with pytest.raises(UserError, match=r"e\.png: it is neither a file nor a folder"):
        list_files(folder)


def test_an_unreadable_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        def fail() -> NoReturn:
            raise PermissionError(13, "Permission denied", path)

        return fail() if path.endswith("/er") else real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"cannot read the folder .*class/deep/er: Permission denied"):
        list_files(folder)


def test_names_that_are_not_utf_8_are_listed_and_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).symlink_to("gone")
    with pytest.raises(UserError) as refused:
        list_files(tmp_path)
    assert "caf\\xe9.png" in str(refused.value).encode().decode()
    (tmp_path / name).unlink()
    (tmp_path / name).touch()
    assert list(map(printable, image_files(tmp_path))) == ["caf\\xe9.png"]


def test_folders_deeper_than_the_stack(tmp_path: Path) -> None:
    """The limit is lowered instead: not every program can remove folders that are deeper than Python's own limit."""
    depth = 200
    (tmp_path / ("d/" * depth)).mkdir(parents=True)
    (tmp_path / ("d/" * depth) / "a.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + depth // 2)
    try:
        names = image_files(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert names == ["d/" * depth + "a.png"]
