"""Arms compared by test errors where they were confirmed, else by validation errors; sweeps beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import plots
from analysis.data import arms, frames
from analysis.questions import any_study, comparison
from sweep.records.errors import RecordsError
from sweep.records.schema import EVALUATIONS, MANIFEST, TRIALS
from sweep.records.writer import RecordsWriter

TEST_ERRORS = {"off": [0.31, 0.30, 0.32, 0.29], "fmix": [0.25, 0.24, 0.27, 0.22]}


def confirm(sweep_dir: Path, errors: dict[str, list[float]]) -> None:
    """Add a confirmation of each arm's first trial to a simulated sweep, and the metric that ranks trials."""
    manifest = json.loads((sweep_dir / MANIFEST).read_text())
    manifest["study"]["metric"] = "val_top1_error"
    (sweep_dir / MANIFEST).write_text(json.dumps(manifest))
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


def _none(arm: str, params: Mapping[str, Any]) -> float:
    return 0.0


@pytest.fixture
def make(simulate: Callable[..., Path]) -> Callable[..., Path]:
    given = {"study": "my_own", "arms": ("off", "cutmix", "fmix"), "n_trials": 6, "n_epochs": 4, "stop": False}
    return lambda **more: simulate(**{**given, **more})


class TestOneSweep:
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

    def test_a_grid_is_compared_by_means_of_seeds(self, simulate: Callable[..., Path]) -> None:
        space = {"cutmix": {"mix.size.alpha": [0.3, 1.0]}}
        folder = simulate(study="my_own", arms=("off", "cutmix"), replicates=4, spaces=space, stop=False, gain=_none)
        values = arms.arm_values(folder).set_index(["arm", "replicate"])["error"]
        trials = frames.load(folder).trials.query("arm == 'cutmix' and seed == 2")
        assert len(trials) == 2
        assert values["cutmix", 2] == pytest.approx(trials["final_val_top1_error"].mean())
        assert values.groupby("arm").size().to_dict() == {"cutmix": 4, "off": 8}

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


class TestSeveralSweeps:
    def test_rank_their_common_arms(self, make: Callable[..., Path]) -> None:
        sweeps = {name: make(gains={"fmix": 0.1, "cutmix": 0.05}, seed=seed) for seed, name in enumerate("abcdef")}
        values = arms.values_of(sweeps)
        ranks = comparison.rank_table(comparison.ranks(values))
        assert list(ranks["arm"]) == ["fmix", "cutmix", "off"]
        assert list(ranks["mean_rank"]) == [1.0, 2.0, 3.0]
        assert set(ranks["n_sweeps"]) == {6}
        *each, over_all = comparison.verdict_of_sweeps(values)
        assert each[0] == "a (validation top-1 error, not confirmed): cutmix, fmix lower than off."
        assert over_all.startswith("Over n = 6 sweeps")
        assert "fmix ranks before off (1.00 against 3.00)" in over_all
        assert "cutmix ranks before off" not in over_all  # one rank apart in six sweeps is too little

    def test_that_are_alike_rank_none_before_another(self, make: Callable[..., Path]) -> None:
        values = arms.values_of({name: make(seed=seed) for seed, name in enumerate("abc")})
        assert "undecided, no arm ranks before another" in comparison.verdict_of_sweeps(values)[-1]

    def test_without_arms_in_common_are_not_ranked(self, make: Callable[..., Path]) -> None:
        sweeps = {"a": make(), "b": make(), "c": make(arms=("off", "mixup"))}
        values = arms.values_of(sweeps)
        assert comparison.ranks(values) is None
        assert comparison.rank_table(None).empty
        wide = comparison.side_by_side(values)
        assert list(wide.columns) == ["a", "b", "c"]
        assert list(wide.index) == ["off", "cutmix", "fmix", "mixup"]
        assert pd.isna(wide.loc["mixup", "a"])

    def test_keep_first_arms_of_their_own(self, make: Callable[..., Path]) -> None:
        sweeps = {"a": make(arms=("off", "cutmix")), "b": make(arms=("cutmix", "off"))}
        table = any_study.arm_errors(arms.values_of(sweeps))
        assert list(zip(table["sweep"], table["arm"], table["n_pairs"], strict=True)) == [
            *(("a", "off", 0), ("a", "cutmix", 6)),
            *(("b", "cutmix", 0), ("b", "off", 6)),
        ]

    def test_are_seen_with_what_they_ran(self, make: Callable[..., Path]) -> None:
        table = comparison.overview({"a": make(), "b": make(n_epochs=5)})
        assert list(table["epochs"]) == ["4", "5"]
        assert list(table["trials"]) == [18, 18]

    @pytest.mark.parametrize("n_sweeps", [1, 3])
    def test_are_drawn_a_panel_each(self, make: Callable[..., Path], n_sweeps: int) -> None:
        values = arms.values_of({str(number): make() for number in range(n_sweeps)})
        figure = plots.draw_errors(any_study.arm_errors(values))
        assert [ax.get_title() for ax in figure.axes] == [str(number) for number in range(n_sweeps)]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
            f"{arm} (n = 6)" for arm in ("off", "cutmix", "fmix")
        ]


class TestLabels:
    def test_are_names_of_folders(self, tmp_path: Path) -> None:
        assert arms.labels([tmp_path / "a", tmp_path / "b"]) == {"a": tmp_path / "a", "b": tmp_path / "b"}

    def test_tell_folders_of_equal_name_apart(self, tmp_path: Path) -> None:
        labels = arms.labels([tmp_path / "x" / "s", tmp_path / "y" / "s"])
        assert len(labels) == 2
        assert not any("/" in label for label in labels)

    def test_come_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(arms.SWEEP_DIRS, f"{tmp_path / 'a'}:{tmp_path / 'b'}")
        assert list(arms.labels()) == ["a", "b"]

    def test_need_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(arms.SWEEP_DIRS, raising=False)
        with pytest.raises(RecordsError, match="no sweeps to compare"):
            arms.labels()
