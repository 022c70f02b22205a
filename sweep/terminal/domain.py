"""Domains in a few characters."""

from __future__ import annotations

from typing import Any

from search_spaces.domains import Choice, Fixed, Integers, LogUniform, Uniform


def describe_domain(domain: Any) -> str:
    """Return the values of a domain in a few characters.

    Examples:
        >>> describe_domain(LogUniform(lo=0.1, hi=4.0))
        '0.1 .. 4 (log)'
        >>> describe_domain(Choice(values=("clip", "torus")))
        'clip | torus'
    """
    match domain:
        case LogUniform(lo=lo, hi=hi):
            return f"{lo:g} .. {hi:g} (log)"
        case Uniform(lo=lo, hi=hi) | Integers(lo=lo, hi=hi):
            return f"{lo:g} .. {hi:g}"
        case Choice(values=values):
            return " | ".join(str(value) for value in values)
        case Fixed(value=value):
            return f"= {value}"
    raise AssertionError(domain)
