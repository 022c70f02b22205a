from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import beta as beta_law

from trainables.mixing.size import BetaSize, FixedSize, UniformSize

SEEDS = st.integers(0, 2**32)
UNIT = st.floats(0, 1)
BOUNDS = st.tuples(UNIT, UNIT).map(sorted)
LAWS = st.one_of(
    st.builds(BetaSize, alpha=st.floats(0.05, 8), beta=st.none() | st.floats(0.05, 8)),
    st.builds(
        lambda alpha, lo, width: BetaSize(alpha=alpha, lo=lo, hi=lo + width),
        st.floats(0.2, 4),
        st.floats(0, 0.4),
        st.floats(0.1, 0.5),
    ),
    st.builds(lambda ends, of: UniformSize(lo=ends[0], hi=ends[1], of=of), BOUNDS, st.sampled_from(["area", "side"])),
    st.builds(FixedSize, frac=UNIT),
)


def drawn(law: Any, count: int = 40_000) -> np.ndarray:
    fractions = law.draw(count, np.random.default_rng(0))
    assert fractions.dtype == np.float64
    assert fractions.shape == (count,)
    return fractions


@given(law=LAWS, count=st.integers(0, 9), seed=SEEDS)
def test_every_law_gives_fractions(law: Any, count: int, seed: int) -> None:
    fractions = law.draw(count, np.random.default_rng(seed))
    assert fractions.shape == (count,)
    assert ((fractions >= 0) & (fractions <= 1)).all()
    assert (fractions == law.draw(count, np.random.default_rng(seed))).all()
    if not isinstance(law, FixedSize) and getattr(law, "of", "area") == "area":
        assert ((fractions >= law.lo) & (fractions <= law.hi)).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta(alpha: float) -> None:
    fractions = drawn(BetaSize(alpha=alpha))
    assert fractions.mean() == pytest.approx(0.5, abs=0.01)
    assert fractions.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_beta_is_the_law_of_lam() -> None:
    """lam ~ Beta(alpha, beta): with a large alpha lam is near 1 and little is pasted."""
    fractions = drawn(BetaSize(alpha=4.0, beta=1.0))
    assert 1 - fractions.mean() == pytest.approx(4 / 5, abs=0.005)
    quantiles = np.quantile(1 - fractions, [0.1, 0.5, 0.9])
    assert quantiles == pytest.approx(beta_law.ppf([0.1, 0.5, 0.9], 4.0, 1.0), abs=0.01)


@pytest.mark.parametrize("values", [{}, {"alpha": 0.3}, {"alpha": 3.0, "beta": 0.5}])
@pytest.mark.parametrize(("lo", "hi"), [(0.2, 0.6), (0.0, 0.3), (0.7, 1.0)])
def test_a_cut_off_law_keeps_its_proportions(values: dict[str, float], lo: float, hi: float) -> None:
    """The rest is the distribution, given that a draw is between the bounds: not clipped to them, not stretched."""
    law = BetaSize(**values, lo=lo, hi=hi)
    whole = beta_law(values.get("beta", law.alpha), law.alpha)
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = whole.ppf(whole.cdf(lo) + levels * (whole.cdf(hi) - whole.cdf(lo)))
    assert np.quantile(drawn(law), levels) == pytest.approx(expected, abs=0.01)


def test_a_law_that_is_not_cut_off_draws_as_the_generator_does() -> None:
    assert (drawn(BetaSize(alpha=2.0), 9) == np.random.default_rng(0).beta(2.0, 2.0, size=9)).all()


def test_uniform() -> None:
    fractions = drawn(UniformSize(lo=0.02, hi=0.4))
    assert 0.02 <= fractions.min() < 0.021
    assert 0.399 < fractions.max() <= 0.4
    assert fractions.mean() == pytest.approx(0.21, abs=0.003)
    assert UniformSize(lo=0.3, hi=0.3).draw(3, np.random.default_rng(0)).tolist() == [0.3] * 3


def test_uniform_sides() -> None:
    """ResizeMix: the side is uniform on [0.1, 0.8], so the mean area is (0.8^3 - 0.1^3) / (3 * 0.7) = 0.243."""
    fractions = drawn(UniformSize(lo=0.1, hi=0.8, of="side"))
    assert np.quantile(np.sqrt(fractions), [0.25, 0.75]) == pytest.approx([0.275, 0.625], abs=0.006)
    assert fractions.mean() == pytest.approx(0.2433, abs=0.003)


def test_fixed() -> None:
    rng = np.random.default_rng(0)
    assert FixedSize(frac=0.1).draw(4, rng).tolist() == [0.1] * 4
    assert rng.uniform() == np.random.default_rng(0).uniform()  # nothing drawn


@pytest.mark.parametrize(
    ("law", "values", "message"),
    [
        (BetaSize, {"alpha": 0.0}, "greater than 0"),
        (BetaSize, {"alpha": -1.0}, "greater than 0"),
        (BetaSize, {"beta": 0.0}, "greater than 0"),
        (BetaSize, {"lo": 0.5, "hi": 0.5}, "use kind fixed"),
        (BetaSize, {"lo": 0.6, "hi": 0.5}, "lo must be <= hi, got 0.6 > 0.5"),
        (BetaSize, {"alpha": 5000.0, "hi": 0.1}, r"alpha 5000.0 and beta 5000.0 has no mass between lo 0.0 and hi 0.1"),
        (BetaSize, {"alpha": 0.5, "beta": 90.0, "hi": 0.2}, r"alpha 0.5 and beta 90.0 has no mass"),
        (UniformSize, {"lo": 0.5, "hi": 0.4}, "lo must be <= hi, got 0.5 > 0.4"),
        (UniformSize, {"hi": 1.2}, "less than or equal to 1"),
        (FixedSize, {"frac": -0.1}, "greater than or equal to 0"),
    ],
)
def test_impossible_laws_are_refused(law: type, values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        law(**values)
