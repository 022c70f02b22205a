from __future__ import annotations

import torch

from trainables.evaluation.predictions import fraction, predicted, wrong

NAN, INF = float("nan"), float("inf")


def test_the_largest_is_named_and_of_equal_ones_the_first() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 1.0], [-INF, -1.0, -INF]])
    assert predicted(logits).tolist() == [1, 0, 1]
    assert wrong(logits, torch.tensor([1, 1, 1])).tolist() == [False, True, False]


def test_what_is_undefined_is_wrong_whatever_the_label() -> None:
    logits = torch.tensor([[0.0, NAN], [INF, 0.0], [-INF, -INF]])
    assert predicted(logits).tolist() == [-1, -1, -1]
    for label in (0, 1):
        assert wrong(logits, torch.full((3,), label)).all()


def test_a_share_is_a_fraction() -> None:
    assert fraction(torch.tensor([True, False, False, True])) == 0.5
