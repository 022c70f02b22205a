"""Images are what their files contain, wherever they lie and whenever they were written."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from trainables.data import duplicates, entries, fingerprints, store
from trainables.data.config import Data
from trainables.data.contents import Contents, SplitContent, digests_of
from trainables.data.duplicates import describe_duplicates
from trainables.data.fingerprints import Snapshot, SplitFiles, content_listing, parse_listing
from trainables.data.places import Place, images_at
from trainables.data.prepared import forget_images, prepare_data, prepare_test
from trainables.data.sources.base import SPLITS
from trainables.data.sources.imagefolder import ImageFolder
from trainables.data.sources.registry import open_source
from trainables.data.store import open_split, open_train
from trainables.errors import DataWarning, UserError
from trainables.intact import set_aside


def data_in(root: Path) -> Data:
    return Data(source=f"imagefolder:{root}", pad_px=2)


def write_bmp(path: Path, grey: int) -> None:
    """Write an image whose size and times do not depend on its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
    os.utime(path, ns=(10**18, 10**18))


def write_bmps(root: Path, greys: tuple[int, ...]) -> Data:
    for number, grey in enumerate(greys):
        for name in (f"train/{'ab'[number % 2]}/{number}.bmp", f"test/a/{number}.bmp"):
            write_bmp(root / name, grey + (1 if name.startswith("test") else 0))
    return data_in(root)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that were decoded."""
    decoded: list[str] = []
    read = ImageFolder.read

    def logged(self, split, *args, **kwargs):  # type: ignore[no-untyped-def]
        decoded.append(split)
        return read(self, split, *args, **kwargs)

    monkeypatch.setattr(ImageFolder, "read", logged)
    return decoded


class TestContent:
    def test_equal_names_sizes_and_times_are_not_equal_images(self, tmp_path: Path) -> None:
        first, second = write_bmps(tmp_path / "first", (50, 60)), write_bmps(tmp_path / "second", (200, 60))
        means = [float(open_split(data, "train", cache_dir=tmp_path).images.mean()) for data in (first, second, first)]
        assert means == [55, 130, 55]

    def test_images_that_change_places_with_their_times_are_noticed(self, tmp_path: Path) -> None:
        data = write_bmps(tmp_path / "photos", (50, 200))
        a, b = (tmp_path / "photos/train" / name for name in ("a/0.bmp", "b/1.bmp"))
        before = open_split(data, "train", cache_dir=tmp_path)
        a.rename(tmp_path / "aside")
        b.rename(a)
        (tmp_path / "aside").rename(b)
        after = open_split(data, "train", cache_dir=tmp_path)
        assert [float(images.images[0].mean()) for images in (before, after)] == [50, 200]
        assert before.content != after.content

    @pytest.mark.parametrize("how", ["moved", "copied", "touched", "renamed test folder"])
    def test_equal_content_is_decoded_once(
        self, how: str, imagefolder_root: Path, tmp_path: Path, decodings: list[str]
    ) -> None:
        before = open_split(data_in(imagefolder_root), "test", cache_dir=tmp_path)
        root = tmp_path / "other"
        if how == "copied":
            shutil.copytree(imagefolder_root, root, copy_function=shutil.copyfile)
        elif how == "moved":
            imagefolder_root.rename(root)
        else:
            root = imagefolder_root
            for path in root.rglob("*.png"):
                path.touch()
        if how == "renamed test folder":
            (root / "test").rename(root / "val")
        after = open_split(data_in(root), "test", cache_dir=tmp_path)
        assert decodings == ["train", "test"]
        assert after.content == before.content
        np.testing.assert_array_equal(after.images, before.images)

    def test_another_version_of_the_decoding_reads_no_older_entry(
        self, imagefolder_root: Path, tmp_path: Path, decodings: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
        monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
        open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
        assert decodings == ["train", "train"]

    def test_a_source_of_another_package_with_the_same_name_decodes_for_itself(
        self, imagefolder_root: Path, tmp_path: Path, decodings: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = type("ImageFolder", (ImageFolder,), {"__module__": "theirs"})
        for source in (ImageFolder, other):
            monkeypatch.setattr(store, "open_source", lambda _, source=source: source(imagefolder_root))
            open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
        assert decodings == ["train", "train"]

    @pytest.mark.parametrize("module", ["store", "padded"])
    def test_what_another_process_writes_while_this_one_waits_is_no_damage(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
    ) -> None:
        """It reads a copy of the folder, and has the lock first."""
        copy, cache, locked = shutil.copytree(imagefolder_root, tmp_path / "copy"), tmp_path / "cache", store.locked
        waited = []

        def locked_after_the_other(path: Path) -> Any:
            monkeypatch.setattr(f"trainables.data.{module}.locked", locked)
            waited.append(path)
            open_train(data_in(copy), cache_dir=cache)
            return locked(path)

        monkeypatch.setattr(f"trainables.data.{module}.locked", locked_after_the_other)
        assert len(open_train(data_in(imagefolder_root), cache_dir=cache)[1]) == 10
        assert len(waited) == 1
        assert len(list(cache.glob("imagefolder-train-*[!k]"))) == 1

    def test_it_is_the_checksum_of_the_list_that_sha256sum_prints(self, imagefolder_root: Path, tmp_path: Path) -> None:
        folder = imagefolder_root / "test"
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
            for path in sorted(folder.rglob("*.png"))
        ]
        content = open_split(data_in(imagefolder_root), "test", cache_dir=tmp_path).content
        assert content == hashlib.sha256("".join(lines).encode()).hexdigest()
        digests = digests_of(content, tmp_path)
        assert digests is not None
        assert [*digests] == ["cat/0.png", "cat/1.png"]

    def test_no_name_can_stand_for_two_lines(self) -> None:
        digests = {"a\n" + "f" * 64 + "  b": "0" * 64, "c\\n\\\\d": "1" * 64, "\udcff": "2" * 64}
        listing = content_listing(digests)
        assert listing.count(b"\n") == 3
        assert parse_listing(listing) == digests

    def test_what_shows_that_a_file_may_have_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some file systems keep the time of a change, others number their files anew."""

        def snapshot(root: str = "photos", name: str = "a", **changes: int) -> Snapshot:
            status = SimpleNamespace(**{"st_size": 1, "st_mtime_ns": 2, "st_ctime_ns": 3, "st_ino": 4} | changes)
            monkeypatch.setattr(SplitFiles, "_statuses", lambda _: [(name, status)])
            return SplitFiles(Path(root), [name]).snapshot()

        def differ(**changes: Any) -> list[str]:
            before, after = snapshot(), snapshot(**changes)
            return [key for key in ("state", "stamps", "listing") if getattr(before, key) != getattr(after, key)]

        assert differ() == []
        assert differ(name="b") == differ(st_size=9) == ["state", "stamps", "listing"]
        assert differ(st_mtime_ns=9) == differ(st_ctime_ns=9) == ["state", "stamps"]
        assert differ(st_ino=9) == differ(root="images") == ["state"]

    @pytest.mark.parametrize(("age_s", "n_bytes"), [(0.01, 4), (1.0, 3)])
    def test_a_file_that_changed_just_now_is_looked_at_once_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, n_bytes: int
    ) -> None:
        """A second change within one step of the clock would leave the same times."""
        (tmp_path / "a").write_bytes(b"old")
        files = SplitFiles(tmp_path, ["a"])
        now_s = files.snapshot().newest_ns / 1e9 + age_s
        clock = SimpleNamespace(time=lambda: now_s, sleep=lambda _: (tmp_path / "a").write_bytes(b"new!"))
        monkeypatch.setattr(fingerprints, "time", clock)
        assert files.settled_snapshot().n_bytes == n_bytes

    def test_unchanged_files_are_not_read_again(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
        monkeypatch.setattr("trainables.data.fingerprints._digest", lambda path: pytest.fail(f"{path} was read"))
        open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)

    def test_a_damaged_record_of_a_fingerprint_is_made_again(self, imagefolder_root: Path, tmp_path: Path) -> None:
        content = open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path).content
        for path in (tmp_path / "contents").iterdir():
            path.write_bytes(path.read_bytes().replace(b"a", b"b"))
        assert digests_of(content, tmp_path) is None
        assert open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path).content == content
        assert digests_of(content, tmp_path) is not None

    def test_files_that_change_while_they_are_decoded_are_refused(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., Path]
    ) -> None:
        read = ImageFolder.read

        def read_and_change(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            decoded = read(self, *args, **kwargs)
            write_image(imagefolder_root / "train/dog/4.png", seed=99)
            return decoded

        monkeypatch.setattr(ImageFolder, "read", read_and_change)
        with pytest.raises(UserError, match=r"photos/train' changed while they were read: try again"):
            open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path / "cache")
        assert [path.name for path in (tmp_path / "cache").glob("imagefolder-*[!k]")] == []


class TestWantedContents:
    def test_are_found_in_the_cache_without_a_look_at_the_files(self, imagefolder_root: Path, tmp_path: Path) -> None:
        data = data_in(imagefolder_root)
        contents = Contents(*(open_split(data, split, cache_dir=tmp_path).content for split in ("train", "test")))
        shutil.rmtree(imagefolder_root)
        assert len(open_split(data, "test", contents=contents, cache_dir=tmp_path)) == 2

    def test_refuse_other_files(self, imagefolder_root: Path, tmp_path: Path) -> None:
        data = data_in(imagefolder_root)
        train = open_split(data, "train", cache_dir=tmp_path).content
        open_split(data, "test", cache_dir=tmp_path / "known")
        for cache in ("known", "new"):
            with pytest.raises(UserError, match="the test images of 'imagefolder' differ from the images"):
                open_split(data, "test", contents=Contents(train, "0" * 64), cache_dir=tmp_path / cache)

    def test_images_are_read_from_their_present_place(self, imagefolder_root: Path) -> None:
        recorded = data_in(imagefolder_root)
        before = prepare_data(recorded).images, prepare_test(recorded)
        moved = imagefolder_root.rename(imagefolder_root.with_name("moved"))
        forget_images()
        with pytest.raises(UserError, match="does not exist"):
            prepare_data(recorded)
        with images_at({recorded.source: Place(f"imagefolder:{moved}")}):
            after = prepare_data(recorded).images, prepare_test(recorded)
        assert [images.content for images in before] == [images.content for images in after]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


class TestDamage:
    @pytest.mark.parametrize("harm", [flip_a_bit, cut, empty, Path.unlink])
    @pytest.mark.parametrize("name", ["images.npy", "labels.npy", "boxes.npy", "meta.json", "images-padded-2.npy"])
    def test_is_noticed_and_made_good(
        self, tiny_imagenet_root: Path, tmp_path: Path, name: str, harm: Callable[[Path], None]
    ) -> None:
        data, cache = Data(source=f"tiny-imagenet:{tiny_imagenet_root}", pad_px=2), tmp_path / "cache"
        images, padded = open_train(data, cache_dir=cache)
        expected = images.images.copy(), padded.copy(), images.labels.copy()
        [entry] = cache.glob("tiny-imagenet-train-*[!k]")
        old = (entry / name).read_bytes()
        replaced = entry / f"{name}.new"  # written beside and renamed, so that the mapped file stays as it is
        replaced.write_bytes(old)
        harm(replaced)
        if replaced.exists():
            written_ns = (entry / name).stat().st_mtime_ns
            os.utime(replaced, ns=(written_ns, written_ns))
            replaced.rename(entry / name)
        else:
            (entry / name).unlink()
        with pytest.warns(DataWarning, match=r"were damaged.* again") as warnings:
            again, padded_again = open_train(data, cache_dir=cache)
        assert len(warnings) == 1
        assert str(entry) in str(warnings[0].message)
        for one, other in zip(expected, (again.images, padded_again, again.labels), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(images.images, expected[0])  # another process that has the old entry
        np.testing.assert_array_equal(padded, expected[1])
        assert not [path for path in cache.rglob("*") if ".damaged-" in path.name or ".partial" in path.name]
        open_train(data, cache_dir=cache)  # without a warning

    def test_nothing_is_deleted_before_the_new_entry_was_read_back(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = data_in(imagefolder_root)
        open_split(data, "train", cache_dir=tmp_path / "cache")
        [entry] = (tmp_path / "cache").glob("imagefolder-train-*[!k]")
        flip_a_bit(entry / "images.npy")
        monkeypatch.setattr(entries, "sha256_of", lambda path: f"not what was recorded of {path.parent.name}")
        with pytest.raises(UserError, match=r"images\.npy' is damaged"):
            open_split(data, "train", cache_dir=tmp_path / "cache")
        assert (entry.with_name(f"{entry.name}.damaged-1") / "images.npy").exists()

    @pytest.mark.parametrize("split", ["train", "test", "padded"])
    def test_an_entry_that_another_process_replaces_is_opened_again(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
    ) -> None:
        """It was intact when it was found, and is set aside before its arrays are opened."""

        def open_images() -> object:
            data = data_in(imagefolder_root)
            return (open_train if split == "padded" else partial(open_split, split=split))(data, cache_dir=tmp_path)

        open_images()
        read_entry, n_replaced = store.read_entry, 0

        def read_and_replace(path: Path) -> entries.Entry | None:
            nonlocal n_replaced
            entry = read_entry(path)
            if entry is not None and not n_replaced and ("-test-" in path.name) == (split == "test"):
                n_replaced += 1
                set_aside(path)
            return entry

        monkeypatch.setattr(store, "read_entry", read_and_replace)
        assert open_images()
        assert n_replaced == 1

    def test_an_entry_is_verified_once_per_process(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_train(data_in(imagefolder_root), cache_dir=tmp_path)[1]
        monkeypatch.setattr(entries, "sha256_of", lambda path: pytest.fail(f"{path} was read"))
        open_train(data_in(imagefolder_root), cache_dir=tmp_path)[1]

    def test_a_large_array_is_verified_once_per_day(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(entries, "LARGE_BYTES", 1)
        read: list[str] = []
        started_s = time.time()
        sha256_of = entries.sha256_of
        monkeypatch.setattr(entries, "sha256_of", lambda path: (read.append(path.name), sha256_of(path))[1])
        cases = ((0.0, True), (60.0, False), (2 * 86_400.0, True), (-3600.0, True), (61.0, True))
        for later_s, expected in cases:
            read.clear()
            entries._verified.clear()
            if later_s == 61.0:  # it changed after it was verified
                [path] = tmp_path.glob("imagefolder-train-*/images.npy")
                os.utime(path, (started_s + 60, started_s + 60))
            monkeypatch.setattr(entries.time, "time", lambda later_s=later_s: started_s + later_s)
            open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
            assert bool(read) == expected

    def test_one_process_at_a_time_reads_a_large_array(
        self, imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others wait, and find its stamp."""
        open_split(data_in(imagefolder_root), "train", cache_dir=tmp_path)
        [path] = tmp_path.glob("imagefolder-train-*/images.npy")
        facts, read = entries.describe_array(path), []
        monkeypatch.setattr(entries, "LARGE_BYTES", 1)
        monkeypatch.setattr(entries, "sha256_of", lambda path: read.append(path) or facts["sha256"])
        entries._verified.clear()
        with FileLock(f"{path}.verified.lock"):
            waiting = threading.Thread(target=entries.check_array, args=(path, facts))
            waiting.start()
            waiting.join(timeout=0.2)
            assert waiting.is_alive()
            path.with_name("images.npy.verified").touch()
        waiting.join(timeout=60)
        assert (waiting.is_alive(), read) == (False, [])


def test_the_cache_of_another_user_can_be_read(
    imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the files were read under another state: their fingerprint cannot be recorded then."""
    data = data_in(imagefolder_root)
    open_train(data, cache_dir=tmp_path / "cache")[1]
    for path in imagefolder_root.rglob("*.png"):
        path.touch()

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    for name in ("write_whole", "write_checked_json"):
        monkeypatch.setattr(f"trainables.data.contents.{name}", refuse)
    monkeypatch.setattr(store, "locked", refuse)
    assert len(open_train(data, cache_dir=tmp_path / "cache")[1]) == 10


def test_large_sets_are_compared_only_after_they_were_decoded(
    imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(imagefolder_root / "train/cat/0.png", imagefolder_root / "test/cat/9.png")
    monkeypatch.setattr(duplicates, "READ_BYTES", 0)
    data = data_in(imagefolder_root)
    assert describe_duplicates(open_source(data.source), cache_dir=tmp_path) == ""
    for split in SPLITS:
        open_split(data, split, cache_dir=tmp_path)
    assert "1 of 3 test images" in describe_duplicates(open_source(data.source), cache_dir=tmp_path)


def test_a_digest_per_split_of_sources_without_files(tmp_path: Path) -> None:
    contents = [SplitContent(open_source("digits"), split, tmp_path) for split in ("train", "test")]
    assert [content.computed() for content in contents] == [None, None]  # known after decoding
    assert contents[0].record({"x": "0" * 64}) != contents[1].record({"x": "1" * 64})
    assert [content.known is None for content in contents] == [False, False]
