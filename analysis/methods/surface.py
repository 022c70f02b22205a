"""The final value as a smooth surface over two parameters, with the standard deviation of the surface."""

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
"""Smallest number of trials that get a surface: the kernel alone has four parameters."""


@dataclass(frozen=True)
class Surface:
    """A surface fitted to one arm's final value over two of its parameters.

    Attributes:
        grid: one row per grid point: ``x``, ``y``, ``mean`` and ``sd`` (of the mean, without the noise between
            trials with equal parameters); empty with too few trials.
        trials: one row per trial with a value: ``trial``, ``x``, ``y``, ``value``, ``predicted`` (from the other
            trials).
        error: root mean square of ``value`` - ``predicted``; NaN without a surface.
        error_of_mean: the same if the mean of the other trials predicts; a surface that is not below it is of no use.
        noise_sd: standard deviation between trials with equal parameters, as fitted.
        n_left_out: trials of the arm without a value: stopped, diverged, failed, cancelled or running.
        arm: arm of the trials.
        metric: metric of the final values.
        x_path: dotted path of ``x``.
        y_path: dotted path of ``y``.
        log: paths that are read in logarithms.
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
        """Return the number of trials that the surface is fitted to."""
        return len(self.trials)

    @property
    def predicts(self) -> bool:
        """Return whether the surface predicts a trial better than the mean of the other trials does."""
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
    """Fit a Gaussian process to the final values of one arm over two of its numeric parameters.

    The kernel is squared-exponential with one length per parameter, plus noise; all of them maximise the likelihood.
    The other parameters of the arm are part of the noise. Leaving a trial out is exact for the fitted kernel (Rasmussen
    and Williams 2006, equation 5.12), but the kernel was fitted with that trial.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        arm: arm of the trials.
        rng: source of the starting points of the fit.
        x: dotted path of a number.
        y: dotted path of another number.
        metric: metric of the final values.
        log: dotted paths that are sampled evenly in logarithms, from ``analysis.data.frames.drawn_in_logs``.
        size: grid points per side, over the range of the trials.

    Returns:
        The surface; its grid is empty with fewer than ``MIN_TRIALS`` trials, or if a parameter or the value does not
        vary.

    Raises:
        ValueError: no arm varies ``x`` or ``y``, one is not a number, or one in ``log`` is 0 or below.
    """
    metric_label(metric)
    arm_trials = trials[trials["arm"] == arm]
    rows = arm_trials[["trial"]].assign(
        **{name: _numbers(trials, path).loc[arm_trials.index] for name, path in (("x", x), ("y", y))},
        value=arm_trials[f"final_{metric}"],
    )
    rows = rows.dropna().reset_index(drop=True)
    in_logs = tuple(path for path in (x, y) if path in log)
    labels: dict[str, Any] = {"arm": arm, "metric": metric, "x_path": x, "y_path": y}
    labels["n_left_out"] = len(arm_trials) - len(rows)
    for path, name in ((x, "x"), (y, "y")):
        if path in in_logs and (rows[name] <= 0).any():
            raise ValueError(f"'{path}' has no logarithm: its smallest value is {rows[name].min():g}")
    if len(rows) < MIN_TRIALS or (rows[["x", "y", "value"]].nunique() < 2).any():
        nothing = pd.DataFrame(columns=["x", "y", "mean", "sd"], dtype=float)
        return Surface(nothing, rows.assign(predicted=np.nan), np.nan, np.nan, np.nan, log=in_logs, **labels)
    grid, predicted, noise_sd = _fitted(rows, (x in in_logs, y in in_logs), size, rng)
    value = rows["value"].to_numpy()
    error, of_mean = _rms(value - predicted), _rms((value - value.mean()) * len(value) / (len(value) - 1))
    return Surface(grid, rows.assign(predicted=predicted), error, of_mean, noise_sd, log=in_logs, **labels)


def _numbers(trials: pd.DataFrame, path: str) -> pd.Series[Any]:
    column = f"params.{path}"
    if column not in trials:
        paths = sorted(str(name).removeprefix("params.") for name in trials.filter(regex=r"^params\."))
        raise ValueError(f"no arm varies '{path}', choose two of {', '.join(paths) or 'none: nothing varies'}")
    try:
        return trials[column].astype(float)
    except ValueError:
        raise ValueError(f"'{path}' has choices, not numbers, so it has no surface") from None


def _fitted(
    rows: pd.DataFrame, log: tuple[bool, bool], size: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, Array, float]:
    """Return the grid with mean and SD, the value of each trial predicted from the others, and the SD of the noise."""
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

    # lengths in units of the range: a few tens of trials cannot resolve less than a fifth, and above ten it is flat
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF([0.5, 0.5], (0.2, 10.0)) + WhiteKernel(0.1, (1e-4, 2.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=3, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # a length at its upper bound is a result: the parameter does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(points, values)


def _left_out(process: Any) -> Array:
    """Return each value minus its prediction from the others (Rasmussen and Williams, equation 5.12)."""
    root = np.linalg.inv(process.L_)
    return np.asarray(process.alpha_ / (root**2).sum(axis=0), dtype=np.float64)


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2)))
