from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.merging import at_path, flattened, merged

KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.dictionaries(KEYS, st.integers(), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner | st.integers(), max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("base", "changes", "result"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [3]}}, {"a": {"b": [3]}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        # another variant drops the old one's parameters, the same one keeps them
        ({"s": {"kind": "beta", "alpha": 1}}, {"s": {"kind": "fixed"}}, {"s": {"kind": "fixed"}}),
        ({"s": {"kind": "beta", "alpha": 1}}, {"s": {"kind": "beta"}}, {"s": {"kind": "beta", "alpha": 1}}),
        ({"s": {"kind": "beta", "alpha": 1}}, {"s": {"alpha": 2}}, {"s": {"kind": "beta", "alpha": 2}}),
        ({"m": {"family": "box", "aspect_max": 2}}, {"m": {"family": "flat"}}, {"m": {"family": "flat"}}),
        # parts over a preset's name
        ({"mix": "cutmix"}, {"mix": {"content": "zero"}}, {"mix": {"preset": "cutmix", "content": "zero"}}),
        ({"mix": {"preset": "cutmix", "content": "zero"}}, {"mix": "off"}, {"mix": "off"}),
        ({"mix": "cutmix"}, {"mix": "off"}, {"mix": "off"}),
        ({"other": "cutmix"}, {"other": {"content": "zero"}}, {"other": {"content": "zero"}}),
    ],
)
def test_merged(base: dict[str, Any], changes: dict[str, Any], result: dict[str, Any]) -> None:
    before = copy.deepcopy((base, changes))
    assert merged(base, changes) == result
    assert (base, changes) == before


@given(base=TREES, changes=TREES)
def test_changes_win_and_the_rest_stays(base: dict[str, Any], changes: dict[str, Any]) -> None:
    result = merged(base, changes)
    assert flattened(result).items() >= flattened(changes).items()
    assert merged(result, changes) == result
    assert merged(base, {}) == base
    assert list(result)[: len(base)] == list(base)


@given(tree=TREES)
def test_leaves_and_paths_belong_together(tree: dict[str, Any]) -> None:
    rebuilt: dict[str, Any] = {}
    for path, value in flattened(tree).items():
        rebuilt = merged(rebuilt, at_path(path, value))
    assert flattened(rebuilt) == flattened(tree)


def test_at_path() -> None:
    assert at_path("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert at_path("a", {"b": 1}) == {"a": {"b": 1}}


def test_flattened_names_leaves_by_path() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
