"""A user's mistake costs one message and no cluster: status 2, what is wrong and what is valid, nothing written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from search_spaces.study import Study
from sweep import cli
from sweep.new_folder import new_folder
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest
from sweep.slots import Slots
from tests.slots import fixed_slots
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
Refuse = Callable[..., str]
ROOT = Path(__file__).parents[2]

STUDY = """
question: Does it matter?
arms:
  off: {mix: off}
  cutmix: {mix: cutmix}
budget: {trials: 2, max_epochs: 3, early_stopping: {rule: none}}
base: {data: {train_frac: 0.05}, model: {width: 0.25}}
"""


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaching Ray is a failure of the test, as no refusal is."""

    def reached(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the cluster was to be started")

    monkeypatch.setattr("sweep.engine.cluster", reached)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", reached)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: what a refused run leaves in it is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refuse(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run the program; return its one message, having seen that nothing else came of it."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sweep.terminal.display.PATIENCE_S", 1e6)  # a slow machine would be told what it waits for

    def refuse(*arguments: object, prints: bool = False) -> str:
        before = everything_below(here)
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert ended.value.code == 2, captured.err
        assert prints or not captured.out
        assert "Traceback" not in captured.err
        assert captured.err.strip()
        assert everything_below(here) == before
        return captured.err

    return refuse


def everything_below(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def assert_one_message(message: str, words: tuple[str, ...]) -> None:
    """One line, or several of one block; all of what has to be named is."""
    lines = message.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines)
    assert max(map(len, lines)) <= 500
    for word in words:
        assert word in message


STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key of the study": (STUDY + "budgets: 3\n", ("'budgets'", "did you mean 'budget'?")),
    "unknown key of the budget": (STUDY.replace("trials", "trails"), ("'budget.trails'", "did you mean 'trials'?")),
    "unknown key of an arm": (STUDY.replace("off: {mix", "off: {mixx"), ("'arms.off.mixx'", "did you mean 'mix'?")),
    "unknown section": (STUDY.replace("model:", "modell:"), ("'modell'", "did you mean 'model'?")),
    "unknown key in a section": (STUDY.replace("width", "widht"), ("'model.widht'", "did you mean 'width'?")),
    "unknown key deep in an arm": (
        STUDY.replace("off: {mix: off}", "off: {base: {optimizer: {schedule: {warm: 0.1}}}}"),
        ("arm 'off'", "'optimizer.schedule.warm'", "warmup_frac"),
    ),
    "wrong type": (STUDY.replace("trials: 2", "trials: two"), ("'budget.trials'", "integer", "'two'")),
    "wrong type in a section": (STUDY.replace("0.25", "wide"), ("'model.width'", "number", "'wide'")),
    "a fraction for a whole number": (STUDY.replace("trials: 2", "trials: 2.5"), ("'budget.trials'", "2.5")),
    "a section that is a number": (STUDY.replace("{train_frac: 0.05}", "3"), ("'data'", "got 3")),
    "alpha of 0": (
        STUDY.replace("{mix: cutmix}", "{mix: {preset: cutmix, size: {alpha: 0}}}"),
        ("arm 'cutmix'", "'mix.size.alpha'", "greater than 0", "got 0"),
    ),
    "a domain that reaches alpha 0": (
        STUDY.replace("{mix: cutmix}", "{mix: cutmix, space: {mix.size.alpha: {kind: uniform, lo: 0.0, hi: 1.0}}}"),
        ("arm 'cutmix'", "'mix.size.alpha'", "greater than 0", "got 0.0"),
    ),
    "a log domain from 0": (
        STUDY.replace("{mix: cutmix}", "{mix: cutmix, space: {mix.size.alpha: {kind: loguniform, lo: 0, hi: 1}}}"),
        ("mix.size.alpha.lo", "greater than 0"),
    ),
    "a probability above 1": (
        STUDY.replace("{mix: cutmix}", "{mix: {preset: cutmix, apply: {prob: 1.2}}}"),
        ("'mix.apply.prob'", "less than or equal to 1", "1.2"),
    ),
    "a probability above 1 beside the preset": (
        STUDY.replace("{mix: cutmix}", "{mix: cutmix, base: {mix: {apply: {prob: 1.2}}}}"),
        ("'arms.cutmix'", "base.mix", "give one of them"),
    ),
    "a negative learning rate": (
        STUDY.replace("model:", "optimizer: {lr: -0.1}, model:"),
        ("'optimizer.lr'", "greater than 0", "-0.1"),
    ),
    "a learning rate without end": (
        STUDY.replace("model:", "optimizer: {lr: .inf}, model:"),
        ("'optimizer.lr'", "finite"),
    ),
    "a learning rate that overflows": (
        STUDY.replace("model:", "optimizer: {lr: 1.0e308}, model:"),
        ("'optimizer.lr'", "1000000", "1e+308"),
    ),
    "padding that fills the memory": (
        STUDY.replace("train_frac: 0.05", "pad_px: 100000"),
        ("'data.pad_px'", "128", "100000"),
    ),
    "an unknown preset": (
        STUDY.replace("mix: cutmix", "mix: cutmx"),
        ("'arms.cutmix.mix'", "'cutmx'", "did you mean 'cutmix'?", "cutout", "more"),
    ),
    "a dose that does not exist": (STUDY + "match: exposre\n", ("'match'", "'exposre'", "did you mean 'exposure'?")),
    "a dose out of reach": (
        STUDY + "match: {target: 0.4}\n",
        ("arm 'cutmix'", "exposure is 0.2", "at probability 1", "target 0.4"),
    ),
    "a dose for one arm": (STUDY + "match: exposure\n", ("only arm 'cutmix'", "match.target")),
    "an unknown mask": (
        STUDY.replace("mix: cutmix", "mix: {preset: cutmix, mask: {family: bxo}}"),
        ("'mix.mask.family'", "'bxo'", "did you mean 'box'?"),
    ),
    "an unknown network": (
        STUDY.replace("width: 0.25", "name: resnet19"),
        ("'model.name'", "'resnet19'", "did you mean 'resnet1", "cifar_resnet20"),
    ),
    "an unknown data source": (
        STUDY.replace("train_frac: 0.05", "source: cifar11"),
        ("'data.source'", "'cifar11'", "did you mean 'cifar10'?"),
    ),
    "a source without its path": (STUDY.replace("train_frac: 0.05", "source: imagefolder"), ("imagefolder:PATH",)),
    "an unknown search": (STUDY + "search: bayes\n", ("'search'", "'bayes'", "grid, quasi_random, random, tpe")),
    "no trials": (STUDY.replace("trials: 2", "trials: 0"), ("'budget.trials'", "got 0")),
    "no number of trials for TPE": (
        STUDY.replace("trials: 2, ", "") + "search: tpe\n",
        ("budget.trials is missing", "'tpe'"),
    ),
    "a grid without points": (
        STUDY + "search: grid\nspace: {optimizer.lr: {kind: uniform, lo: 0.1, hi: 0.2}}\n",
        ("'optimizer.lr'", "'points'"),
    ),
    "a grid larger than its budget": (
        STUDY + "search: grid\nspace: {data.pad_px: {kind: integers, lo: 0, hi: 9}}\n",
        ("budget.trials is 2", "10 points"),
    ),
    "a preset that hides a value": (
        STUDY.replace("model:", "mix: {apply: {prob: 0.9}}, model:"),
        ("arm 'off'", "'mix.apply.prob'", "set it in the arms"),
    ),
    "rungs that stop nobody": (
        STUDY.replace("{rule: none}", "{rule: asha, grace_period_epochs: 3}"),
        ("early_stopping.grace_period_epochs is 3", "3 epochs", "none"),
    ),
    "a domain upside down": (
        STUDY + "space: {optimizer.lr: {kind: uniform, lo: 0.2, hi: 0.1}}\n",
        ("space.optimizer.lr", "0.2 >= 0.1"),
    ),
    "a domain of no kind": (STUDY + "space: {optimizer.lr: {lo: 0.1, hi: 0.2}}\n", ("space.optimizer.lr", "kind")),
    "a parameter that does not exist": (
        STUDY + "space: {optimizer.lrr: {kind: uniform, lo: 0.1, hi: 0.2}}\n",
        ("'optimizer.lrr'", "did you mean 'lr'?"),
    ),
    "a parameter both set and varied": (
        STUDY + "space: {model.width: {kind: uniform, lo: 0.1, hi: 0.2}}\n",
        ("'model.width'", "drop one of them"),
    ),
    "planned epochs beside the budget's": (
        STUDY.replace("model:", "optimizer: {max_epochs: 9}, model:"),
        ("'optimizer.max_epochs'", "'budget.max_epochs'"),
    ),
    "a scale that changes the meaning": (
        STUDY + "scales: {gpu: {search: grid}}\n",
        ("'scales.gpu' sets 'search'", "budget", "base.model"),
    ),
    "planned epochs that vary under early stopping": (
        STUDY.replace("rule: none", "rule: asha, grace_period_epochs: 1, min_recorded: 1")
        + "space: {optimizer.max_epochs: {kind: choice, values: [1, 3]}}\n",
        ("'optimizer.max_epochs'", "rule is 'asha'", "none"),
    ),
    "no arms": (STUDY.replace("arms:\n  off: {mix: off}\n  cutmix: {mix: cutmix}", "arms: {}"), ("'arms'",)),
    "a name for an arm that is none": (STUDY.replace("off: {", "Not This: {"), ("'arms'", "'Not This'")),
    "a part that is missing": (STUDY.replace("question: Does it matter?", ""), ("'question' is missing",)),
    "broken YAML": (STUDY + "space: {a: [}\n", ("cannot read study", "mine.yaml")),
    "a key given twice": (STUDY + "question: Again?\n", ("'question' is given twice", "mine.yaml")),
    "no mapping": ("- just\n- a list\n", ("mine.yaml", "mapping", "arms")),
    "nothing": ("", ("mine.yaml", "mapping")),
    "fewer images than classes at one end of the space": (
        STUDY.replace("{train_frac: 0.05}", "{}") + "space: {data.train_frac: {kind: uniform, lo: 0.0001, hi: 0.1}}\n",
        ("data.train_frac", "0.0001"),
    ),
    "fewer images than classes": (STUDY.replace("0.05", "0.0001"), ("data.train_frac", "0.0001")),
}


@pytest.mark.parametrize(("text", "words"), STUDIES.values(), ids=STUDIES.keys())
def test_studies(refuse: Refuse, here: Path, text: str, words: tuple[str, ...]) -> None:
    (here / "mine.yaml").write_text(text)
    assert_one_message(refuse("run", "mine.yaml", "--out", here / "out"), words)


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown study": (["quickstrat"], ("'quickstrat'", "did you mean 'quickstart'?", "alpha_prob")),
    "missing study file": (["./none.yaml"], ("no study file", "./none.yaml")),
    "--scale unknown": (["quickstart", "--scale", "papre"], ("--scale", "'papre'", "did you mean 'paper'?")),
    "--scale of another machine": (["quickstart", "--scale", "gpu", "--data", "digits"], ("resources.gpus", "has 0")),
    "--set without a value": (["quickstart", "--set", "seed"], ("--set", "path=value", "'seed'")),
    "--set without a path": (["quickstart", "--set", "=3"], ("--set", "path=value", "'=3'")),
    "--set of an unreadable value": (["quickstart", "--set", "seed=[1"], ("--set seed", "'[1'")),
    "--set of an open bracket": (["quickstart", "--set", "space[a=1"], ("--set", "'space[a=1'")),
    "--set of an unknown key": (["quickstart", "--set", "budget.trails=3"], ("'budget.trails'", "'trials'")),
    "--set of a wrong type": (["quickstart", "--set", "replicates=many"], ("'replicates'", "'many'")),
    "--data unknown": (["quickstart", "--data", "cifar11"], ("'cifar11'", "did you mean 'cifar10'?")),
    "--data without its path": (["quickstart", "--data", "imagefolder:"], ("imagefolder:PATH",)),
    "--data with a path too many": (["quickstart", "--data", "digits:/x"], ("digits", "/x")),
    "--data not downloaded": (["quickstart", "--data", "cifar10"], ("cifar10", "does not exist", "--download")),
    "--data not there": (["quickstart", "--data", "imagefolder:none"], ("/here/none", "train and test")),
    "--data not there, with a remark sign": (
        ["quickstart", "--data", "imagefolder:none #1"],
        ("/here/none #1", "train and test"),
    ),
    "--cpus of another machine": (["quickstart", "--cpus", "100000"], ("resources.cpus", "100000", "this machine")),
    "--cpus 0": (["quickstart", "--cpus", "0"], ("'resources.cpus'", "got 0")),
    "--gpus of another machine": (["quickstart", "--gpus", "1"], ("resources.gpus", "1.0", "this machine has 0")),
    "--gpus one and a half": (
        ["quickstart", "--gpus", "1.5"],
        ("'resources.gpus'", "1.5", "resources.gpus to 1 and resources.workers to 2"),
    ),
    "--workers with parts of GPUs": (
        ["quickstart", "--workers", "2", "--gpus", "0.5"],
        ("'resources'", "2 workers", "gpus to 1 or 0", "0.5"),
    ),
    "--workers too many for a batch": (
        ["quickstart", "--workers", "500"],
        ("resources.workers is 500", "data.batch_size is"),
    ),
    "--workers of another machine": (
        ["quickstart", "--workers", "30", "--cpus", "9"],
        ("resources.cpus", "30 workers per trial", "lower --workers or --cpus"),
    ),
    "--gpus negative": (["quickstart", "--gpus", "-1"], ("'resources.gpus'", "-1")),
    "--address of a Ray client": (["quickstart", "--address", "ray://host:10001"], ("--address", "ray://host:10001")),
    "--seed negative": (["quickstart", "--seed", "-1"], ("'seed'", "-1")),
}


@pytest.mark.parametrize(("arguments", "words"), OPTIONS.values(), ids=OPTIONS.keys())
def test_options(
    refuse: Refuse, here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert_one_message(refuse("run", *arguments, "--out", here / "out"), words)


class TestPower:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--effect", "1", "--sd", "0.4", "--sd-from", "old"], ("--sd 0.4", "--sd-from 'old'", "drop one")),
            (["--effect", "0"], ("--effect", "from 0.001 to 100, got 0")),
            (["--effect", "-0.5"], ("--effect", "got -0.5")),
            (["--effect", "nan"], ("--effect", "got nan")),
            (["--effect", "101"], ("--effect", "got 101")),
            (["--effect", "1", "--sd", "0"], ("--sd", "got 0")),
            (["--effect", "1", "--sd", "inf"], ("--sd", "got inf")),
            (["--sd-from", "old"], ("no sweep in 'old'",)),
        ],
    )
    def test_of_no_sense(self, refuse: Refuse, arguments: list[str], words: tuple[str, ...]) -> None:
        assert_one_message(refuse("plan", "quickstart", *arguments), words)

    def test_of_a_sweep_with_too_few_trials(
        self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy
    ) -> None:
        simulate(study_of(), here / "old").run()
        message = refuse("plan", "quickstart", "--effect", "1", "--sd-from", here / "old")
        assert_one_message(message, (f"--sd-from '{here / 'old'}'", "more than 3 completed configurations", "--sd"))


class TestUsage:
    """What Typer itself refuses: its frame around one message."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["rnu"], ("rnu",)),
            (["run", "quickstart", "--ouput", "x"], ("--ouput",)),
            (["run", "quickstart", "--cpus", "many"], ("--cpus",)),
            (["run"], ("study",)),
            (["status"], ("sweep_dir",)),
            (["export", "x", "--format", "xlsx"], ("--format", "xlsx", "csv", "parquet")),
        ],
    )
    def test_verbs_and_flags(self, refuse: Refuse, arguments: list[str], words: tuple[str, ...]) -> None:
        message = refuse(*arguments)
        assert message.count("Error") == 1
        assert "--help" in message
        for word in words:
            assert word.lower() in message.lower()


def write_images(folder: Path, *classes: str, count: int = 3) -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


class TestData:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        write_images(tmp_path / "photos" / "train", "cat", "dog")
        write_images(tmp_path / "photos" / "test", "cat", "dog")
        return tmp_path / "photos"

    def refused(self, refuse: Refuse, photos: Path, *words: str) -> None:
        # nothing is printed: the data is looked at before anything is made
        assert_one_message(refuse("run", "quickstart", "--data", f"imagefolder:{photos}", "--out", "out"), words)

    def test_no_train_folder(self, refuse: Refuse, photos: Path) -> None:
        (photos / "train").rename(photos / "training")
        self.refused(refuse, photos, str(photos / "train"), "expected")

    def test_no_class_folder(self, refuse: Refuse, tmp_path: Path) -> None:
        (tmp_path / "photos" / "train").mkdir(parents=True)
        self.refused(refuse, tmp_path / "photos", str(tmp_path / "photos" / "train"), "no class folder")

    def test_class_folder_without_an_image(self, refuse: Refuse, photos: Path) -> None:
        (photos / "train" / "axolotl").mkdir()
        (photos / "train" / "axolotl" / "0.heic").touch()
        self.refused(refuse, photos, str(photos / "train" / "axolotl"), "no image", "1 .heic")

    def test_one_class(self, refuse: Refuse, photos: Path) -> None:
        for split in ("train", "test"):
            (photos / split / "dog").rename(photos / f"dog in {split}")
        self.refused(refuse, photos, "'cat'", "two classes")

    def test_a_class_that_is_only_tested(self, refuse: Refuse, photos: Path) -> None:
        write_images(photos / "test", "axolotl")
        self.refused(refuse, photos, "axolotl", "cat, dog")

    def test_unreadable_image(self, refuse: Refuse, photos: Path) -> None:
        (photos / "train" / "dog" / "1.png").write_bytes(b"no image")
        self.refused(refuse, photos, str(photos / "train" / "dog" / "1.png"), "repair or remove")


class TestOut:
    def refused(self, refuse: Refuse, out: object, *words: str) -> None:
        assert_one_message(refuse("run", "quickstart", "--out", out), ("--out", *words))

    def test_not_empty(self, refuse: Refuse, here: Path) -> None:
        (here / "out").mkdir()
        (here / "out" / "notes.txt").write_text("mine")
        self.refused(refuse, here / "out", str(here / "out"), "not empty")

    @pytest.mark.parametrize(
        ("left", "words"),
        [
            (".lock", ""),
            (".lock-1", ""),
            ("records/counts.json", ""),
            ("records/copies/counts.json.0123.unfinished", ""),
            ("sweep.json.0123.unfinished", ""),
            ("records/epochs/part-000000000000-000000000002.parquet", "is not empty"),
            ("records/notes.txt", "is not empty"),
            ("sweep.json.damaged-1", "is not empty"),
            ("records/sweep.json", "already contains a sweep: resume it with: cutmix-sweep resume"),
        ],
    )
    def test_has_what_a_kill_before_the_manifest_left(
        self, tmp_path: Path, study_of: MakeStudy, left: str, words: str
    ) -> None:
        """Such a folder may be used; one with anything else may not."""
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).touch()
        with pytest.raises(UserError, match=words) if words else nullcontext():
            assert new_folder(study_of(), tmp_path) == tmp_path

    def test_holds_a_sweep(self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy) -> None:
        simulate(study_of(), here / "out").run(5)
        self.refused(refuse, here / "out", f"cutmix-sweep resume {here / 'out'}")

    def test_is_a_file(self, refuse: Refuse, here: Path) -> None:
        (here / "out").write_text("")
        self.refused(refuse, here / "out", f"cannot write to '{here / 'out'}'")

    def test_lies_below_a_file(self, refuse: Refuse, here: Path) -> None:
        (here / "file").write_text("")
        self.refused(refuse, here / "file" / "a" / "b", f"cannot write to '{here / 'file'}'")

    def test_may_not_be_written(self, refuse: Refuse, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sweep.new_folder.os.access", lambda *_: False)
        self.refused(refuse, here / "new" / "out", f"cannot write to '{here}'")

    def test_that_even_root_cannot_make(self, refuse: Refuse) -> None:
        self.refused(refuse, "/proc/x", "'/proc/x'", "cannot be made")

    def test_without_a_cluster_nothing_is_left(
        self, refuse: Refuse, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(*_: object, **__: object) -> NoReturn:
            assert (here / "new" / "out").is_dir()  # known to be writable before Ray starts
            raise UserError("--out is fine, Ray does not start")

        monkeypatch.setattr("sweep.engine.cluster", unreachable)
        self.refused(refuse, here / "new" / "out", "Ray does not start")

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("gs://bucket", "names no folder below the bucket"),
            ("http://host/x", "'http' is unknown; valid: abfs, file"),
        ],
    )
    def test_is_an_address_that_cannot_be_used(self, refuse: Refuse, address: str, words: str) -> None:
        self.refused(refuse, address, words)


@pytest.mark.parametrize("verb", ["run", "resume", "confirm", "extend", "evaluate"])
def test_a_cluster_is_looked_for_before_the_libraries_are_loaded(
    refuse: Refuse, here: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "box").mkdir()
    (here / "box" / "sweep.json").touch()
    for module in ("sweep.launch", "search_spaces.discover", "search_spaces.extension", "sweep.evaluation.evaluate"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    target = "quickstart" if verb == "run" else "box"
    more = ["--seeds", "1"] if verb == "confirm" else []
    assert_one_message(refuse(verb, target, *more, "--address", "127.0.0.1:1"), ("nothing listens at port 1",))


class TestFolders:
    @pytest.mark.parametrize("verb", ["resume", "status", "export"])
    @pytest.mark.parametrize(
        ("name", "reason"), [("boxx", "no such folder; did you mean '"), (".", "folders with a sweep in it: '")]
    )
    def test_without_a_sweep(self, refuse: Refuse, here: Path, verb: str, name: str, reason: str) -> None:
        (here / "box").mkdir()
        (here / "box" / "sweep.json").touch()
        assert_one_message(refuse(verb, name), ("no sweep in", reason, "box'"))

    @pytest.mark.parametrize("verb", ["resume", "status", "export"])
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", ("is damaged: it is not JSON", "sweep.json")),
            ("[]", ("is damaged: it is not a JSON mapping", "sweep.json")),
            ('{"schema_version": 999}', ("999", "update cutmix-sweep")),
        ],
    )
    def test_with_a_manifest_that_is_none(
        self, refuse: Refuse, here: Path, verb: str, text: str, words: tuple[str, ...]
    ) -> None:
        (here / "sweep.json").write_text(text)
        assert_one_message(refuse(verb, here), words)

    def test_whose_name_is_too_long(self, refuse: Refuse) -> None:
        message = refuse("status", "x" * 5_000)
        assert "File name too long" in message
        assert len(message) < 1_250

    @pytest.mark.parametrize("name", ["sweep.json", "records/epochs/part-000000000000-000000000002.parquet"])
    def test_with_a_pipe(self, refuse: Refuse, here: Path, name: str) -> None:
        (here / "out" / "records" / "epochs").mkdir(parents=True)
        (here / "out" / "sweep.json").write_text("{}")
        (here / "out" / name).unlink(missing_ok=True)
        os.mkfifo(here / "out" / name)
        assert_one_message(refuse("status", here / "out"), (str(here / "out" / name), "pipe"))

    def test_in_use(self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy) -> None:
        simulate(study_of(), here / "out").run(5)
        with FileLock(here / "out" / ".lock"):
            assert_one_message(refuse("resume", here / "out"), (str(here / "out"), "in use"))

    def test_whose_data_is_gone(self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy) -> None:
        study = study_of(base={"data": {"source": f"imagefolder:{here}/photos"}})
        simulate(study, here / "out").run(5)
        assert_one_message(refuse("resume", here / "out"), (f"{here}/photos", "restore them", "--data"))

    def test_whose_data_is_another(self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy) -> None:
        simulate(study_of(), here / "out").run(5)
        write_manifest(here / "out", {**read_manifest(here / "out"), "data": {"digits": "other"}})
        assert_one_message(refuse("resume", here / "out"), ("'digits'", str(here / "out")))

    @pytest.mark.parametrize("verb", [("resume",), ("extend", "--add-trials", 2), ("confirm", "--seeds", 3)])
    def test_whose_study_was_edited(
        self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy, verb: tuple[Any, ...]
    ) -> None:
        simulate(study_of(), here / "out").run(5)
        path = here / "out" / "sweep.json"
        path.write_text(path.read_text().replace('"hi": 1.0', '"hi": 2.0'))
        words = ("space.optimizer.lr.hi", "to restore it: cutmix-sweep check", "start a new sweep")
        assert_one_message(refuse(verb[0], here / "out", *verb[1:]), words)

    @pytest.mark.parametrize("verb", ["status", "trials", "export"])
    def test_whose_records_are_damaged(
        self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy, verb: str
    ) -> None:
        simulate(study_of(), here / "out").run(5)
        for path in (here / "out" / "records").rglob("epochs/part-*"):
            path.write_bytes(path.read_bytes()[:100])
        assert_one_message(refuse(verb, here / "out"), ("records/epochs/part-", "cutmix-sweep check", "--repair"))

    def test_whose_trials_do_not_fit(self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy) -> None:
        simulate(study_of(resources={"cpus": 99999}), here / "out").run(5)
        assert_one_message(refuse("resume", here / "out"), ("resources.cpus is 99999", "this machine has"))


class TestCluster:
    """A cluster that cannot be joined is refused before an image is decoded: tests/sweep/test_connection.py."""

    @pytest.fixture(autouse=True)
    def _no_images(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def decoded(*_: object, **__: object) -> NoReturn:
            raise AssertionError("images were to be decoded")

        for name in ("prepare_data", "prepare_test"):
            monkeypatch.setattr(f"trainables.data.prepared.{name}", decoded)
        monkeypatch.setattr("trainables.data.usable.check_usable", decoded)

    @pytest.mark.parametrize(
        "command",
        ["run quickstart", "resume box", "confirm box --seeds 3", "extend box --add-trials 1", "evaluate box"],
    )
    def test_comes_before_the_images(
        self, refuse: Refuse, simulate: Any, study_of: MakeStudy, here: Path, command: str
    ) -> None:
        if "box" in command:
            simulate(study_of(confirm={"searches": 1, "seeds": 2}), here / "box").run()
        address = "127.0.0.1:1"
        message = refuse(*command.split(), "--address", address)
        assert message.startswith("error: --address '127.0.0.1:1': nothing listens at port 1 of 127.0.0.1: start the")


class TestDisk:
    """A full disk is no bug of the program: a message instead of a traceback."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
    def test_records_cannot_be_written(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
    ) -> None:
        def full(path: Path, *_: object, **__: object) -> NoReturn:
            raise OSError(number, os.strerror(number), str(path))

        def first_trial(folder: Path, conductor: Any, **_: Any) -> None:
            conductor.next_job()
            conductor.flush(force=True)

        (here / "mine.yaml").write_text(STUDY)
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "run", "mine.yaml", "--out", str(here / "out")])
        monkeypatch.setattr("sweep.records.part_file.write_whole", full)
        monkeypatch.setattr("sweep.engine.cluster", one_slot)
        monkeypatch.setattr("sweep.engine.run_trials", first_trial)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert_one_message(message, (str(here / "out" / "records"), os.strerror(number), "cutmix-sweep resume"))
        assert len(message.splitlines()) == 1

    def test_the_bound_of_the_trials_is_given_and_recorded(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = []

        def first_trial(folder: Path, conductor: Any, *, slots: Slots, **_: Any) -> None:
            given.append((conductor.max_trials, slots.limit(conductor.max_trials)))
            raise KeyboardInterrupt

        (here / "mine.yaml").write_text(STUDY)
        words = ["run", "mine.yaml", "--out", str(here / "out"), "--max-trials", "3"]
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", *words])
        monkeypatch.setattr("sweep.engine.cluster", one_slot)
        monkeypatch.setattr("sweep.engine.run_trials", first_trial)
        with pytest.raises(SystemExit):
            cli.main()
        assert given == [(3, 1)]  # this machine has room for one
        assert read_manifest(here / "out")["runs"][-1]["max_trials"] == 3

    def test_the_folder_is_deleted_while_the_sweep_runs(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def deleted(folder: Path, conductor: Any, **_: Any) -> None:
            conductor.next_job()
            shutil.rmtree(folder)
            conductor.flush(force=True)

        (here / "mine.yaml").write_text(STUDY)
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "run", "mine.yaml", "--out", str(here / "out"), "--quiet"])
        monkeypatch.setattr("sweep.engine.cluster", one_slot)
        monkeypatch.setattr("sweep.engine.run_trials", deleted)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert capsys.readouterr().err == (
            f"the folder '{here / 'out'}' was deleted or moved while it was in use: its records are gone with it\n"
        )
        assert not (here / "out").exists()

    def test_export_cannot_be_written(
        self, refuse: Refuse, here: Path, simulate: Any, study_of: MakeStudy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulate(study_of(), here / "sweep").run(5)
        (here / "file").write_text("")
        message = refuse("export", here / "sweep", "--to", here / "file" / "tables")
        assert_one_message(message, (str(here / "file"),))

    def test_another_fault_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is no user's mistake keeps its traceback: it has to be reported."""

        def broken(*_: object, **__: object) -> NoReturn:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr("search_spaces.schema.study_schema", broken)
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "schema"])
        with pytest.raises(OSError, match="Input/output"):
            cli.main()


class one_slot:
    """A cluster with room for one trial."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Slots:
        return fixed_slots(1)

    def __exit__(self, *_: object) -> None: ...


class TestProcess:
    """The installed entry point, from outside."""

    CODE = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('ray' in sys.modules, 'torch' in sys.modules))\n"
        "from sweep.cli import main\n"
        "sys.argv = ['cutmix-sweep', *sys.argv[1:]]\n"
        "main()\n"
    )

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", self.CODE, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    def test_a_study_with_a_typo(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(STUDY.replace("trials", "trails"))
        done = self.run(tmp_path, "run", "mine.yaml", "--out", "out")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "False False")
        assert_one_message(done.stderr, ("'budget.trails'", "did you mean 'trials'?"))
        assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]

    def test_data_that_is_not_there(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "run", "quickstart", "--data", "imagefolder:none", "--out", "out")
        assert done.returncode == 2
        assert done.stdout.splitlines()[-1].split()[0] == "False"  # a slow start is said before
        assert_one_message(done.stderr, (f"{tmp_path}/none",))
        assert list(tmp_path.iterdir()) == []


def test_half_written_files_of_a_killed_process_are_removed_and_no_others(tmp_path: Path) -> None:
    from sweep.launch import _remove_abandoned

    left = [f"{name}.0123456789ab.unfinished" for name in ("sweep.json", "records/counts.json", "records/copies/a")]
    kept = ["notes.of.unfinished", "models/off-0000.pt.0123456789ab.unfinished"]  # a worker may still write a model
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    time.sleep(0.01)
    _remove_abandoned(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.unfinished")) == sorted(kept)
