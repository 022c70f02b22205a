"""Text files are UTF-8 on every machine, whatever its locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")


def without_encoding(source: str) -> Iterator[int]:
    """Yield the lines of calls that read or write text in the encoding of the locale."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in ("read_text", "write_text", "open", "fdopen"):
            continue
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if (name == "open" and owner in ("Image", "os", "webbrowser")) or any("b" in mode for mode in _modes(call)):
            continue
        if not any(keyword.arg in ("encoding", None) for keyword in call.keywords):
            yield call.lineno


def _modes(call: ast.Call) -> list[str]:
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return [str(value.value) for value in values if isinstance(value, ast.Constant) and len(str(value.value)) <= 3]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_text_file_has_an_encoding(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    places = [f"{path}:{line}" for path in paths for line in without_encoding(path.read_text(encoding="utf-8"))]
    assert places == []


@pytest.mark.parametrize("code", ["p.read_text()", "p.write_text(x)", "open(p)", "p.open('w')", "os.fdopen(1, 'w')"])
def test_the_check_sees(code: str) -> None:
    assert list(without_encoding(code)) == [1]
