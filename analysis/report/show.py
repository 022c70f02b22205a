"""Figures, tables and pictures of a notebook: shown, and saved as files while a report is being written."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from analysis.report.tables import Intervals, as_text, has_cut_interval, has_index
from sweep.csv_files import write_csv
from sweep.findings.bounds import CUT_NOTE

REPORT_DIR = "CUTMIX_SWEEP_REPORT"
"""Environment variable with the folder of the report that is being written; unset if a user runs the notebook."""

SHOWN = "cutmix_sweep"
"""Key of the metadata of an output: its ``kind`` (``figure``, ``table`` or ``picture``) and ``name``."""

FIGURES, TABLES = "figures", "tables"
"""Folders of a report, for its files."""

PICTURE_PX = 1000
"""Greatest width of a picture on a page; its file keeps the full width."""

_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_PNG_DPI = 200


def show(
    thing: pd.DataFrame | Styler | Artist,
    name: str,
    *,
    percent: Collection[str] = (),
    points: Collection[str] = (),
    intervals: Intervals | None = None,
    data: pd.DataFrame | None = None,
) -> None:
    """Show a table or a figure; while a report is being written, also save it under its name.

    A table is saved as CSV with the raw values, and as LaTeX (booktabs) with the shown ones; a figure as PNG and SVG.

    Args:
        thing: a frame, a Styler, or a figure or axes of matplotlib, which is closed afterwards.
        name: name of its files: lower-case letters, digits and underscores, unique in a notebook.
        percent: columns of a frame with fractions, shown in percent.
        points: columns of a frame with differences of fractions, shown in percentage points.
        intervals: columns of a frame with estimates, and the columns with the ends of their intervals.
        data: frame that is saved as CSV instead of the frame that is shown.

    Raises:
        ValueError: the name is invalid or already used, or the frame lacks a named column.
        TypeError: ``thing`` is neither a table nor a figure.
    """
    _check_name(name)
    folder = os.environ.get(REPORT_DIR)
    if isinstance(thing, pd.DataFrame):
        text = as_text(thing, percent=percent, points=points, intervals=intervals)
        _show_table(thing if data is None else data, text.styled(name), text.latex(), name, folder)
        if has_cut_interval(thing, percent=percent, points=points, intervals=intervals or {}):
            display(Markdown(CUT_NOTE))
    elif isinstance(thing, Styler):
        latex = thing.to_latex(hrules=True, convert_css=True)
        _show_table(thing.data, thing, latex, name, folder)  # type: ignore[attr-defined]
    elif (figure := getattr(thing, "figure", None)) is not None:
        _show_figure(figure, name, folder)
    else:
        raise TypeError(f"show: expected a frame, Styler, figure or axes, got {type(thing).__name__} as {name!r}")


def show_picture(paths: Sequence[Path], name: str) -> None:
    """Show picture files one below another; while a report is being written, save them as one PNG file as well.

    A page embeds the picture as JPEG, at most ``PICTURE_PX`` wide, to keep the page small.

    Args:
        paths: files, one at least.
        name: name of the picture: lower-case letters, digits and underscores, unique in a notebook.

    Raises:
        ValueError: the name is invalid or already used.
    """
    from PIL import Image

    _check_name(name)
    strips = [Image.open(path, formats=["PNG", "JPEG"]).convert("RGB") for path in paths]
    whole = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    if folder := os.environ.get(REPORT_DIR):
        whole.save(_new_file(Path(folder) / FIGURES / f"{name}.png"))
    whole.thumbnail((PICTURE_PX, whole.height))
    jpeg = io.BytesIO()
    whole.save(jpeg, "JPEG", quality=85)
    _display({"image/jpeg": base64.b64encode(jpeg.getvalue()).decode()}, "picture", name)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"show: a name has only lower-case letters, digits and underscores, got {name!r}")


def bullet_list(groups: Mapping[str, Sequence[str]]) -> str:
    """Return sentences as Markdown: the name of each group, and its sentences as a list.

    Args:
        groups: sentences by the name of their group; a group without sentences is left out.

    Example:
        >>> print(bullet_list({"Arms": ["cutmix is lower."], "Factors": []}))
        **Arms**
        <BLANKLINE>
        - cutmix is lower.
    """
    parts = [f"**{name}**\n\n" + "\n".join(f"- {line}" for line in lines) for name, lines in groups.items() if lines]
    return "\n\n".join(parts)


def plain_text(text: str) -> str:
    """Return Markdown that shows a text as it is: a question or a name may contain signs of Markdown.

    Examples:
        >>> plain_text("Is <b> *better*?")
        'Is \\\\<b\\\\> \\\\*better\\\\*\\\\?'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _show_table(frame: pd.DataFrame, styled: Styler, latex: str, name: str, folder: str | None) -> None:
    if folder:
        csv = _new_file(Path(folder) / TABLES / f"{name}.csv")
        write_csv(frame, csv, index=has_index(frame))
        csv.with_suffix(".tex").write_text(latex, encoding="utf-8")
    _display({"text/html": styled.to_html()}, "table", name)


def _show_figure(figure: Figure, name: str, folder: str | None) -> None:
    if folder:
        png = _new_file(Path(folder) / FIGURES / f"{name}.png")
        figure.savefig(png, dpi=_PNG_DPI, bbox_inches="tight")
        # text stays text, for screen readers and search; the salt makes equal figures equal files
        with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(png.with_suffix(".svg"), bbox_inches="tight", metadata=_NO_METADATA)
        _display({"image/svg+xml": png.with_suffix(".svg").read_text(encoding="utf-8")}, "figure", name)
    else:
        display(figure)
    plt.close(figure)


def _new_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise ValueError(f"show: the name {path.stem!r} is already used; each table and each figure needs its own")
    return path


def _display(data: dict[str, Any], kind: str, name: str) -> None:
    metadata = {SHOWN: {"kind": kind, "name": name}}
    display({**data, "text/plain": f"{kind} {name}"}, raw=True, metadata=metadata)
