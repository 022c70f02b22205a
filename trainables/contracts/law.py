"""Laws that every part of a kind keeps, as checks that run without a test framework."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Law = Callable[[T], None]
"""Checks one law on a part; raises :class:`BrokenLawError`. Its docstring begins with ``Check that``."""


class BrokenLawError(Exception):
    """A part breaks a law; the message says where and how."""


@dataclass(frozen=True)
class Verdict:
    """Result of one law on one part.

    Attributes:
        law: the law in words.
        reason: how it is broken; empty if the part keeps it.
    """

    law: str
    reason: str


def require(holds: object, reason: str) -> None:
    """Check a condition of a law.

    Raises:
        BrokenLawError: the condition does not hold.
    """
    if not holds:
        raise BrokenLawError(reason)


def describe_law(law: Law[T]) -> str:
    """Return a law in words, from the first sentence of its docstring.

    Examples:
        >>> def check_sum(values: list[int]) -> None:
        ...     '''Check that the sum is 0.'''
        ...     require(sum(values) == 0, f"it is {sum(values)}")
        >>> describe_law(check_sum), [verdict.reason for verdict in judge((check_sum,), [1, 2])]
        ('the sum is 0', ['it is 3'])
    """
    sentence = " ".join((inspect.getdoc(law) or "").partition("\n\n")[0].split())
    return sentence.removeprefix("Check that ").removesuffix(".").replace("``", "`")


def judge(laws: Iterable[Law[T]], part: T) -> Iterator[Verdict]:
    """Check laws on a part one after another; any error in the code of the part breaks the law."""
    for law in laws:
        reason = ""
        try:
            law(part)
        except BrokenLawError as error:
            reason = str(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {' '.join(str(error).split())} ({frame.filename}, line {frame.lineno})"
        yield Verdict(describe_law(law), reason)
