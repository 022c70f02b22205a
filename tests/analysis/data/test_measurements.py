"""What evaluation measured on any axis: from which trials it is read, its means, differences and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from analysis.data.measurements import measured_differences, measured_means, measured_values, sheets
from sweep.records.reader import read_manifest
from sweep.records.schema import EVALUATIONS
from sweep.records.writer import RecordsWriter, write_manifest
from tests.analysis.simulated_studies import SimulatedTrial, record

NEW = ("sharpness", "radius=2", "flatness")
TEST = {("classification", "last", metric): 0.4 for metric in ("top1_error", "nll", "ece")}


def trials(arm: str, *values: float, confirms: str | None = None, axis: str = "sharpness") -> list[SimulatedTrial]:
    own = TEST if confirms else {}
    return [
        SimulatedTrial(arm, number, [0.5], confirms=confirms, measured={(axis, *NEW[1:]): value, **own})
        for number, value in enumerate(values)
    ]


def edit_manifest(folder: Path, **entries: Any) -> None:
    write_manifest(folder, read_manifest(folder) | entries)


class TestValues:
    def test_are_those_of_an_axis_that_no_list_names(self, tmp_path: Path) -> None:
        folder = record(tmp_path, "s", ("off", "cutmix"), [*trials("off", 0.1, 0.2), *trials("cutmix", 0.3, 0.5)])
        values = measured_values(folder)
        assert values["value"].tolist() == [0.1, 0.2, 0.3, 0.5]
        assert values["replicate"].tolist() == [0, 1, 0, 1]
        assert set(values["phase"]) == {"search"}
        assert set(values["images"]) == {500}
        assert values["is_headline"].all()
        assert list(values["arm"].cat.categories) == ["off", "cutmix"]

    def test_are_of_confirmed_trials_where_an_axis_has_them(self, tmp_path: Path) -> None:
        confirmed = trials("off", 0.1, 0.2, confirms="off-0000")
        values = measured_values(record(tmp_path, "s", ("off",), [*trials("off", 0.9, 0.9), *confirmed]))
        assert values[["phase", "value"]].to_numpy().tolist() == [["confirm", 0.1], ["confirm", 0.2]]

    def test_leave_out_what_a_confirmation_records_itself(self, tmp_path: Path) -> None:
        trial = SimulatedTrial("off", 0, [0.5], confirms="off-0000", measured=TEST)
        searched = SimulatedTrial("off", 0, [0.5])
        assert measured_values(record(tmp_path, "s", ("off",), [searched, trial])).empty

    def test_of_a_grid_are_means_of_seeds(self, tmp_path: Path) -> None:
        made = [
            SimulatedTrial("off", number, [0.5], number // 2, {"alpha": number % 2}, measured={NEW: float(number)})
            for number in range(4)
        ]
        assert measured_values(record(tmp_path, "s", ("off",), made))["value"].tolist() == [0.5, 2.5]

    def test_are_under_the_settings_that_most_trials_have(self, tmp_path: Path) -> None:
        folder = record(tmp_path, "s", ("off",), trials("off", 0.1, 0.2))
        writer = RecordsWriter(folder)
        row = {"trial": "off-0000", "axis": NEW[0], "setting": NEW[1], "metric": NEW[2], "split": "test", "n": 7}
        writer.add(EVALUATIONS, {**row, "value": 0.9, "settings": '{"n": 7}', "seed": 0, "time_s": 9.0})
        writer.flush(force=True)
        assert measured_values(folder)["value"].tolist() == [0.1, 0.2]

    def test_begin_with_the_headline_of_their_axis(self, tmp_path: Path) -> None:
        measured = {("a", f"class {number}", "class_error"): 0.1 for number in range(20)} | {("a", "", "error"): 0.2}
        folder = record(tmp_path, "s", ("off",), [SimulatedTrial("off", 0, [0.5], measured=measured)])
        values = measured_values(folder)
        assert values["setting"].tolist()[:2] == ["", "class 0"]  # of a metric with one condition, of one with twenty
        assert values["is_headline"].sum() == 6
        edit_manifest(folder, headlines={"a": [["class 7", "class_error"], ["", "error"]]})
        values = measured_values(folder)
        assert values["setting"].tolist()[:3] == ["class 7", "", "class 0"]
        assert values["is_headline"].tolist()[:3] == [True, True, False]
        edit_manifest(folder, headlines={"a": []})
        assert measured_values(folder)["is_headline"].sum() == 6

    def test_of_a_sweep_not_begun_are_none(self, simulate: Callable[..., Path]) -> None:
        values = measured_values(simulate(n_trials=0))
        assert values.empty
        assert measured_means(values).empty


def test_means_and_differences_are_those_of_seeds(tmp_path: Path) -> None:
    off, cutmix = (0.1, 0.2, 0.4), (0.3, 0.5, 0.9)
    values = measured_values(
        record(tmp_path, "s", ("off", "cutmix"), [*trials("off", *off), *trials("cutmix", *cutmix)])
    )
    means = measured_means(values).set_index("arm")
    assert means["n"].tolist() == [3, 3]
    assert means.loc["cutmix", "estimate"] == pytest.approx(sum(cutmix) / 3)
    [row] = measured_differences(values, baseline="off").to_dict("records")
    expected = stats.ttest_rel(cutmix, off).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


class TestSheets:
    def test_are_found_by_arm_on_any_axis(self, tmp_path: Path) -> None:
        folder = record(tmp_path, "s", ("cut", "cut_mix"), trials("cut", 0.1))
        pictures = folder / "pictures" / "some_axis"
        pictures.mkdir(parents=True)
        for name in ("arm-cut_mix-cam", "arm-cut-cam", "cut-0001-cam", "cut-0000-cam", "cut_mix-0000-cam", "arm-x-cam"):
            (pictures / f"{name}.png").write_bytes(b"")
        found = sheets(folder)
        assert [(sheet.axis, sheet.kind, sheet.arm) for sheet in found] == [
            ("some_axis", "cam", "cut"),
            ("some_axis", "cam", "cut_mix"),
        ]
        assert [path.name for path in found[0].strips] == ["cut-0000-cam.png", "cut-0001-cam.png"]

    def test_are_none_without_pictures(self, tmp_path: Path) -> None:
        assert sheets(record(tmp_path, "s", ("off",), trials("off", 0.1))) == []
