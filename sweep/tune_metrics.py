"""The metrics of a sweep as a callback of Tune."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from sweep.metrics import SweepMetrics


class MetricsCallback(Callback):  # type: ignore[misc]
    """Pass the reports of trials to the metrics."""

    def __init__(self, metrics: SweepMetrics) -> None:
        """Report to ``metrics``."""
        self._metrics = metrics

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Report an epoch, after the conductor."""
        self._metrics.on_result(result)
