"""Captions of generated scenes: five per scene, in varied wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from trainables.evaluation.scenes import COLOURS, SIZES, Scenes
from trainables.seeds import generator

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SIZE_PROB = 0.7
"""Probability that a caption names the size of a digit."""

RELATIONS = {"above": "below", "to the left of": "to the right of"}
"""A relation of two digits, and its inverse."""

TEMPLATES: dict[int, tuple[str, ...]] = {
    1: ("{0}", "just {0}", "{0} alone", "{0} and nothing else", "one digit {0}"),
    2: ("{0} {relation} {1}", "{1} {inverse} {0}", "{0} and {1}", "{1} and {0}", "{0} with {1}"),
    3: (
        "{0} and {1} and {2}",
        "{2} and {1} and {0}",
        "{0} with {1} and {2}",
        "{0} next to {1} and {2}",
        "three digits {0} and {1} and {2}",
    ),
}
"""Wordings by the number of digits; three digits are numbered from left to right.

There are few words beside the digits: a caption that looks at no image must not share many of them."""


def captions_of(scenes: Scenes, split: Literal["train", "test"], *, seed: int) -> list[tuple[str, ...]]:
    """Return five captions per scene of one to three digits.

    The wording depends on the seed, the split and the number of the scene alone.

    Args:
        scenes: scenes of :func:`~trainables.evaluation.scenes.draw_scenes`.
        split: their split.
        seed: seed of the wording.

    Examples:
        >>> from trainables.evaluation.scenes import draw_scenes
        >>> captions_of(draw_scenes("train", count=1, side_px=32), "train", seed=0)[0][0]
        'a large red six and nothing else'
    """
    return [_captions(scenes, number, generator(seed, "captions", split, number)) for number in range(len(scenes))]


def _captions(scenes: Scenes, number: int, rng: np.random.Generator) -> tuple[str, ...]:
    objects = scenes.objects(number)
    boxes = scenes.boxes[objects]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    order = np.argsort(centres[:, 1], kind="stable")
    names: dict[str, Any] = {}
    if len(order) == 2:
        order, relation = _related(centres, order)
        names = {"relation": relation, "inverse": RELATIONS[relation]}
    named = np.arange(objects.start, objects.stop)[order]
    templates = TEMPLATES[len(named)]
    return tuple(
        templates[index].format(*(_phrase(scenes, int(thing), rng) for thing in named), **names)
        for index in rng.permutation(len(templates))
    )


def _related(centres: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, str]:
    """Return two digits in the order of their relation: along the axis on which they are further apart."""
    down, right = np.abs(centres[0] - centres[1])
    if down > right:
        return np.argsort(centres[:, 0], kind="stable"), "above"
    return order, "to the left of"


def _phrase(scenes: Scenes, thing: int, rng: np.random.Generator) -> str:
    words: Sequence[str] = (tuple(COLOURS)[scenes.colours[thing]], DIGITS[scenes.digits[thing]])
    if rng.random() < SIZE_PROB:
        words = (tuple(SIZES)[scenes.sizes[thing]], *words)
    return " ".join(("a", *words))
