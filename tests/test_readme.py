"""Every command, study, table entry, link and import of the README files is one that the program has."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from search_spaces.discover import built_in_studies, load_study
from sweep import cli
from trainables.data.sources.registry import SOURCES
from trainables.evaluation.axes import AXES
from trainables.mixing.masks import FAMILIES
from trainables.mixing.presets import PRESETS

ROOT = Path(__file__).parents[1]
FOLDERS = ("trainables", "search_spaces", "sweep", "analysis", "tests")
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text().replace("\\\n", " ")
    for path in [*sorted(ROOT.glob("*.md")), *(ROOT / folder / "README.md" for folder in FOLDERS)]
}
README = TEXTS["README.md"]


def _blocks(text: str, language: str = "[a-z]*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    lines = [
        line.strip().removeprefix("$ ")
        for text in TEXTS.values()
        for block in _blocks(text)
        for line in block.splitlines()
    ]
    commands = [line.split("  #")[0] for line in lines if re.match(r"(\S*/)?cutmix-sweep ", line)]
    return list(dict.fromkeys(re.sub(r"^\S*cutmix-sweep ", "", line).split(" > ")[0].strip() for line in commands))


def test_there_are_commands_to_check() -> None:
    assert len(_commands()) >= 20


@pytest.mark.parametrize("line", [line for line in _commands() if "trails" not in line])
def test_the_program_takes_the_command(line: str) -> None:
    verb, *arguments = shlex.split(line)
    group = typer.main.get_command(cli.app)
    context = group.commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]
    study = context.params.get("study") or context.params.get("name")
    if study in built_in_studies():
        settings = context.params.get("set_") or []
        load_study(study, settings=[setting for setting in settings if "data" not in setting])


@pytest.mark.parametrize(
    "target", sorted({target for text in TEXTS.values() for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)\b", text)})
)
def test_the_makefile_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files_and_headings(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)", TEXTS[name])
    for target, anchor in links:
        if "://" in target:
            continue
        path = (ROOT / name).parent.joinpath(target)
        assert path.exists(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, f"{target}#{anchor}"


@pytest.mark.parametrize("name", TEXTS)
def test_the_studies_shown_are_valid(name: str, tmp_path: Path) -> None:
    for number, block in enumerate(_blocks(TEXTS[name], "yaml")):
        if "question:" in block:
            path = tmp_path / f"study_{number}.yaml"
            path.write_text(block)
            load_study(str(path))


@pytest.mark.parametrize("name", TEXTS)
def test_the_python_shown_imports_what_there_is(name: str) -> None:
    for block in _blocks(TEXTS[name], "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOLDERS:
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("name", TEXTS)
def test_the_paths_named_exist(name: str) -> None:
    """A name in backquotes with a slash and an ending is a file of this repository, from the root or the folder."""
    folder = (ROOT / name).parent
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|yaml|ipynb|md|css|csv))`", TEXTS[name])
    assert not [path for path in named if not (ROOT / path).exists() and not (folder / path).exists()]


@pytest.mark.parametrize(
    ("file", "heading", "known"),
    [
        ("trainables/README.md", "source", SOURCES),
        ("trainables/README.md", "axis", AXES),
        ("trainables/README.md", "mask", FAMILIES),
        ("trainables/README.md", "preset", PRESETS),
        ("search_spaces/README.md", "study", built_in_studies()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tables_name_only_what_there_is(file: str, heading: str, known: dict[str, object]) -> None:
    """A table may leave out a new variant, which the command beside it lists; it may not name one that is gone."""
    table = re.search(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", TEXTS[file], flags=re.MULTILINE)
    assert table, f"{file} has no table of the kind '{heading}'"
    names = [
        name.split(":")[0] for row in table[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert names
    assert not set(names) - set(known)


def _walks() -> list[tuple[str, str]]:
    return re.findall(r"^\| `([a-z_/]+\.py)` \| `([A-Za-z_.]+)` \|", TEXTS["CONTRIBUTING.md"], flags=re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), _walks(), ids=str)
def test_the_way_of_a_parameter_and_of_a_record_names_what_there_is(path: str, name: str) -> None:
    target = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for attribute in name.split("."):
        target = getattr(target, attribute)


def test_there_are_ways_to_check() -> None:
    assert len(_walks()) >= 20
