"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modules_with_examples() -> list[str]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    paths = [path for path in (ROOT / "cutmix_sweep.py", *files) if _examples(path)]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def _examples(path: Path) -> int:
    """Count the examples of a file, without those that are only shown, for example because they start Ray."""
    return len(re.findall(r"^\s*>>> (?!.*doctest: \+SKIP)", path.read_text(), flags=re.MULTILINE))


def _failures(module: ModuleType) -> tuple[list[str], int]:
    """Run the examples of a module; return the reports of those that fail, and the number of all."""
    reports: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=reports.append)
    return reports, runner.tries


@pytest.mark.parametrize("name", _modules_with_examples())
def test_the_examples_hold(name: str) -> None:
    module = importlib.import_module(name)
    reports, n_run = _failures(module)
    assert not reports, "\n".join(reports)
    assert n_run == _examples(Path(str(module.__file__))), "an example stands where no docstring is, so it is never run"


def test_a_wrong_example_fails() -> None:
    module = ModuleType("wrong", ">>> 1 + 1\n3\n")
    reports, n_run = _failures(module)
    assert n_run == 1
    assert "Expected:\n    3\nGot:\n    2" in "".join(reports)
