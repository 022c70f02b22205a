"""No interval of a rate leaves 0 to 100 %, wherever one is computed from few seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.data import evaluations, measurements
from analysis.methods import quantities
from analysis.plots.arms import forest_info
from analysis.plots.curves import learning_curves_info
from analysis.plots.profile import profile_info
from analysis.questions import any_study, compute
from analysis.statistics import means, paired_differences

ERRORS = [0.01, 0.09]
"""Their mean is 5 %, and half its t interval 51 points."""


def of_arm(values: list[float], arm: str = "off", **columns: object) -> pd.DataFrame:
    """Return one row per seed."""
    table = pd.DataFrame({"arm": arm, "replicate": range(len(values)), "value": values, "error": values})
    return table.assign(**columns, trial=[f"{arm}-{number}" for number in range(len(values))])


def cells() -> pd.DataFrame:
    costs = {"train_s": 1.0, "images_per_s": 1.0, "train_flops": 1.0}
    return compute.cells(of_arm(ERRORS, network="tiny", **costs))


def arm_errors() -> pd.DataFrame:
    named = {"images": "test", "unit": "seed", "search_trials": 4, "baseline": "off"}
    values = pd.concat([of_arm(ERRORS, **named), of_arm(ERRORS, "cutmix", **named)])
    errors = any_study.arm_errors(values)
    return errors.assign(low=errors["error_low"], high=errors["error_high"])


def measured() -> pd.DataFrame:
    named = {"axis": "ood", "split": "test", "setting": "", "metric": "auroc", "phase": "confirm", "unit": "seed"}
    values = of_arm(ERRORS, is_headline=True, images=100, **named)
    return measurements.measured_means(values.astype({"arm": "category"}))


def profile() -> pd.DataFrame:
    trials = of_arm(ERRORS).astype({"arm": "category"}).assign(**{"params.x": 1.0, "final_val_top1_error": ERRORS})
    return profile_info(trials, x="x", metric="val_top1_error")


def curves() -> pd.DataFrame:
    epochs = pd.concat([of_arm([*ERRORS, 0.02], epoch=1)]).rename(columns={"error": "val_top1_error"})
    epochs["val_top1_error"] = [0.0, 0.0, 0.03]
    trials = epochs[["trial", "arm", "replicate"]].astype({"arm": "category"})
    return learning_curves_info(epochs.astype({"arm": "category"}), trials=trials, centre="mean")


@pytest.mark.parametrize(
    "table",
    [
        lambda: means(of_arm(ERRORS), value="error"),
        lambda: means(of_arm(ERRORS), value="value", metric="val_ece"),
        lambda: evaluations.means(of_arm(ERRORS).rename(columns={"value": "ood auroc (all)"}), ["ood auroc (all)"]),
        cells,
        arm_errors,
        measured,
        profile,
        curves,
    ],
)
def test_a_rate_has_its_interval_inside(table: Callable[[], pd.DataFrame]) -> None:
    row = table().iloc[0]
    assert row["low"] == 0
    assert 0.05 < row["high"] < 1


def test_a_table_of_quantities_has_its_intervals_inside() -> None:
    values = pd.DataFrame({"quantity": "ood", "arm": ["off", "off"], "value": [0.91, 0.99]})
    assert quantities.means(values).loc["off"].item() == "95.00 (44.18 to 100.00), n = 2"


def test_other_metrics_are_not_cut() -> None:
    assert means(of_arm(ERRORS), value="value").loc[0, "low"] < 0
    assert means(of_arm([100 * error for error in ERRORS]), value="error").loc[0, "low"] < 0  # in percent: no rate


def test_differences_of_rates_end_at_a_whole() -> None:
    """Half the interval is 572 points."""
    values = pd.concat([of_arm([0.1, 0.9]), of_arm([0.2, 0.1], "cutmix")])
    found = paired_differences(values, value="error", baseline="off").loc[0]
    assert (found["low"], found["high"]) == (-1, 1)
    assert found["verdict"] == "undecided"
    trials = values.astype({"arm": "category"}).assign(final_val_top1_error=values["error"])
    assert forest_info(trials, baseline="off").loc[0, "low"] == -1
    assert paired_differences(values, value="value", baseline="off").loc[0, "low"] < -1
    in_percent = values.assign(error=100 * values["error"])
    assert paired_differences(in_percent, value="error", baseline="off").loc[0, "low"] < -100
    pairs = any_study.pair_differences(values)
    assert np.abs(pairs[["low", "high"]].to_numpy()).max() == 1
