"""The contract of mask families, at every position they support. A new family is covered without an entry here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.contracts.law import BrokenLawError, Law, judge
from trainables.contracts.masks import LARGEST_DEVIATION, LAWS, canvas_of, largest_deviation
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.box import Box
from trainables.mixing.position import ClipPosition

every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


@every_family
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[Mask], family: str) -> None:
    law(FAMILIES[family]())


def test_a_favoured_place_would_be_seen() -> None:
    canvas = replace(canvas_of("torus", 10_000, height=10, width=14), position=ClipPosition())
    assert largest_deviation(Box().draw(np.full(10_000, 0.1), canvas)) > 3 * LARGEST_DEVIATION


class Wrong(Box):
    """A box that is half as large as requested, drawn with the global generator, in double precision."""

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw each box twice, and change the requested fractions."""
        torch.rand(1)
        pasted_frac *= 0.5
        return super().draw(pasted_frac, canvas).double()


def test_a_mask_that_breaks_laws_is_told_which() -> None:
    reasons = {verdict.law: verdict.reason for verdict in judge(LAWS, Wrong())}
    broken = [law for law, reason in reasons.items() if reason]
    assert any("one mask per sample" in law and "torch.float64" in reasons[law] for law in broken)
    assert any("canvas.rng" in law and "global generator of torch" in reasons[law] for law in broken)
    assert any("mean pasted fraction" in law for law in broken)
    assert not any("fraction 0" in law for law in broken)
    with pytest.raises(BrokenLawError):
        LAWS[0](Wrong())


class Unplanned(Box):
    """A box without a row for samples that get nothing, the edges of which move each time they are rendered."""

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Leave out samples."""
        return {"edges": super().parameters(pasted_frac, canvas)["edges"][pasted_frac > 0]}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Move the edges."""
        parameters["edges"].clamp_(max=height_px - 1)
        return super().render(parameters, height_px, width_px)


def test_parameters_that_a_gpu_cannot_replay_are_told() -> None:
    reasons = {verdict.law: verdict.reason for verdict in judge(LAWS, Unplanned())}
    assert any("one row per sample" in law and "edges" in reason for law, reason in reasons.items())
    assert any("equals `render`" in law and reason for law, reason in reasons.items())


@every_family
def test_the_docstring_explains_parameters_and_names_a_source(family: str) -> None:
    explained = FAMILIES[family].__doc__ or ""
    for name in set(FAMILIES[family].model_fields) - {"family"}:
        assert f"        {name}: " in explained
    assert re.search(r"\b(19|20)\d\d\b|Not taken from a publication", explained), "authors, venue and year, or that"


@every_family
def test_the_docstring_has_an_example(family: str) -> None:
    assert re.search(rf">>> .*\b{FAMILIES[family].__name__}\(", FAMILIES[family].__doc__ or "")


@every_family
def test_the_file_has_the_family_s_name(family: str) -> None:
    """Two files with one family's name, for example after copying one of them, would hide one of the families."""
    assert FAMILIES[family].__module__ == f"trainables.mixing.masks.{family}"
