"""Sections of a page that are there only if a sweep has something to show in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from PIL import Image

from analysis.data.arms import arm_values
from analysis.data.frames import Sweep, load
from analysis.questions import any_study, factors
from analysis.report import show as showing
from analysis.report.sections import control_cohort, luck, measurements, pairs, unfinished
from analysis.report.sections import factors as factor_section
from sweep.records.schema import SPARED
from tests.analysis.simulated_studies import SimulatedTrial, record

ARMS = ("off", "cutmix")


class Page:
    """What was shown: Markdown, and the names of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: list[str] = []

    def show(self, thing: Any, **_: Any) -> None:
        self.texts += [thing.data] if isinstance(thing, Markdown) else []

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^#+ (.*)$", "\n".join(self.texts), flags=re.MULTILINE)

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.suffix in (".csv", ".png")}

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "tables" / f"{name}.csv")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    made = Page(tmp_path / "report")
    monkeypatch.setenv(showing.REPORT_DIR, str(made.folder))
    for module in (showing, control_cohort, factor_section, luck, measurements, pairs, unfinished):
        monkeypatch.setattr(module, "display", made.show)
    return made


def evaluated_sweep(folder: Path) -> Path:
    folder.mkdir()
    trials = []
    for number in range(4):
        for arm in ARMS:
            value = 0.5 - 0.2 * (arm == "cutmix") + 0.01 * number + 0.002 * (number % 2) * (arm == "cutmix")
            measured = {("sharpness", "radius=2", "error"): value, ("cost", "", "train_flops"): 1e9}
            trials.append(SimulatedTrial(arm, number, [0.5], measured=measured))
    return record(folder, "own", ARMS, trials)


class TestMeasurements:
    def test_are_absent_where_nothing_was_evaluated(self, simulate: Callable[..., Path], page: Page) -> None:
        measurements.show_measurements(simulate(study="own", n_trials=2, n_epochs=4, confirm_seeds=0))
        assert page.texts == []
        assert page.files == set()

    def test_are_a_table_a_figure_and_differences(self, tmp_path: Path, page: Page) -> None:
        measurements.show_measurements(evaluated_sweep(tmp_path / "sweep"))
        assert page.headings == ["What was evaluated", "Differences to `off`"]
        assert "the completed trials of the search" in page.texts[0]
        assert page.files == {"evaluated.csv", "evaluated_figure.png", "evaluated_differences.csv"}
        assert set(page.table("evaluated")["axis"]) == {"sharpness", "cost"}
        [flops, error] = page.table("evaluated_differences").sort_values("axis").to_dict("records")
        assert (error["arm"], error["baseline"], error["verdict"]) == ("cutmix", "off", "lower")
        assert flops["verdict"] == "too few"

    def test_have_pictures_of_some_trials_of_each_arm(self, tmp_path: Path, page: Page) -> None:
        folder = evaluated_sweep(tmp_path / "sweep")
        pictures = folder / "pictures" / "localization"
        pictures.mkdir(parents=True)
        for arm in ARMS:
            for number in range(4):
                Image.new("RGB", (1400, 100)).save(pictures / f"{arm}-{number:04d}-cam.png")
            Image.new("RGB", (1400, 400)).save(pictures / f"arm-{arm}-cam.png")
        measurements.show_measurements(folder, baseline="cutmix")
        assert page.headings == ["What was evaluated", "Differences to `cutmix`", "Pictures: localization, cam"]
        with Image.open(page.folder / "figures" / "localization_cam_off.png") as picture:
            assert picture.size == (1400, 200)
        assert page.texts[-2:] == ["**off**", "**cutmix**"]


class TestLuck:
    def test_of_several_searches_has_three_figures(self, searches_dir: Path, page: Page) -> None:
        luck.show_luck(searches_dir)
        assert page.headings == ["Luck of the search", "Best of n trials", "Spread of searches and of seeds"]
        figures = {"luck_winners_figure.png", "luck_best_of_figure.png", "luck_spread_figure.png"}
        assert page.files == {*figures, "luck_winners.csv", "luck_spread.csv"}
        assert page.table("luck_spread")["n_searches"].tolist() == [5] * 4

    def test_of_one_search_is_not_known(self, one_search_dir: Path, page: Page) -> None:
        luck.show_luck(one_search_dir)
        assert "does not contain the luck of the search" in page.texts[0].replace("\n", " ")
        assert "luck_spread_figure.png" not in page.files
        assert "is not known" in page.texts[-1]

    def test_is_absent_before_a_confirmation_and_where_nothing_varies(
        self, simulate: Callable[..., Path], page: Page
    ) -> None:
        luck.show_luck(simulate(study="own", n_trials=2, n_epochs=4))
        luck.show_luck(simulate(study="own", n_trials=2, n_epochs=4, stop=False, confirm_seeds=2))
        assert page.texts == []


class TestPairs:
    def test_are_shown_for_three_arms(self, simulate: Callable[..., Path], page: Page) -> None:
        folder = simulate(study="own", arms=("off", "cutmix", "fmix"), n_trials=4, n_epochs=4, stop=False)
        pairs.show_pairs(any_study.pair_differences(arm_values(folder)))
        assert page.headings == ["Pairs of arms"]
        assert len(page.table("pairs")) == 3

    def test_are_absent_for_two(self, simulate: Callable[..., Path], page: Page) -> None:
        folder = simulate(study="own", arms=ARMS, n_trials=4, n_epochs=4, stop=False)
        pairs.show_pairs(any_study.pair_differences(arm_values(folder)))
        assert page.texts == []


class TestFactors:
    def test_of_a_grid(self, simulate: Callable[..., Path], page: Page, rng: np.random.Generator) -> None:
        def gain(arm: str, params: Mapping[str, Any]) -> float:
            return 0.1 * float(params.get("mix.size.alpha", 0.0))

        spaces = {"cutmix": {"mix.size.alpha": [0.3, 1.0], "mix.apply.prob": [0.5, 1.0]}}
        sweep = load(simulate(study="own", arms=ARMS, spaces=spaces, gain=gain, replicates=3, n_epochs=4, stop=False))
        sweep.manifest["study"]["search"] = "grid"
        factor_section.show_factors(sweep, factors.factors_of(sweep, rng=rng))
        assert page.headings == ["Factors and their interactions", "Variance explained"]
        figures = {
            "factor_mix_size_alpha.png",
            "factor_mix_apply_prob.png",
            "factors_1_mix_size_alpha_mix_apply_prob.png",
        }
        assert page.files == {*figures, "factor_levels.csv", "factor_variance.csv"}

    def test_of_a_search(self, planted: Sweep, page: Page, rng: np.random.Generator) -> None:
        factor_section.show_factors(planted, factors.factors_of(planted, rng=rng))
        assert page.headings == ["Factors", "Importance"]
        assert {"factor_mix_position_kind.png", "factors_cutmix.png", "factor_importance.csv"} <= page.files

    def test_are_absent_where_one_thing_varies(
        self, simulate: Callable[..., Path], page: Page, rng: np.random.Generator
    ) -> None:
        sweep = load(simulate(study="own", arms=ARMS, n_trials=2, n_epochs=4))
        factor_section.show_factors(sweep, factors.factors_of(sweep, rng=rng))
        assert page.texts == []


class TestControlCohort:
    def test_is_shown_with_its_regret(self, planted: Sweep, page: Page) -> None:
        completed = planted.trials["status"] == "completed"
        spared = planted.decisions["trial"] == planted.trials["trial"][completed].iloc[0]
        verdicts = planted.decisions["verdict"].mask(spared, SPARED)
        controlled = replace(
            planted,
            trials=planted.trials.assign(control=completed),
            decisions=planted.decisions.assign(verdict=verdicts),
        )
        control_cohort.show_control_cohort(controlled)
        assert page.headings == ["What early stopping cost"]
        assert page.table("stopping_regret")["n_spared"].tolist() == [1, 0, 0, 0]

    def test_is_absent_without_control_trials(self, planted: Sweep, page: Page) -> None:
        control_cohort.show_control_cohort(planted)
        assert page.texts == []


def test_what_is_unfinished_is_shown_in_a_notebook_and_not_in_a_report(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"begun": "So far: 5 of 8 trials have ended.", "ended": ""}
    load = lambda folder: SimpleNamespace(unfinished=texts[folder.name])  # noqa: E731
    monkeypatch.setenv("CUTMIX_SWEEP_DIR", str(tmp_path / "begun"))
    unfinished.show_unfinished(load)
    assert page.texts == []
    monkeypatch.delenv(showing.REPORT_DIR)
    unfinished.show_unfinished(load)
    unfinished.show_unfinished(load, {"mine": tmp_path / "begun", "yours": tmp_path / "ended"})
    said = [text.replace("\\", "") for text in page.texts]
    assert said == [f"**{texts['begun']}**", f"**mine: {texts['begun']}**"]
