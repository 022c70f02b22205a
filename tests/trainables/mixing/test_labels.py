from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.apply import mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.labels import Label
from trainables.mixing.pastes import MixDraw

SHARES = st.floats(0, 1, width=32)
EXPONENTS = st.floats(0, 1e6)
INSIDE = torch.linspace(0, 1, 101)[1:-1]


def weight(lam: float, exponent: Any) -> float:
    return Label(exponent=exponent).weight(torch.tensor([lam])).item()


def draw(seed: int = 0, **parts: Any) -> MixDraw:
    view = BatchView((64, 3, 12, 20), np.arange(64))
    return draw_mix(Mix.model_validate(parts), view, rng=np.random.default_rng(seed), device=torch.device("cpu"))


@given(lam=SHARES, exponent=EXPONENTS | st.just("inf"))
def test_a_weight_is_a_share(lam: float, exponent: Any) -> None:
    drawn = Label(exponent=exponent).weight(torch.tensor([lam]))
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.item() <= 1
    assert (drawn.item() - 0.5) * (lam - 0.5) >= 0  # the larger fraction of pixels gets at least half of the label


@given(count=st.integers(0, 1024), exponent=st.floats(0, 100) | st.just("inf"))
def test_what_one_loses_the_other_gets(count: int, exponent: Any) -> None:
    assert weight(count / 1024, exponent) == pytest.approx(1 - weight(1 - count / 1024, exponent), abs=1e-5)


@given(lam=SHARES)
def test_area(lam: float) -> None:
    assert weight(lam, 1.0) == lam


@given(lam=SHARES, exponent=EXPONENTS | st.just("inf"))
def test_a_single_image_keeps_its_label(lam: float, exponent: Any) -> None:
    assert weight(1.0, exponent) == 1
    assert weight(0.0, exponent) == 0


def test_complete_label() -> None:
    assert Label(exponent=0).weight(INSIDE).unique().tolist() == [0.5]


def test_one_hot() -> None:
    drawn = Label(exponent="inf").weight(torch.tensor([0.0, 0.3, 0.49999997, 0.5, 0.50000006, 0.9, 1.0]))
    assert drawn.tolist() == [0, 0, 0, 0.5, 1, 1, 1]


@given(lam=SHARES, first=EXPONENTS, second=EXPONENTS)
def test_a_larger_exponent_favours_the_larger_share(lam: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    favoured = (weight(lam, high) - weight(lam, low)) * (lam - 0.5)
    assert favoured >= -1e-6
    assert (weight(lam, "inf") - weight(lam, high)) * (lam - 0.5) >= -1e-6


def test_the_limits_are_approached() -> None:
    apart = INSIDE[(INSIDE - 0.5).abs() > 0.009]
    torch.testing.assert_close(Label(exponent=1e-4).weight(INSIDE), Label(exponent=0).weight(INSIDE), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        Label(exponent=400.0).weight(apart), Label(exponent="inf").weight(apart), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.7])
def test_the_formula(exponent: float) -> None:
    mine, theirs = INSIDE.double() ** exponent, (1 - INSIDE.double()) ** exponent
    torch.testing.assert_close(
        Label(exponent=exponent).weight(INSIDE).double(), mine / (mine + theirs), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("exponent", [150.0, 1e4, 1e300])
def test_large_exponents_stay_numbers(exponent: float) -> None:
    """Both powers vanish in float32: their quotient would be no number."""
    drawn = Label(exponent=exponent).weight(torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0]))
    torch.testing.assert_close(drawn, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


# ---------------------------------------------------------------- in a draw


def test_realised_and_nominal_shares() -> None:
    realised, nominal = draw(), draw(label={"lam": "nominal"})
    assert torch.equal(realised.weight, realised.lam)
    assert torch.equal(nominal.weight, torch.from_numpy(nominal.lam_nominal).float())
    assert torch.equal(realised.lam, nominal.lam)  # pixels are the same
    assert (nominal.weight <= nominal.lam + 2 / 12).all()  # clipping leaves more of the original: a pixel of rounding
    assert nominal.weight.mean() < nominal.lam.mean() - 0.1
    inside = draw(label={"lam": "nominal"}, position={"kind": "inside"})
    assert (inside.weight - inside.lam).abs().max() < 0.15


@pytest.mark.parametrize("exponent", [0.0, 0.5, 3.0, "inf"])
@pytest.mark.parametrize("lam", ["realised", "nominal"])
def test_a_draw_weighs_by_its_rule(exponent: Any, lam: str) -> None:
    drawn = draw(label={"exponent": exponent, "lam": lam}, apply={"prob": 0.7})
    shown = drawn.lam if lam == "realised" else torch.from_numpy(drawn.lam_nominal).float()
    assert torch.equal(drawn.weight, Label(exponent=exponent).weight(shown))
    assert (drawn.weight[~drawn.applied] == 1).all()


@given(smoothing=st.floats(0, 0.99), seed=st.integers(0, 2**32), n_classes=st.integers(2, 9))
def test_smoothing_once(smoothing: float, seed: int, n_classes: int) -> None:
    labels = torch.from_numpy(np.random.default_rng(seed).integers(n_classes, size=64))
    drawn = draw(seed)
    plain = mix_targets(labels, drawn, n_classes=n_classes)
    smooth = mix_targets(labels, drawn, n_classes=n_classes, smoothing=smoothing)
    torch.testing.assert_close(smooth, plain * (1 - smoothing) + smoothing / n_classes)
    torch.testing.assert_close(smooth.sum(dim=1), torch.ones(64))
    assert smooth.min() >= smoothing / n_classes - 1e-6


@pytest.mark.parametrize("values", [{"exponent": -1.0}, {"exponent": "infinity"}, {"lam": "drawn"}, {"smoothing": 1.0}])
def test_other_rules_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Label(**values)
