"""Every value that a trial reports has a column in the records."""

from __future__ import annotations

from dataclasses import fields

from sweep.ledger import EPOCH_COLUMNS
from tests.sweep.conftest import DOSE_COLUMNS
from trainables.epoch_result import EpochResult
from trainables.mixing.config import Mix
from trainables.mixing.dose import measure_dose


def test_an_epoch_result_is_recorded_whole() -> None:
    assert [field.name for field in fields(EpochResult)] == EPOCH_COLUMNS


def test_a_dose_is_recorded_whole() -> None:
    dose = measure_dose(Mix.model_validate("off"), height_px=8, width_px=8)
    assert sorted(dose.as_columns()) == sorted(DOSE_COLUMNS)
