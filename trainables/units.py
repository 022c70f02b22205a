"""Numbers with their unit, as text."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """Return a size in decimal units, with three digits.

    Examples:
        >>> format_bytes(215_654_400), format_bytes(1.5e12), format_bytes(12)
        ('216 MB', '1.5 TB', '12 bytes')
    """
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return f"{count:.0f} bytes"
