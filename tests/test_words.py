"""Phrases that readers stumble over: no docstring, message, help text, notebook, study or README uses them."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")

PLURALS = "CPUs?|GPUs?|cores|threads|seeds|trials|images|rows?|files?|columns?|panels?|epochs|draws|boxes|values"
UNITS = "trial|arm|node|second|minute|epoch|batch|study|sample|seed|axis|row|column|setting"

PHRASES = {
    rf"\b({PLURALS}) an? ({UNITS})\b": "write per: seeds per arm",
    r"\b[Mm]end(s|ed|ing)?\b": "fix",
    r"\b[Tt](ake|akes|aken|ook|aking) up\b": "resume, restart",
    r"\b[Gg](o|oes|one|oing) on\b": "continue",
    r"\bno say in\b": "could not stop",
    r"\b([Nn]obody|[Ee]verybody)\b": "no sample, each sample",
    r"\b[Ff]oreign\b": "the partner's (pixel), OOD (image)",
    r"\b(holds?|leaves? out) zero\b": "contains zero, excludes zero",
    r"\b(come|comes) and go\b": "are correlated",
    r"\bunlike many\b": "different",
    r"\bas in [a-z]+[=:,]": "for example",
    r"\b[Ss]hort for\b": "shorthand for",
    r"\b([Ll]ies?|[Ll]aid|[Ll]ay) over\b": "overrides",
    r"\bsuits?\b": "applies to",
    r"(^|[.;:] )[Oo]f (an?|the|all|each|one|it) ": "start with the subject",
}
"""Pattern of a phrase, and what to write in its place."""

PHRASE = re.compile("|".join(f"(?:{pattern})" for pattern in PHRASES))

OPENINGS = re.compile(r"(Say|Tell|Ask|Answer|Put|Play|Lay|Spell|Hand|Let|Serve|Note|Give)\b")
"""Verbs that open no docstring: Return, Compute, Read, Write, Check, Format or Plot says more."""


def _python_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield strings and comments with their lines; the literals of one string, or of an f-string, are joined."""
    source = path.read_text()
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values),
            )
            pending += [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            pending += ast.iter_child_nodes(node)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def _notebook_texts(path: Path) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(json.loads(path.read_text())["cells"], start=1):
        yield number, "".join(cell["source"])


def _paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    line = 1
    for paragraph in path.read_text().split("\n\n"):
        yield line, re.sub(r"^\s*# ", "", paragraph, flags=re.MULTILINE)
        line += paragraph.count("\n") + 2


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    read = {".py": _python_texts, ".ipynb": _notebook_texts}.get(path.suffix, _paragraphs)
    for line, text in read(path):
        yield line, re.sub(r"\s+", " ", text).strip()


def _written_files() -> list[Path]:
    patterns = ("**/*.py", "**/*.ipynb", "**/*.yaml", "**/*.j2", "README.md")
    in_packages = [path for package in PACKAGES for pattern in patterns for path in (ROOT / package).glob(pattern)]
    return sorted([*in_packages, *ROOT.glob("*.py"), *ROOT.glob("*.md"), *(ROOT / "tests").glob("README.md")])


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


@pytest.mark.parametrize("path", _written_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_to_avoid(path: Path) -> None:
    places = [
        f"{path.relative_to(ROOT)}:{line}: [{match[0].strip()}] {text[max(0, match.start() - 40) : match.end() + 40]}"
        for line, text in _texts(path)
        for match in PHRASE.finditer(text)
    ]
    assert not places, "\n".join(places)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_opens_with_a_verb_to_avoid(package: str) -> None:
    places = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in _docstrings(path)
        if OPENINGS.match(text)
    ]
    assert not places, "\n".join(places)


@pytest.mark.parametrize(
    "sentence",
    [
        "Five seeds an arm are needed.",
        "How to mend it.",
        "Failed trials are taken up again.",
        "The search goes on.",
        "The rule has no say in it.",
        "Nobody has a partner.",
        "The pixels are foreign.",
        "The interval holds zero.",
        "They come and go together.",
        "Trials of unlike many epochs.",
        "A setting, as in ood.n_images=500, or as in asha,min=2",
        "Short for seed.",
        "It lies over the file.",
        "All axes that suit the data.",
        "It is read. Of the trials half are kept.",
        "Of each arm the best.",
    ],
)
def test_the_patterns_find_their_phrase(sentence: str) -> None:
    assert PHRASE.search(sentence)


def test_a_phrase_is_found_across_lines_and_literals(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Count seeds\n    an arm."""\nMESSAGE = "go " "on"\nx = 1  # nobody\nf"{x} of the {\'foreign\'}"\n'
    )
    assert sum(bool(PHRASE.search(text)) for _, text in _texts(path)) == 4
