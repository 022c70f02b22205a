"""What evaluation added to trials of a search, and the command for the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.evaluations import long, means, measured, side_by_side, to_measure, values_of
from analysis.data.frames import load
from analysis.questions import co_movement, compute, robust_vs_adversarial
from tests.analysis.simulated_studies import CLEAN, PGD2, SimulatedTrial, record
from trainables.evaluation.axes import AXES

CLEAN_NAME, PGD_NAME = "adversarial clean_error", "adversarial robust_error (pgd20 eps=2/255)"
CORRUPTION = "corruption mean_error"
NAMES = (CLEAN_NAME, PGD_NAME, CORRUPTION)


@pytest.fixture
def values(tmp_path: Path) -> pd.DataFrame:
    """Two trials of one arm that were measured, and one of another that was not."""
    trials = [
        SimulatedTrial("off", number, [0.5], measured={CLEAN: 0.1 + number, PGD2: 0.3 + number}) for number in range(2)
    ]
    record(tmp_path, "s", ("off", "cutmix"), [*trials, SimulatedTrial("cutmix", 0, [0.4])])
    return values_of(load(tmp_path), NAMES)


def test_values_are_those_of_the_records_by_trial(values: pd.DataFrame) -> None:
    by_trial = values.set_index("trial")
    assert by_trial.loc["off-0001", [CLEAN_NAME, PGD_NAME]].tolist() == [1.1, 1.3]
    assert by_trial.loc["cutmix-0000", list(NAMES)].isna().all()
    assert list(values["arm"].cat.categories) == ["off", "cutmix"]
    assert measured(values, NAMES) == [CLEAN_NAME, PGD_NAME]


def test_the_command_measures_what_is_left(values: pd.DataFrame) -> None:
    said = to_measure(values, NAMES)
    assert said.startswith("1 of 3 completed trials have not been measured yet")
    assert "Not measured on any trial: corruption." in said
    assert "cutmix-sweep evaluate DIR --axes adversarial --trials search\n" in said
    done = values[values["arm"] == "off"]
    assert to_measure(done, NAMES[:2]) == "All 2 completed trials have been measured."
    assert "--axes adversarial,corruption --trials search\n" in to_measure(values.iloc[2:], NAMES)


def test_means_have_their_interval_and_number(values: pd.DataFrame) -> None:
    found = means(values, [CLEAN_NAME])
    row = found.set_index("arm").loc["off"]
    assert (row["n"], row["estimate"]) == (2, pytest.approx(0.6))
    table = side_by_side(found)
    assert list(table.index) == ["off", "cutmix"]
    assert table.loc["off", CLEAN_NAME] == f"0.600 ({row['low']:.3f} to {row['high']:.3f}), 2"
    assert table.loc["cutmix", CLEAN_NAME] == ""


def test_long_has_a_row_a_trial_and_quantity(values: pd.DataFrame) -> None:
    rows = long(values, NAMES[:2])
    assert len(rows) == 6
    assert rows.query("trial == 'off-0000'")["value"].tolist() == [0.1, 0.3]


@pytest.mark.parametrize(
    "name", [compute.FLOPS, *co_movement.MEASURED, *robust_vs_adversarial.ERRORS, *robust_vs_adversarial.MASKS]
)
def test_quantities_that_notebooks_read_are_among_those_that_evaluation_shows_first(name: str) -> None:
    quantity, _, setting = name.partition(" (")
    axis, metric = quantity.split(" ")
    assert (setting.removesuffix(")"), metric) in AXES[axis].headline


def test_a_sweep_not_begun(simulate: Callable[..., Path]) -> None:
    values = values_of(load(simulate(n_trials=0)), NAMES)
    assert values.empty
    assert measured(values, NAMES) == []
    assert to_measure(values, NAMES).startswith("No trial has completed yet")
    assert side_by_side(means(values, NAMES)).empty
