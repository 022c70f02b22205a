"""An executed notebook as a part of a page: its verdict first, its code folded away, all that it shows within it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from nbconvert.filters import markdown2html, strip_ansi

from analysis.report.show import FIGURES, SHOWN, TABLES

VERDICT, ASIDE = "verdict", "notebook-only"
"""Tags of cells: one whose output answers the question, and one that speaks to a reader of the notebook alone."""

_HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL)
_TITLE = re.compile(r"\A\s*# (.+)\n?")
_FILES = {"figure": (FIGURES, ("png", "svg")), "table": (TABLES, ("csv", "tex")), "picture": (FIGURES, ())}
"""Folder and suffixes of the files that a page offers; a picture is embedded once, to keep the page small."""

_MIME = {".tex": "application/x-tex", ".csv": "text/csv", ".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Heading:
    """An entry of the table of contents."""

    words: str
    anchor: str


@dataclass(frozen=True)
class Output:
    """What a cell shows: HTML, the files of it that can be taken from the page, and its name, if it has one."""

    html: Markup
    kind: str = "other"
    name: str = ""
    downloads: tuple[tuple[str, str, Markup], ...] = ()


@dataclass(frozen=True)
class Block:
    """A cell: text, or what code shows with the code itself."""

    html: Markup | str = ""
    outputs: tuple[Output, ...] = ()
    code: str = ""
    is_verdict: bool = False


@dataclass
class Section:
    """A notebook on the page.

    Attributes:
        anchor: where links lead; what else is linked in the section begins with it.
        title: first heading of the notebook.
        label: name of the sweep, where a page has several.
        question: what the study asks; "" where the title says it.
        facts: what was run, as name and value.
        blocks: cells in their order.
        headings: of the table of contents.
        n_alike: headings so far by the anchor that their words give.
    """

    anchor: str
    title: str
    label: str = ""
    question: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    n_alike: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> list[Output]:
        """Outputs of the cells that answer the question."""
        return [output for block in self.blocks if block.is_verdict for output in block.outputs]


def section(
    notebook: nbformat.NotebookNode, *, anchor: str, folder: Path, question: str = "", facts: dict[str, str]
) -> Section:
    """Turn an executed notebook into a section.

    Args:
        notebook: with outputs.
        anchor: unique on the page.
        folder: where its figures and tables were saved.
        question: shown below the title.
        facts: what was run, as name and value.
    """
    made = Section(anchor, title=anchor, question=question, facts=facts)
    silent: list[str] = []  # code that shows nothing is folded away with the next that does
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if ASIDE in tags:
            continue
        if cell.cell_type == "markdown":
            made.blocks.append(Block(_text(_without_title(cell.source, made), made)))
        elif cell.cell_type == "code" and cell.source.strip():
            outputs = (_output(output, made, folder) for output in cell.outputs)
            shown = tuple(output for output in outputs if output.html)
            silent.append(cell.source)
            if shown:
                made.blocks.append(Block(outputs=shown, code="\n\n".join(silent), is_verdict=VERDICT in tags))
                silent = []
    if silent:
        made.blocks.append(Block(code="\n\n".join(silent)))
    return made


def page(sections: list[Section], *, footer: str) -> str:
    """Return a whole HTML page, the first section leading; it refers to nothing outside itself."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(sections=sections, footer=footer)


def _without_title(source: str, made: Section) -> str:
    """Return a Markdown cell without its title, which becomes that of the section."""
    title = _TITLE.match(source)
    if title is None:
        return source
    made.title = title[1].strip()
    return source[title.end() :]


def _text(source: str, made: Section) -> Markup:
    """Render Markdown; headings get anchors, and those of level 2 enter the contents of the section."""

    def heading(found: re.Match[str]) -> str:
        level, words = found[1], re.sub(r'<a class="anchor-link".*?</a>', "", found[2])
        plain = Markup(words).striptags()
        anchor = _anchor(made, plain)
        made.n_alike[anchor] = n = made.n_alike.get(anchor, 0) + 1
        anchor += f"-{n}" if n > 1 else ""
        if level == "2":
            made.headings.append(Heading(plain, anchor))
        return f'<h{level} id="{escape(anchor)}">{words}</h{level}>'

    html = re.sub(r'href="#([^"]*)"', lambda link: f'href="#{_anchor(made, link[1])}"', markdown2html(source))
    return Markup(_HEADING.sub(heading, html))


def _anchor(made: Section, words: str) -> str:
    return f"{made.anchor}-{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}"


def _output(output: nbformat.NotebookNode, made: Section, folder: Path) -> Output:
    if output.output_type == "stream":
        return Output(_preformatted(output.text))
    data, shown = output.get("data", {}), output.get("metadata", {}).get(SHOWN)
    if shown:
        html = _own_ids(_inline(data), f"{made.anchor}-{shown['name']}")
        return Output(html, shown["kind"], shown["name"], _downloads(shown["kind"], shown["name"], folder))
    if "text/markdown" in data:
        return Output(_text(data["text/markdown"], made), "text")
    return Output(_inline(data), "table" if "text/html" in data else "figure" if "image/png" in data else "other")


def _inline(data: dict[str, Any]) -> Markup:
    if "image/svg+xml" in data:
        # the declarations before it belong to files, and name addresses that nothing needs
        svg = data["image/svg+xml"]
        return Markup(re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :]))
    if "text/html" in data:
        return Markup(data["text/html"])
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            return Markup('<img alt="" src="data:{};base64,{}">').format(mime, data[mime].replace("\n", ""))
    return _preformatted(data.get("text/plain", ""))


def _preformatted(text: str) -> Markup:
    return Markup("<pre>{}</pre>").format(strip_ansi(text).rstrip()) if text.strip() else Markup()


def _own_ids(html: Markup, prefix: str) -> Markup:
    """Make the ids of a figure or table unique on the page, and what refers to them."""
    html_ = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}-", str(html))
    return Markup(re.sub(r"^(\s*)#T_", rf"\g<1>#{prefix}-T_", html_, flags=re.MULTILINE))


def _downloads(kind: str, name: str, folder: Path) -> tuple[tuple[str, str, Markup], ...]:
    """Return label, file name and data address of each file; they lie within the page, which may be sent alone."""
    below, suffixes = _FILES[kind]
    paths = [folder / below / f"{name}.{suffix}" for suffix in suffixes]
    return tuple((path.suffix[1:].upper(), path.name, _data_address(path)) for path in paths)


def _data_address(path: Path) -> Markup:
    return Markup(f"data:{_MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}")
