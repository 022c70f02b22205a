"""Extras: each optional module belongs to one, a missing one is refused with its command, the core needs none."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sweep.cli import main
from sweep.evaluation.request import select_axes
from trainables.errors import UserError
from trainables.evaluation.axes import AXES
from trainables.extras import EXTRAS, check_extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _core_distributions() -> set[str]:
    """Names of the distributions that an installation without extras brings, the indirect ones included."""
    pending = [Requirement(text) for text in PROJECT["dependencies"]]
    core: dict[str, set[str]] = {}
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        if extras <= core.get(name, set()):
            continue
        core.setdefault(name, set()).update(extras)
        try:
            texts = requires(name) or []
        except PackageNotFoundError:  # a requirement of another platform
            continue
        for needed in map(Requirement, texts):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(needed)
    return set(core)


def _blocked_modules() -> list[str]:
    """Top-level modules that an installation without extras lacks."""
    core = _core_distributions() | {canonicalize_name(PROJECT["name"]), "pip", "setuptools"}
    assert {canonicalize_name(one.metadata["Name"]) for one in distributions()} > core
    return [
        module
        for module, names in packages_distributions().items()
        if core.isdisjoint(canonicalize_name(name) for name in names)
    ]


@pytest.fixture(scope="module")
def blocked_modules() -> list[str]:
    modules = _blocked_modules()
    assert {*EXTRAS["eval"], "nbclient", "numba", "pytest"} <= set(modules)  # jinja2 comes with torch
    return modules


CORE_ONLY = """
import sys
from importlib.machinery import PathFinder

blocked = set(BLOCKED)

class CoreOnly(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        if name.partition(".")[0] not in blocked or spec is None:
            return spec
        return spec if "thirdparty_files" in (spec.origin or "") else None  # Ray brings a psutil of its own

sys.meta_path[sys.meta_path.index(PathFinder)] = CoreOnly
"""


def _run_core_only(blocked: list[str], code: str) -> subprocess.CompletedProcess[str]:
    program = CORE_ONLY.replace("BLOCKED", json.dumps(blocked)) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_core_is_imported_and_a_policy_is_drawn_and_trained_without_extras(
    blocked_modules: list[str], tmp_path: Path
) -> None:
    code = f"""
import importlib, pkgutil
from pathlib import Path
import search_spaces, sweep, trainables
for package in (trainables, search_spaces, sweep):
    for module in pkgutil.walk_packages(package.__path__, f"{{package.__name__}}."):
        importlib.import_module(module.name)

from sweep.preview import load_previewed, write_preview
from trainables.data.prepared import prepare_data
from trainables.trial import Trial
study = load_previewed("cutmix", settings=["base.data.train_frac=0.1"])
write_preview(study, Path({str(tmp_path)!r}) / "preview.png", n_samples=2)
config = study.trial_config("cutmix", {{}}, replicate=0)
Trial(config, prepare_data(config.data)).run_epoch()
"""
    ran = _run_core_only(blocked_modules, code)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "preview.png").exists()


def test_the_command_report_names_its_extra(blocked_modules: list[str], tmp_path: Path) -> None:
    code = f"""
sys.argv = ["cutmix-sweep", "report", {str(tmp_path)!r}]
from sweep.cli import main
main()
"""
    ran = _run_core_only(blocked_modules, code)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(
        "error: the command report needs the extra 'report': pip install 'cutmix-sweep[report]' (not installed: "
    )
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(("extra", "module"), [(extra, module) for extra in EXTRAS for module in EXTRAS[extra]])
def test_a_missing_module_is_refused_with_the_command(extra: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=re.escape(f"pip install 'cutmix-sweep[{extra}]' (not installed: {module})")):
        check_extra(extra, needed_by="it")


@pytest.mark.parametrize(
    ("axis", "settings"),
    [(name, ["adversarial.autoattack=true"] if name == "adversarial" else []) for name in AXES if AXES[name].packages],
)
def test_an_axis_without_its_package_is_refused_before_anything_starts(
    axis: str, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in AXES[axis].packages:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"the axis {axis} needs the extra 'eval'"):
        select_axes([axis], settings)  # also those that are measured on request alone
    assert "classification" in select_axes(["classification"], [])


def test_attacks_without_autoattack_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    assert list(select_axes(["adversarial"], [])) == ["adversarial"]


def test_the_command_line_refuses_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "pip install 'cutmix-sweep[report]'" in capsys.readouterr().err


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_packages(extra: str) -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}
    installed = packages_distributions()
    for module in EXTRAS[extra]:
        assert declared & {canonicalize_name(name) for name in installed[module]}, f"{module} is not in '{extra}'"
    covered = {canonicalize_name(name) for module in EXTRAS[extra] for name in installed[module]}
    assert declared <= covered


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_declares_the_packages_that_it_imports(axis: str) -> None:
    imported = _imported_extras(AXES[axis].__module__, seen=set())
    if "torchmetrics" in imported:
        imported.add("faster_coco_eval")  # torchmetrics imports it to compute the mean average precision
    assert set(AXES[axis].packages) == imported


def _imported_extras(module: str, *, seen: set[str]) -> set[str]:
    """Modules of the extra ``eval`` that a module of ``trainables.evaluation`` imports, also by way of others there."""
    seen.add(module)
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    names = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    extras = {name.partition(".")[0] for name in names} & set(EXTRAS["eval"])
    for name in names - seen:
        if name.startswith("trainables.evaluation.") and (ROOT / name.replace(".", "/")).with_suffix(".py").exists():
            extras |= _imported_extras(name, seen=seen)
    return extras
