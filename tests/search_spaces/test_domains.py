"""The contract of every domain, and what each adds to it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search_spaces.domains import AnyDomain, Choice, Domain, Fixed, Integers, LogUniform, Uniform

ANY = TypeAdapter(AnyDomain)

DOMAINS: dict[str, Domain] = {
    "uniform": Uniform(lo=-0.5, hi=2.0, points=6),
    "loguniform": LogUniform(lo=1e-4, hi=3.0, points=7),
    "integers": Integers(lo=-2, hi=5),
    "one integer": Integers(lo=3, hi=3),
    "choice of names": Choice(values=("clip", "inside", "torus")),
    "choice of kinds": Choice(values=(True, 1, 1.0, 1.5, "1", None)),
    "fixed": Fixed(value=0.25),
    "fixed at none": Fixed(value=None),
}


def test_a_grid_is_counted_and_consists_of_members(domain: Domain) -> None:
    grid = domain.grid()
    assert domain.n_values() == len(grid)
    assert [domain.member(value) for value in grid] == grid
    assert [type(domain.member(value)) for value in grid] == [type(value) for value in grid]
    with pytest.raises(ValueError, match="must be "):
        domain.member("something else")


@pytest.fixture(params=DOMAINS.values(), ids=DOMAINS.keys())
def domain(request: pytest.FixtureRequest) -> Domain:
    return request.param  # type: ignore[no-any-return]


def samples(domain: Domain, *, seed: int = 0, count: int = 300) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [domain.sample(rng) for _ in range(count)]


def is_within(value: Any, corners: list[Any]) -> bool:
    """Whether a value is one of the corners, or, of numbers, between the extreme ones."""
    if any(type(value) is type(corner) and value == corner for corner in corners):
        return True
    numbers = [corner for corner in corners if isinstance(corner, (int, float))]
    return len(numbers) == len(corners) and min(numbers) <= value <= max(numbers)


def test_samples_lie_within_the_corners(domain: Domain) -> None:
    assert all(is_within(value, domain.corners()) for value in samples(domain))


def test_a_grid_lies_within_the_corners_and_holds_them(domain: Domain) -> None:
    grid = domain.grid()
    assert all(is_within(value, domain.corners()) for value in grid)
    assert all(any(type(value) is type(corner) and value == corner for value in grid) for corner in domain.corners())


def test_a_grid_has_no_value_twice(domain: Domain) -> None:
    grid = domain.grid()
    assert len({(type(value), value) for value in grid}) == len(grid)


def test_equal_generators_draw_equal_values(domain: Domain) -> None:
    assert samples(domain, seed=3, count=20) == samples(domain, seed=3, count=20)


@given(st.sampled_from(list(DOMAINS.values())), st.floats(0, 1, exclude_max=True))
def test_a_draw_is_the_value_at_a_uniform_quantile(domain: Domain, u: float) -> None:
    value = domain.at(u)
    assert is_within(value, domain.corners())
    assert type(value) in (bool, int, float, str, type(None))


@pytest.mark.parametrize("name", ["integers", "choice of names"])
def test_values_of_a_grid_share_the_quantiles_equally(name: str) -> None:
    grid = DOMAINS[name].grid()
    edges = [place / len(grid) for place in range(len(grid))]
    assert [DOMAINS[name].at(edge + 1e-9) for edge in edges] == grid
    assert [DOMAINS[name].at(edge + 1 / len(grid) - 1e-9) for edge in edges] == grid


@pytest.mark.parametrize(
    ("name", "values"), [("uniform", [-0.5, 0.75, 2.0]), ("loguniform", [1e-4, math.sqrt(3e-4), 3.0])]
)
def test_quantiles_of_an_interval(name: str, values: list[float]) -> None:
    assert [DOMAINS[name].at(u) for u in (0.0, 0.5, math.nextafter(1, 0))] == pytest.approx(values)


def test_values_are_plain_python(domain: Domain) -> None:
    """Records hold them as JSON: a NumPy number would not come back as what it was."""
    for value in [*samples(domain, count=20), *domain.grid(), *domain.corners()]:
        assert type(value) in (bool, int, float, str, type(None))


def test_a_domain_survives_json(domain: Domain) -> None:
    assert ANY.validate_python(json.loads(json.dumps(domain.model_dump(mode="json")))) == domain


def test_a_domain_cannot_be_changed(domain: Domain) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        domain.kind = "fixed"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["uniform", "integers", "choice of names"])
def test_all_of_a_domain_is_drawn(name: str) -> None:
    domain = DOMAINS[name]
    values = samples(domain)
    if isinstance(domain, Uniform):
        shares, _ = np.histogram(values, bins=5, range=(domain.lo, domain.hi))
        assert shares.min() > 30
    else:
        assert set(values) == set(domain.grid())


bounds = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).filter(lambda pair: pair[0] < pair[1])
log_bounds = st.tuples(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300)).filter(lambda pair: pair[0] < pair[1])


@given(bounds, st.integers(2, 30), st.integers(0, 2**32))
def test_uniform_keeps_any_bounds(pair: tuple[float, float], points: int, seed: int) -> None:
    domain = Uniform(lo=pair[0], hi=pair[1], points=points)
    grid = domain.grid()
    assert len(grid) == points
    assert (grid[0], grid[-1]) == pair
    assert grid == sorted(grid)
    assert all(pair[0] <= value <= pair[1] for value in samples(domain, seed=seed, count=10))


@given(log_bounds, st.integers(2, 30), st.integers(0, 2**32))
def test_loguniform_keeps_any_bounds(pair: tuple[float, float], points: int, seed: int) -> None:
    domain = LogUniform(lo=pair[0], hi=pair[1], points=points)
    grid = domain.grid()
    assert len(grid) == points
    assert (grid[0], grid[-1]) == pair
    assert all(pair[0] <= value <= pair[1] for value in samples(domain, seed=seed, count=10))


@given(st.integers(-1000, 1000), st.integers(0, 50), st.integers(0, 2**32))
def test_integers_keep_any_bounds(lo: int, span: int, seed: int) -> None:
    domain = Integers(lo=lo, hi=lo + span)
    assert domain.grid() == list(range(lo, lo + span + 1))
    assert all(lo <= value <= lo + span for value in samples(domain, seed=seed, count=10))


def test_a_log_grid_has_equal_ratios() -> None:
    grid = np.array(LogUniform(lo=0.1, hi=10.0, points=5).grid())
    assert grid[1:] / grid[:-1] == pytest.approx(np.full(4, math.sqrt(10)))


def test_a_uniform_grid_has_equal_steps() -> None:
    assert Uniform(lo=0.0, hi=1.0, points=5).grid() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_loguniform_draws_as_often_from_each_decade() -> None:
    values = samples(LogUniform(lo=0.01, hi=10.0), count=900)
    shares, _ = np.histogram(np.log10(values), bins=3, range=(-2, 1))
    assert shares == pytest.approx(np.full(3, 300), abs=60)


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
def test_an_interval_without_points_has_no_grid(kind: str) -> None:
    domain = ANY.validate_python({"kind": kind, "lo": 1.0, "hi": 2.0})
    with pytest.raises(ValueError, match="needs 'points'"):
        domain.grid()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "uniform", "lo": 1.0, "hi": 1.0}, r"lo must be < hi, got 1\.0 >= 1\.0"),
        ({"kind": "uniform", "lo": 2.0, "hi": 1.0}, r"lo must be < hi, got 2\.0 >= 1\.0"),
        ({"kind": "uniform", "lo": 0.0, "hi": math.inf}, "finite"),
        ({"kind": "uniform", "lo": math.nan, "hi": 1.0}, "finite"),
        ({"kind": "uniform", "lo": 0.0, "hi": 1.0, "points": 1}, "greater than or equal to 2"),
        ({"kind": "uniform", "lo": 0.0, "hi": 1.0, "points": 10_001}, "less than or equal to 10000"),
        ({"kind": "uniform", "lo": "0", "hi": 1.0}, "valid number"),
        ({"kind": "uniform", "lo": 0.0}, "hi"),
        ({"kind": "uniform", "lo": 0.0, "hi": 1.0, "step": 0.1}, "step"),
        ({"kind": "loguniform", "lo": 0.0, "hi": 1.0}, "greater than 0"),
        ({"kind": "loguniform", "lo": -1.0, "hi": 1.0}, "greater than 0"),
        ({"kind": "loguniform", "lo": 2.0, "hi": 1.0}, "lo must be < hi"),
        ({"kind": "integers", "lo": 2, "hi": 1}, "lo must be <= hi, got 2 > 1"),
        ({"kind": "integers", "lo": 0.5, "hi": 1}, "integer"),
        ({"kind": "choice", "values": []}, "at least 1 item"),
        ({"kind": "choice", "values": ["a", "b", "a"]}, "distinct"),
        ({"kind": "choice", "values": list(range(1_001))}, "at most 1000 items"),
        ({"kind": "choice"}, "values"),
        ({"kind": "fixed"}, "value"),
        ({"kind": "gaussian", "lo": 0.0, "hi": 1.0}, "gaussian"),
        ({"lo": 0.0, "hi": 1.0}, "kind"),
    ],
)
def test_bad_domains_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ANY.validate_python(values)
