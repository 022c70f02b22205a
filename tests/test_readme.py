"""Every command of the README is one that the program accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from search_spaces.discover import built_in_studies, load_study
from sweep import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text().replace("\\\n", " ")


def _commands() -> list[str]:
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    found = [line.split("  #")[0] for line in lines if re.match(r"(\S*/)?cutmix-sweep ", line)]
    return [re.sub(r"^\S*cutmix-sweep ", "", line).split(" > ")[0] for line in found]


def test_there_are_commands_to_check() -> None:
    assert len(_commands()) >= 8


@pytest.mark.parametrize("line", [line for line in _commands() if "trails" not in line])
def test_the_program_takes_the_command(line: str) -> None:
    verb, *arguments = shlex.split(line)
    group = typer.main.get_command(cli.app)
    context = group.commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]
    study = context.params.get("study") or context.params.get("name")
    if study in built_in_studies():
        settings = context.params.get("set_") or []
        load_study(study, settings=[setting for setting in settings if "data" not in setting])


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
def test_the_makefile_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
