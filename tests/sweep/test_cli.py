"""The command line: which verbs and flags there are, and what each prints."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from search_spaces.discover import built_in_studies, load_study
from search_spaces.scales import SCALES
from search_spaces.study import Study
from sweep import cli
from sweep.endings import Joined
from sweep.formats import format_duration
from sweep.plan import PROBED_NETS
from sweep.records.reader import read_sweep
from trainables.data.config import Data
from trainables.data.prepared import prepare_data
from trainables.data.sources.registry import source_help
from trainables.evaluation.axes import AXES
from trainables.mixing.presets import PRESETS

MakeStudy = Callable[..., Study]
ROOT = Path(__file__).parents[2]

STUDY_FLAGS = {"--scale", "--set", "--data", "--cpus", "--gpus", "--trials-per-gpu", "--workers", "--seed"}
SHOWN = ["--quiet", "--verbose"]
CLUSTER = ["--address", "--insecure", "--strict-nodes", "--max-trials", "--start-timeout"]
VERBS = {
    "studies": ["name", "--json"],
    "plan": ["study", *STUDY_FLAGS, "--effect", "--sd", "--sd-from", "--measure", "--price-per-gpu-hour", "--json"],
    "preview": ["name", "--scale", "--set", "--data", "--seed", "--samples", "--out"],
    "run": [
        *("study", *STUDY_FLAGS, "--download", *CLUSTER, "--out", "--log-to"),
        *("--or-resume", "--restarts", *SHOWN),
    ],
    "reproduce": [
        *("table", "--plan", "--show", *STUDY_FLAGS, "--download", *CLUSTER, "--out", *SHOWN, "--json"),
    ],
    "resume": ["sweep_dir", "--data", *CLUSTER, "--retry-failed", "--no-models", "--set", "--log-to", *SHOWN],
    "confirm": ["sweep_dir", "--seeds", "--searches", "--configs", "--data", *CLUSTER, "--log-to", *SHOWN],
    "extend": [
        *("sweep_dir", "--add-trials", "--add-searches", "--add-seeds", "--add-arms"),
        *("--data", *CLUSTER, "--log-to", *SHOWN),
    ],
    "submit": ["study", "--address", "--out", *STUDY_FLAGS, "--download", "--log-to", "--max-trials", "--insecure"],
    "jobs": ["--address", "--insecure"],
    "logs": ["sweep_dir", "--trial", "--follow", "--address", "--insecure"],
    "stop": ["sweep_dir", "--trial", "--arm", "--reason", "--no-wait", "--address", "--insecure"],
    "pause": ["sweep_dir", "--reason", "--no-wait"],
    "set": ["sweep_dir", "setting", "--reason", "--no-wait"],
    "status": ["sweep_dir", "--why", "--follow", "--json"],
    "trials": ["sweep_dir", "--arm", "--state", "--sort", "--top", "--columns", "--json"],
    "replay": ["sweep_dir", "--rule", "--metric", "--orders", "--workers", "--seed", "--csv"],
    "evaluate": [
        "sweep_dir",
        "--axes",
        "--trials",
        "--set",
        "--data",
        *CLUSTER,
        "--cpus",
        "--gpus",
        *SHOWN,
        "--json",
    ],
    "export-model": ["sweep_dir", "trial", "--form", "--out"],
    "export": ["sweep_dir", "--format", "--to"],
    "report": ["sweep_dirs", "--to", "--notebook", "--open"],
    "serve": ["sweep_dirs", "--host", "--port"],
    "cluster-template": [
        *("kind", "--study", "--out", "--storage", "--image"),
        *("--gpus-per-node", "--cpus-per-node", "--memory-gb", "--max-nodes", *STUDY_FLAGS),
    ],
    "monitor": ["--to", "--ray-dir", "--prometheus-port", "--grafana-port", "--start"],
    "check": ["sweep_dir", "--repair", "--json"],
    "doctor": ["--data", "--out", "--address", "--insecure", "--json"],
    "check-part": ["part", "--set"],
    "schema": ["kind"],
}
"""Golden: people type these and scripts rely on them. A change here is a change for every user."""

HIDDEN = {"extend": ["--trials", "--seeds", "--arms"]}
"""Old names of options, which still work and which no help shows."""


Run = Callable[..., tuple[int, str, str]]


def group() -> Any:
    return typer.main.get_command(cli.app)


def shown(verb: str) -> list[Any]:
    """Arguments and options that the help of a verb shows."""
    parameters = group().commands[verb].params if verb else []
    return [each for each in parameters if each.name != "help" and not getattr(each, "hidden", False)]


class TestVerbsAndFlags:
    def test_are_these(self) -> None:
        flags = {verb: sorted(parameter.opts[0] for parameter in shown(verb)) for verb in group().commands}
        assert flags == {verb: sorted(expected) for verb, expected in VERBS.items()}

    def test_old_names_still_work(self) -> None:
        hidden = {
            verb: [parameter.opts[0] for parameter in command.params if getattr(parameter, "hidden", False)]
            for verb, command in group().commands.items()
        }
        assert {verb: flags for verb, flags in hidden.items() if flags} == HIDDEN

    def test_have_no_other_spelling(self) -> None:
        for command in group().commands.values():
            for parameter in command.params:
                assert len(parameter.opts) == 1
                assert not parameter.secondary_opts

    @pytest.mark.parametrize("verb", VERBS)
    def test_help_is_a_sentence_and_an_example_that_the_program_takes(self, verb: str) -> None:
        command = group().commands[verb]
        sentence, *_, example = command.help.split("\n\n")
        assert re.fullmatch(r"[A-Z][^\n]+\.(\n.*)?", sentence)
        (line,) = re.findall(r"Example: `cutmix-sweep (.*)`", example)
        name, *arguments = shlex.split(line.split(" > ")[0])
        assert name == verb
        context = command.make_context(verb, arguments)
        study = context.params.get("study") or context.params.get("name")
        assert study is None or study in [*built_in_studies(), *PRESETS]

    @pytest.mark.parametrize("verb", VERBS)
    def test_options_name_an_example_and_the_default(self, verb: str) -> None:
        for parameter in shown(verb):
            if getattr(parameter, "is_flag", False):
                continue
            assert ", for example " in parameter.help or "; for example " in parameter.help, parameter.name
            written = re.findall(r"\(default: (.*)\)$", parameter.help)
            assert bool(written) == (not parameter.required), parameter.name
            if parameter.default is not None:
                assert written == [str(getattr(parameter.default, "value", parameter.default))]

    def test_an_option_has_one_meaning(self) -> None:
        """Where the text of an option differs between verbs, it says the same of another object."""
        texts: dict[str, set[str]] = {}
        for verb in VERBS:
            for parameter in shown(verb):
                if parameter.opts[0].startswith("--"):
                    texts.setdefault(parameter.opts[0], set()).add(re.split(r"[;:,] ", parameter.help)[0])
        assert {flag: sorted(starts) for flag, starts in texts.items() if len(starts) > 1} == {
            "--address": ["Ray cluster to join", "dashboard of the Ray cluster that has the job"],
            "--arm": ["arm to stop with all its trials", "comma-separated arms to list"],
            "--follow": ["show new lines until the sweep ends", "show the progress until the sweep ends"],
            "--trial": ["trial to show", "trial to stop"],
            "--insecure": [
                "join a cluster that asks for no token although other machines can reach it",
                "send the token and the study unencrypted",
            ],
            "--cpus": ["CPU cores and threads per measurement", "CPU cores and threads per trial"],
            "--gpus": ["GPUs per measurement", "GPUs per trial"],
            "--set": [
                "parameter of the part",
                "value that overrides a setting of an axis",
                "value that overrides the study",
            ],
            "--out": [
                "PNG file to write",
                "file to write",
                "folder to write sweeps to",
                "folder to write the sweep to",
                "folder to write the sweeps to",
                "folder to write the template to",
            ],
            "--to": ["folder to write the files to", "folder to write the report to"],
            "--workers": ["simulated trials at a time", "workers that train each trial together"],
        }

    def test_data_names_every_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for verb in ("plan", "preview", "run", "doctor"):
            (parameter,) = (parameter for parameter in shown(verb) if parameter.opts == ["--data"])
            assert f": {source_help()};" in parameter.help

    def test_scale_and_axes_name_what_there_is(self) -> None:
        (scale,) = (parameter for parameter in shown("run") if parameter.opts == ["--scale"])
        assert all(name in scale.help for name in SCALES)
        (axes,) = (parameter for parameter in shown("evaluate") if parameter.opts == ["--axes"])
        on_request = [name for name, axis in AXES.items() if axis.on_request]
        assert f"except {', '.join(on_request[:-1])} and {on_request[-1]})" in axes.help

    @pytest.mark.parametrize("verb", ["", *VERBS])
    def test_help(self, run: Run, verb: str) -> None:
        status, out, err = run(*verb.split(), "--help")
        assert (status, err) == (0, "")
        assert "Usage:" in out
        names = [each.opts[0] if each.opts[0].startswith("--") else each.metavar or each.name for each in shown(verb)]
        for name in names if verb else VERBS:
            assert name in out

    @pytest.mark.parametrize("verb", [[], ["trials"]])
    def test_h_is_short_for_help(self, run: Run, verb: list[str]) -> None:
        assert run(*verb, "-h") == run(*verb, "--help")

    def test_version(self, run: Run) -> None:
        assert run("--version") == (0, f"cutmix-sweep {version('cutmix-sweep')}\n", "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["--version"],
            ["plan", "--help"],
            ["run", "--help"],
            ["schema"],
            ["schema", "plan"],
            ["trials", "-h"],
        ],
    )
    def test_answer_without_loading_engines(self, arguments: list[str]) -> None:
        code = (
            "import sys\n"
            "from sweep import cli\n"
            f"sys.argv = ['cutmix-sweep', *{arguments}]\n"
            "try:\n"
            "    cli.main()\n"
            "finally:\n"
            "    heavy = {'torch', 'torchvision', 'ray', 'optuna', 'pandas', 'pyarrow', 'scipy', 'sklearn'}\n"
            "    print(sorted((heavy | {'statsmodels'}) & set(sys.modules)), file=sys.stderr)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (0, "[]")

    def test_without_a_verb_shows_the_help(self, run: Run) -> None:
        status, out, err = run()
        assert status == 2
        assert "Usage:" in out + err


class TestStudies:
    def test_lists_all(self, run: Run) -> None:
        status, out, err = run("studies")
        assert (status, err) == (0, "")
        for name in built_in_studies():
            assert name in out
        assert max(map(len, out.splitlines())) <= 80

    @pytest.mark.parametrize("name", built_in_studies())
    def test_shows_one(self, run: Run, name: str) -> None:
        status, out, _ = run("studies", name)
        assert status == 0
        assert out.startswith(f"{name}: ")
        assert "trials per arm" in out

    @pytest.mark.parametrize("name", built_in_studies())
    def test_shows_its_scales(self, run: Run, name: str) -> None:
        _, out, _ = run("studies", name)
        table = out[out.index("--scale") :].splitlines()
        assert max(map(len, table)) <= 80
        assert "…" not in out
        for scale in SCALES:
            study = load_study(name, scale=scale)
            (row,) = (line.split() for line in table if line.startswith(f"{scale} "))
            assert row[1] == str(len(study.arms) * study.trials_per_arm)
            assert row[-1] == f"{study.resources.gpus:g}"

    def test_tells_which_scale_a_file_does_not_go_with(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "question: How long?\narms: {off: {}}\nsearch: grid\nbudget: {max_epochs: 25}\n"
            "space: {optimizer.max_epochs: {kind: choice, values: [3, 25]}}\n"
        )
        status, out, _ = run("studies", path)
        assert status == 0
        assert "--scale gpu: study 'mine': the space varies 'optimizer.max_epochs' over [3, 25]" in out
        assert re.search(r"^laptop +2 +3 +digits +0.2 +tiny", out, flags=re.MULTILINE)

    def test_shows_what_varies(self, run: Run) -> None:
        _, out, _ = run("studies", "alpha_prob")
        assert "mix.size.alpha 0.1 .. 4 (log)" in out
        assert "mix.apply.prob 0 .. 1" in out
        assert "clip | inside | torus" in out
        assert "seeds only" in out

    def test_brackets_are_no_markup(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "question: 'Is [a] better [/b]?'\narms: {off: {}}\n"
            "budget: {trials: 1, max_epochs: 1, early_stopping: {rule: none}}\n"
        )
        assert "mine: Is [a] better [/b]?" in run("studies", path)[1]

    def test_shows_a_file_s(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "question: Mine?\narms: {off: {mix: off}}\nsearch: grid\nspace: {model.width: {kind: fixed, value: 2.0}}\n"
            "budget: {max_epochs: 7, early_stopping: {rule: none}}\n"
        )
        _, out, _ = run("studies", path)
        assert "mine: Mine?" in out
        assert "model.width = 2.0" in out
        assert "grid search, 1 trial per arm, at most 7 epochs per trial" in out
        assert "no early stopping" in out


def n_images(train_frac: float) -> tuple[int, int]:
    """Numbers of training and of validation images that a trial on the digits gets."""
    data = prepare_data(Data(source="digits", train_frac=train_frac))
    return len(data.train_rows), len(data.val_rows)


class TestPlan:
    @pytest.fixture(autouse=True)
    def _no_probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 500.0)
        monkeypatch.setattr("sweep.engine.usable_cores", lambda: 4)

    def test_says_what_would_run(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        status, out, err = run("plan", "quickstart", "--set", "base.data.train_frac=0.1")
        assert (status, err) == (0, "")
        n_train, n_val = map(int, re.search(r"digits, (\d+) training and (\d+) validation", out).groups())  # type: ignore[union-attr]
        assert (n_train, n_val) == n_images(0.1)
        study = load_study("quickstart")
        n_trials = len(study.arms) * study.trials_per_arm
        n_confirming = len(study.arms) * study.confirming_per_arm
        n_epochs = (n_trials + n_confirming) * study.budget.max_epochs
        size = f"{n_trials} search trials and {n_confirming} confirmation trials"
        assert f"{size}, at most {n_epochs} epochs" in out
        assert "4 trials at a time and 500 training images per second" in out
        seconds = n_epochs * (n_train + n_val / 3) / 500 / 4
        assert f"at most about {format_duration(seconds)}" in out
        assert list(tmp_path.iterdir()) == []

    def test_shows_the_dose_of_each_arm(self, run: Run) -> None:
        study = load_study("alpha_prob")
        _, out, _ = run("plan", "alpha_prob")
        table = out[out.index("exposure") :]
        rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.split()[:1] != []}
        assert set(study.arms) <= set(rows)
        assert rows["off"] == ["0.00", "0.0000(0)", "0.0000(0)", "0.000", "100.0", "%", "0", "0.00", "0.00", "0.00"]
        prob, area, exposure, *_ = rows["cutout"]
        assert (prob, exposure) == ("1.00", "0.0000(0)")
        assert float(area.split("(")[0]) == pytest.approx((0.5 - 0.5**2 / 4) ** 2, abs=0.005)
        assert float(rows["mixup"][2].split("(")[0]) < 0.25 * 0.6  # drawn probabilities, about a half
        assert "mean over its first draws" in out
        assert "matched" not in out

    def test_no_number_of_the_doses_is_cut_off(self, run: Run) -> None:
        _, out, _ = run("plan", "mask_shape")
        table = out[out.index("exposure") :].splitlines()
        exposures = {}
        for arm in load_study("mask_shape").arms:
            (row,) = (line for line in table if line.startswith((f"{arm} ", f"={arm} ")))
            assert "…" not in row
            assert len(row) <= 80
            assert re.fullmatch(
                r"=?\w+ +\d\.\d\d( +0\.\d{4}\(\d+\)){2} +\d\.\d{3} +\d+\.\d % +\d+( +\d\.\d\d){3} *", row
            )
            exposures[row.split()[0]] = float(row.split()[3].split("(")[0])
        matched = [value for arm, value in exposures.items() if arm.startswith("=")]
        assert len(matched) == len(exposures) - 2
        assert max(matched) / min(matched) < 1.02
        assert "equal exposure by prob. As declared: off, cutout." in out

    def test_adds_up_trials_of_unequal_length_size_and_speed(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sweep.plan.measure_speed", lambda config, *_: 500.0 * config.model.width)
        path = tmp_path / "mine.yaml"
        path.write_text(
            "question: Mine?\narms: {off: {}, cutout: {mix: cutout}}\nsearch: grid\nreplicates: 2\n"
            "space:\n"
            "  optimizer.max_epochs: {kind: choice, values: [2, 6]}\n"
            "  data.train_frac: {kind: choice, values: [0.1, 0.4]}\n"
            "  model.width: {kind: choice, values: [0.5, 1.0]}\n"
            "budget: {max_epochs: 6}\n"
        )
        _, out, _ = run("plan", path)
        (few, few_val), (many, many_val) = n_images(0.1), n_images(0.4)
        assert f"digits, {few} to {many:,} training and {few_val} to {many_val} validation" in out
        assert "32 search trials, at most 128 epochs" in out
        assert "4 trials at a time and 250 to 500 training images per second" in out
        images = few + many + (few_val + many_val) / 3
        seconds = 2 * 2 * (2 + 6) * images * (1 / 250 + 1 / 500) / 4  # arms, replicates, epochs
        assert f"at most about {format_duration(seconds)}" in out

    def test_measures_a_few_of_many_networks(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        probed = []
        monkeypatch.setattr("sweep.plan.measure_speed", lambda config, *_: probed.append(config.model.width) or 100.0)
        vary = "space[model.width]={kind: uniform, lo: 0.25, hi: 1.0}"
        assert run("plan", "quickstart", "--set", vary, "--set", "budget.trials=20")[0] == 0
        assert len(probed) == len(set(probed)) == PROBED_NETS

    def test_says_how_many_seeds_a_difference_needs(self, run: Run) -> None:
        status, out, err = run("plan", "mask_shape", "--effect", "0.5", "--sd", "0.4")
        assert (status, err) == (0, "")
        words = " ".join(out.split())
        assert "Detects a difference of 0.64 points to off with probability 80 %" in words
        assert "SD over seeds 0.4 points, given by --sd" in words
        assert words.endswith(
            "A difference of 0.5 points needs 23 seeds per arm (power 80 %). "
            "This study has 15 and finds it with probability 51 %."
        )

    def test_says_what_a_study_detects_without_being_asked(self, run: Run) -> None:
        for verb in ("studies", "plan"):
            words = " ".join(run(verb, "quickstart")[1].split())
            assert "Detects a difference of " in words
            assert "5 searches per arm; SD over searches 8.9 points, assumed: typical of very short runs)" in words

    def test_takes_short_flags(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        _, out, _ = run("plan", "quickstart", "--cpus", "2", "--gpus", "0.5")
        assert "15 trials per arm, at most 4 epochs per trial; 2 CPU and 0.5 GPU per trial" in out
        assert "2 trials at a time" in out

    def test_takes_a_scale(self, run: Run) -> None:
        _, out, _ = run("plan", "quickstart", "--scale", "smoke", "--set", "budget.max_epochs=3")
        assert "2 trials per arm, at most 3 epochs per trial" in out
        assert "digits, {} training and {} validation".format(*n_images(0.05)) in out

    def test_set_wins_over_a_short_flag(self, run: Run) -> None:
        _, out, _ = run("plan", "quickstart", "--cpus", "2", "--set", "resources.cpus=4")
        assert "4 CPU" in out

    def test_the_seed_counts(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        seen: list[int] = []
        monkeypatch.setattr("sweep.plan.make_plan", lambda study, **_: seen.append(study.seed) or sys.exit(0))
        run("plan", "quickstart", "--seed", "11")
        assert seen == [11]

    def test_measures_a_real_step(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(sys, "argv", sys.argv)
        from search_spaces.discover import load_study
        from sweep.plan import make_plan

        small = ["base.data.train_frac=0.1", "base.data.batch_size=8", "base.model.width=0.25"]
        planned = make_plan(load_study("quickstart", settings=small))
        slowest, fastest = planned.images_per_s
        assert 0 < slowest == fastest
        assert math.isfinite(planned.seconds)


def every_status(job: Any, epoch: int) -> dict[str, Any]:
    """A curve by which trials complete, are stopped, diverge and fail."""
    if (job.trial, epoch) == ("off-0001", 1):
        return {"failed": "Traceback ...\nRuntimeError: CUDA out of memory [while training]"}
    if (job.trial, epoch) == ("cutmix-0001", 1):
        return {"train_loss": math.nan}
    level = 0.1 + 0.01 * int(job.trial[-1])
    return {"val_top1_error": level, "val_nll": level * 3}


@pytest.fixture
def finished(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    """A sweep in which trials completed, were stopped, diverged and failed."""
    folder = tmp_path / "finished"
    simulate(study_of(), folder, curve=every_status, n_workers=1).run()
    return folder


def lines_of_table(out: str) -> list[str]:
    """Lines between the question and the fine print."""
    lines = out.splitlines()
    return lines[1 : next(place for place, line in enumerate(lines) if line.startswith("Validation"))]


def table_of(out: str) -> dict[str, list[str]]:
    """Rows of a printed table by their first cell."""
    rows = [
        re.split(r"\s{1,}", line.strip()) for line in out.splitlines() if line.startswith(" ") or line[:1].isalpha()
    ]
    return {row[0]: row[1:] for row in rows}


class TestStatus:
    def test_of_a_finished_sweep(self, run: Run, finished: Path) -> None:
        status, out, err = run("status", finished)
        assert (status, err) == (0, "")
        assert out.startswith("small: Does it hold together?")
        trials = read_sweep(finished).trials
        for arm, row in trials.groupby("arm"):
            counts = [(row["status"] == name).sum() for name in ("completed", "stopped", "diverged", "failed")]
            expected = [str(len(row)), *map(str, counts), str(row["epochs"].sum())]
            assert table_of(out)[str(arm)][: len(expected)] == expected
        assert "10.00 %" in out
        assert "run " not in next(line for line in out.splitlines() if line.startswith("arm "))
        assert "failed: off-0001 (trial): RuntimeError: CUDA out of memory [while training]" in out

    def test_fits_80_columns(self, run: Run, finished: Path) -> None:
        _, out, _ = run("status", finished)
        table = lines_of_table(out)
        assert max(map(len, table)) <= 80
        header = next(line for line in table if line.startswith("arm"))
        for name in ("trials", "done", "stop", "div", "fail", "epochs", "error", "median", "NLL", "ECE"):
            assert name in header

    def test_cuts_no_number_where_every_status_occurs(
        self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        session = simulate(study_of(), tmp_path / "sweep", curve=every_status)
        session.run(22).conductor.flush(force=True)
        statuses = {entry.status for entry in session.conductor.entries.values()}
        assert statuses == {"running", "completed", "stopped", "diverged", "failed"}
        _, out, _ = run("status", tmp_path / "sweep")
        assert max(map(len, lines_of_table(out))) <= 80
        assert "…" not in out
        assert table_of(out)["off"][-7:] == ["10.00", "%", "10.00", "%", "0.300", "5.00", "%"]

    def test_of_a_sweep_under_way(self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path / "sweep").run(3)
        session.conductor.flush(force=True)
        status, out, _ = run("status", tmp_path / "sweep")
        assert status == 0
        assert "run " in next(line for line in out.splitlines() if line.startswith("arm "))
        assert table_of(out)["off"][0] == "1"
        assert "-" in table_of(out)["off"]

    def test_counts_trials_taken_up_again(self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path / "sweep").run(3).conductor.flush(force=True)
        simulate(study_of(), tmp_path / "sweep").run()
        _, out, _ = run("status", tmp_path / "sweep")
        resumed = int((read_sweep(tmp_path / "sweep").trials["attempts"] > 1).sum())
        assert resumed > 0
        assert f"in 12 trials; {resumed} of them were resumed" in " ".join(out.split())

    def test_of_a_sweep_without_a_trial(self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path / "sweep")
        status, out, err = run("status", tmp_path / "sweep")
        assert (status, err) == (0, "")
        assert "Training time: 0 s in 0 trials" in " ".join(out.split())

    def test_works_on_a_manifest_alone(self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """Killed between the manifest and the first record."""
        simulate(study_of(), tmp_path / "sweep")
        (tmp_path / "killed" / "records").mkdir(parents=True)
        for name in ("sweep.json", "records/counts.json"):
            (tmp_path / "sweep" / name).rename(tmp_path / "killed" / name)
        assert run("status", tmp_path / "killed")[0] == 0


class TestExport:
    @pytest.mark.parametrize("format_", ["csv", "parquet"])
    def test_writes_what_was_recorded(self, run: Run, finished: Path, tmp_path: Path, format_: str) -> None:
        status, out, err = run("export", finished, "--format", format_, "--to", tmp_path / "out")
        assert (status, err) == (0, "")
        assert out.split() == [
            str(tmp_path / "out" / f"{name}.{format_}") for name in ("trials", "epochs", "decisions")
        ]
        records = read_sweep(finished)
        for name in ("trials", "epochs", "decisions"):
            path = tmp_path / "out" / f"{name}.{format_}"
            read = pd.read_csv(path) if format_ == "csv" else pd.read_parquet(path)
            expected = getattr(records, name)
            assert list(read.columns) == list(expected.columns)
            assert len(read) == len(expected)
        trials = (
            pd.read_csv(path.with_stem("trials")) if format_ == "csv" else pd.read_parquet(path.with_stem("trials"))
        )
        assert trials["config.optimizer.lr"].tolist() == pytest.approx(records.trials["params.optimizer.lr"].tolist())
        assert trials["params.mix.apply.prob"].notna().sum() == 4

    @pytest.mark.parametrize(("format_", "name"), [("optuna", "optuna.db"), ("tensorboard", "tensorboard")])
    def test_goes_to_other_tools(self, run: Run, finished: Path, tmp_path: Path, format_: str, name: str) -> None:
        status, out, err = run("export", finished, "--format", format_, "--to", tmp_path / "out")
        assert (status, out, err) == (0, f"{tmp_path / 'out' / name}\n", "")
        assert (tmp_path / "out" / name).exists()

    @pytest.mark.parametrize("format_", ["csv", "optuna", "tensorboard"])
    def test_a_folder_that_cannot_be_made(self, run: Run, finished: Path, tmp_path: Path, format_: str) -> None:
        (tmp_path / "file").write_text("")
        status, _, err = run("export", finished, "--format", format_, "--to", tmp_path / "file" / "out")
        assert status == 2
        assert err.startswith(f"error: --to '{tmp_path}/file/out': ")

    def test_goes_below_the_sweep_as_csv(self, run: Run, finished: Path) -> None:
        status, out, _ = run("export", finished)
        assert status == 0
        assert out.split()[0] == str(finished / "export" / "trials.csv")
        assert run("status", finished)[0] == 0

    def test_of_a_sweep_without_a_trial(self, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path / "sweep")
        assert run("export", tmp_path / "sweep")[0] == 0
        assert (
            (tmp_path / "sweep/export/trials.csv").read_text().startswith("sweep,study,phase,arm,trial,search,number")
        )


class TestExtend:
    @pytest.fixture
    def resumed(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What the verb asks of a sweep, in place of running it."""
        resumed: dict[str, Any] = {}
        monkeypatch.setattr("sweep.launch.resume_sweep", lambda folder, **options: resumed.update(options))
        monkeypatch.setattr("sweep.terminal.status.print_status", lambda *_: 0)
        return resumed

    @pytest.mark.parametrize("options", [[], ["--no-models"]])
    def test_resume_can_leave_trials_without_a_model(
        self, run: Run, resumed: dict[str, Any], options: list[str]
    ) -> None:
        assert run("resume", "sweeps/mine", *options)[0] == 0
        assert resumed["regain_models"] == (not options)

    @pytest.mark.parametrize("verb", ["resume", "confirm", "extend"])
    def test_with_a_bound_on_the_trials_at_a_time(self, run: Run, resumed: dict[str, Any], verb: str) -> None:
        more = {"resume": [], "confirm": ["--seeds", 2], "extend": ["--add-trials", 1]}[verb]
        assert run(verb, "sweeps/mine", *more, "--max-trials", 3, "--start-timeout", 0.5)[0] == 0
        assert resumed["joined"] == Joined(max_trials=3, start_timeout=0.5)
        assert run(verb, "sweeps/mine", *more, "--max-trials", 0)[0] == 2

    @pytest.mark.parametrize("prefix", ["--add-", "--"])
    def test_by_new_and_old_names(self, run: Run, resumed: dict[str, Any], study_of: MakeStudy, prefix: str) -> None:
        more = [f"{prefix}trials", 2, f"{prefix}seeds", 1, f"{prefix}arms", "fmix,gridmix"]
        status, out, err = run("extend", "sweeps/mine", *more)
        assert (status, out) == (0, "")
        names = ("trials", "seeds", "arms")
        notes = [f"note: --{name} was renamed to --add-{name}" for name in names if prefix == "--"]
        assert err.splitlines() == notes
        study = resumed["change"](study_of(confirm={"configs": 1, "searches": 1, "seeds": 2}))
        assert (study.budget.trials, study.confirm.seeds) == (6, 3)
        assert {"fmix", "gridmix"} <= set(study.arms)

    def test_by_searches(self, run: Run, resumed: dict[str, Any], study_of: MakeStudy) -> None:
        assert run("extend", "sweeps/mine", "--add-trials", 1, "--add-searches", 2)[0] == 0
        stopping = {"rule": "none"}
        study = study_of(budget={"trials": 6, "max_epochs": 2, "early_stopping": stopping}, confirm={"searches": 3})
        study = resumed["change"](study)
        assert (study.n_searches, study.trials_per_search) == (5, 3)

    def test_a_sweep_without_a_confirmation_is_divided_into_searches(
        self, run: Run, resumed: dict[str, Any], study_of: MakeStudy
    ) -> None:
        assert run("confirm", "sweeps/mine", "--seeds", 1, "--searches", 3)[0] == 0
        study = resumed["change"](study_of(budget={"trials": 6, "max_epochs": 2, "early_stopping": {"rule": "none"}}))
        assert (study.n_searches, study.trials_per_search, study.confirming_per_arm) == (3, 2, 3)

    def test_by_both_names(self, run: Run, resumed: dict[str, Any]) -> None:
        status, _, err = run("extend", "sweeps/mine", "--trials", 2, "--add-trials", 3)
        assert status == 2
        assert err == "error: --trials is the old name of --add-trials: give one of them\n"
        assert not resumed


class TestDoctor:
    @pytest.fixture(autouse=True)
    def _no_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A start of Ray takes ten seconds; tests/integration has a real one."""
        monkeypatch.setattr("sweep.engine.cluster", lambda *_, **__: contextlib.nullcontext(2))

    def test_finds_this_machine_fit(self, run: Run, tmp_path: Path) -> None:
        status, out, err = run("doctor", "--out", tmp_path)
        assert (status, err) == (0, "")
        for name in ("Python and packages", "torch", "GPU", "Ray", "data", "disk for records"):
            assert name in out
        assert "wrong" not in out
        assert max(map(len, out.splitlines())) <= 80

    def test_says_how_to_mend_missing_data(self, run: Run, tmp_path: Path) -> None:
        status, out, _ = run("doctor", "--data", f"imagefolder:{tmp_path}/none", "--out", tmp_path)
        assert status == 1
        words = " ".join(out.split())
        assert "wrong" in words
        assert "--data" in words

    def test_says_how_to_mend_data_that_is_not_fetched(self, run: Run, tmp_path: Path) -> None:
        status, out, _ = run("doctor", "--data", "cifar10", "--out", tmp_path)
        assert status == 1
        assert "--download" in out

    def test_names_an_unknown_source(self, run: Run, tmp_path: Path) -> None:
        status, out, _ = run("doctor", "--data", "cifar11", "--out", tmp_path)
        assert status == 1
        assert "cifar10" in out

    def test_a_folder_that_cannot_be_written(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        status, out, _ = run("doctor", "--out", tmp_path / "file" / "sweeps")
        assert status == 1
        assert "choose another" in out

    def test_warns_without_calling_it_wrong(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        status, out, _ = run("doctor", "--out", tmp_path)
        assert status == 0
        assert "warning" in out
        assert "RAY_AUTH_MODE" in out

    def test_leaves_nothing_behind(self, run: Run, tmp_path: Path) -> None:
        run("doctor", "--out", tmp_path / "sweeps")
        assert list(tmp_path.iterdir()) == []


def test_schema_is_json(run: Run) -> None:
    status, out, err = run("schema")
    assert (status, err) == (0, "")
    schema = json.loads(out)
    assert schema["title"] == "Study"
    assert {"question", "arms", "budget", "space"} <= set(schema["$defs"]["Study"]["properties"])


class TestInterruption:
    def test_ends_with_130_and_says_how_to_go_on(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from sweep.endings import HERE, Interrupted

        def interrupted(*_: object, **__: object) -> Path:
            raise Interrupted(Path("sweeps/mine"), HERE, 3, 12)

        monkeypatch.setattr("sweep.launch.start_sweep", interrupted)
        status, out, err = run("run", "quickstart")
        assert (status, out) == (130, "")
        assert err == "interrupted after 3 of 12 trials; resume with: cutmix-sweep resume sweeps/mine\n"

    def test_of_any_other_verb(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr("search_spaces.discover.load_study", interrupted)
        status, _, err = run("plan", "quickstart")
        assert status == 130
        assert "Traceback" not in err
