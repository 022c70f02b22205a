"""What a shell offers at Tab, asked as the shells ask: through environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.discover import built_in_studies
from search_spaces.study import Study
from sweep.terminal.completion import complete_setting

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]
Complete = Callable[..., list[str]]


@pytest.fixture
def complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Ask as bash does; the last word is the one that is completed."""

    def ask(*words: object) -> list[str]:
        monkeypatch.setenv("_CUTMIX_SWEEP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["cutmix-sweep", *map(str, words)]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        status, out, err = run()
        assert (status, err) == (0, "")
        return out.split()

    return ask


def test_verbs_and_options(complete: Complete) -> None:
    assert complete("tri") == ["trials"]
    assert complete("trials", "DIR", "--s") == ["--state", "--sort"]


def test_studies_and_their_files(complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick.yaml").write_text("")
    (tmp_path / "quick.txt").write_text("")
    (tmp_path / "quick").mkdir()
    monkeypatch.chdir(tmp_path)
    for verb in ("run", "plan", "studies"):
        assert complete(verb, "quick") == ["quickstart", "quick/", "quick.yaml"]
    assert set(built_in_studies()) <= set(complete("run", ""))
    assert complete("preview", "gridm") == ["gridmix"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["run", "quickstart", "--scale", "l"], ["laptop"]),
        (["run", "quickstart", "--data", "imagef"], ["imagefolder:"]),
        (["doctor", "--data", "dig"], ["digits"]),
        (["evaluate", "DIR", "--axes", "ood,calib"], ["ood,calibration"]),
        (["evaluate", "DIR", "--set", "calib"], ["calibration."]),
        (["export", "DIR", "--format", "t"], ["tensorboard"]),
        (["trials", "DIR", "--state", "failed,div"], ["failed,diverged"]),
        (["schema", "stat"], ["status"]),
        (["status", "DIR", "--why", ""], []),
    ],
)
def test_values(complete: Complete, words: list[str], values: list[str]) -> None:
    assert complete(*words) == values


def test_trials_and_arms_of_a_sweep(complete: Complete, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    sweep_dir = simulate(study_of(), tmp_path / "sweep").run().sweep_dir
    off = complete("status", sweep_dir, "--why", "off-")
    assert off[:2] == ["off-0000", "off-0001"]
    assert complete("export-model", sweep_dir, "off-") == off
    assert complete("evaluate", sweep_dir, "--trials", "search,off-0001") == ["search,off-0001"]
    assert complete("trials", sweep_dir, "--arm", "off,cutm") == ["off,cutmix"]


def test_settings(complete: Complete) -> None:
    assert {"base.", "budget.", "seed=", "search="} <= set(complete("run", "x", "--set", ""))
    assert complete("run", "x", "--set", "budget.early_stopping.ru")[0] == "budget.early_stopping.rule=asha"
    assert complete("run", "x", "--set", "budget.max") == ["budget.max_epochs=", "budget.max_epochs=INTEGER"]
    assert "base.mix.size.alpha=" in complete("run", "x", "--set", "base.mix.siz")
    assert complete("run", "x", "--set", "no.such.pa") == []


def test_bash_splits_a_setting_at_its_equals_sign(complete: Complete) -> None:
    assert complete("run", "x", "--set", "base.model.name", "=", "ti") == ["tiny"]
    assert complete("run", "x", "--set", "search", "=") == ["random", "quasi_random", "grid", "tpe"]
    assert complete("run", "x", "--set", "seed", "=", "1", "--scale", "sm") == ["smoke"]
    assert complete_setting("base.model.name=ti") == ["base.model.name=tiny"]  # as the other shells ask


def test_loads_neither_torch_nor_ray_nor_pandas(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['cutmix-sweep']\n"
        "from sweep.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(sorted({'torch', 'ray', 'pandas', 'scipy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    asked = {"COMP_WORDS": "cutmix-sweep\nrun\nx\n--set\nbase.model.na", "COMP_CWORD": "4"}
    environment = os.environ | asked | {"_CUTMIX_SWEEP_COMPLETE": "complete_bash"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "base.model.name=resnet18" in done.stdout.split()


def test_the_script_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    status, out, _ = run("--show-completion", "bash")
    assert status == 0
    assert "complete -o default -F _cutmix_sweep_completion cutmix-sweep" in out
