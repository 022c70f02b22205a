"""Response surfaces, against refits and planted shapes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.random import Generator, default_rng
from sklearn.gaussian_process import GaussianProcessRegressor

from analysis.methods import surface
from analysis.methods.surface import Surface, response_surface


def planted(rng: Generator, n: int = 20, slope: float = 0.2, noise: float = 0.01) -> pd.DataFrame:
    x, y = 10 ** rng.uniform(-1, 1, n), rng.uniform(size=n)
    values = 0.3 + slope * (np.log10(x) ** 2 - y) + rng.normal(0, noise, n)
    trials = pd.DataFrame({"params.x": x, "params.y": y, "arm": "a", "final_val_top1_error": values})
    return trials.assign(trial=[f"t{place}" for place in range(n)])


def fitted(trials: pd.DataFrame, log: tuple[str, ...] = ("x",)) -> Surface:
    return response_surface(trials, arm="a", rng=default_rng(0), x="x", y="y", log=log, size=9)


def test_the_surface_follows_what_was_planted(rng: Generator) -> None:
    found = fitted(planted(rng, n=30))
    truth = 0.3 + 0.2 * (np.log10(found.grid["x"]) ** 2 - found.grid["y"])
    assert (found.grid["mean"] - truth).abs().max() < 0.05
    assert ((found.grid["mean"] - truth).abs() < 3 * found.grid["sd"]).mean() > 0.9
    assert found.predicts
    assert found.error < 0.25 * found.error_of_mean
    assert 0.004 < found.noise_sd < 0.02
    assert found.grid["sd"].min() < 0.5 * found.noise_sd  # a mean of thirty is known better than one of them
    assert (found.n, len(found.grid), found.log) == (30, 81, ("x",))


def test_it_is_surest_near_trials(rng: Generator) -> None:
    trials = planted(rng)
    crowded = trials.assign(**{"params.y": trials["params.y"].where(trials.index < 1, trials["params.y"] / 4)})
    grid = fitted(crowded).grid
    assert grid[grid["y"] < 0.2]["sd"].mean() < grid[grid["y"] > 0.8 * grid["y"].max()]["sd"].mean()


def test_a_trial_is_predicted_by_the_others_alone(rng: Generator) -> None:
    points, values = rng.uniform(size=(12, 2)), rng.normal(size=12)
    process = surface._process(points, values, rng)
    left_out = []
    for place in range(12):
        others = np.delete(np.arange(12), place)
        alone = GaussianProcessRegressor(process.kernel_, optimizer=None).fit(points[others], values[others])
        left_out.append(values[place] - alone.predict(points[[place]])[0])
    assert surface._left_out(process) == pytest.approx(left_out, abs=1e-6)


def test_noise_alone_is_not_predicted(rng: Generator) -> None:
    trials = planted(rng, slope=0.0)
    found = fitted(trials)
    values = found.trials["value"].to_numpy()
    others = [np.delete(values, place).mean() for place in range(len(values))]
    assert found.error_of_mean == pytest.approx(np.sqrt(np.mean((values - others) ** 2)))
    assert found.error == pytest.approx(np.sqrt(np.mean((values - found.trials["predicted"]) ** 2)))
    assert found.error > 0.8 * found.error_of_mean


@pytest.mark.parametrize("poor", ["few", "alike", "one value of y"])
def test_too_little_has_no_surface(poor: str, rng: Generator) -> None:
    trials = planted(rng)
    trials.loc[2:4, "final_val_top1_error"] = np.nan
    if poor == "few":
        trials = trials.head(12)
    elif poor == "alike":
        trials["final_val_top1_error"] = trials["final_val_top1_error"] * 0 + 0.3
    else:
        trials["params.y"] = 0.5
    found = fitted(trials)
    assert found.grid.empty
    assert np.isnan(found.error)
    assert not found.predicts
    assert found.n + found.n_left_out == len(trials)
    assert found.n_left_out == 3


def test_mistakes_are_refused(rng: Generator) -> None:
    trials = planted(rng).assign(**{"params.k": "clip"})
    with pytest.raises(ValueError, match="no arm varies 'z', choose two of k, x, y"):
        response_surface(trials, arm="a", rng=rng, x="z", y="y")
    with pytest.raises(ValueError, match="'k' has choices"):
        response_surface(trials, arm="a", rng=rng, x="x", y="k")
    with pytest.raises(ValueError, match="'x' has no logarithm: its smallest value is 0"):
        response_surface(trials.assign(**{"params.x": 0.0}), arm="a", rng=rng, x="x", y="y", log=["x"])
    assert response_surface(trials, arm="off", rng=rng, x="x", y="y").n == 0


def test_the_global_generator_is_left_alone(rng: Generator) -> None:
    trials = planted(rng)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = fitted(trials), fitted(trials)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    pd.testing.assert_frame_equal(first.grid, second.grid)
