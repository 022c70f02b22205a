"""Numbers and time spans as text."""

from __future__ import annotations

import math

import pytest

from sweep.formats import format_duration, format_percent


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0731, "7.31 %"), (0.0, "0.00 %"), (1.0, "100.00 %"), (0.12345, "12.35 %"), (None, "-"), (math.nan, "-")],
)
def test_percent(fraction: float | None, text: str) -> None:
    assert format_percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (360000, "100 h 0 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
