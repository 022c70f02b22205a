"""YAML without traps and within bounds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from search_spaces import yaml_text
from search_spaces.yaml_text import MAX_DEPTH, MAX_VALUES, check_size, parse_yaml


def read(text: str) -> Any:
    return parse_yaml(f"x: {text}")["x"]


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_yaml(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("1e-4", 1e-4), ("1E5", 1e5), ("-2e3", -2e3), ("+.5e1", 5.0), ("1.e2", 100.0), ("5.0e-4", 5e-4)],
    )
    def test_numbers_with_an_exponent_are_numbers(self, text: str, value: float) -> None:
        assert read(text) == value
        assert isinstance(read(text), float)

    @pytest.mark.parametrize("text", ["off", "on", "yes", "no", "Off", "NO"])
    def test_words_for_truth_values_are_words(self, text: str) -> None:
        assert read(text) == text

    @pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("null", None), ("", None)])
    def test_truth_and_nothing(self, text: str, value: object) -> None:
        assert read(text) is value

    @pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "v1e5"])
    def test_words_that_look_like_numbers_stay_words(self, text: str) -> None:
        assert read(text) == text

    def test_equal_keys_in_different_mappings_are_no_repetition(self) -> None:
        assert read("{a: {b: 1}, b: 1}") == {"a": {"b": 1}, "b": 1}

    @pytest.mark.parametrize("text", ["2026-01-01", "=", "v1_0", "a:1"])
    def test_other_words_are_words(self, text: str) -> None:
        assert read(text) == text

    @pytest.mark.parametrize(("text", "value"), [("0", 0), ("-7", -7), ("+10", 10), (str(2**63 - 1), 2**63 - 1)])
    def test_decimal_integers_are_integers(self, text: str, value: int) -> None:
        assert read(text) == value

    @pytest.mark.parametrize(
        "text", ["010", "08", "0x10", "0b11", "0o7", "1_0", "1:30", "-1:30:59", "1:30.5", "1_0.5", "!!int 0x10"]
    )
    def test_numbers_that_yaml_reads_in_another_way(self, text: str) -> None:
        assert "is not a plain decimal number" in refusal(f"x: {text}")
        assert read(f"'{text.removeprefix('!!int ')}'") == text.removeprefix("!!int ")


class TestMergeKeys:
    def test_are_read_and_may_be_overridden(self) -> None:
        text = "{off: &common {mix: off, lr: 1}, cm: {<<: *common, mix: cutmix}, also: *common}"
        off = {"mix": "off", "lr": 1}
        assert parse_yaml(text) == {"off": off, "cm": off | {"mix": "cutmix"}, "also": off}

    def test_the_first_of_several_wins_wherever_they_stand(self) -> None:
        text = "{a: &a {x: 1, y: 1}, b: &b {x: 2, z: 2}, c: &c {z: 3, <<: [*a, *b]}, d: {<<: *c, x: 4}}"
        assert parse_yaml(text)["c"] == {"x": 1, "y": 1, "z": 3}
        assert parse_yaml(text)["d"] == {"x": 4, "y": 1, "z": 3}

    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ("{a: &a {x: 1}, b: {<<: *a, x: 2, x: 3}}", "x"),
            ("{a: &a {x: 1}, b: {<<: *a, <<: *a}}", "<<"),
            ("{a: &a {x: 1, x: 2}, b: {<<: *a}}", "x"),
        ],
    )
    def test_a_key_that_is_written_twice(self, text: str, key: str) -> None:
        assert f"key '{key}' is given twice" in refusal(text)

    def test_of_something_that_is_no_mapping(self) -> None:
        assert "expected a mapping" in refusal("{a: {<<: 1}}")


@pytest.mark.parametrize("key", ["1", "true", "null", "1e-3", "[a, b]", "{a: b}"])
def test_a_key_must_be_text(key: str) -> None:
    assert "a key must be text" in refusal(f"? {key}\n: 1")


def _doubling(anchor: str) -> str:
    """Return ten levels of nine aliases each: nine to the tenth values."""
    levels = [
        f"{key}: &{key} {anchor.format(','.join([f'*{before}'] * 9))}\n" for before, key in pairwise("abcdefghijk")
    ]
    return "a: &a {x: 1}\n" + "".join(levels)


class TestBounds:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (f"x: {'9' * 6000}", "an integer must fit into 64 bits, got about 6,000 digits"),
            (f"x: {2**63}", "an integer must fit into 64 bits"),
            ("[" * 1200 + "]" * 1200, f"more than {MAX_DEPTH} levels deep"),
            ("{a: " * 1200 + "1" + "}" * 1200, f"more than {MAX_DEPTH} levels deep"),
            ("a: &a [*a]", "contains itself"),
            (_doubling("[{}]"), f"more than {MAX_VALUES:,} keys and values, aliases included"),
            ("x" * 1_000_001, "at most 1,000,000 are read"),
            ("x: [" + "1," * 60_000 + "]", "more than 50,000 keys and values"),
            ("x: \0", "special characters are not allowed"),
        ],
        ids=["digits", "65 bits", "lists", "mappings", "itself", "aliases", "characters", "values", "nul"],
    )
    def test_refused(self, text: str, words: str) -> None:
        assert words in refusal(text)

    def test_too_many_values_end_the_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading all of them first would take minutes."""
        monkeypatch.setattr(yaml_text, "MAX_VALUES", 5)
        monkeypatch.setattr(yaml_text, "check_size", lambda _: pytest.fail("all values were read"))
        assert "more than 5 keys and values" in refusal("[1, 1, 1, 1, 1, 1]")

    def test_merges_of_merges_do_not_multiply(self) -> None:
        assert parse_yaml(_doubling("{{<<: [{}]}}"))["k"] == {"x": 1}

    def test_a_chain_of_aliases_is_as_deep_as_it_reads(self) -> None:
        names = [f"n{level}" for level in range(MAX_DEPTH + 1)]
        text = "n0: &n0 [1]\n" + "".join(f"{name}: &{name} [*{before}]\n" for before, name in pairwise(names))
        assert "levels deep" in refusal(text)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"a": {1: 2}}, "a key must be text, got 1"),
            (([10**6000],), "about 6,000 digits"),
            ([-(2**63) - 1], "64 bits"),
        ],
    )
    def test_values_from_python(self, values: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            check_size(values)
