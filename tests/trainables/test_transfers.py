from __future__ import annotations

import pytest

from tests.trainables.transfers import CASES, count_per_step
from trainables.mixing.presets import PRESETS

COPIES = dict.fromkeys(PRESETS, 5) | {
    "off": 3,
    "cutout": 4,
    "random_erasing": 6,
    "mixup": 4,
    "fmix": 4,
    "gridmix": 4,
    "hmix": 4,
    "gmix": 4,
    "resizemix": 4,
    "saliencymix": 9,
    "objectmix": 7,
    "superpixelgridmix": 8,
    "torchvision": 10,
    "torchvision_cutmix": 7,
    "timm": 10,
    "timm_pair": 15,
    "timm_elem": 10,
    "composer_cutmix": 7,
    "composer_mixup": 6,
    "cutmix, EMA": 7,
    "cutmix, DropBlock": 5,
    "cutmix, drawn layer": 7,
    "cutmix, FGSM": 6,
    "cutmix, PGD without random start": 5,
}
"""Largest number of copies to the device per step."""

WAITS = {"saliencymix": 2, "cutmix, EMA": 3}
"""Waits per step; the other cases have none."""


@pytest.mark.parametrize("case", CASES)
def test_a_step_copies_and_waits_no_more_than_is_known(case: str) -> None:
    counts = count_per_step(**CASES[case])
    assert counts.copies <= COPIES[case], counts.places
    assert counts.waits == WAITS.get(case, 0), counts.places
