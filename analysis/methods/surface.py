"""A final value as a smooth surface over two drawn numbers, with how far the surface itself may be off."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.findings.summary import metric_label

Array = NDArray[np.float64]

MIN_TRIALS = 10
"""Smallest number of trials that gets a surface: its kernel alone has four numbers to find."""


@dataclass(frozen=True)
class Surface:
    """What is known of one arm's final value over two of its parameters.

    Attributes:
        grid: one row a grid point: ``x``, ``y``, ``mean`` and ``sd`` (of the mean, without the noise between
            trials alike); empty with too few trials.
        trials: one row a trial with a value: ``trial``, ``x``, ``y``, ``value``, ``predicted`` (by the others).
        error: root mean square of ``value`` - ``predicted``; nan without a surface.
        error_of_mean: the same where the mean of the other trials predicts; a surface not below it says nothing.
        noise_sd: standard deviation of trials alike, as the surface sees it.
        n_left_out: trials of the arm without a value: stopped, diverged, failed or under way.
        arm: whose trials.
        metric: which final value.
        x_path: dotted path of ``x``.
        y_path: dotted path of ``y``.
        log: the paths that are read in logarithms.
    """

    grid: pd.DataFrame
    trials: pd.DataFrame
    error: float
    error_of_mean: float
    noise_sd: float
    n_left_out: int
    arm: str
    metric: str
    x_path: str
    y_path: str
    log: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of trials that the surface is fitted to."""
        return len(self.trials)

    @property
    def predicts(self) -> bool:
        """Whether trials are predicted better by the surface than by the mean of the others."""
        return bool(self.error < self.error_of_mean)


def response_surface(
    trials: pd.DataFrame,
    *,
    arm: str,
    rng: np.random.Generator,
    x: str = "mix.size.alpha",
    y: str = "mix.apply.prob",
    metric: str = "val_top1_error",
    log: Collection[str] = (),
    size: int = 25,
) -> Surface:
    """Fit a Gaussian process to the final values of one arm over two of the numbers it draws.

    A squared-exponential kernel with a length a parameter, plus noise; all of them maximise the likelihood. The
    other parameters of the arm are part of the noise. Leaving a trial out is exact for the fitted kernel
    (Rasmussen and Williams 2006, equation 5.12), which has seen it.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        arm: whose trials.
        rng: source of the starting points of the fit.
        x: dotted path of a drawn number.
        y: dotted path of another one.
        metric: which final value.
        log: dotted paths drawn evenly in logarithms, as ``analysis.data.frames.drawn_in_logs`` lists them.
        size: grid points a side, over the range of the trials.

    Returns:
        The surface; its grid is empty with fewer than ``MIN_TRIALS`` trials, or where a parameter or the value
        does not vary.

    Raises:
        ValueError: no arm draws ``x`` or ``y``, one is no number, or one in ``log`` is 0 or below.
    """
    metric_label(metric)
    own = trials[trials["arm"] == arm]
    rows = own[["trial"]].assign(
        **{name: _numbers(trials, path).loc[own.index] for name, path in (("x", x), ("y", y))},
        value=own[f"final_{metric}"],
    )
    rows = rows.dropna().reset_index(drop=True)
    in_logs = tuple(path for path in (x, y) if path in log)
    about: dict[str, Any] = {"n_left_out": len(own) - len(rows), "arm": arm, "metric": metric, "x_path": x, "y_path": y}
    for path, name in ((x, "x"), (y, "y")):
        if path in in_logs and (rows[name] <= 0).any():
            raise ValueError(f"'{path}' cannot be read in logarithms: its least value is {rows[name].min():g}")
    if len(rows) < MIN_TRIALS or (rows[["x", "y", "value"]].nunique() < 2).any():
        nothing = pd.DataFrame(columns=["x", "y", "mean", "sd"], dtype=float)
        return Surface(nothing, rows.assign(predicted=np.nan), np.nan, np.nan, np.nan, log=in_logs, **about)
    grid, predicted, noise_sd = _fitted(rows, (x in in_logs, y in in_logs), size, rng)
    value = rows["value"].to_numpy()
    error, of_mean = _rms(value - predicted), _rms((value - value.mean()) * len(value) / (len(value) - 1))
    return Surface(grid, rows.assign(predicted=predicted), error, of_mean, noise_sd, log=in_logs, **about)


def _numbers(trials: pd.DataFrame, path: str) -> pd.Series[Any]:
    column = f"params.{path}"
    drawn = sorted(str(name).removeprefix("params.") for name in trials.filter(regex=r"^params\."))
    if column not in trials:
        raise ValueError(f"no arm draws '{path}', choose two of {', '.join(drawn) or 'none: nothing is drawn'}")
    try:
        return trials[column].astype(float)
    except ValueError:
        raise ValueError(f"'{path}' holds choices, not numbers, so it has no surface") from None


def _fitted(
    rows: pd.DataFrame, log: tuple[bool, bool], size: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, Array, float]:
    """Return the grid with mean and SD, each trial's value as predicted by the others, and the noise's SD."""
    axes = [np.log(rows[name]) if in_logs else rows[name] for name, in_logs in zip("xy", log, strict=True)]
    points = np.column_stack(axes).astype(float)
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    value = rows["value"].to_numpy(float)
    centre, scale = value.mean(), value.std()
    unit = np.linspace(0, 1, size)
    places = np.stack(np.meshgrid(unit, unit, indexing="ij"), axis=-1).reshape(-1, 2)
    process = _process((points - low) / width, (value - centre) / scale, rng)
    mean, with_noise = process.predict(places, return_std=True)
    noise = process.kernel_.k2.noise_level
    sd = np.sqrt(np.maximum(with_noise**2 - noise, 0.0))
    x, y = (places * width + low).T
    grid = {"x": np.exp(x) if log[0] else x, "y": np.exp(y) if log[1] else y}
    frame = pd.DataFrame({**grid, "mean": mean * scale + centre, "sd": sd * scale})
    return frame, value - _left_out(process) * scale, float(np.sqrt(noise) * scale)


def _process(points: Array, values: Array, rng: np.random.Generator) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    # lengths in widths of the trials' range: some tens of trials show nothing finer than a fifth, above ten it is flat
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF([0.5, 0.5], (0.2, 10.0)) + WhiteKernel(0.1, (1e-4, 2.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=3, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # a length at its bound is an answer: the parameter does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(points, values)


def _left_out(process: Any) -> Array:
    """Return what each value exceeds its prediction by the others by (Rasmussen and Williams, equation 5.12)."""
    root = np.linalg.inv(process.L_)
    return np.asarray(process.alpha_ / (root**2).sum(axis=0), dtype=np.float64)


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2)))
