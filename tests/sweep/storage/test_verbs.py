"""Verbs and Python on a sweep in an object store: they say the same as on its folder, and name its address."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cutmix_sweep as cs
from analysis.data import frames
from sweep import mirrored
from sweep.endings import HERE, DiskFault
from sweep.ledger import local_weights, model_damage, weights_place
from sweep.models import recorded_model
from sweep.records.errors import RecordsError
from sweep.records.parts import list_parts
from sweep.storage import opened
from tests.sweep.conftest import Simulation
from trainables.object_store import ObjectStore, StorageError
from trainables.storage_url import StorageUrl, parse_url

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def places(bucket: str, study_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The same interrupted sweep in a folder and in a store."""
    monkeypatch.chdir(tmp_path)
    with opened(bucket, write=True, new=True) as sweep:
        Simulation(study_of(), sweep.path).run(20)
    with opened(bucket) as sweep:
        shutil.copytree(sweep.path, tmp_path / "box")
    return tmp_path / "box", bucket


@pytest.mark.parametrize(
    "command",
    ["status", "status --json", "trials --json", "check", "check --json", "export"],
)
def test_verbs_say_the_same(places: tuple[Path, str], run: Run, command: str, tmp_path: Path) -> None:
    verb, *options = command.split()
    results = []
    for place in places:
        if verb == "export":
            options = ["--to", str(tmp_path / "tables")]
        status, out, err = run(verb, place, *options)
        assert str(tmp_path / "node-a") not in out + err
        for text in (str(place), shown_in_json(str(place))):
            out = out.replace(text, "PLACE")
        results.append((status, "".join(out.split()), err))  # lines are wrapped at other words
    assert results[0] == results[1]


def shown_in_json(place: str) -> str:
    return place.replace("/", "\\/")


def test_files_for_people_are_written_here(places: tuple[Path, str], run: Run, tmp_path: Path) -> None:
    status, out, _ = run("export", places[1])
    assert status == 0
    assert out.split()[0] == "export/trials.csv"
    assert (tmp_path / "export" / "trials.csv").exists()


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the copies that would last as long as the process."""
    module = importlib.import_module("sweep.storage.opened")  # the package has a function of this name
    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(module, "_open", stack)
        monkeypatch.setattr(module, "_copies", {})
        yield


@pytest.mark.usefixtures("copies")
def test_messages_name_the_address(bucket: str, run: Run, places: tuple[Path, str]) -> None:
    other = f"{bucket}-2"
    assert run("status", other) == (2, "", f"error: no sweep in '{other}': the folder has no sweep.json\n")
    status, _, err = run("run", "quickstart", "--scale", "smoke", "--out", bucket)
    assert (status, err.splitlines()[-1]) == (
        2,
        f"error: --out '{bucket}' already contains a sweep: resume it with: cutmix-sweep resume {bucket}",
    )
    with pytest.raises(RecordsError, match=f"no sweep in '{other}'"):
        cs.load(other)


@pytest.mark.usefixtures("copies")
def test_python_reads_an_address(places: tuple[Path, str]) -> None:
    folder, url = places
    here, there = cs.load(folder), cs.load(url)
    assert repr(there) == f"cutmix_sweep.load({url!r})"
    assert there.study == here.study
    assert there.trials.equals(here.trials)
    assert frames.load(url).trials.equals(frames.load(folder).trials)


def test_a_reader_fetches_what_is_new(bucket: str, study_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    fetch = ObjectStore.fetch
    monkeypatch.setattr(ObjectStore, "fetch", lambda self, name, path: fetched.append(name) or fetch(self, name, path))
    with opened(bucket, write=True, new=True) as sweep:
        simulation = Simulation(study_of(), sweep.path).run(6)
        simulation.conductor.flush(force=True)
        with opened(bucket) as reader:
            assert fetched
            simulation.run(6)
            simulation.conductor.flush(force=True)
            n_parts = len(list_parts(reader.path / "records" / "epochs"))
            fetched.clear()
            mirrored.refresh(reader.path, now=True)
            assert len(list_parts(reader.path / "records" / "epochs")) > n_parts
            assert fetched
            assert all("part-" in name and "copies" not in name for name in fetched)
            fetched.clear()
            mirrored.refresh(reader.path, now=True)
            assert not fetched


def test_models_are_read_on_demand(places: tuple[Path, str]) -> None:
    url = parse_url(places[1])
    assert isinstance(url, StorageUrl)
    store = ObjectStore(url)
    with opened(url) as sweep:
        assert weights_place(sweep.path, "off-0000") == f"{url}/models/off-0000.pt"
        damage = model_damage(sweep.path, "off-0000", "a" * 64)
        assert damage is not None
        assert damage.reason == "it is missing"
        store.write("models/off-0000.pt", b"weights")
        assert model_damage(sweep.path, "off-0000", "a" * 64) is None
        assert local_weights(sweep.path, "off-0000").read_bytes() == b"weights"
        assert recorded_model(sweep.path, "off-0000")[0].read_bytes() == b"weights"


def test_a_store_that_is_lost_ends_the_sweep_in_words(
    bucket: str, study_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: ObjectStore, name: str, *_: Any, **__: Any) -> None:
        raise StorageError(self.url.child(name), "connection refused", is_write=True)

    def run_until_lost() -> None:
        with opened(bucket, write=True, new=True) as sweep:
            simulation = Simulation(study_of(), sweep.path).run(5)
            monkeypatch.setattr(ObjectStore, "write", refuse)
            try:
                simulation.conductor.flush(force=True)
            except OSError as error:
                raise DiskFault(error, sweep.path, HERE) from error

    with pytest.raises(DiskFault) as ended:
        run_until_lost()
    assert str(ended.value).startswith(f"cannot write to '{bucket}/records/")
    assert str(ended.value).endswith(
        f"connection refused; fix the cause first; resume with: cutmix-sweep resume {bucket}"
    )
