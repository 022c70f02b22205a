"""Pieces of HTML for notebooks; texts are escaped, because they contain names and paths of users."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH_PX, _HEIGHT_PX = 60, 14


class Html(str):
    """HTML, which is not escaped again."""


def paragraph(text: str, *, style: str = "") -> Html:
    """Return a paragraph that keeps line breaks.

    Examples:
        >>> paragraph("box & off")
        '<p style="margin: 0.3em 0; white-space: pre-line; ">box &amp; off</p>'
    """
    return Html(f'<p style="margin: 0.3em 0; white-space: pre-line; {style}">{_escaped(text)}</p>')


def heading(text: str) -> Html:
    """Return a short bold line."""
    return paragraph(text, style="font-weight: bold")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table with one text per column in each row; the first column is aligned left, the others right.

    Examples:
        >>> "<td" in table(["arm", "best"], [["off", "7.31 %"]])
        True
    """
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return Html(
        '<table style="border-collapse: collapse; font-variant-numeric: tabular-nums">'
        f"<thead><tr>{_cells('th', headings)}</tr></thead><tbody>{body}</tbody></table>"
    )


def sparkline(values: Sequence[float], *, lo: float, hi: float) -> Html:
    """Return a small line chart; "" for fewer than two values.

    Args:
        values: values from left to right; if there are more than pixels, the last value of each part is drawn.
        lo: value at the bottom.
        hi: value at the top.

    Examples:
        >>> "points='0.0,0.0 60.0,7.0'" in sparkline([0.5, 0.3], lo=0.1, hi=0.5)
        True
    """
    if len(values) < 2:
        return Html()
    if len(values) > _WIDTH_PX:
        values = [values[(place + 1) * len(values) // _WIDTH_PX - 1] for place in range(_WIDTH_PX)]
    down, right = _HEIGHT_PX / ((hi - lo) or 1.0), _WIDTH_PX / (len(values) - 1)
    points = " ".join(f"{place * right:.1f},{(hi - value) * down:.1f}" for place, value in enumerate(values))
    return Html(
        f"<svg width='{_WIDTH_PX + 2}' height='{_HEIGHT_PX + 2}' viewBox='-1 -1 {_WIDTH_PX + 2} {_HEIGHT_PX + 2}'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor' stroke-width='1.5'/></svg>"
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    style = "padding: 0.15em 0.8em 0.15em 0; text-align: "
    aligned = [("right" if place else "left", text) for place, text in enumerate(texts)]
    return "".join(f'<{tag} style="{style}{align}">{_escaped(text)}</{tag}>' for align, text in aligned)


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)
