"""Tables of evaluated quantities: units, conditions and marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.data.measurements import measured_differences, measured_means, measured_values
from analysis.questions import evaluated
from tests.analysis.simulated_studies import SimulatedTrial, record

ERROR, AREA, FLOPS = ("axis_a", "radius=2", "some_error"), ("axis_a", "", "area"), ("axis_b", "", "flops")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trials = []
    for number in range(3):
        for arm in ("off", "cutmix"):
            error = 0.3 + 0.01 * number - 0.1 * (arm == "cutmix") - 0.001 * (number == 1) * (arm == "cutmix")
            trials.append(SimulatedTrial(arm, number, [0.5], measured={ERROR: error, AREA: 0.5, FLOPS: 2e9}))
    return record(tmp_path, "s", ("off", "cutmix"), trials)


def test_a_cell_has_the_unit_of_its_quantity(folder: Path) -> None:
    table = evaluated.mean_table(measured_means(measured_values(folder)))
    assert table.columns.tolist() == ["axis", "condition", "quantity", "n", "off", "cutmix"]
    rows = {row["quantity"]: row for row in table.to_dict("records")}
    assert rows["some error (%)"]["condition"] == "radius=2"
    assert rows["some error (%)"]["off"] == "31.00 (28.52\u00a0to\u00a033.48)"
    assert rows["area"]["off"] == "0.500"  # equal values have no interval
    assert rows["flops"]["off"] == "2e+09"
    assert rows["flops"]["n"] == "3"


def test_a_decided_difference_is_marked_and_in_points(folder: Path) -> None:
    values = measured_values(folder)
    means = measured_means(values)
    table = evaluated.difference_table(measured_differences(values, baseline="off"), means)
    [error] = table[table["quantity"] == "some error (points)"].to_dict("records")
    assert error["cutmix"].startswith("-10.03\u00a0* (")
    assert "off" not in table


def test_the_networks_are_named_by_phase(folder: Path) -> None:
    means = measured_means(measured_values(folder))
    assert evaluated.describe_networks(means).startswith("Networks: the completed trials of the search")
    both = means.assign(phase=["confirm" if axis == "axis_b" else "search" for axis in means["axis"]])
    sentence = evaluated.describe_networks(both)
    assert "Networks for axis_a: the completed trials of the search" in sentence
    assert "Networks for axis_b: the winner of each arm, trained again on fresh seeds" in sentence
