"""Paired comparisons against SciPy, statsmodels and figures by hand; what they promise is held on made-up studies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from analysis.statistics import (
    HIGHER,
    LOWER,
    TOO_FEW,
    UNDECIDED,
    WITHIN,
    aggregates,
    bootstrap,
    effect_sizes,
    means,
    paired_differences,
    pairs,
    power_of,
    probability_of_improvement,
)
from sweep.findings.student_t import power

ARMS = ("off", "cutout", "mixup", "cutmix", "fmix", "grid")
N_STUDIES = 1000

finite = st.floats(-1, 1).map(lambda value: round(value, 6))


def table_of(values: np.ndarray, arms: tuple[str, ...] = ARMS) -> pd.DataFrame:
    """Values [studies, arms, seeds] as one row a trial."""
    study, arm, replicate = np.indices(values.shape).reshape(3, -1)
    columns = {"study": study, "arm": np.array(arms)[arm], "replicate": replicate, "error": values.ravel()}
    return pd.DataFrame(columns)


def studies(
    n_studies: int, n_seeds: int, *, effect: float = 0.0, arms: tuple[str, ...] = ARMS, seed: int = 0
) -> pd.DataFrame:
    """Errors that arms share in part at a seed, each with an SD of 0.3 of its own; ``effect`` is of the last."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.4, (n_studies, 1, n_seeds)) + rng.normal(0, 0.3, (n_studies, len(arms), n_seeds))
    values[:, -1] += effect
    return table_of(values, arms)


def compared(table: pd.DataFrame, **given: Any) -> pd.DataFrame:
    return paired_differences(table, **{"value": "error", "baseline": "off", **given})


class TestPromises:
    @pytest.mark.parametrize("n_seeds", [5, 10, 30])
    def test_the_interval_of_a_difference_covers_as_often_as_it_says(self, n_seeds: int) -> None:
        found = compared(studies(N_STUDIES, n_seeds, effect=0.2, arms=("off", "cutmix"), seed=1), by=["study"])
        error = 2 * math.sqrt(0.05 * 0.95 / N_STUDIES)
        assert 0.93 - error <= found.eval("low <= 0.2 and high >= 0.2").mean() <= 0.97 + error

    @pytest.mark.parametrize("n_seeds", [3, 10])
    def test_null_studies_declare_no_winner_above_the_nominal_rate(self, n_seeds: int) -> None:
        found = compared(studies(N_STUDIES, n_seeds, seed=2), by=["study"])
        decided = found["verdict"].isin([LOWER, HIGHER]).groupby(found["study"]).any()
        assert len(decided) == N_STUDIES
        assert decided.mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / N_STUDIES)

    def test_intervals_hold_all_at_once(self) -> None:
        found = compared(studies(N_STUDIES, 5, seed=3), by=["study"])
        held = found.eval("low <= 0 and high >= 0").groupby(found["study"]).all()
        assert held.mean() >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / N_STUDIES)

    @pytest.mark.parametrize(("effect", "n_seeds"), [(-0.5, 5), (0.3, 12)])
    def test_planted_differences_are_found_as_often_as_power_says(self, effect: float, n_seeds: int) -> None:
        found = compared(studies(N_STUDIES, n_seeds, effect=effect, arms=("off", "cutmix"), seed=4), by=["study"])
        promised = power(effect, n_seeds=n_seeds, sd=0.3 * math.sqrt(2), paired=True)
        share = (found["verdict"] == (LOWER if effect < 0 else HIGHER)).mean()
        assert share == pytest.approx(promised, abs=4 * math.sqrt(promised * (1 - promised) / N_STUDIES))

    def test_alike_arms_are_rarely_declared_within_a_margin_they_exceed(self) -> None:
        found = compared(studies(N_STUDIES, 10, effect=0.3, arms=("off", "cutmix")), by=["study"], margin=0.3)
        assert (found["p_within"] <= 0.05).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / N_STUDIES)


class TestPairedDifferences:
    def test_are_scipys(self) -> None:
        table = studies(1, 8, effect=-0.4, seed=5)
        wide = table.pivot(index="replicate", columns="arm", values="error")
        found = compared(table).set_index("arm")
        assert found.index.tolist() == list(ARMS[1:])
        tests = {arm: stats.ttest_rel(wide[arm], wide["off"]) for arm in ARMS[1:]}
        adjusted = multipletests([test.pvalue for test in tests.values()], method="holm")[1]
        assert found["p_holm"].tolist() == pytest.approx(adjusted.tolist())
        for arm, test in tests.items():
            interval = test.confidence_interval(1 - 0.05 / 5)
            assert found.loc[arm, ["p", "low", "high"]].tolist() == pytest.approx([test.pvalue, *interval])

    def test_equivalence_is_statsmodels(self) -> None:
        table = studies(1, 8, arms=("off", "cutmix"), seed=6)
        wide = table.pivot(index="replicate", columns="arm", values="error")
        (row,) = compared(table, margin=0.3).to_dict("records")
        assert row["p_within"] == pytest.approx(DescrStatsW(wide["cutmix"] - wide["off"]).ttost_mean(-0.3, 0.3)[0])

    def test_pairs_share_their_replicate(self) -> None:
        """Replicates differ by far more than arms: only pairing finds what is there, in whatever order rows come."""
        table = table_of(np.array([[np.arange(6.0), 1.01 * np.arange(6.0) + 0.1]]), ARMS[:2])
        (row,) = compared(table.sample(frac=1, random_state=0)).to_dict("records")
        assert (row["verdict"], row["n_pairs"]) == (HIGHER, 6)
        assert row["estimate"] == pytest.approx(0.125)

    def test_a_value_without_its_pair_is_left_out(self) -> None:
        table = studies(1, 6, arms=("off", "cutmix"))
        table.loc[table.index[[0, 8]], "error"] = [np.nan, np.inf]
        assert compared(table)["n_pairs"].tolist() == [4]

    def test_small_differences_between_alike_arms_are_within_the_margin(self) -> None:
        found = compared(table_of(np.array([[[0.1, 0.2, 0.3], [0.101, 0.199, 0.3005]]]), ARMS[:2]), margin=0.05)
        assert found["verdict"].tolist() == [WITHIN]

    @pytest.mark.parametrize("shift", [0.0, 0.1])
    def test_differences_all_alike_but_for_rounding_decide_nothing(self, shift: float) -> None:
        values = np.array([0.1, 0.2, 0.3, 0.7])
        found = compared(table_of(np.array([[values, values + shift]]), ARMS[:2]), margin=0.5)
        assert found["verdict"].tolist() == [TOO_FEW]
        assert found[["low", "high", "p", "p_holm", "p_within"]].isna().all(axis=None)

    def test_one_pair_is_too_few(self) -> None:
        assert compared(studies(1, 1))["verdict"].tolist() == [TOO_FEW] * 5

    def test_families_are_corrected_on_their_own(self) -> None:
        table = studies(3, 5, seed=7)
        together = compared(table, by=["study"])
        for study, own in together.groupby("study"):
            alone = compared(table[table["study"] == study])
            pd.testing.assert_frame_equal(own.drop(columns="study").reset_index(drop=True), alone)

    def test_arms_keep_the_order_of_the_study(self) -> None:
        table = studies(1, 3)
        ordered = table.assign(arm=pd.Categorical(table["arm"], [*ARMS[::-1], "absent"], ordered=True))
        assert compared(ordered)["arm"].tolist() == list(ARMS[:0:-1])

    def test_a_baseline_without_a_row_yet_is_no_mistake(self) -> None:
        table = studies(1, 3)
        begun = table.assign(arm=pd.Categorical(table["arm"], ARMS))[table["arm"] == "mixup"]
        assert compared(begun)["verdict"].tolist() == [TOO_FEW]
        assert compared(begun.iloc[:0]).empty
        assert compared(begun.iloc[:0], by=["study"]).empty

    def test_an_unknown_baseline_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no arm 'of' to compare with, choose one of off, cutout"):
            compared(studies(1, 3), baseline="of")

    def test_several_values_in_a_pair_are_refused(self) -> None:
        with pytest.raises(ValueError, match="arm 'off' has several values at replicate 0: name what tells them apart"):
            compared(studies(2, 3))

    @pytest.mark.parametrize(("name", "value"), [("margin", 0.0), ("margin", math.nan), ("confidence", 95.0)])
    def test_a_figure_out_of_range_is_refused(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"{name} must .* got {value}"):
            compared(studies(1, 3), **{name: value})

    @given(st.lists(st.tuples(finite, finite, finite), min_size=2, max_size=6), finite)
    @settings(max_examples=30, deadline=None)
    def test_decisions_and_intervals_agree(self, rows: list[tuple[float, ...]], shift: float) -> None:
        """Holm decides whatever an interval excludes zero of; what all arms share at a seed changes nothing."""
        values = np.array(rows).T[None]
        found = compared(table_of(values, ARMS[:3]))
        excluded = (found["low"] > 0) | (found["high"] < 0)
        assert found["verdict"][excluded].isin([LOWER, HIGHER]).all()
        assert (found["p_holm"].dropna() >= found["p"].dropna()).all()
        moved = compared(table_of(values + shift * np.arange(values.shape[2]), ARMS[:3]))
        assert moved["estimate"].tolist() == pytest.approx(found["estimate"].tolist(), abs=1e-9)


class TestEffectSizes:
    def test_are_in_units_of_the_sd(self) -> None:
        differences = np.array([0.1, 0.3, 0.2, 0.5, 0.4])
        found = effect_sizes(compared(table_of(np.array([[np.zeros(5), differences]]), ARMS[:2]))).iloc[0]
        assert found["d_z"] == pytest.approx(0.3 / differences.std(ddof=1))
        assert found["hedges_g"] == pytest.approx(found["d_z"] * 0.7979, abs=1e-4)  # Hedges' J of 4 degrees of freedom
        ends, unbiased = np.array([found["g_low"], found["g_high"]]), found["hedges_g"] / found["d_z"]
        tails = stats.nct.cdf(found["d_z"] * math.sqrt(5), 4, ends / unbiased * math.sqrt(5))
        assert tails == pytest.approx([0.975, 0.025], abs=1e-5)

    def test_cover_as_often_as_they_say(self) -> None:
        found = effect_sizes(compared(studies(N_STUDIES, 6, effect=0.4, arms=("off", "cutmix")), by=["study"]))
        true = 0.4 / (0.3 * math.sqrt(2)) * found["hedges_g"] / found["d_z"]
        assert ((found["g_low"] <= true) & (true <= found["g_high"])).mean() == pytest.approx(0.95, abs=0.02)

    def test_of_two_pairs_are_unknown(self) -> None:
        assert effect_sizes(compared(studies(1, 2)))[["hedges_g", "g_low", "g_high"]].isna().all(axis=None)


class TestPowerOf:
    def test_uses_the_sd_found_and_bonferronis_level(self) -> None:
        found = power_of(compared(studies(1, 8)), effect=0.5)
        assert (found["power"] == [power(0.5, n_seeds=8, sd=sd, paired=True, alpha=0.01) for sd in found["sd"]]).all()
        for _, row in found.iterrows():
            needed = int(row["seeds_needed"])
            assert power(0.5, n_seeds=needed, sd=row["sd"], paired=True, alpha=0.01) >= 0.8
            assert power(0.5, n_seeds=needed - 1, sd=row["sd"], paired=True, alpha=0.01) < 0.8
            reached = power(row["detectable"], n_seeds=8, sd=row["sd"], paired=True, alpha=0.01)
            assert reached == pytest.approx(0.8)

    def test_is_unknown_without_an_sd(self) -> None:
        found = power_of(compared(studies(1, 1)), effect=0.5)
        assert found[["power", "seeds_needed", "detectable"]].isna().all(axis=None)

    def test_an_effect_of_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="effect must be a difference above 0, got 0"):
            power_of(compared(studies(1, 3)), effect=0)


class TestProbabilityOfImprovement:
    def test_is_the_share_of_pairs_with_wilsons_interval(self) -> None:
        table = table_of(np.array([[[0.5] * 6, [0.4, 0.3, 0.2, 0.1, 0.6, 0.7], [0.4] * 6]]), ARMS[:3])
        found = probability_of_improvement(table, value="error", baseline="off").set_index("arm")
        interval = stats.binomtest(4, 6).proportion_ci(method="wilson")
        assert found.loc["cutout", ["estimate", "low", "high"]].tolist() == pytest.approx([4 / 6, *interval])
        assert found.loc["mixup", "estimate"] == 1
        assert found.loc["mixup", "low"] == pytest.approx(6 / (6 + stats.norm.ppf(0.975) ** 2))

    def test_ties_count_half(self) -> None:
        table = table_of(np.array([[[0.5] * 4, [0.5, 0.5, 0.4, 0.6]]]), ARMS[:2])
        assert probability_of_improvement(table, value="error", baseline="off")["estimate"].tolist() == [0.5]


class TestPairs:
    def test_are_differences_to_the_baseline(self) -> None:
        table = table_of(np.array([[[1.0, 2.0], [1.5, np.nan]], [[3.0, 4.0], [1.0, 1.0]]]), ARMS[:2])
        found = pairs(table, value="error", baseline="off", by=["study"])
        assert found.to_numpy().tolist() == [[0, 0, "cutout", 0.5], [1, 0, "cutout", -2.0], [1, 1, "cutout", -3.0]]


class TestAggregates:
    def test_of_pairs_are_the_paired_bootstrap(self, rng: np.random.Generator) -> None:
        """What a seed does to both arms drops out: the interval is that of differences, not of arms."""
        long = pairs(studies(1, 20, arms=("off", "cutmix")), value="error", baseline="off")
        (row,) = aggregates(long, value="difference", rng=rng).to_dict("records")
        alone = bootstrap(long["difference"], statistic="iqm", rng=np.random.default_rng(0))
        assert (row["estimate"], row["low"], row["high"]) == (alone.value, alone.low, alone.high)
        assert (row["n"], row["n_strata"], row["statistic"]) == (20, 1, "iqm")

    def test_strata_are_resampled_on_their_own(self, rng: np.random.Generator) -> None:
        table = studies(3, 6)
        table["error"] += 10 * table["study"]
        found = aggregates(table, value="error", strata=["study"], statistic="mean", rng=rng).set_index("arm")
        assert found["estimate"].to_dict() == pytest.approx(table.groupby("arm")["error"].mean().to_dict())
        assert (found["high"] - found["low"]).max() < 2
        assert (found["n_strata"] == 3).all()

    def test_means_have_the_t_interval(self) -> None:
        table = studies(1, 5)
        found = means(table, value="error").set_index("arm")
        for arm, values in table.groupby("arm")["error"]:
            low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
            assert found.loc[str(arm), ["n", "low", "high"]].tolist() == pytest.approx([5, low, high])

    def test_of_nothing_are_none(self, rng: np.random.Generator) -> None:
        nothing = studies(1, 3).iloc[:0]
        assert means(nothing, value="error").empty
        assert aggregates(nothing, value="error", rng=rng).empty


def test_an_undecided_comparison_says_so() -> None:
    assert compared(studies(1, 5, seed=8))["verdict"].tolist() == [UNDECIDED] * 5
