"""Built-in studies of equal dose: the exposure of each trial by numerical integration, without the program's draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import beta

from search_spaces.discover import load_study
from search_spaces.study import Study
from trainables.mixing.config import Mix

PX, N_SIZES, N_PLACES = 32, 150, 160


def sizes(alpha: float) -> np.ndarray:
    """Equally likely pasted fractions: midpoints of the distribution's quantiles."""
    return np.asarray(beta(alpha, alpha).ppf((np.arange(N_SIZES) + 0.5) / N_SIZES))


def covered(side_px: float, kind: str) -> np.ndarray:
    """Covered fractions of an axis, equally likely, of a side with its centre at evenly spaced places."""
    u = (np.arange(N_PLACES) + 0.5) / N_PLACES
    low, high = {
        "clip": (0.0, PX),
        "torus": (0.0, PX),
        "spill": (-side_px / 2, PX + side_px / 2),
        "inside": (side_px / 2, PX - side_px / 2),
    }[kind]
    if kind == "torus":  # the side itself; on average over the places the pixels are as many
        return np.full(1, side_px / PX)
    centre = low + (high - low) * u
    return (np.minimum(centre + side_px / 2, PX) - np.maximum(centre - side_px / 2, 0)) / PX


def of_box(alpha: float, kind: str, *, nominal: bool = False) -> float:
    """E[min(a, 1 - a)] of a box with real-valued sides, by a sum over sizes and places on both axes."""
    if nominal:
        return float(np.minimum(sizes(alpha), 1 - sizes(alpha)).mean())
    total = 0.0
    for frac in sizes(alpha):
        along = covered(PX * float(np.sqrt(frac)), kind)
        area = along[:, None] * along
        total += np.minimum(area, 1 - area).mean()
    return total / N_SIZES


def of_exact_area(alpha: float) -> float:
    """E[min(f, 1 - f)] of a mask with exactly the drawn area: twice the integral of f below one half."""
    return float(beta.cdf(0.5, alpha + 1, alpha))


def of_bump(alpha: float) -> float:
    """The same for a Gaussian bump on the torus, which ends half a side from its centre."""
    from scipy.special import erf

    smaller = np.minimum(sizes(alpha), 1 - sizes(alpha))
    sigma = np.sqrt(smaller / (2 * np.pi))
    along = np.sqrt(2 * np.pi) * sigma * erf(0.5 / sigma / np.sqrt(2))
    return float(np.minimum(along**2, 1 - along**2).mean())


def of_four_boxes(alpha: float) -> float:
    """The same for the union of four boxes at independent places on the torus, with the program's law of their size."""
    rng = np.random.default_rng(0)
    fracs = np.repeat(sizes(alpha), 20)
    sides = PX * np.sqrt(1 - (1 - fracs) ** (1 / 4))
    empty = np.ones((len(fracs), PX, PX), dtype=bool)
    for _ in range(4):
        lines = []
        for _ in range(2):
            apart = np.abs(np.arange(PX) + 0.5 - PX * rng.random(len(fracs))[:, None])
            lines.append(np.minimum(apart, PX - apart) < sides[:, None] / 2)
        empty &= ~(lines[0][:, :, None] & lines[1][:, None, :])
    area = 1 - empty.mean(axis=(1, 2))
    return float(np.minimum(area, 1 - area).mean())


def exposure(mix: Mix) -> float:
    """Exposure of a policy at its own probability."""
    alpha = mix.size.model_dump()["alpha"]
    family, count = mix.mask.family, mix.mask.model_dump().get("count", 1)
    if family == "box" and count == 4:
        value = of_four_boxes(alpha)
    elif family == "box" and not mix.mask.model_dump()["edge_px"]:
        value = of_box(alpha, mix.position.kind, nominal=mix.label.lam == "nominal")
    else:
        value = of_bump(alpha) if family == "gauss" else of_exact_area(alpha)
    return value * mix.apply.prob


def trials(study: Study) -> Iterator[tuple[str, Mix]]:
    """Yield arm and policy of every trial with a replicate of its own parameters."""
    for arm in study.arms:
        if not study.is_matched(arm):
            continue
        for index in range(study.n_grid_points(arm) if study.space_of(arm) else 1):
            params = study.grid_point(arm, index) if study.space_of(arm) else {}
            yield arm, study.trial_config(arm, params, replicate=0).mix


@pytest.mark.parametrize(("name", "n_arms"), [("mask_shape", 12), ("position", 5)])
def test_every_matched_trial_has_the_target_s_exposure(name: str, n_arms: int) -> None:
    study = load_study(name)
    target = study.match_target()
    if name == "mask_shape":  # the lowest exposure of the arms as they are declared, at probability 0.5
        assert target == pytest.approx(0.5 * of_bump(1.0), rel=0.005)
    seen: dict[str, list[float]] = {}
    for arm, mix in trials(study):
        seen.setdefault(arm, []).append(exposure(mix) / target)
    assert len(seen) == n_arms
    for arm, ratios in seen.items():
        assert ratios == pytest.approx([1.0] * len(ratios), abs=0.015), arm
