"""Reports: one page that needs nothing else, the verdict first, and files beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from PIL import Image

from analysis.report import write as report
from analysis.report.execute import NotebookFailedError
from sweep import cli
from sweep.records.errors import RecordsError
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest
from trainables.errors import UserError

IMPORTS = "import matplotlib.pyplot as plt\nimport pandas as pd\nfrom IPython.display import Markdown\n"
TABLE = (
    'from analysis.report.show import show\nshow(pd.DataFrame({"arm": ["off", "a_b"], "error": [0.25, 0.125]}), '
    '"arms", percent=["error"])'
)
FIGURE = 'ax = plt.subplots()[1]\nax.plot([1, 2], marker="o")\nax.set_title("A <figure>")\nshow(ax, "{name}")'


UNFINISHED = "So far: 5 of 8 trials have ended; resume with: cutmix-sweep resume 'a <b>'"


def unfinished(sweep_dir: Path) -> str:
    """Return what the results of a sweep lack: those of the study ``my_own`` lack nothing."""
    return "" if read_manifest(sweep_dir)["study"]["name"] == "my_own" else UNFINISHED


write_report = partial(report.write_report, unfinished=unfinished)


QUESTION = "Is <script>alert(1)</script> [here](javascript:alert(1)) ![*](https://example.org/x.png) better?"

RAN = "ran.txt"
"""File in which planted code writes its name."""

MODULES = ("pandas", "numpy", "matplotlib", "analysis", "sweep", "trainables", "IPython", "zmq", "PIL", "planted")
CONFIGS = ("ipython_config", "ipython_kernel_config", "jupyter_config", "jupyter_kernel_gateway_config")
AT_START = ("sitecustomize", "usercustomize", "profile_default/startup/00-first", "startup/00-first")


def plant(folder: Path, ran: Path) -> None:
    """Write files that Python, IPython, Jupyter or matplotlib would run if they looked into ``folder``."""
    code = f"import sys\nwith open({str(ran)!r}, 'a') as file:\n    file.write(__name__ + '\\n')\n"
    for name in (*MODULES, *CONFIGS, *AT_START):
        (folder / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(code)
    (folder / "matplotlibrc").write_text("backend: module://planted\n")
    (folder / "planted.pth").write_text(f"import sys; open({str(ran)!r}, 'a').write('pth')\n")
    kernel = folder / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-c", code.replace("__name__", "'kernel'")]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))


class Page(HTMLParser):
    """What a page refers to, its ids, its text and its tags, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.styles = ""
        self.downloads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"):
                self.references.append(value or "")
            if name in ("style", "clip-path", "fill", "filter", "mask"):
                self.styles += f"\n{value}"
            if name == "id":
                self.ids.append(value or "")
            if name == "download":
                self.downloads.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["style"]:
            self.styles += data
        self.words += [data.strip()] if data.strip() else []

    @property
    def text(self) -> str:
        return "\n".join(self.words)

    def assert_stands_alone(self) -> None:
        outside = [address for address in self.references if not address.startswith(("data:", "#"))]
        assert outside == []
        assert not {"script", "link", "iframe", "object", "embed", "base"} & set(self.tags)
        assert re.findall(r"@import|https?:|url\((?!['\"]?#)", self.styles) == []
        assert sorted(set(self.ids)) == sorted(self.ids)
        inner = [address[1:] for address in self.references if address.startswith("#")]
        inner += re.findall(r"url\(['\"]?#([^'\")]+)", self.styles)
        assert set(inner) <= set(self.ids)


def notebook_of(path: Path, *cells: tuple[str, list[str]]) -> Path:
    """Write a notebook of code cells with their tags; those that begin with # are Markdown."""
    made = []
    for number, (source, tags) in enumerate(cells):
        new = nbformat.v4.new_markdown_cell if source.startswith("#") else nbformat.v4.new_code_cell
        made.append(new(source, metadata={"tags": tags}, id=f"cell-{number}"))
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ran") / RAN


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, ran: Path) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    plant(folder, ran)
    return notebook_of(
        folder / "own.ipynb",
        ("# A title & more\n\n## Figures\n\nSee [there](#figures).", []),
        ("# Only for those who run it", ["notebook-only"]),
        (IMPORTS + "import os, sys", []),
        (TABLE, []),
        (FIGURE.format(name="first"), []),
        (FIGURE.format(name="second"), []),
        ("print(sys.executable)\nplt.subplots();", []),
        ("print('files here:', os.listdir(), 'import path is safe:', sys.flags.safe_path and '' not in sys.path)", []),
        ("## Figures", []),
        ("Markdown(f\"The verdict on {os.path.basename(os.environ['CUTMIX_SWEEP_DIR'])}.\")", ["verdict"]),
    )


@pytest.fixture(scope="module")
def sweep_dir(simulate: Callable[..., Path], ran: Path) -> Path:
    """A sweep whose folder somebody else has filled with code, and whose question is HTML."""
    folder = simulate(study="my_own", arms=("off", "cutmix", "fmix"), gains={"fmix": 0.1}, n_trials=8, stop=False)
    plant(folder, ran)
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "study": {**manifest["study"], "question": QUESTION}})
    return folder


@pytest.fixture(scope="module")
def path(sweep_dir: Path, notebook: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sweep_dir)
        patch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}.{os.pathsep}")
        return write_report([sweep_dir], notebook=str(notebook))


class TestReport:
    def test_lies_in_the_folder_of_the_sweep(self, path: Path, sweep_dir: Path) -> None:
        assert path == sweep_dir / "report" / "report.html"
        found = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
        figures = {f"figures/{name}.{suffix}" for name in ("first", "second") for suffix in ("png", "svg")}
        assert found == {"report.html", "tables/arms.csv", "tables/arms.tex", *figures}

    def test_needs_nothing_outside_itself(self, path: Path) -> None:
        page = Page(path)
        page.assert_stands_alone()
        assert page.tags.count("svg") == 2
        assert page.downloads == [
            *("arms.csv", "arms.tex"),
            *("first.png", "first.svg", "second.png", "second.svg"),
        ]

    def test_says_the_verdict_first(self, path: Path, sweep_dir: Path) -> None:
        words = Page(path).words
        assert UNFINISHED not in words
        head = words[words.index("A title & more", words.index("A title & more") + 1) :]  # the first is the tab's
        assert head[1:4] == [QUESTION, "Verdict", f"The verdict on {sweep_dir.name}."]
        assert words.count(f"The verdict on {sweep_dir.name}.") == 1

    def test_says_what_was_run(self, path: Path, sweep_dir: Path) -> None:
        text = Page(path).text
        assert f"Sweep\n{sweep_dir.name}\nStudy\nmy_own\nBudget\n8 trials per arm, 12 epochs at most" in text
        assert "Search\n24 trials in 3 arms, 24 completed; 8 seeds" in text

    def test_leaves_out_what_speaks_to_those_who_run_the_notebook(self, path: Path) -> None:
        assert "Only for those who run it" not in path.read_text()

    def test_is_of_this_interpreter(self, path: Path) -> None:
        assert sys.executable in Page(path).words

    def test_runs_nothing_out_of_the_folders_of_sweep_and_notebook_or_the_current_one(
        self, path: Path, ran: Path
    ) -> None:
        assert "files here: [] import path is safe: True" in Page(path).words
        assert not ran.exists(), ran.read_text()

    def test_forbids_scripts_and_remote_files(self, path: Path) -> None:
        assert re.search(r'Security-Policy" content="default-src \'none\'; [^"]*img-src data:;', path.read_text())

    def test_shows_a_figure_that_was_not_named(self, path: Path) -> None:
        assert Page(path).tags.count("img") == 1

    def test_folds_code_away(self, path: Path) -> None:
        page = Page(path)
        assert page.tags.count("details") >= 4
        assert IMPORTS in path.read_text()  # code that shows nothing stands with the next that does

    def test_has_files_that_can_be_read(self, path: Path) -> None:
        frame = pd.DataFrame({"arm": ["off", "a_b"], "error": [0.25, 0.125]})
        pd.testing.assert_frame_equal(pd.read_csv(path.parent / "tables" / "arms.csv"), frame)
        assert r"a\_b & 12.50" in (path.parent / "tables" / "arms.tex").read_text()
        with Image.open(path.parent / "figures" / "first.png") as image:
            assert image.width > 500

    def test_replaces_an_earlier_one(self, path: Path, sweep_dir: Path, tmp_path: Path) -> None:
        earlier = Path(shutil.copytree(path.parent, tmp_path / "out"))
        kept = earlier / "notes.txt"
        kept.write_text("of the user's")
        tiny = notebook_of(tmp_path / "tiny.ipynb", ("# Second", []))
        again = write_report([sweep_dir], to=earlier, notebook=str(tiny))
        assert again == earlier / "report.html"
        assert "Second" in again.read_text()
        assert kept.read_text() == "of the user's"


def test_the_notebook_of_another_study_asks_its_own_question(
    sweep_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "execute", lambda path, environment: nbformat.read(path, as_version=4))
    pages = {
        name: report.write_report(
            [sweep_dir], to=tmp_path / str(name), notebook=name, unfinished=lambda _: UNFINISHED
        ).read_text()
        for name in (None, "quickstart")
    }
    assert [name for name, page in pages.items() if 'class="question"' in page] == [None]


class TestStudyWithoutANotebook:
    def test_gets_the_one_for_any_study(
        self, sweep_dir: Path, tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(sweep_dir)
        path = write_report([sweep_dir], to=tmp_path)
        page = Page(path)
        page.assert_stands_alone()
        assert page.words.count(QUESTION) == 2  # below the title, and where the notebook shows it
        assert not ran.exists(), ran.read_text()
        text = page.text
        assert text.startswith("my_own\n")
        assert "What was evaluated" not in text
        assert "fmix has a lower validation top-1 error than off" in text
        assert "Not a confirmed result" in text
        assert text.index("fmix has a lower") < text.index("What was run", text.index("fmix has a lower"))
        arms = pd.read_csv(tmp_path / "tables" / "arms.csv")
        assert list(arms["arm"]) == ["off", "cutmix", "fmix"]
        assert set(arms["images"]) == {"validation"}


def test_a_heading_that_a_cell_shows_enters_the_contents(sweep_dir: Path, tmp_path: Path) -> None:
    notebook = notebook_of(
        tmp_path / "own.ipynb",
        ("# Title", []),
        ("from PIL import Image\nImage.new('RGB', (1200, 50)).save('strip.png')", []),
        ("from pathlib import Path\nfrom analysis.report.show import show_picture", []),
        ("from IPython.display import Markdown, display\ndisplay(Markdown('## Seen'))", []),
        ("show_picture([Path('strip.png')] * 2, 'strips')", []),
    )
    path = write_report([sweep_dir], to=tmp_path, notebook=str(notebook))
    page = Page(path)
    page.assert_stands_alone()
    assert "#sweep-seen" in page.references
    assert [address[:22] for address in page.references if "image/jpeg" in address] == ["data:image/jpeg;base64"]
    with Image.open(tmp_path / "figures" / "strips.png") as picture:
        assert picture.size == (1200, 100)


@pytest.fixture(scope="module")
def several(simulate: Callable[..., Path], notebook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = {"arms": ("off", "cutmix", "fmix"), "n_trials": 6, "stop": False, "n_epochs": 4}
    sweeps = [
        simulate(study="my_own", **given, gains={"fmix": 0.1}),
        simulate(study="begun", **given, gains={"fmix": -0.1}),
    ]
    return write_report(sweeps, to=tmp_path_factory.mktemp("several"), notebook=str(notebook))


class TestSeveralSweeps:
    def test_are_one_page(self, several: Path) -> None:
        page = Page(several)
        page.assert_stands_alone()
        assert page.tags.count("article") == 3
        assert [word for word in page.words if word.startswith("The verdict on")] != []

    def test_say_before_the_verdict_what_their_results_lack(self, several: Path) -> None:
        words = Page(several).words
        begun = words[words.index(UNFINISHED) + 2].removeprefix("The verdict on ").removesuffix(".")
        lacking = words.index(f"{begun}: {UNFINISHED}")
        assert lacking < words.index("Verdict", lacking) < words.index(UNFINISHED)
        assert [UNFINISHED in word for word in words].count(True) == 2

    def test_begin_with_their_comparison(self, several: Path) -> None:
        text = Page(several).text
        assert text.startswith("Sweeps compared")
        assert "fmix lower than off; cutmix undecided" in text
        assert "fmix higher than off; cutmix undecided" in text
        assert text.index("fmix lower than off") < text.index("The verdict on")

    def test_keep_their_files_apart(self, several: Path) -> None:
        folders = sorted(file.parent.parent.name for file in several.parent.glob("*/tables/arms.csv"))
        assert len(folders) == 2
        differences = pd.read_csv(several.parent / "tables" / "differences.csv")
        assert set(differences["sweep"]) == set(folders)


def test_a_study_does_not_name_a_file(tmp_path: Path) -> None:
    """The name in ``sweep.json`` was a path: a notebook in the folder of the sweep was run."""
    notebook_of(tmp_path / "x.ipynb", ("1 / 0", []))
    for name in (str(tmp_path / "x"), "../../../x", "any_study/../comparison", "comparison"):
        assert report._notebook({"study": {"name": name}}, None) == report.NOTEBOOKS / "any_study.ipynb"


class TestLinks:
    """A folder that came with the sweep does not lead the files of a report elsewhere."""

    def test_in_the_place_of_the_folder(self, sweep_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "sweep").symlink_to(sweep_dir)  # what the user names may be a link
        (sweep_dir / "report").rename(tmp_path / "kept")
        (sweep_dir / "report").symlink_to(tmp_path)
        try:
            with pytest.raises(UserError, match="report' is a link"):
                write_report([tmp_path / "sweep"], notebook="quickstart")
        finally:
            (sweep_dir / "report").unlink()
            (tmp_path / "kept").rename(sweep_dir / "report")

    def test_within_the_folder(self, tmp_path: Path) -> None:
        scratch, target, mine = tmp_path / "scratch", tmp_path / "target", tmp_path / "mine"
        for folder in (scratch / "tables", target, mine):
            folder.mkdir(parents=True)
        (scratch / "tables" / "arms.csv").write_text("arm")
        (mine / "page").write_text("mine")
        (target / "report.html").symlink_to(mine / "page")
        report._deliver("<html>", scratch, target, below=target)
        assert (target / "report.html").read_text() == "<html>"
        (target / "tables" / "arms.csv").unlink()
        (target / "tables").rmdir()
        (target / "tables").symlink_to(mine)
        with pytest.raises(UserError, match="tables' is a link"):
            report._deliver("<html>", scratch, target, below=target)
        assert [(path.name, path.read_text()) for path in mine.iterdir()] == [("page", "mine")]


class TestRefusals:
    def test_a_cell_that_fails_is_named_and_nothing_is_written(self, sweep_dir: Path, tmp_path: Path) -> None:
        bad = notebook_of(tmp_path / "bad.ipynb", ("# Title", []), ("x = 0\n1 / x", []), (IMPORTS + TABLE, []))
        with pytest.raises(NotebookFailedError) as failed:
            write_report([sweep_dir], to=tmp_path / "out", notebook=str(bad))
        assert str(failed.value) == "notebook 'bad.ipynb', cell 2 (x = 0): ZeroDivisionError: division by zero"
        assert not (tmp_path / "out").exists()

    def test_a_failed_notebook_ends_with_status_1(
        self, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*_: object, **__: object) -> Path:
            raise NotebookFailedError("notebook 'bad.ipynb', cell 2 (1 / 0): ZeroDivisionError: division by zero")

        monkeypatch.setattr(report, "write_report", fail)
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "report", str(sweep_dir)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert (ended.value.code, captured.out) == (1, "")
        assert captured.err == (
            "error: notebook 'bad.ipynb', cell 2 (1 / 0): ZeroDivisionError: division by zero; no report was written\n"
        )

    def test_no_sweep(self, tmp_path: Path) -> None:
        with pytest.raises(RecordsError, match=r"no sweep in .*nowhere"):
            write_report([tmp_path / "nowhere"])

    def test_a_sweep_given_twice(self, sweep_dir: Path) -> None:
        with pytest.raises(RecordsError, match="is given twice"):
            write_report([sweep_dir, sweep_dir / ".." / sweep_dir.name])

    def test_a_notebook_that_is_not_there(self, sweep_dir: Path) -> None:
        with pytest.raises(
            RecordsError, match=r"--notebook 'alpha_pro': .* one of alpha_prob, any_study, .*mask_shape"
        ):
            write_report([sweep_dir], notebook="alpha_pro")

    def test_a_file_in_place_of_the_folder(self, sweep_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RecordsError, match="not a folder"):
            write_report([sweep_dir], to=tmp_path / "file")


def test_open_shows_it_in_the_browser(
    sweep_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    page = tmp_path / "report.html"
    monkeypatch.setattr(report, "write_report", lambda *_, **__: page)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "report", str(sweep_dir), "--open"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert opened == [page.as_uri()]
    assert capsys.readouterr().out == f"{page}\n"
