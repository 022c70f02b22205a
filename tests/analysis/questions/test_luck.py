"""The luck of the search: winners, best of n trials, spread of searches and of seeds."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import plots
from analysis.data.arms import arm_values, confirmed_winners
from analysis.data.frames import Sweep, load
from analysis.data.winners import winners
from analysis.questions import luck


@pytest.fixture(scope="module")
def searches(searches_dir: Path) -> Sweep:
    return load(searches_dir)


def with_rule(sweep: Sweep, rule: str = "asha") -> Sweep:
    study = sweep.manifest["study"]
    changed = {**study, "budget": {**study["budget"], "early_stopping": {"rule": rule}}}
    return replace(sweep, manifest={**sweep.manifest, "study": changed})


class TestBestOf:
    def test_is_the_mean_over_subsets_and_searches(self, searches: Sweep) -> None:
        info = plots.best_of_info(searches).query("arm == 'cutmix'")
        assert info["n"].tolist() == [1, 2, 3, 4, 5]
        errors = searches.trials.query("arm == 'cutmix'").groupby("search")["final_val_top1_error"]
        pairs = [np.mean([min(pair) for pair in combinations(group, 2)]) for _, group in errors]
        expected = stats.ttest_1samp(pairs, 0).confidence_interval()
        assert info.loc[info["n"] == 2, ["estimate", "low", "high"]].to_numpy()[0] == pytest.approx(
            [np.mean(pairs), expected.low, expected.high]
        )
        assert set(info["n_searches"]) == {5}

    def test_with_early_stopping_is_what_the_searches_had_found(self, searches: Sweep) -> None:
        is_stopped = (searches.trials["arm"] == "cutmix") & searches.trials["number"].isin([0, 5])
        final = searches.trials.filter(like="final_").columns
        trials = searches.trials.copy()
        trials.loc[is_stopped, "status"] = "stopped"
        trials.loc[is_stopped, final] = np.nan
        info = plots.best_of_info(with_rule(replace(searches, trials=trials))).query("arm == 'cutmix'")
        assert info["n"].tolist() == [3, 4, 5]  # the first two trials of search 0 were stopped
        rows = trials.query("arm == 'cutmix'").sort_values("number")
        best = [group["final_val_top1_error"][:3].min() for _, group in rows.groupby("search")]
        assert info["estimate"].iloc[0] == pytest.approx(np.mean(best))
        assert set(info["how"]) == {"order"}

    def test_nothing_is_best_where_nothing_varies(self, searches: Sweep) -> None:
        info = plots.best_of_info(searches).query("arm == 'off'")
        mean = searches.trials.query("arm == 'off'")["final_val_top1_error"].mean()
        assert info["estimate"].to_numpy() == pytest.approx(mean)

    def test_of_one_search_has_an_interval_for_few_trials_only(self, one_search_dir: Path) -> None:
        info = plots.best_of_info(load(one_search_dir)).query("arm == 'cutmix'")
        assert info["low"].notna().tolist() == [True] * 4 + [False] * 8
        text = luck.describe_best_of(info)
        assert "jackknife" in text

    def test_of_a_trial_that_still_runs_ends_before_it(self, searches: Sweep) -> None:
        number = searches.trials["number"]
        trials = searches.trials.assign(status=searches.trials["status"].mask(number >= 15, "running"))
        info = plots.best_of_info(with_rule(replace(searches, trials=trials)))
        assert info.query("arm == 'cutmix'")["n"].max() == 3

    def test_repeated_configurations_are_left_out(self, searches: Sweep) -> None:
        trials = searches.trials.assign(**{"params.optimizer.lr": 0.1})
        assert set(plots.best_of_info(replace(searches, trials=trials))["arm"]) == {"off"}


class TestWinners:
    def test_the_table_has_their_range_and_their_optimism(self, searches_dir: Path) -> None:
        table = luck.winner_table(winners(searches_dir)).set_index("arm")
        errors = arm_values(searches_dir).groupby("arm")["error"]
        assert table["highest"].to_dict() == errors.max().to_dict()
        rows = winners(searches_dir).query("arm == 'mixup'")
        assert table.loc["mixup", "optimism"] == pytest.approx((rows["error"] - rows["validation"]).mean())

    def test_one_winner_has_no_optimism_with_an_interval(self, one_search_dir: Path) -> None:
        assert luck.winner_table(winners(one_search_dir))["optimism_low"].isna().all()

    def test_are_no_question_where_nothing_varies(self, searches_dir: Path) -> None:
        rows = winners(searches_dir)
        assert luck.has_luck(rows)
        assert not luck.has_luck(rows[rows["arm"] == "off"])


class TestSpread:
    def test_of_searches_and_seeds(self, searches_dir: Path) -> None:
        confirmed = confirmed_winners(searches_dir)
        spread = plots.spread_info(confirmed)
        [row] = spread.query("arm == 'cutmix'").to_dict("records")
        errors = confirmed.query("arm == 'cutmix'").groupby("search")["top1_error"]
        assert row["values"] == pytest.approx(errors.mean().std())
        assert row["seeds"] == pytest.approx(np.sqrt(errors.var().mean()))
        sentences = luck.sentences(winners(searches_dir), spread)
        assert [line.partition(":")[0] for line in sentences] == ["cutout", "mixup", "cutmix"]
        assert "Searches account for an SD of" in sentences[0]

    def test_of_one_seed_per_search_is_not_separable(self, searches_dir: Path) -> None:
        confirmed = confirmed_winners(searches_dir).drop_duplicates(["arm", "search"])
        spread = plots.spread_info(confirmed)
        assert spread["searches"].isna().all()
        assert luck.sentences(winners(searches_dir), spread)[-1] == luck.NOT_SEPARABLE
        assert set(luck.spread_table(spread)["searches (points)"]) == {""}

    def test_of_one_search_is_that_of_its_seeds(self, one_search_dir: Path) -> None:
        spread = plots.spread_info(confirmed_winners(one_search_dir))
        sentences = luck.sentences(winners(one_search_dir), spread)
        assert sentences[0].startswith("cutout: the seeds of the one winner have an SD of")
        assert sentences[-1].startswith("How much of this is the luck of one search is not known.")

    def test_of_nothing_is_nothing(self, searches_dir: Path) -> None:
        nothing: pd.DataFrame = winners(searches_dir).iloc[:0]
        assert luck.sentences(nothing, plots.spread_info(confirmed_winners(searches_dir).iloc[:0])) == []
