"""Arms of one sweep compared: with the baseline, and pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import plots
from analysis.data import arms
from analysis.questions import any_study
from sweep.records.reader import read_manifest
from sweep.records.schema import EVALUATIONS, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest

TEST_ERRORS = {"off": [0.31, 0.30, 0.32, 0.29], "fmix": [0.25, 0.24, 0.27, 0.22]}


def confirm(sweep_dir: Path, errors: dict[str, list[float]]) -> None:
    """Add a confirmation of each arm's first trial to a simulated sweep, and the metric that ranks trials."""
    manifest = read_manifest(sweep_dir)
    manifest["study"]["metric"] = "val_top1_error"
    write_manifest(sweep_dir, manifest)
    writer = RecordsWriter(sweep_dir)
    for arm, values in errors.items():
        for seed, value in enumerate(values):
            trial = f"{arm}-0000-confirm-{seed:02d}"
            row: dict[str, Any] = {
                "sweep": "simulated",
                "study": "my_own",
                "phase": "confirm",
                "arm": arm,
                "trial": trial,
            }
            row |= {
                "number": seed,
                "replicate": seed,
                "seed": 100 + seed,
                "confirms": f"{arm}-0000",
                "status": "completed",
            }
            writer.add(TRIALS, {**row, "params": "{}", "config": "{}", "attempts": 1, "epochs": 4})
            measured = {"trial": trial, "axis": "classification", "split": "test", "setting": "last", "n": 1000}
            for metric, factor in (("top1_error", 1), ("nll", 3), ("ece", 0.1)):
                writer.add(EVALUATIONS, {**measured, "metric": metric, "value": factor * value})
    writer.flush(force=True)


class TestArms:
    def test_without_confirmation_is_compared_on_validation_images(self, make: Callable[..., Path]) -> None:
        values = arms.arm_values(make(gains={"fmix": 0.1}))
        table = any_study.arm_errors(values)
        assert list(table["arm"]) == ["off", "cutmix", "fmix"]
        assert set(table["images"]) == {"validation"}
        assert list(table["n_pairs"]) == [0, 6, 6]
        by_arm = {str(arm): rows["error"].to_numpy() for arm, rows in values.groupby("arm")}
        assert table["error"].to_numpy() == pytest.approx([by_arm[arm].mean() for arm in table["arm"]])
        expected = stats.ttest_rel(by_arm["fmix"], by_arm["off"]).confidence_interval(0.975)  # Bonferroni of two
        assert table.loc[2, ["low", "high"]].to_numpy(float) == pytest.approx([expected.low, expected.high])
        assert "not a confirmed result" in any_study.verdict(values)[-1].lower()

    def test_confirmed_is_compared_on_test_images(self, make: Callable[..., Path]) -> None:
        folder = make()
        confirm(folder, TEST_ERRORS)
        values = arms.arm_values(folder)
        table = any_study.arm_errors(values).set_index("arm")
        assert list(table.index) == ["off", "fmix"]
        assert set(table["images"]) == {"test"}
        assert table.loc["off", "error"] == pytest.approx(np.mean(TEST_ERRORS["off"]))
        assert table.loc["fmix", "estimate"] == pytest.approx(-0.06)
        assert any_study.verdict(values)[0].startswith("fmix has a lower test top-1 error than off")

    def test_a_first_arm_without_values_is_still_the_one_compared_with(self, make: Callable[..., Path]) -> None:
        folder = make()
        confirm(folder, {"fmix": TEST_ERRORS["fmix"], "cutmix": TEST_ERRORS["off"]})
        table = any_study.arm_errors(arms.arm_values(folder)).set_index("arm")
        assert list(table.index) == ["cutmix", "fmix"]
        assert list(table["n_pairs"]) == [0, 0]
        assert list(table["verdict"]) == ["too few", "too few"]
        assert any_study.verdict(arms.arm_values(folder))[0].startswith("Undecided")

    def test_without_trials_says_so(self, make: Callable[..., Path]) -> None:
        values = arms.arm_values(make(n_trials=0))
        assert any_study.arm_errors(values).empty
        assert (
            plots.draw_errors(any_study.arm_errors(values)).axes[0].texts[0].get_text() == "no trial has completed yet"
        )
        assert any_study.verdict(values)[0].startswith("Undecided")


class TestPairs:
    VALUES = pd.DataFrame(
        {
            "arm": ["off"] * 5 + ["cutmix"] * 5 + ["fmix"] * 5,
            "replicate": [*range(5)] * 3,
            "error": [0.30, 0.31, 0.29, 0.32, 0.30, 0.20, 0.22, 0.19, 0.21, 0.21, 0.295, 0.31, 0.30, 0.31, 0.305],
            "images": "test",
            "baseline": "off",
            "unit": "seed",
            "search_trials": 0,
        }
    )

    def test_each_is_a_paired_test_with_one_correction_over_all(self) -> None:
        found = any_study.pair_differences(self.VALUES).set_index(["first", "second"])
        assert list(found.index) == [("cutmix", "off"), ("fmix", "off"), ("fmix", "cutmix")]
        errors = {arm: rows["error"].to_numpy() for arm, rows in self.VALUES.groupby("arm")}
        tests = {pair: stats.ttest_rel(errors[pair[0]], errors[pair[1]]) for pair in found.index}
        assert found["p"].to_dict() == pytest.approx({pair: test.pvalue for pair, test in tests.items()})
        interval = tests["fmix", "off"].confidence_interval(1 - 0.05 / 3)
        assert found.loc[("fmix", "off"), ["low", "high"]].to_list() == pytest.approx([interval.low, interval.high])
        smallest = found["p"].min()
        assert found["p_holm"].min() == pytest.approx(3 * smallest)
        assert found["verdict"].to_list() == ["lower", "undecided", "higher"]

    def test_of_interest_are_corrected_for_alone(self) -> None:
        [row] = any_study.pair_differences(self.VALUES, [("fmix", "cutmix")]).to_dict("records")
        assert row["p_holm"] == row["p"]
        assert row["estimate"] == pytest.approx(0.098)

    def test_stand_in_a_matrix_in_both_directions(self) -> None:
        matrix = any_study.pair_matrix(any_study.pair_differences(self.VALUES))
        assert matrix.loc["cutmix", "off"].startswith("-9.80\u00a0* (")
        assert matrix.loc["off", "cutmix"].startswith("+9.80\u00a0* (")
        assert matrix.loc["off", "off"] == ""

    def test_without_the_baseline_have_a_sentence(self) -> None:
        differences = any_study.pair_differences(self.VALUES)
        [sentence] = any_study.pair_verdict(differences, self.VALUES)
        assert sentence == "Pairs without off (Holm's correction over all 3 pairs): fmix higher than cutmix."
        [sentence] = any_study.pair_verdict(differences, self.VALUES.assign(baseline="cutmix", search_trials=8))
        assert sentence.startswith("Configurations found, pairs without cutmix")
        assert sentence.endswith("all 1 undecided.")
        alone = any_study.pair_differences(self.VALUES[self.VALUES["arm"] != "fmix"])
        assert any_study.pair_verdict(alone, self.VALUES) == []

    def test_of_one_arm_or_none_are_none(self) -> None:
        assert any_study.pair_differences(self.VALUES.head(5)).empty
        assert any_study.pair_differences(self.VALUES.iloc[:0]).empty

    @pytest.mark.parametrize("pair", [("fmix", "box"), ("fmix", "fmix")])
    def test_of_unknown_or_equal_arms_are_refused(self, pair: tuple[str, str]) -> None:
        with pytest.raises(ValueError, match=r"no arm 'box' .* off, cutmix, fmix|'fmix' is paired with itself"):
            any_study.pair_differences(self.VALUES, [pair])
