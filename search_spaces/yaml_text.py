"""YAML of studies and settings, without traps and within bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from trainables.errors import format_value, shorten

MAX_CHARS = 1_000_000
"""Largest text: about a hundred times the longest built-in study."""

MAX_VALUES = 50_000
"""Largest number of keys and values. Each alias counts in full: a few bytes of aliases can stand for billions."""

MAX_DEPTH = 40
"""Deepest nesting. The deepest key of a study has about ten levels."""

_PREFIX = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"^[-+]?(0|[1-9]\d*)$")
_FLOAT = re.compile(r"^[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$")
_ODD_NUMBER = re.compile(r"^[-+]?(0\d+|0[bBoOxX][\da-fA-F_]+|\d[\d_]*_[\d_.]*|\d[\d_]*(:[0-5]?\d)+(\.\d*)?)$")
_TRUTH = re.compile(r"^(true|false)$", re.IGNORECASE)


class _Loader(yaml.SafeLoader):
    """YAML without four traps: ``1e-4`` is a number, ``off`` is text, ``010`` and a repeated key are errors."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._n_values = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; its depth is checked here, because the parser calls itself for each level."""
        self._n_values, self._depth = self._n_values + 1, self._depth + 1
        if self._n_values > MAX_VALUES:
            raise ValueError(_too_many())
        if self._depth > MAX_DEPTH:
            raise ValueError(_too_deep())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Insert merged keys (``<<``); a key may override a merged one, but must not be written twice."""
        written: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (f"{_PREFIX}str", f"{_PREFIX}merge"):
                text = shorten(str(key.value)) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _error(key, f"a key must be text, got {text}: write it in quotes")
            if key.value in written:
                raise _error(key, f"key '{shorten(key.value)}' is given twice")
            written.add(key.value)
        super().flatten_mapping(node)
        # one pair per key: otherwise merges of merges multiply, and an alias of this mapping seems to repeat keys
        node.value = list({key.value: (key, value) for key, value in node.value}.values())


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if not _INTEGER.match(text):
        return _odd_number(loader, node)
    if len(text) > len(str(-(2**63))):
        raise _error(node, _too_large(len(text.lstrip("+-"))))
    return int(text)


def _odd_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = shorten(node.value)
    raise _error(node, f"'{text}' is not a plain decimal number: write one, or write text in quotes")


_READ_HERE = {f"{_PREFIX}{name}" for name in ("bool", "int", "float", "timestamp", "value")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_HERE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_PREFIX}bool", _TRUTH, list("tTfF"))
_Loader.add_implicit_resolver(f"{_PREFIX}int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_PREFIX}float", _FLOAT, list("-+.0123456789"))
# YAML 1.1 reads these in another base (010, 0x10, 1:30) or without their underscores
_Loader.add_implicit_resolver("!odd_number", _ODD_NUMBER, list("-+0123456789"))
_Loader.add_constructor(f"{_PREFIX}int", _integer)
_Loader.add_constructor("!odd_number", _odd_number)


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text stands for.

    ``off`` is text, ``1e-4`` a number, and merge keys (``<<``) are read.

    Raises:
        ValueError: one line: the text is not valid YAML, too large or too deep, has a key twice, or an integer that is
            not decimal.

    Examples:
        >>> parse_yaml("{mix: off, lr: 1e-4}")
        {'mix': 'off', 'lr': 0.0001}
        >>> parse_yaml("trials: 010")
        Traceback (most recent call last):
        ValueError: line 1, column 9: '010' is not a plain decimal number: write one, or write text in quotes
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has {len(text):,} characters, and at most {MAX_CHARS:,} are read")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"{place}{shorten(_one_line(problem), 300)}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(shorten(_one_line(error), 300)) from None
    check_size(value)
    return value


def check_size(values: Any) -> None:
    """Check that nested values are small enough to be checked and quoted one by one.

    Raises:
        ValueError: too many or too deeply nested values, a value that contains itself, a key that is not text, or an
            integer beyond 64 bits.
    """
    measured: dict[int, tuple[int, int]] = {}  # number and depth of the values by container, however often it is used

    def measure(value: Any, level: int) -> tuple[int, int]:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(_too_large(round(value.bit_length() * math.log10(2))))
        if not isinstance(value, (Mapping, list, tuple)):
            return 1, 1
        if id(value) not in measured:
            if level >= MAX_DEPTH:
                raise ValueError(_too_deep())
            for key in value if isinstance(value, Mapping) else ():
                if not isinstance(key, str):
                    raise ValueError(f"a key must be text, got {format_value(key)}")
            items = value.values() if isinstance(value, Mapping) else value
            parts = [measure(item, level + 1) for item in items]
            measured[id(value)] = (1 + sum(n for n, _ in parts), 1 + max((depth for _, depth in parts), default=0))
        n_values, depth = measured[id(value)]
        if n_values > MAX_VALUES:
            raise ValueError(_too_many())
        if depth > MAX_DEPTH:
            raise ValueError(_too_deep())
        return n_values, depth

    measure(values, 0)


def _too_many() -> str:
    return f"it has more than {MAX_VALUES:,} keys and values, aliases included"


def _too_deep() -> str:
    return f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"


def _too_large(n_digits: int) -> str:
    return f"an integer must fit into 64 bits, got about {n_digits:,} digits"


def _error(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
