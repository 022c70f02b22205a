"""What is counted as n, and how a sentence may name an arm."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.data import arms, frames
from analysis.data.measurements import measured_means, measured_values
from analysis.data.replication import Replication, replication_in, replication_of, unit_of_search
from analysis.data.winners import winners
from analysis.methods import quantities as confirmed
from analysis.questions import any_study, comparison
from sweep.findings.confirmed import summarise_confirmed
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM

LR = {"optimizer.lr": {"kind": "uniform", "lo": 0.1, "hi": 0.5}}


class TestSeveralSearches:
    def test_a_value_is_a_search_and_its_error_the_mean_over_seeds(self, searches_dir: Path) -> None:
        values = arms.arm_values(searches_dir)
        assert values.groupby("arm").size().to_dict() == dict.fromkeys(("off", "cutout", "mixup", "cutmix"), 5)
        assert sorted(values["replicate"].unique()) == [0, 1, 2, 3, 4]
        tested = arms.confirmed_winners(searches_dir).query("arm == 'mixup' and search == 3")["top1_error"]
        assert len(tested) == 3
        [error] = values.query("arm == 'mixup' and replicate == 3")["error"]
        assert error == pytest.approx(tested.mean())

    def test_the_tables_are_those_of_the_command_line(self, searches_dir: Path) -> None:
        expected = summarise_confirmed(read_sweep(searches_dir), read_sweep(searches_dir, CONFIRM)).set_index("arm")
        errors = any_study.arm_errors(arms.arm_values(searches_dir)).set_index("arm")
        assert set(errors["unit"]) == {"search"}
        assert errors["n"].to_dict() == expected["n"].to_dict()
        assert errors["error_low"].to_dict() == pytest.approx(expected["low"].to_dict())
        compared = ["cutout", "mixup", "cutmix"]
        assert errors.loc[compared, "p_holm"].to_list() == pytest.approx(expected.loc[compared, "p_holm"].to_list())

    def test_measured_quantities_count_searches_as_well(self, searches_dir: Path) -> None:
        means = measured_means(measured_values(searches_dir))
        assert means[["unit", "n"]].drop_duplicates().to_numpy().tolist() == [["search", 5]]
        tested = confirmed.values_of(["test_error"], searches_dir)
        expected = arms.arm_values(searches_dir)
        assert sorted(tested["value"]) == pytest.approx(sorted(expected["error"]))

    def test_sentences_are_about_arms(self, searches_dir: Path) -> None:
        values = arms.arm_values(searches_dir)
        sentences = any_study.verdict(values)
        assert sentences[2].startswith("cutmix, searched with 5 trials, has a lower test top-1 error than off (")
        assert "n = 5 searches, p < 0.001" in sentences[2]
        assert "not known" not in sentences[-1]
        assert comparison.verdict(values.assign(sweep="digits"))[0] == (
            "digits (test top-1 error, n = 5 searches of 5 trials): cutmix lower than off; cutout, mixup undecided."
        )


class TestOneSearch:
    def test_sentences_are_about_the_configuration_found(self, one_search_dir: Path) -> None:
        values = arms.arm_values(one_search_dir)
        assert set(values["unit"]) == {"seed"}
        sentences = any_study.verdict(values)
        assert sentences[2].startswith("The configuration found for cutmix has a lower test top-1 error than off (")
        assert "n = 5 seeds" in sentences[2]
        assert "How much of this is the luck of one search is not known." in sentences[-1]
        [sentence] = [line for line in comparison.verdict(values.assign(sweep="digits")) if line.startswith("digits")]
        assert "of the configurations that one search found, n = 5 seeds" in sentence

    def test_the_validation_error_of_a_winner_is_that_of_its_trial(self, one_search_dir: Path) -> None:
        rows = winners(one_search_dir).query("arm == 'cutmix'")
        assert rows["winner"].nunique() == 1
        trials = frames.load(one_search_dir).trials.set_index("trial")["final_val_top1_error"]
        assert set(rows["validation"]) == {trials[rows["winner"].iloc[0]]}
        assert trials[rows["winner"].iloc[0]] == trials.filter(like="cutmix").min()


def test_an_arm_in_which_nothing_varies_may_always_be_named() -> None:
    plain = Replication("seed", {"off": 0, "cutmix": 0})
    assert plain.subjects("cutmix", "off") == ("cutmix", "off")
    assert not plain.is_one_search
    both = Replication("search", {"off": 4, "cutmix": 4})
    assert both.subjects("cutmix", "off") == ("cutmix", "off, each searched with 4 trials,")


@pytest.mark.parametrize(
    ("study", "unit", "of_search"),
    [
        ({"space": LR, "search": "random", "confirm": {"searches": 5}}, "search", "trial"),
        ({"space": LR, "search": "grid", "confirm": None}, "seed", "seed"),
        ({"space": {}, "search": "random", "confirm": {"searches": 1}}, "seed", "seed"),
    ],
)
def test_the_unit_follows_from_the_study(study: dict[str, object], unit: str, of_search: str) -> None:
    whole = {"arms": {"off": {}, "cutmix": {}}, "budget": {"trials": 20}, **study}
    assert replication_of(whole).unit == unit
    assert unit_of_search(whole) == of_search


def test_a_table_without_rows_has_seeds() -> None:
    assert replication_in(pd.DataFrame({"arm": [], "unit": [], "search_trials": []})).unit == "seed"
