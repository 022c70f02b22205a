"""``check``: a whole sweep passes; what is damaged is named with its cost, repaired, and regained by ``resume``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
from filelock import FileLock

from search_spaces.study import Study
from sweep.records.parts import live_parts
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, EVALUATIONS, RECORDS, TABLES

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def study(study_of: Callable[..., Study]) -> Study:
    return study_of(
        arms={"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
        budget={"trials": 2, "max_epochs": 3, "early_stopping": {"rule": "none"}},
        confirm={"searches": 1, "seeds": 2},
    )


@pytest.fixture(scope="module")
def finished(simulate: Any, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("finished") / "a sweep"
    simulate(study, folder, n_workers=1).run()
    return folder


@pytest.fixture
def sweep_dir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "a sweep"))


def damage(sweep_dir: Path, table: str, *, copies: bool) -> list[Path]:
    """Cut all parts of a table, and their copies as well."""
    parts = live_parts(sweep_dir / RECORDS / table)
    for part in parts:
        for path in (part.path, part.copy) if copies else (part.path,):
            path.write_bytes(path.read_bytes()[:-1])
    return [part.path for part in parts]


def values(sweep_dir: Path) -> list[pd.DataFrame]:
    changing = ["time_s", "sweep", "attempts", "attempt", "resumed_at_epoch"]
    frames = [(read_table(sweep_dir, table), list(table.key)) for table in TABLES.values()]
    return [frame.drop(columns=changing, errors="ignore").sort_values(key, ignore_index=True) for frame, key in frames]


def document(run: Run, *arguments: object) -> tuple[int, dict[str, Any]]:
    status, out, err = run("check", *arguments, "--json")
    assert out, err
    content = json.loads(out)
    jsonschema.validate(content, json.loads(run("schema", "check")[1]), cls=jsonschema.Draft202012Validator)
    return status, content


def test_a_whole_sweep_passes_and_stays_as_it_is(run: Run, sweep_dir: Path) -> None:
    before = {path: path.read_bytes() for path in sweep_dir.rglob("*") if path.is_file()}
    status, out, _ = run("check", sweep_dir)
    assert (status, out.split(" is whole")[0]) == (0, f"'{sweep_dir}'")
    status, content = document(run, sweep_dir, "--repair")
    assert (status, content["whole"], content["problems"], content["repaired"]) == (0, True, [], [])
    assert {path: path.read_bytes() for path in sweep_dir.rglob("*") if path.is_file() and path in before} == before


def test_an_interrupted_sweep_is_whole(run: Run, simulate: Any, study: Study, tmp_path: Path) -> None:
    simulate(study, tmp_path / "cut").run(4)
    for checkpoint in (tmp_path / "cut" / "checkpoints").iterdir():
        checkpoint.unlink()  # simulated ones are no states
    status, content = document(run, tmp_path / "cut")
    assert (status, content["whole"]) == (0, True)
    assert content["to_run"]["n_left"] > 0


def test_a_sweep_of_an_older_version_is_not_called_whole_before_its_repair(run: Run, tmp_path: Path) -> None:
    """Its records have no checksums, so damage in a value cannot be noticed; nor is it known which models it had."""
    folder = tmp_path / "old"
    shutil.copytree(Path(__file__).parent / "records" / "version_1", folder)
    status, out, _ = run("check", folder)
    assert (status, " is whole" in out, "have no checksum" in out) == (0, False, True)
    status, content = document(run, folder, "--repair")
    assert (status, content["whole"], content["unverified"]["n_parts"]) == (0, True, 0)
    assert content["n_upgraded"] > 0
    status, out, _ = run("check", folder)
    assert (status, " is whole" in out, "resume leaves this as it is" in out) == (0, True, True)


def test_damage_with_copies_is_repaired_whole(run: Run, sweep_dir: Path) -> None:
    expected = values(sweep_dir)
    paths = damage(sweep_dir, "epochs", copies=False)
    status, content = document(run, sweep_dir)
    assert (status, [problem["path"] for problem in content["problems"]]) == (1, [str(path) for path in paths])
    assert content["to_run"]["n_left"] == content["to_run"]["epochs"] == 0
    status, content = document(run, sweep_dir, "--repair")
    assert (status, content["whole"], len(content["repaired"])) == (0, True, len(paths))
    assert {Path(path).name for path in content["leftovers"]} == {f"{path.name}.damaged-1" for path in paths}
    for old, new in zip(expected, values(sweep_dir), strict=True):
        pd.testing.assert_frame_equal(old, new)


@pytest.mark.parametrize("table", [EPOCHS, EVALUATIONS], ids=lambda table: table.name)
def test_lost_values_are_counted_given_up_and_regained(
    run: Run, sweep_dir: Path, simulate: Any, study: Study, table: Any
) -> None:
    expected = values(sweep_dir)
    n_epochs, n_rows = len(expected[0]), len(read_table(sweep_dir, table))
    damage(sweep_dir, table.name, copies=True)
    status, content = document(run, sweep_dir)
    assert (status, content["lost_rows"][table.name]) == (1, n_rows)
    assert content["to_run"]["epochs"] == (n_epochs if table is EPOCHS else 0)
    # without an epoch it is not known how long one takes
    assert content["to_run"]["seconds"] == (None if table is EPOCHS else 0)
    _, out, _ = run("check", sweep_dir, "--repair")
    text = " ".join(out.split())
    assert f"Lost rows: {n_rows} of the table '{table.name}'." in text
    assert f"Regain what is lost with: cutmix-sweep resume '{sweep_dir}'" in text
    assert run("status", sweep_dir)[0] == 0
    simulate(study, sweep_dir, n_workers=1).run()
    assert document(run, sweep_dir)[1]["whole"]
    for old, new in zip(expected, values(sweep_dir), strict=True):
        pd.testing.assert_frame_equal(old, new)


def test_a_damaged_model_costs_its_trial(run: Run, sweep_dir: Path) -> None:
    (sweep_dir / "models").mkdir()
    (sweep_dir / "models" / "cutmix-0000.pt").write_bytes(b"no state")
    trials = read_table(sweep_dir, TABLES["trials"]).set_index("trial")
    assert trials.loc["cutmix-0000", "status"] == "completed"
    status, content = document(run, sweep_dir, "--repair")
    (problem,) = content["problems"]
    assert (status, problem["what"], problem["trials"]) == (1, "model", ["cutmix-0000"])
    assert (problem["epochs"], problem["seconds"], content["to_run"]["n_left"]) == (3, 6.0, 1)


def test_what_the_program_does_not_write_is_left_alone(run: Run, sweep_dir: Path) -> None:
    left = [sweep_dir / "notes.txt", sweep_dir / "records" / "epochs" / "part-0.parquet.12ab.unfinished"]
    left.append(sweep_dir / "records" / "copies" / "counts.json.damaged-1")
    for path in left:
        path.write_text("mine")
    status, out, _ = run("check", sweep_dir, "--repair")
    assert status == 0
    assert "left alone: notes.txt (not written by cutmix-sweep)" in out
    assert "unfinished (left by a process that was killed)" in out
    assert "counts.json.damaged-1 (set aside because it was damaged)" in " ".join(out.split())
    assert all(path.exists() for path in left)


@pytest.mark.parametrize("kind", ["link to a folder", "link to itself", "file in place of the folder"])
def test_what_takes_the_place_of_a_part_is_set_aside(run: Run, sweep_dir: Path, kind: str) -> None:
    """No link is followed, and the part comes back from its copy."""
    before = values(sweep_dir)
    path = next((sweep_dir / RECORDS / "epochs").iterdir())
    path.unlink()
    if kind == "link to a folder":
        path.symlink_to("/")
    elif kind == "link to itself":
        path.symlink_to(path)
    else:
        path.parent.rename(sweep_dir / RECORDS / "old epochs")
        path.parent.touch()
        path = path.parent
    code, found = document(run, sweep_dir)
    assert code == 1
    assert str(path) in [problem["path"] for problem in found["problems"]]
    assert document(run, sweep_dir, "--repair")[0] == 0
    pd.testing.assert_frame_equal(values(sweep_dir)[1], before[1])


def test_two_exchanged_files_are_both_restored(run: Run, sweep_dir: Path) -> None:
    """Each of them is whole, but is not what its name says."""
    counts, manifest = sweep_dir / RECORDS / "counts.json", sweep_dir / RECORDS / "sweep.json"
    before = counts.read_bytes(), manifest.read_bytes()
    counts.write_bytes(before[1])
    manifest.write_bytes(before[0])
    code, found = document(run, sweep_dir)
    assert (code, {problem["path"] for problem in found["problems"]}) == (1, {str(counts), str(manifest)})
    assert document(run, sweep_dir, "--repair")[0] == 0
    assert (counts.read_bytes(), manifest.read_bytes()) == before


def test_a_manifest_without_a_copy_is_damaged_for_good(run: Run, sweep_dir: Path) -> None:
    (sweep_dir / "records" / "sweep.json").unlink()
    (sweep_dir / "sweep.json").write_text("{")
    status, content = document(run, sweep_dir)
    assert (status, content["to_run"], content["unknown"]) == (1, None, "sweep.json cannot be restored")
    status, _, err = run("check", sweep_dir, "--repair")
    assert status == 2
    assert "no intact copy: restore the file from a backup" in err


def test_a_damaged_copy_alone_is_no_manifest(run: Run, sweep_dir: Path) -> None:
    (sweep_dir / "records" / "sweep.json").write_text("{")
    (sweep_dir / "sweep.json").unlink()
    status, content = document(run, sweep_dir)
    assert (status, [Path(problem["path"]).name for problem in content["problems"]]) == (1, ["sweep.json"])
    for arguments in (("check", sweep_dir, "--repair"), ("status", sweep_dir)):
        status, _, err = run(*arguments)
        assert (status, "the file is missing; there is no intact copy" in " ".join(err.split())) == (2, True)


def test_a_folder_without_a_sweep_and_a_sweep_in_use_are_refused(run: Run, sweep_dir: Path, tmp_path: Path) -> None:
    status, _, err = run("check", tmp_path)
    assert (status, "no sweep in" in err) == (2, True)
    with FileLock(sweep_dir / ".lock"):
        status, _, err = run("check", sweep_dir)
    assert (status, "in use" in err) == (2, True)


def test_a_damaged_checkpoint_costs_the_epochs_so_far(run: Run, simulate: Any, study: Study, tmp_path: Path) -> None:
    session = simulate(study, tmp_path / "cut", n_workers=1).run(2)
    session.conductor.flush(force=True)
    (checkpoint,) = (tmp_path / "cut" / "checkpoints").iterdir()  # a simulated one is no state
    status, content = document(run, tmp_path / "cut")
    (problem,) = content["problems"]
    assert (status, problem["what"], problem["path"]) == (1, "checkpoint", str(checkpoint))
    assert (problem["trials"], problem["epochs"], problem["seconds"]) == ([checkpoint.stem], 2, 4.0)


def test_a_checkpoint_of_a_trial_that_was_not_recorded_yet_is_verified(
    run: Run, simulate: Any, study: Study, tmp_path: Path
) -> None:
    """A kill lost the row of the trial; ``resume`` proposes it again and would read this checkpoint."""
    simulate(study, tmp_path / "cut", n_workers=1).run(2).conductor.flush(force=True)
    for name in ("cutmix-0001", "notes-0001"):
        (tmp_path / "cut" / "checkpoints" / f"{name}.pt").write_bytes(b"no state")
    _, content = document(run, tmp_path / "cut")
    trials = [problem["trials"] for problem in content["problems"]]
    assert (["cutmix-0001"] in trials, ["notes-0001"] in trials) == (True, False)
