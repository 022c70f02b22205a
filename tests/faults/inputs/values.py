"""Values that a program should refuse, or use without harm, and their places in nested values."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

NUMBERS = (-1, 0, 1, 0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63 - 1, 2**64, 10**40)
TEXTS = ("", " ", "1", "null", "x" * 5_000, "\0", "\x1b[31mred", "a\nb", "ünïcödé ☃", "\ud800", "../../x", "/dev/null")
TEXTS += (
    "<script>alert(1)</script>",
    "[bold]x[/bold]",
    "a[/x]b",
    "=cmd()",
    "%s%n",
    "{0}",
    "$(touch ran)",
    "-1",
    "--help",
)
CONTAINERS: tuple[Any, ...] = (
    [],
    {},
    [1, 2],
    [[]],
    {"a": 1},
    {"": 1},
    {"kind": "nope"},
    {"kind": None},
    [None] * 3_000,
)
CONTAINERS += ({"kind": "uniform", "lo": 2, "hi": 1}, {"kind": "choice", "values": []}, {"rule": "asha", "brackets": 9})
CONTAINERS += ({"kind": "integers", "lo": -(2**62), "hi": 2**62}, {f"k{number}": number for number in range(3_000)})
NASTY: tuple[Any, ...] = (None, True, False, *NUMBERS, *TEXTS, *CONTAINERS)

TAGS = ("kind", "family", "rule", "search", "mix", "preset", "name", "source", "metric", "schedule")
VARIANTS = ("asha", "median", "box", "uniform", "fixed", "choice", "beta", "none", "grid", "tpe", "cutmix", "nope", 5)
NEW_KEYS = (
    "extra",
    "__class__",
    "budget",
    "mix",
    "kind",
    "space",
    "extends",
    "scales",
    "points",
    "match",
    "x" * 300,
    "",
)


def nasty(rng: random.Random) -> Any:
    """Return a copy of an odd value: a change of one input must not reach the next one."""
    return copy.deepcopy(rng.choice(NASTY))


Place = tuple[Any, Any]
"""A mapping or list, and a key or index in it."""


def places(values: Any) -> Iterator[Place]:
    """Yield the place of everything in nested mappings and lists."""
    pending = [values]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            pending.append(holder[key])


def mutate(values: dict[str, Any], rng: random.Random, n_changes: int) -> None:
    """Change nested values in place: delete, rename, retag, add, swap or replace something, ``n_changes`` times."""
    for _ in range(n_changes):
        present = list(places(values))
        if not present:
            return
        holder, key = rng.choice(present)
        match rng.choice(("delete", "replace", "replace", "replace", "rename", "retag", "add", "swap", "scale")):
            case "delete":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[f"{key}{rng.choice('xs_')}"] = holder.pop(key)
            case "retag" if isinstance(holder, dict) and (tags := [tag for tag in TAGS if tag in holder]):
                holder[rng.choice(tags)] = rng.choice(VARIANTS)
            case "add" if isinstance(holder, dict):
                holder[rng.choice(NEW_KEYS)] = nasty(rng)
            case "swap":
                other, place = rng.choice(present)
                if not (_contains(holder[key], other) or _contains(other[place], holder)):
                    holder[key], other[place] = other[place], holder[key]
            case "scale" if type(holder[key]) in (int, float):
                holder[key] = holder[key] * rng.choice((-1, 0, 1_000, 10**9))
            case _:
                holder[key] = nasty(rng)


def _contains(values: Any, holder: Any) -> bool:
    """Return whether nested values are, or contain, a mapping or list itself."""
    return values is holder or any(each[key] is holder for each, key in places(values))
