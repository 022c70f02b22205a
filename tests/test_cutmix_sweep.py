"""The public face: light to import, spelled as the command line; a user's files of the same name do not replace it."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import cutmix_sweep as cs
from sweep import cli, launch, workers
from sweep.documents import status_document
from sweep.workers import PACKAGES, check_running_ray, make_setup_hook, shadowing_files
from trainables.errors import UserError
from trainables.parts import OWN_PACKAGES

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "sweep" / "records" / "version_1"


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """Return a folder with files that have the names of our packages and cannot be imported."""
    folder = tmp_path / "mine"
    (folder / "analysis").mkdir(parents=True)
    for name in ("sweep.py", "trainables.py", "analysis/__init__.py"):
        (folder / name).write_text("raise RuntimeError(__file__)\n")
    return folder


def python(*arguments: str, folder: Path, path: list[Path] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path or [ROOT]))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )


def test_importing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import json, sys; before = {*sys.modules}; import cutmix_sweep; print(json.dumps([*{*sys.modules} - before]))"
    )
    loaded = set(json.loads(python("-c", code, folder=tmp_path).stdout))
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"cutmix_sweep", *PACKAGES}
    assert len(loaded) < 40  # 16 with Python 3.12: quick on every machine


def test_the_packages_are_those_of_the_wheel() -> None:
    assert cs._PACKAGES == PACKAGES == OWN_PACKAGES
    assert all((ROOT / package / "__init__.py").is_file() for package in PACKAGES)


@pytest.mark.parametrize(
    ("function", "verb", "of_the_terminal"),
    [
        (cs.run, "run", {"or_resume", "restarts"}),
        (cs.resume, "resume", set()),
        (cs.extend, "extend", {"trials", "seeds", "arms"}),  # the old names of the options
        (cs.confirm, "confirm", set()),
        (cs.plan, "plan", {"effect", "sd", "sd_from", "price_per_gpu_hour"}),  # the cost: plan.measured.cost(price)
        (cs.preview, "preview", set()),
        (cs.reproduce, "reproduce", {"plan"}),
        (cs.Sweep.evaluate, "evaluate", set()),
        (cs.Sweep.export, "export", set()),
        (cs.Sweep.report, "report", {"open_"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_are_spelled_as_on_the_command_line(
    function: Callable[..., object], verb: str, of_the_terminal: set[str]
) -> None:
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    spelled = {"set_": "settings", "format_": "format"}
    flags = {spelled.get(parameter.name, parameter.name) for parameter in command.params} - of_the_terminal
    names = set(inspect.signature(function).parameters)
    assert names - {"self", "sweep_dir"} == flags - {"sweep_dir", "sweep_dirs", "help", "json_", "quiet", "verbose"}


class TestShadowing:
    def test_our_packages_win_and_the_files_are_named(self, shadows: Path) -> None:
        code = "import cutmix_sweep, sweep, analysis; print(sweep.__file__, analysis.__file__)"
        done = python("-c", code, folder=shadows)
        assert done.stdout.split() == [str(ROOT / package / "__init__.py") for package in ("sweep", "analysis")]
        assert done.stderr.count("Warning") == 1
        assert all(f"'{shadows / name}'" in done.stderr for name in ("sweep.py", "analysis/__init__.py"))

    def test_the_command_line_runs(self, shadows: Path) -> None:
        done = python("-m", "cutmix_sweep", "studies", folder=shadows, path=[shadows, ROOT])
        assert done.returncode == 0, done.stderr
        assert "quickstart" in done.stdout
        assert done.stderr == ""

    def test_a_module_that_is_imported_already_is_named(self, shadows: Path) -> None:
        (shadows / "sweep.py").write_text("")
        done = python("-c", "import sweep, cutmix_sweep", folder=shadows)
        assert done.returncode == 1
        message = done.stderr.splitlines()[-1]
        assert f"'{shadows / 'sweep.py'}'" in message
        assert "rename" in message

    @pytest.mark.parametrize("on_the_node_of_the_driver", [True, False])
    def test_a_worker_imports_our_packages_before_the_folder_precedes_them(
        self, on_the_node_of_the_driver: bool, shadows: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a worker of Ray: the hook arrives by value, then the driver's folder is put first on the path."""
        from ray import cloudpickle

        if not on_the_node_of_the_driver:
            monkeypatch.setattr(workers, "ROOT", shadows / "no-such-folder")
        (shadows / "hook.pkl").write_bytes(cloudpickle.dumps(make_setup_hook()))
        code = (
            "import pickle, sys; hook = pickle.load(open('hook.pkl', 'rb')); "
            "assert 'sweep' not in sys.modules; hook(); sys.path.insert(0, ''); "
            "import sweep.workers, trainables.errors, analysis; print(analysis.__file__)"
        )
        done = python("-P", "-c", code, folder=shadows, path=[shadows, ROOT])
        assert done.stdout.strip() == str(ROOT / "analysis" / "__init__.py"), done.stderr

    def test_without_the_hook_the_worker_would_import_the_file(self, shadows: Path) -> None:
        done = python("-P", "-c", "import sweep.workers", folder=shadows, path=[shadows, ROOT])
        assert f"RuntimeError: {shadows / 'sweep.py'}" in done.stderr

    def test_a_ray_that_runs_already_is_refused_beside_such_a_file(
        self, shadows: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_running_ray()
        monkeypatch.chdir(shadows)
        with pytest.raises(UserError, match=r"trainables\.py.*ray\.shutdown"):
            check_running_ray()

    def test_a_folder_without_code_is_no_package(self, tmp_path: Path) -> None:
        (tmp_path / "analysis").mkdir()
        assert shadowing_files([tmp_path]) == []


class TestSweep:
    def test_reads_a_recorded_sweep(self, tmp_path: Path) -> None:
        folder = tmp_path / "sweep"
        shutil.copytree(RECORDED, folder)
        sweep = cs.load(folder)
        assert eval(repr(sweep), {"cutmix_sweep": cs}).dir == sweep.dir == folder
        assert len(sweep.trials) == 6
        status = sweep.status()
        assert sweep.study.question in repr(status)
        assert dict(status) == status_document(folder)
        assert all(f">{arm}</td>" in sweep._repr_html_() for arm in sweep.study.arms)
        assert [path.name for path in sweep.export("csv")] == ["trials.csv", "epochs.csv", "decisions.csv"]

    def test_a_mistake_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        out = tmp_path / "sweep"
        with pytest.raises(cs.UserError, match="did you mean 'quickstart'"):
            cs.run("quikstart", out=out)
        with pytest.raises(cs.UserError, match="budget"):
            cs.run("quickstart", settings={"budget.trails": 3}, out=out)
        with pytest.raises(cs.UserError, match="--log-to 'wandbb:mine'"):  # one name need not be a list
            cs.run("quickstart", log_to="wandbb:mine", out=out)
        assert not out.exists()

    def test_the_recorded_call_and_project_are_those_of_the_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: dict[str, object] = {}

        def start(study: object, **options: object) -> Path:
            given.update(options)
            shutil.copytree(RECORDED, tmp_path / "sweep")
            return tmp_path / "sweep"

        monkeypatch.setattr(launch, "start_sweep", start)
        file = tmp_path / "small.yaml"
        file.write_text("question: Why?\narms: {off: {mix: off}}\nbudget: {trials: 2, max_epochs: 2}\n")
        cs.run(file, settings={"budget.trials": 3}, seed=0)
        assert given["command"] == f"cutmix_sweep.run('{file}', settings={{'budget.trials': 3}}, seed=0)"
        assert given["project"] == tmp_path

    def test_an_error_is_one_line_in_a_notebook(self) -> None:
        with pytest.raises(cs.UserError) as error:
            cs.plan("quickstart", cpus=0)
        assert error.value._render_traceback_() == [f"UserError: {error.value}"]


def test_a_plan_is_shown_as_text_and_as_tables() -> None:
    plan = cs.plan("quickstart", scale="smoke", settings={"budget.trials": 4})
    assert plan.n_trials == 16
    assert "16 search trials" in repr(plan)
    assert plan._repr_html_().count("<table") == 2


def test_a_preview_is_a_picture(tmp_path: Path) -> None:
    shown = cs.preview("cutmix", samples=1, out=tmp_path / "cutmix.png")
    assert shown._repr_png_() == shown.path.read_bytes()
    assert shown.path.read_bytes().startswith(b"\x89PNG")
