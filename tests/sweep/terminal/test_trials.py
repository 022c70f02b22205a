"""The printed list of trials."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.findings.trials import list_trials
from sweep.lock import locked
from sweep.terminal.trials import print_trials

MakeStudy = Callable[..., Study]
UNIT = {"kind": "uniform", "lo": 0.1, "hi": 0.9}


def curve(job: Any, epoch: int) -> dict[str, Any]:
    return {"failed": "OSError: [b]gone[/b]\n"} if job.trial == "off-0001" else {"val_nll": epoch / 3}


@pytest.fixture
def sweep_dir(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    space = dict.fromkeys(("optimizer.lr", "optimizer.weight_decay", "optimizer.momentum"), UNIT)
    study = study_of(space=space, arms={"off": {}, "a_long_name_of_an_arm": {"mix": "cutout"}})
    return Path(simulate(study, tmp_path / "sweep", curve=curve).run().sweep_dir)


def printed(sweep_dir: Path, width: int = 80, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_trials(sweep_dir, console, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_shows_as_many_parameters_as_fit(sweep_dir: Path, width: int) -> None:
    *table, footer = printed(sweep_dir, width)
    left_out = footer.startswith("Further parameters, for --columns: ")
    assert left_out == (width == 80)
    table = table[:-1] if left_out else table
    assert max(map(len, table)) <= width
    rows = [line for line in table if line.startswith(("off-", "a_long"))]
    assert [row.split()[0] for row in rows] == list_trials(sweep_dir)["trial"].tolist()
    heading = "".join("".join(table[:3]).split())
    assert ("weight_" in heading) == (width == 200)
    assert not any("…" in line for line in table)


def test_shows_named_columns_as_plain_text(sweep_dir: Path) -> None:
    names = ["trial", "val_top1_error", "val_nll", "seconds", "why"]
    lines = printed(sweep_dir, columns=names, arm=["off"])
    (failed,) = (line.split() for line in lines if line.startswith("off-0001"))
    assert failed == ["off-0001", "-", "-", "0", "s", "OSError:", "[b]gone[/b]"]
    (other,) = (line.split() for line in lines if line.startswith("off-0000"))
    assert other[1:4] == ["50.00", "%", f"{list_trials(sweep_dir).set_index('trial')['val_nll']['off-0000']:.3f}"]
    assert lines[-1].startswith("4 of 4 trials, sorted by val_nll, smallest first.")


def test_shows_the_column_that_it_is_sorted_by(sweep_dir: Path) -> None:
    lines = printed(sweep_dir, sort="-optimizer.weight_decay", top=2)
    assert "weight_" in "".join(lines[:3])
    assert "2 of 8 trials, sorted by optimizer.weight_decay, largest first." in " ".join(lines)


def test_shows_the_search_where_an_arm_has_several(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(confirm={"searches": 2, "seeds": 1}), tmp_path / "sweep").run()
    lines = printed(tmp_path / "sweep", arm=["off"])
    assert lines[1].split()[:2] == ["trial", "search"]
    assert {line.split()[1] for line in lines if line.startswith("off-")} == {"0", "1"}


def test_without_trials(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(), tmp_path / "sweep").conductor.flush(force=True)
    (line,) = printed(tmp_path / "sweep")
    assert line.startswith("0 of 0 trials")


def test_says_that_running_trials_do_not_run(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(), tmp_path / "sweep").run(4).conductor.flush(force=True)
    assert printed(tmp_path / "sweep")[-1] == f"interrupted; resume with: cutmix-sweep resume {tmp_path / 'sweep'}"
    with locked(tmp_path / "sweep"):
        assert not printed(tmp_path / "sweep")[-1].startswith("interrupted")
