"""Own parts in the manifest of a sweep: recorded, compared, and not needed to read records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.evaluation.request import own_axes, select_axes
from sweep.launch import resume_sweep
from sweep.manifest import check_unchanged, new_manifest, with_parts
from sweep.records.writer import write_manifest
from trainables.errors import UserError

STUDY = Study(
    name="own",
    question="Do diamonds help?",
    arms={"off": {"mix": "off"}, "diamond": {"mix": {"preset": "cutmix", "mask": {"family": "mypkg.masks:Diamond"}}}},
    budget={"trials": 2, "max_epochs": 3},
    base={"data": {"train_frac": 0.1}},
)


@pytest.fixture
def manifest(own_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr("sweep.manifest.git_state", lambda folder: {"folder": str(folder), "commit": "3f2a"})
    return new_manifest(STUDY, tmp_path, "cutmix-sweep run own.yaml", {})


def test_the_manifest_names_file_and_hash(manifest: dict[str, object], own_package: Path) -> None:
    file = own_package / "masks.py"
    (part,) = json.loads(json.dumps(manifest))["parts"]
    assert (part["kind"], part["name"]) == ("mask family", "mypkg.masks:Diamond")
    assert (part["file"], part["sha256"]) == (str(file), hashlib.sha256(file.read_bytes()).hexdigest())
    assert part["code"] == {"folder": str(own_package), "commit": "3f2a"}
    assert with_parts(manifest, own_parts(STUDY)) == manifest


def test_a_changed_part_is_refused_and_a_changed_neighbour_is_named(
    manifest: dict[str, object], own_package: Path, tmp_path: Path
) -> None:
    parts = own_parts(STUDY)
    assert check_unchanged(manifest, parts, tmp_path) == []
    neighbour, file = own_package / "helpers.py", own_package / "masks.py"
    neighbour.write_text("x = 1\n")
    (warning,) = check_unchanged(manifest, parts, tmp_path)
    assert f"a file of the package '{own_package}' was changed" in warning
    neighbour.unlink()
    text = file.read_text()
    file.write_text(f"{text}\n# later\n")
    write_manifest(tmp_path, manifest)
    try:
        with pytest.raises(UserError, match=r"'mypkg\.masks:Diamond' was changed since .* restore the file"):
            resume_sweep(tmp_path)
    finally:
        file.write_text(text)


def test_a_sweep_whose_part_is_gone_is_refused_by_resume_alone(
    manifest: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from sweep.terminal.status import print_status

    Conductor(STUDY, tmp_path).flush(force=True)
    write_manifest(tmp_path, json.loads(json.dumps(manifest).replace("mypkg.masks", "gone_pkg.masks")))
    print_status(tmp_path, Console())
    assert "Do diamonds help?" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no module 'gone_pkg'"):
        resume_sweep(tmp_path)


@pytest.mark.usefixtures("own_package")
def test_an_own_axis_is_set_by_its_short_name() -> None:
    axes = select_axes(["mypkg.axes:Brightness", "cost"], ["brightness.added=0.3"])
    assert axes["brightness"].model_dump() == {"n_images": None, "seed": 0, "added": 0.3}
    assert [(part.kind, part.name) for part in own_axes(axes)] == [("evaluation axis", "brightness")]
    with pytest.raises(UserError, match="the axis 'ood' is not in --axes"):
        select_axes(["mypkg.axes:Brightness"], ["ood.n_images=3"])
    with pytest.raises(UserError, match=r"evaluation axis 'mypkg\.axes:Brightnes': module 'mypkg\.axes'"):
        select_axes(["mypkg.axes:Brightnes"], [])
