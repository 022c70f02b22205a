"""Grids are compared seed by seed, over whole sets of settings alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.data import grid
from analysis.data.grid import ERROR

ALPHA, LAM = "mix.size.alpha", "mix.label.lam"


def trials(values: dict[tuple[str, float, int], float], arms: Sequence[str] = ("off", "cutmix")) -> pd.DataFrame:
    """A row a trial: value by arm, alpha (nan: none drawn) and replicate."""
    rows = [(arm, alpha, replicate, value) for (arm, alpha, replicate), value in values.items()]
    frame = pd.DataFrame(rows, columns=["arm", f"params.{ALPHA}", "replicate", ERROR])
    return frame.astype({"arm": pd.CategoricalDtype(list(arms), ordered=True)})


def crossed(n_seeds: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = {("off", np.nan, seed): rng.normal() for seed in range(2 * n_seeds)}
    values |= {("cutmix", alpha, seed): rng.normal() for alpha, seed in product((3.0, 0.3), range(n_seeds))}
    return trials(values)


def test_a_seed_is_averaged_over_its_settings() -> None:
    found = grid.by_seed(crossed()).set_index(["arm", "replicate"])
    own = crossed().query("arm == 'cutmix' and replicate == 1")[ERROR]
    assert found.loc[("cutmix", 1), ERROR] == pytest.approx(own.mean())
    assert found.loc[("cutmix", 1), "n_settings"] == 2
    assert (found.loc["off", "n_settings"] == 1).all()


def test_a_seed_that_lacks_a_setting_has_no_value() -> None:
    table = crossed()
    table.loc[(table["arm"] == "cutmix") & (table["replicate"] == 2) & (table[f"params.{ALPHA}"] == 0.3), ERROR] = (
        np.nan
    )
    found = grid.by_seed(table).set_index(["arm", "replicate"])[ERROR]
    assert found.loc["cutmix"].isna().tolist() == [False, False, True, False]


def test_drawn_configurations_keep_their_values() -> None:
    table = trials({("cutmix", 0.1 * number, number): float(number) for number in range(5)})
    assert grid.by_seed(table)[ERROR].tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.floats(-1, 1))
def test_what_all_settings_of_a_seed_share_drops_out(errors: list[float], shift: float) -> None:
    keys = list(product(("a", "b"), range(3)))
    table = trials({(arm, 1.0, seed): value for (arm, seed), value in zip(keys, errors, strict=True)}, ("a", "b"))
    moved = table.assign(**{ERROR: table[ERROR] + shift * table["replicate"]})
    before, after = (grid.arm_differences(rows, baseline="a")["estimate"] for rows in (table, moved))
    assert after.to_numpy() == pytest.approx(before.to_numpy(), abs=1e-9)


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    table = crossed()
    (row,) = grid.arm_differences(table, baseline="off").to_dict("records")
    means = table.query("arm == 'cutmix'").groupby("replicate")[ERROR].mean()
    off = table.query("arm == 'off'").set_index("replicate")[ERROR].loc[means.index]
    expected = stats.ttest_rel(means, off)
    assert row["n_pairs"] == 4
    assert row["p"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval()))


def test_values_of_a_parameter_are_compared_within_each_arm() -> None:
    table = pd.concat([crossed(), crossed().query("arm == 'cutmix'").assign(arm="spill")])
    table["arm"] = pd.Categorical(table["arm"], ["off", "cutmix", "spill"], ordered=True)
    found = grid.level_differences(table, path=ALPHA, baseline=0.3)
    wide = crossed().query("arm == 'cutmix'").pivot(index="replicate", columns=f"params.{ALPHA}", values=ERROR)
    assert found["policy"].tolist() == ["cutmix", "spill"]
    assert set(found["arm"]) == {"alpha 3"}
    assert set(found["baseline"]) == {"alpha 0.3"}
    assert found["estimate"].to_numpy() == pytest.approx([(wide[3.0] - wide[0.3]).mean()] * 2)
    pooled = grid.level_differences(table, path=ALPHA, baseline=0.3, by=())
    assert pooled["n_pairs"].tolist() == [4]
    assert pooled["estimate"].iloc[0] == pytest.approx((wide[3.0] - wide[0.3]).mean())


def test_what_no_trial_has_yet_is_too_few() -> None:
    nothing = crossed().iloc[:0]
    assert grid.arm_differences(nothing, baseline="cutmix").empty
    assert grid.level_differences(nothing, path=LAM, baseline="realised").empty
    off = crossed().query("arm == 'off'")
    assert grid.arm_differences(off, baseline="cutmix")["verdict"].tolist() == ["too few"]
    assert grid.level_differences(off, path=LAM, baseline="realised").empty
    high = crossed()[lambda rows: rows[f"params.{ALPHA}"] != 0.3]
    assert grid.level_differences(high, path=ALPHA, baseline=0.3)["n_pairs"].tolist() == [0]


def test_arms_are_split_by_what_they_draw_in_order() -> None:
    table = grid.split(crossed(), [LAM, ALPHA])
    assert list(table["arm"].cat.categories) == ["off", "cutmix, alpha 0.3", "cutmix, alpha 3"]
    assert (table["arm"] == "cutmix, alpha 3").sum() == 4
    assert table["arm"].notna().all()


def test_trials_are_chosen_by_what_they_drew() -> None:
    assert len(grid.at(crossed(), ALPHA, 3.0)) == 12
    assert len(grid.at(crossed(), LAM, "realised")) == 16
    assert set(grid.of_arms(crossed(), ["off"])["arm"]) == {"off"}


@pytest.mark.parametrize(
    ("values", "ordered"),
    [([2.0, "inf", 0.0], [0.0, 2.0, "inf"]), (["sample", "batch"], ["sample", "batch"]), ([3, 3, 1], [1, 3])],
)
def test_values_stand_in_their_order(values: list[Any], ordered: list[Any]) -> None:
    assert grid.in_order(values) == ordered


def test_parameters_and_values_have_words() -> None:
    assert grid.level("mix.label.exponent", float("inf")) == "exponent inf"
    assert grid.level("mix.position.sigma_frac", 0.25) == "sigma frac 0.25"
    assert grid.word_of("data.train_frac") == "fraction of the images"
    assert grid.text_of(True) == "True"
