"""HTML of executed notebooks: the verdict first, code folded, all figures and tables embedded."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bleach
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from nbconvert.filters import markdown2html, strip_ansi

from analysis.report.show import FIGURES, SHOWN, TABLES

VERDICT, ASIDE = "verdict", "notebook-only"
"""Tags of cells: the output answers the question; the cell is for readers of the notebook, not of the page."""

_HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL)
_TITLE = re.compile(r"\A\s*# (.+)\n?")
_FILES = {"figure": (FIGURES, ("png", "svg")), "table": (TABLES, ("csv", "tex")), "picture": (FIGURES, ())}
"""Folder and suffixes of the files that a page offers; a picture is embedded once, to keep the page small."""

_TEXT_TAGS = frozenset(
    re.findall(
        r"\w+",
        "a b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr i li ol p pre span strong sub sup table tbody td th "
        "thead tr ul",
    )
)
"""Tags that Markdown may give; any other tag in a text is shown as it was written, so no name becomes a script."""

_TEXT_ATTRIBUTES = {"*": ["class", "id"], "a": ["href"], "td": ["style"], "th": ["style"]}
_CSS = CSSSanitizer(allowed_css_properties=["text-align"])

_MIME = {".tex": "application/x-tex", ".csv": "text/csv", ".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Heading:
    """An entry of the table of contents."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Output:
    """An output of a cell: its HTML, its kind and name, and the files that the page offers."""

    html: Markup
    kind: str = "other"
    name: str = ""
    downloads: tuple[tuple[str, str, Markup], ...] = ()


@dataclass(frozen=True)
class Block:
    """A cell: its text, or its outputs with its code."""

    html: Markup | str = ""
    outputs: tuple[Output, ...] = ()
    code: str = ""
    is_verdict: bool = False


@dataclass
class Section:
    """A notebook on the page.

    Attributes:
        anchor: target of links to the section; all other anchors in the section begin with it.
        title: first heading of the notebook.
        label: name of the sweep; "" on a page of one sweep.
        question: question of the study; "" if the notebook asks another.
        notices: what the results lack, for example trials that are left; above the verdict.
        facts: facts about the run, as name and value.
        blocks: cells in their order.
        headings: entries of the table of contents.
        n_alike: number of headings so far by the anchor that their text gives.
    """

    anchor: str
    title: str
    label: str = ""
    question: str = ""
    notices: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    n_alike: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> list[Output]:
        """Return the outputs of the cells that answer the question."""
        return [output for block in self.blocks if block.is_verdict for output in block.outputs]


def section(
    notebook: nbformat.NotebookNode, *, anchor: str, folder: Path, question: str = "", facts: dict[str, str]
) -> Section:
    """Turn an executed notebook into a section.

    Args:
        notebook: executed notebook.
        anchor: anchor of the section, unique on the page.
        folder: folder of its saved figures and tables.
        question: text below the title.
        facts: facts about the run, as name and value.
    """
    result = Section(anchor, title=anchor, question=question, facts=facts)
    silent: list[str] = []  # code without an output is folded together with the next code that has one
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if ASIDE in tags:
            continue
        if cell.cell_type == "markdown":
            result.blocks.append(Block(_text(_without_title(cell.source, result), result)))
        elif cell.cell_type == "code" and cell.source.strip():
            outputs = (_output(output, result, folder) for output in cell.outputs)
            shown = tuple(output for output in outputs if output.html)
            silent.append(cell.source)
            if shown:
                result.blocks.append(Block(outputs=shown, code="\n\n".join(silent), is_verdict=VERDICT in tags))
                silent = []
    if silent:
        result.blocks.append(Block(code="\n\n".join(silent)))
    return result


def page(sections: list[Section], *, footer: str) -> str:
    """Return a complete HTML page that refers to nothing outside itself; the first section gives the title."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(sections=sections, footer=footer)


def _without_title(source: str, section: Section) -> str:
    """Return a Markdown cell without its title, which becomes that of the section."""
    title = _TITLE.match(source)
    if title is None:
        return source
    section.title = title[1].strip()
    return source[title.end() :]


def _text(source: str, section: Section) -> Markup:
    """Render Markdown; headings get anchors, and those of level 2 enter the contents of the section."""

    def heading(match: re.Match[str]) -> str:
        level, text = match[1], re.sub(r'<a class="anchor-link".*?</a>', "", match[2])
        plain = Markup(text).striptags()
        anchor = _anchor(section, plain)
        section.n_alike[anchor] = n = section.n_alike.get(anchor, 0) + 1
        anchor += f"-{n}" if n > 1 else ""
        if level == "2":
            section.headings.append(Heading(plain, anchor))
        return f'<h{level} id="{escape(anchor)}">{text}</h{level}>'

    html = re.sub(r'href="#([^"]*)"', lambda link: f'href="#{_anchor(section, link[1])}"', _clean(source))
    return Markup(_HEADING.sub(heading, html))


def _clean(source: str) -> str:
    """Return Markdown as HTML that runs no code and loads nothing."""
    html = markdown2html(source)
    return str(bleach.clean(html, tags=_TEXT_TAGS, attributes=_TEXT_ATTRIBUTES, css_sanitizer=_CSS))


def _anchor(section: Section, text: str) -> str:
    return f"{section.anchor}-{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}"


def _output(output: nbformat.NotebookNode, section: Section, folder: Path) -> Output:
    if output.output_type == "stream":
        return Output(_preformatted(output.text))
    data, shown = output.get("data", {}), output.get("metadata", {}).get(SHOWN)
    if shown:
        html = _own_ids(_inline(data), f"{section.anchor}-{shown['name']}")
        return Output(html, shown["kind"], shown["name"], _downloads(shown["kind"], shown["name"], folder))
    if "text/markdown" in data:
        return Output(_text(data["text/markdown"], section), "text")
    return Output(_inline(data), "table" if "text/html" in data else "figure" if "image/png" in data else "other")


def _inline(data: dict[str, Any]) -> Markup:
    if "image/svg+xml" in data:
        # an SVG inside HTML needs no XML declaration and no namespaces
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
    """Make the ids of a figure or table, and the references to them, unique on the page."""
    html_ = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}-", str(html))
    return Markup(re.sub(r"^(\s*)#T_", rf"\g<1>#{prefix}-T_", html_, flags=re.MULTILINE))


def _downloads(kind: str, name: str, folder: Path) -> tuple[tuple[str, str, Markup], ...]:
    """Return label, file name and data address of each file: the page contains its files and may be sent alone."""
    below, suffixes = _FILES[kind]
    paths = [folder / below / f"{name}.{suffix}" for suffix in suffixes]
    return tuple((path.suffix[1:].upper(), path.name, _data_address(path)) for path in paths)


def _data_address(path: Path) -> Markup:
    return Markup(f"data:{_MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}")
