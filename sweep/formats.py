"""Numbers, time spans and reasons as people read them: in the terminal, in a log, in a notebook."""

from __future__ import annotations

import re

from sweep.mirrored import shown
from trainables.errors import UserError

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]|[\ud800-\udfff]"
)
"""Control characters but tab and line feed, and characters that change the direction of the text around them."""


def printable(text: str) -> str:
    """Return a text for a terminal: a control character is shown as Python writes it, and does nothing.

    Names of files, classes and errors come from data sets and from other programs. A control character in one could
    clear the screen, change earlier lines or hide what a command does. A sweep in an object store has its address in
    place of its working folder.

    Examples:
        >>> print(printable("cat\\x1b[2J"))
        cat\\x1b[2J
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], shown(text))


def format_percent(fraction: float | None) -> str:
    """Format a fraction as a percentage; a dash for None and NaN.

    Examples:
        >>> format_percent(0.0731)
        '7.31 %'
        >>> format_percent(None)
        '-'
    """
    return "-" if fraction is None or fraction != fraction else f"{100 * fraction:.2f} %"


def format_points(fraction: float) -> str:
    """Format a difference of two fractions in percentage points, with its sign; a dash for NaN.

    Examples:
        >>> format_points(-0.0102)
        '-1.02'
    """
    return "-" if fraction != fraction else f"{100 * fraction:+.2f}"


def format_decimal(value: float) -> str:
    """Format a number with three decimals, a large number in powers of ten; a dash for NaN.

    Examples:
        >>> format_decimal(0.8784)
        '0.878'
        >>> format_decimal(123456.0)
        '1.23e+05'
    """
    if value != value:
        return "-"
    return f"{value:.3g}" if abs(value) >= 1000 else f"{value:.3f}"


def format_duration(seconds: float) -> str:
    """Format a time span with at most two units.

    Examples:
        >>> format_duration(44.6)
        '45 s'
        >>> format_duration(200)
        '3 min 20 s'
        >>> format_duration(7500)
        '2 h 5 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_pace(images_per_s: float | None) -> str:
    """Format images per second; a dash for None.

    Examples:
        >>> format_pace(1234.5)
        '1,234'
    """
    return "-" if images_per_s is None else f"{images_per_s:,.0f}"


_FOR_USERS = f"{UserError.__module__}.{UserError.__qualname__}: "


def reason_in_one_line(why: str) -> str:
    """Return the error that a traceback ends with, or any other reason, in one line.

    An error that says what its reader can do is shown without the name of its class.

    Examples:
        >>> reason_in_one_line('Traceback:\\n  File "net.py", line 3, in run\\n    step()\\nValueError: bad\\n  shape')
        'ValueError: bad shape'
        >>> reason_in_one_line("trainables.errors.UserError: no images in '/shared/photos'")
        "no images in '/shared/photos'"
        >>> reason_in_one_line("its worker died 4 times: out of memory")
        'its worker died 4 times: out of memory'
    """
    lines = why.splitlines()
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    if frames:
        after = lines[frames[-1] + 1 :]
        begin = next((place for place, line in enumerate(after) if line and not line.startswith(" ")), 0)
        lines = after[begin:]
    elif why.startswith("Traceback"):
        lines = lines[-1:]
    return " ".join(" ".join(lines).split()).removeprefix(_FOR_USERS) or "no reason given"


def cut(text: str, n_chars: int) -> str:
    """Return a text of at most ``n_chars`` characters; dots replace what is cut off.

    Examples:
        >>> cut("no such server", 10)
        'no such...'
    """
    return text if len(text) <= n_chars else f"{text[: n_chars - 3]}..."
