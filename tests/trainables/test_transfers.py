"""No step waits for the GPU or copies to it: an epoch is drawn ahead, and copied at once."""

from __future__ import annotations

import pytest

from tests.gpu.cases import CASES, WITHOUT_TABLE
from tests.trainables.transfers import count_per_step
from trainables.data.resident import set_streaming
from trainables.mixing.config import Mix
from trainables.mixing.draw import describe_why_not


@pytest.mark.parametrize("case", [name for name in CASES if name not in WITHOUT_TABLE])
def test_a_step_copies_nothing_and_waits_for_nothing(case: str) -> None:
    counts = count_per_step(**CASES[case])
    assert (counts.copies, counts.waits) == (0, 0), counts.places
    assert describe_why_not(Mix.model_validate(CASES[case]["mix"]), boxes=True) == ""


def test_a_step_waits_for_no_images_that_are_streamed() -> None:
    set_streaming(True)
    try:
        counts = count_per_step(**CASES["cutmix"])
    finally:
        set_streaming(False)
    assert (counts.copies, counts.waits) == (3, 0), counts.places  # images with labels; two of the masks


@pytest.mark.parametrize("case", WITHOUT_TABLE)
def test_a_step_that_cannot_be_drawn_ahead_waits_for_nothing_either(case: str) -> None:
    """If this fails because nothing is copied any more, take the case off the list."""
    counts = count_per_step(**CASES[case])
    assert counts.copies > 0
    assert counts.waits == 0, counts.places
    assert describe_why_not(Mix.model_validate(CASES[case]["mix"]), boxes=True) == WITHOUT_TABLE[case]
