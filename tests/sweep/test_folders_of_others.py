"""The folder of a sweep may come from somebody else: it is read as data, and leads to no file outside it."""

from __future__ import annotations

import json
import pickle
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from search_spaces.study import Study
from sweep.csv_files import write_csv
from sweep.evaluation.pictures import save_pictures
from sweep.launch import resume_sweep
from sweep.lease import LOCK
from sweep.lock import locked
from sweep.manifest import add_part_folders
from sweep.models import export_trial, load_trial
from sweep.records.errors import RecordsError
from sweep.records.manifest_file import study_sha256
from sweep.records.reader import read_manifest, read_sweep, read_table
from sweep.records.schema import DECISIONS, MANIFEST, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from sweep.run_log import LOG, LoggedDisplay
from trainables import parts
from trainables.errors import UserError
from trainables.evaluation.base import Measured

Run = Callable[..., tuple[int, str, str]]
MakeStudy = Callable[..., Study]

CODE = "from pathlib import Path\nPath({ran!r}).touch()\n"
RULE = {"rule": "planted:Rule"}


@pytest.fixture
def sweep_dir(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    return Path(simulate(study_of(), tmp_path / "sweep").run().sweep_dir)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that planted code makes; no folder is known in which parts of one's own are."""
    monkeypatch.setattr(parts, "_FOLDERS", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "ran"


def write_forged(sweep_dir: Path, manifest: dict[str, Any], study: dict[str, Any]) -> None:
    """Write another study with all the checksums that it needs."""
    runs = [*manifest["runs"][:-1], {**manifest["runs"][-1], "study_sha256": study_sha256(study)}]
    write_manifest(sweep_dir, {**manifest, "study": study, "runs": runs})


def change(sweep_dir: Path, **study: Any) -> None:
    manifest = read_manifest(sweep_dir)
    write_forged(sweep_dir, manifest, {**manifest["study"], **study})


def add_trial(sweep_dir: Path, **values: Any) -> None:
    """Record a trial once more, with other values."""
    trials = read_table(sweep_dir, TRIALS)
    row = trials[trials["trial"] == "off-0000"].iloc[0].dropna().to_dict()
    writer = RecordsWriter(sweep_dir)
    writer.add(TRIALS, {**row, **values})
    writer.flush(force=True)


class TestCode:
    """A part that the manifest names is imported by no verb that only reads."""

    @pytest.fixture
    def planted(self, sweep_dir: Path, ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (sweep_dir / "planted.py").write_text(CODE.format(ran=str(ran)))
        manifest = read_manifest(sweep_dir)
        budget = {**manifest["study"]["budget"], "early_stopping": RULE}
        base = {"model": {"name": "planted:Net"}, "data": {"source": "planted:Images"}}
        arms = {**manifest["study"]["arms"], "cutmix": {"mix": {"mask": {"family": "planted:Mask"}}}}
        part = {"kind": "early-stopping rule", "name": "planted:Rule", "folder": str(sweep_dir)}
        study = {**manifest["study"], "budget": budget, "base": base, "arms": arms}
        write_forged(sweep_dir, {**manifest, "parts": [part]}, study)
        row = read_table(sweep_dir, DECISIONS).iloc[0].to_dict()
        writer = RecordsWriter(sweep_dir)
        writer.add(DECISIONS, {**row, "trial": "off-0000", "rung_epochs": 99, "rule": "planted:Rule"})
        writer.flush(force=True)
        monkeypatch.chdir(sweep_dir)
        return sweep_dir

    def test_is_not_run_by_what_reads(self, planted: Path, ran: Path, run: Run) -> None:
        verbs = ("status", "status --json", "status --why off-0000", "status --follow", "trials", "trials --json")
        exports = ("export --format csv", "export --format optuna", "export --format tensorboard")
        for verb in (*verbs, *exports, "replay --orders 2", "export-model"):
            name, *options = verb.split()
            code, _, _ = run(name, ".", *options, *(["off-0000"] if name == "export-model" else []))
            assert (verb, code in (0, 1, 2), ran.exists()) == (verb, True, False)
        assert "planted" not in sys.modules
        assert str(planted) not in sys.path

    def test_is_not_run_by_resume(self, planted: Path, ran: Path) -> None:
        with pytest.raises(UserError, match=r"there is no module .planted.*PYTHONPATH"):
            resume_sweep(planted)
        assert not ran.exists()

    def test_folders_that_resume_searches(self, sweep_dir: Path, tmp_path: Path, ran: Path) -> None:
        inside, mine, others = sweep_dir / "records", tmp_path / "mine", tmp_path / "others"
        for folder in (mine, others):
            folder.mkdir()
        (tmp_path / "linked").symlink_to(inside)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sweep.manifest.os.getuid", lambda: mine.stat().st_uid)
            folders = (inside, mine, tmp_path / "linked")
            warnings = add_part_folders({"parts": [{"folder": str(folder)} for folder in folders]}, sweep_dir)
            assert mine in parts._FOLDERS
            assert not {inside, tmp_path / "linked"} & {*parts._FOLDERS}
            assert [("lies in the folder of the sweep" in text) for text in warnings] == [True, True]
        if others.stat().st_uid == 0:
            shutil.chown(others, 12345)
            (warning,) = add_part_folders({"parts": [{"folder": str(others)}]}, sweep_dir)
            assert "belongs to another user" in warning
            assert others not in parts._FOLDERS

    def test_of_a_pickle(self, sweep_dir: Path, ran: Path, tmp_path: Path) -> None:
        class Planted:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (ran,))

        models = sweep_dir / "models"
        models.mkdir()
        torch.save({"weights": Planted()}, models / "off-0000.pt")
        with pytest.raises(UserError, match=r"off-0000\.pt"):
            load_trial(sweep_dir, "off-0000")
        type_ = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Planted())}
        field = pa.field("trial", pa.string(), metadata=type_)
        pq.write_table(pa.table([["off-0000"]], schema=pa.schema([field])), tmp_path / "part.parquet")
        assert pq.read_table(tmp_path / "part.parquet").to_pandas()["trial"].tolist() == ["off-0000"]
        assert not ran.exists()


class TestNames:
    @pytest.mark.parametrize(
        ("column", "name"),
        [
            *(("trial", name) for name in ("../../stolen", "/tmp/x", "..", "a\x1b[2J", "$(touch x)")),
            *(("arm", name) for name in ("a/b", "=cmd()", "")),
            ("confirms", "../x"),
        ],
    )
    def test_that_lead_elsewhere_are_refused(self, sweep_dir: Path, column: str, name: str, run: Run) -> None:
        add_trial(sweep_dir, **{column: name})
        with pytest.raises(RecordsError, match="cutmix-sweep writes no such name"):
            read_sweep(sweep_dir)
        code, _, message = run("export", str(sweep_dir), "--format", "tensorboard")
        assert (code, len(message.splitlines())) == (2, 1)
        assert "\x1b" not in message
        assert not (sweep_dir / "export").exists()

    def test_of_the_manifest(self, sweep_dir: Path) -> None:
        for study in ({"name": "../x"}, {"arms": {"<b>": {}}}):
            change(sweep_dir, **study)
            with pytest.raises(RecordsError, match="cutmix-sweep writes no such name"):
                read_manifest(sweep_dir)
            manifest = json.loads((sweep_dir / MANIFEST).read_text())
            write_forged(sweep_dir, manifest, {**manifest["study"], "name": "small", "arms": {"off": {}}})

    def test_that_a_user_gives_are_looked_up(self, sweep_dir: Path, tmp_path: Path) -> None:
        (sweep_dir / "models").mkdir()
        (tmp_path / "stolen.pt").touch()
        for name in ("../../stolen", str(tmp_path / "stolen")):
            with pytest.raises(UserError, match="has no trial"):
                export_trial(sweep_dir, name, form="weights", out=tmp_path / "out.pt")


class TestLinks:
    @pytest.fixture
    def mine(self, tmp_path: Path) -> Path:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "trials.csv").write_text("mine")
        return folder

    @pytest.fixture(autouse=True)
    def _unchanged(self, mine: Path) -> Any:
        yield
        assert {path.name: path.read_text() for path in mine.iterdir()} == {"trials.csv": "mine"}

    def test_in_the_place_of_an_export(self, sweep_dir: Path, mine: Path, run: Run) -> None:
        (sweep_dir / "export").symlink_to(mine)
        for format_ in ("csv", "parquet", "optuna", "tensorboard"):
            code, _, message = run("export", str(sweep_dir), "--format", format_)
            assert code == 2
            assert "export' is a link" in message

    def test_in_an_export(self, sweep_dir: Path, mine: Path, run: Run) -> None:
        (sweep_dir / "export").mkdir()
        (sweep_dir / "export" / "trials.csv").symlink_to(mine / "trials.csv")
        (sweep_dir / "export" / "tensorboard.unfinished").symlink_to(mine)
        assert run("export", str(sweep_dir))[0] == 0
        assert not (sweep_dir / "export" / "trials.csv").is_symlink()
        assert run("export", str(sweep_dir), "--format", "tensorboard")[0] == 2

    def test_in_the_place_of_the_lock(self, sweep_dir: Path, mine: Path, run: Run) -> None:
        (sweep_dir / LOCK).unlink(missing_ok=True)
        (sweep_dir / LOCK).symlink_to(mine / "trials.csv")
        with pytest.raises(UserError, match=r"\.lock' is a link"), locked(sweep_dir):
            pass
        assert run("status", str(sweep_dir))[0] == 0

    def test_in_the_place_of_pictures_and_log(self, sweep_dir: Path, mine: Path) -> None:
        from types import SimpleNamespace

        from sweep.display import SILENT

        (sweep_dir / "pictures").symlink_to(mine)
        task: Any = SimpleNamespace(trial="off-0000", axis=SimpleNamespace(name="trials"))
        with pytest.raises(UserError, match="pictures' is a link"):
            save_pictures(sweep_dir, task, Measured(values=(), pictures={"map": b"png"}))
        (sweep_dir / LOG).unlink(missing_ok=True)
        (sweep_dir / LOG).symlink_to(mine / "trials.csv")
        with LoggedDisplay(SILENT).log_run(sweep_dir, {"command": "x", "versions": {}}):
            pass


def test_a_text_is_no_formula(sweep_dir: Path, tmp_path: Path, run: Run) -> None:
    for why in ("=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1", "x\r=1"):
        add_trial(sweep_dir, status="failed", why=why)
        assert run("export", str(sweep_dir), "--to", str(tmp_path))[0] == 0
        exported = pd.read_csv(tmp_path / "trials.csv").set_index("trial")
        assert exported.loc["off-0000", "why"] == ("" if why[0] == "x" else "'") + why.replace("\r", "\n")
    frame = pd.DataFrame({"=x": [-0.5, 1.0], "text": ["-1e-3", "+2"]}, index=pd.Index(["-a", "b"], name="arm"))
    write_csv(frame, tmp_path / "frame.csv", index=True)
    assert (tmp_path / "frame.csv").read_text() == "arm,'=x,text\n'-a,-0.5,-1e-3\nb,1.0,+2\n"


class TestTerminal:
    """Control characters do nothing, in a terminal as in a pipe; what is not a name may contain them."""

    BAD = "Is it[/x] \x1b[2J\x1b]0;title\x07 \x9b2J \u202egnp.exe [bold]better?"

    def test_control_characters_of_a_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run) -> None:
        folder = tmp_path / "a[/x]b [bold]c"
        simulate(study_of(question=self.BAD), folder).run(7)
        add_trial(folder, status="failed", why=self.BAD)
        for verb in ("status", "trials", "status --json", "status --why off-0000"):
            name, *options = verb.split()
            _, out, err = run(name, str(folder), *options)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err), verb
        _, out, _ = run("status", str(folder))
        assert r"Is it[/x] \x1b[2J\x1b]0;title\x07 \x9b2J \u202egnp.exe [bold]better?" in out
        commands = re.findall(r": (cutmix-sweep resume .*)", out)
        assert {shlex.split(command)[2] for command in commands} == {str(folder)}

    def test_control_characters_of_a_mistake(self, tmp_path: Path, run: Run) -> None:
        code, _, err = run("status", str(tmp_path / "no\x1b[2Jsweep[/x]"))
        assert code == 2
        assert r"no\x1b[2Jsweep[/x]" in err

    def test_one_file_makes_texts_and_one_prints(self) -> None:
        """All others use ``plain``, ``print_line``, ``add_row`` and ``echo``, which show control characters as text."""
        root = Path(__file__).parents[2] / "sweep"
        patterns = {
            r"\bText\(|Text\.(assemble|from_)|console\.print\(|markup=True": "terminal/tables.py",
            r"\btyper\.(s?echo)\(|\bclick\.echo\(": "cli/app.py",
        }
        allowed = {"terminal/completion.py", "notebook/printed.py"}
        for pattern, owner in patterns.items():
            files = [path for folder in ("terminal", "cli") for path in (root / folder).glob("*.py")]
            found = {str(path.relative_to(root)) for path in files if re.search(pattern, path.read_text())}
            assert found - allowed == {owner}
