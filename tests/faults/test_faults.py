"""A sample of the kinds of faults, at small scale; and the comparison itself, which must see what it is for."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.records.schema import EPOCHS, SCHEMA_VERSION, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from tests.faults.chaos import draw_plan, table
from tests.faults.compare import Comparison, compare, same_weights
from tests.faults.kinds import Outcome, all_kinds

ROOT = Path(__file__).parents[2]
README = (ROOT / "sweep" / "README.md").read_text(encoding="utf-8")
KINDS = all_kinds()
SAMPLE = (
    "damaged part and copy",
    "edited study",
    "error of a file operation",
    "kill at a file operation",
    "kill with ASHA and a control cohort",
    "two resumes at once",
)
"""A sample of the kinds without Ray; ``make chaos`` injects all kinds."""

SEED = "11"


def run_chaos(names: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Inject one fault of each kind in a process of its own: this one has threads, and may not fork."""
    file, work = folder / "outcomes.json", folder / "work"
    argv = [sys.executable, "-m", "tests.faults.chaos", "--faults", "1", "--seed", SEED, "--work", str(work)]
    argv += [part for name in names for part in ("--kind", name)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*argv, "--json", str(file)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return list(json.loads(file.read_text(encoding="utf-8")))


def test_nothing_is_lost(tmp_path: Path) -> None:
    outcomes = run_chaos(SAMPLE, tmp_path)
    assert sorted(outcome["kind"] for outcome in outcomes) == sorted(SAMPLE)
    assert all(outcome["n_faults"] or outcome["skipped"] for outcome in outcomes), table(
        [Outcome(**o) for o in outcomes]
    )


def test_there_are_many_kinds() -> None:
    assert len([which for which in KINDS.values() if not which.ray]) >= 24
    assert len([which for which in KINDS.values() if which.ray]) >= 10
    assert all(which.what for which in KINDS.values())


def test_every_kind_is_drawn_and_a_seed_draws_the_same() -> None:
    kinds = list(KINDS.values())
    plan, again = (draw_plan(kinds, 200, random.Random(3)) for _ in range(2))
    assert plan == again
    assert {which.name for which, _ in plan} == set(KINDS)
    assert len(plan) == 200


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    return write_records(tmp_path / "sweep")


def write_records(folder: Path, **changes: Any) -> Path:
    """Write the records of two trials, one epoch each."""
    folder.mkdir()
    study = {"name": "small", "question": "?", "arms": {"off": {}}, "metric": "val_nll", "budget": {}}
    facts = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
    write_manifest(folder, {"schema_version": SCHEMA_VERSION, "study": study, **facts})
    records = RecordsWriter(folder)
    for trial in ("off-0000", "off-0001"):
        records.add(TRIALS, {"trial": trial, "phase": "search", "status": "completed", "attempts": 1})
        records.add(EPOCHS, {"trial": trial, "epoch": 1, "val_nll": 2.5, "seconds": 0.1, **changes})
    records.flush(force=True)
    return folder


def double(folder: Path) -> None:
    records = RecordsWriter(folder)
    records.add(EPOCHS, {"trial": "off-0001", "epoch": 1, "val_nll": 2.5, "seconds": 0.1})
    records.flush(force=True)


def add_trial(folder: Path) -> None:
    records = RecordsWriter(folder)
    records.add(TRIALS, {"trial": "off-0002", "phase": "search"})
    records.flush(force=True)


def leave_file(folder: Path) -> None:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "off-0000.pt").touch()
    (folder / "sweep.json.0123.unfinished").touch()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda folder: None, Comparison()),
        (double, Comparison(doubled=1)),
        (add_trial, Comparison(different=1)),
        (leave_file, Comparison(left=2)),
    ],
    ids=["nothing", "a doubled row", "a row too many", "files left"],
)
def test_the_comparison_sees(change: Callable[[Path], None], seen: Comparison, sweep_dir: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(sweep_dir, tmp_path / "other"))
    change(other)
    found = compare(sweep_dir, other)
    assert (found.lost, found.doubled, found.different, found.left) == (
        seen.lost, seen.doubled, seen.different, seen.left,
    )  # fmt: skip
    assert bool(found.facts) == (seen != Comparison())


def test_the_comparison_sees_lost_and_changed_rows_and_no_times(sweep_dir: Path, tmp_path: Path) -> None:
    slower = write_records(tmp_path / "slower", seconds=7.0)
    assert not compare(sweep_dir, slower).facts
    changed = write_records(tmp_path / "changed", val_nll=2.5000000000000004)
    assert compare(sweep_dir, changed).different == 2
    add_trial(sweep_dir)
    lost = compare(sweep_dir, slower)
    assert (lost.lost, lost.different) == (1, 0)


def test_the_comparison_sees_one_bit_of_a_weight() -> None:
    import torch

    one = {"weight": torch.ones(3)}
    assert same_weights(one, {"weight": torch.ones(3)})
    other = torch.nextafter(one["weight"], torch.tensor(2.0))
    assert not same_weights(one, {"weight": other})
    assert not same_weights(one, {})


def test_a_fault_that_is_not_good_is_shown() -> None:
    assert Outcome("a", 1).is_good
    bad = [Outcome("a", 1, lost=1), Outcome("a", 1, doubled=1), Outcome("a", 1, different=1)]
    bad += [Outcome("a", 1, not_regained=1), Outcome("a", 1, problems=["hangs"])]
    assert not any(outcome.is_good for outcome in bad)
    assert table([*bad, Outcome("b", 1, n_faults=3)]).splitlines()[-1].startswith("| all | 3 | 1 | 1 | 1 | 0 | 1 | 1 |")


def promised_tests() -> list[tuple[str, str]]:
    """Return file and name of each test, and each kind of fault, that the promises name."""
    text = README.partition("\n## Promises\n")[2].partition("\n## ")[0]
    return re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", text)


def test_the_promises_name_tests() -> None:
    assert len(promised_tests()) >= 10


@pytest.mark.parametrize(("file", "name"), promised_tests())
def test_the_promised_test_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not name or re.search(rf"^def {name}\(", text, flags=re.MULTILINE)


def test_the_promises_name_kinds() -> None:
    rows = [line for line in README.partition("\n## Promises\n")[2].splitlines() if line.startswith("| ")]
    names = re.findall(r"\*([^*]+)\*", "\n".join(rows[2:]))
    assert len(names) >= 20
    assert set(names) == set(KINDS)


def test_kinds_have_short_names() -> None:
    assert all(len(name) <= 40 for name in KINDS)
