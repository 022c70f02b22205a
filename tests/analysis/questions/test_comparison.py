"""Several sweeps compared: each on its own, pair by pair over all, and by ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import plots
from analysis.data import arms
from analysis.questions import any_study, comparison
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest


class TestSeveralSweeps:
    def test_rank_their_common_arms(self, make: Callable[..., Path]) -> None:
        sweeps = {name: make(gains={"fmix": 0.1, "cutmix": 0.05}, seed=seed) for seed, name in enumerate("abcdef")}
        values = arms.values_of(sweeps)
        ranks = comparison.rank_table(comparison.ranks(values))
        assert list(ranks["arm"]) == ["fmix", "cutmix", "off"]
        assert list(ranks["mean_rank"]) == [1.0, 2.0, 3.0]
        assert set(ranks["n_sweeps"]) == {6}
        *each, over_all = comparison.verdict(values)
        assert each[0] == "a (validation top-1 error, not confirmed): cutmix, fmix lower than off."
        assert over_all.startswith("Over n = 6 sweeps")
        assert "fmix ranks before off (1.00 against 3.00)" in over_all
        assert "cutmix ranks before off" not in over_all  # one rank apart in six sweeps is too little

    def test_that_are_alike_rank_none_before_another(self, make: Callable[..., Path]) -> None:
        values = arms.values_of({name: make(seed=seed) for seed, name in enumerate("abc")})
        assert "undecided, no arm ranks before another" in comparison.verdict(values)[-1]

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
        labels = [label.get_text().partition(" (")[0] for label in figure.axes[0].get_yticklabels()]
        assert labels == ["off", "cutmix", "fmix"]


class TestImprovement:
    def test_counts_pairs_of_all_sweeps(self, make: Callable[..., Path]) -> None:
        values = arms.values_of({name: make(gains={"fmix": 0.1}, seed=seed) for seed, name in enumerate("ab")})
        found = comparison.improvement(values).set_index("arm")
        assert list(found.index) == ["cutmix", "fmix"]
        assert found["n_pairs"].tolist() == [12, 12]
        assert found.loc["fmix", "estimate"] == 1.0
        assert found.loc["fmix", "low"] > 0.5
        sentences = comparison.verdict(values)
        assert any(line.startswith("fmix has a lower error than off in 100 % of pairs") for line in sentences)

    def test_needs_two_sweeps_with_one_baseline(self, make: Callable[..., Path]) -> None:
        one, other = make(), make()
        assert comparison.improvement(arms.values_of({"a": one})).empty
        manifest = read_manifest(other)
        manifest["study"]["reference"] = "fmix"
        write_manifest(other, manifest)
        assert comparison.improvement(arms.values_of({"a": one, "b": other})).empty
