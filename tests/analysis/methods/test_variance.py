"""Variance by factor, against sums of squares by hand and simulated studies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.random import Generator, default_rng
from scipy import stats

from analysis.methods.importance import MATTERS
from analysis.methods.variance import variance_explained, verdict
from analysis.statistics import TOO_FEW, UNDECIDED


def crossed(rng: Generator, effect: float = 0.02, n_replicates: int = 5, noise: float = 0.01) -> pd.DataFrame:
    points = list(product(["off", "mixup", "cutmix"], [3, 10], range(n_replicates)))
    rows = pd.DataFrame(points, columns=["arm", "params.epochs", "replicate"])
    of_arm = rows["arm"].map({"off": effect, "mixup": 0.0, "cutmix": -effect})
    of_replicate = rows["replicate"] * 0.05
    return rows.assign(final_val_top1_error=0.5 + of_arm + of_replicate + rng.normal(0, noise, len(rows)))


def test_balanced_sums_of_squares_by_hand(rng: Generator) -> None:
    trials = crossed(rng)
    table = variance_explained(trials, factors=["arm", "epochs"]).set_index("term")
    y = trials["final_val_top1_error"]
    centred = y - y.mean()
    means = {name: centred.groupby(trials[column]).transform("mean") for name, column in COLUMNS.items()}
    cells = centred.groupby([trials["arm"], trials["params.epochs"]]).transform("mean")
    parts = {**means, "arm x epochs": cells - means["arm"] - means["epochs"]}
    for term, part in parts.items():
        assert table.loc[term, "sum_of_squares"] == pytest.approx((part**2).sum()), term
    error = ((centred - sum(parts.values())) ** 2).sum()
    noise = error / 20  # 30 trials - 1 - 2 - 1 - 2 - 4
    arm = (parts["arm"] ** 2).sum()
    assert table["df"].tolist() == [2, 1, 2, 4]
    assert table.loc["arm", "eta2"] == pytest.approx(arm / (arm + error))
    assert table.loc["arm", "omega2"] == pytest.approx((arm - 2 * noise) / (arm + 28 * noise))
    assert table.loc["arm", "F"] == pytest.approx(arm / 2 / noise)
    assert table.loc["arm", "p"] == pytest.approx(stats.f.sf(arm / 2 / noise, 2, 20))


COLUMNS = {"arm": "arm", "epochs": "params.epochs", "replicate": "replicate"}


def test_a_factor_of_an_unbalanced_study_is_judged_beside_the_others_but_not_its_pairs(rng: Generator) -> None:
    trials = crossed(rng).drop(index=[0, 1, 2, 8, 20, 21])
    table = variance_explained(trials, factors=["arm", "epochs"]).set_index("term")

    def left(*columns: str) -> float:
        design = pd.get_dummies(trials[list(columns)].astype(str)).assign(mean=1.0).to_numpy(float)
        y = trials["final_val_top1_error"].to_numpy()
        return float(((y - design @ np.linalg.lstsq(design, y)[0]) ** 2).sum())

    gained = left("params.epochs", "replicate") - left("arm", "params.epochs", "replicate")
    assert table.loc["arm", "sum_of_squares"] == pytest.approx(gained)
    gained = left("arm", "replicate") - left("arm", "params.epochs", "replicate")
    assert table.loc["epochs", "sum_of_squares"] == pytest.approx(gained)


def test_a_planted_factor_matters_and_the_others_are_undecided(rng: Generator) -> None:
    table = variance_explained(crossed(rng), factors=["arm", "epochs"]).set_index("term")
    assert table["verdict"].to_dict() == {
        "arm": MATTERS,
        "epochs": UNDECIDED,
        "arm x epochs": UNDECIDED,
        "replicate": MATTERS,
    }
    assert (table["low"] <= table["omega2"].clip(lower=0)).all()
    assert (table["omega2"] <= table["high"]).all()
    assert table.loc["epochs", "low"] == 0


def test_the_interval_holds_the_true_share() -> None:
    rng, held, n = default_rng(1), 0, 40
    truth = (2 / 3 * 0.01**2) / (2 / 3 * 0.01**2 + 0.01**2)  # mean square of the arms' effects, and of the noise
    for _ in range(n):
        arm = variance_explained(crossed(rng, effect=0.01), factors=["arm"]).iloc[0]
        held += arm["low"] <= truth <= arm["high"]
    assert held / n > 0.95 - 3 * np.sqrt(0.95 * 0.05 / n)


def test_trials_without_a_value_are_counted_and_left_out(rng: Generator) -> None:
    trials = crossed(rng)
    trials.loc[[0, 7], "final_val_top1_error"] = [np.nan, np.inf]
    table = variance_explained(trials, factors=["arm", "epochs"])
    assert (table["n"] == 28).all()
    assert (table["n_left_out"] == 2).all()
    assert (table["n_replicates"] == 5).all()
    assert table["p"].notna().all()


def test_a_pair_with_an_empty_cell_is_not_estimated(rng: Generator) -> None:
    trials = crossed(rng)
    holes = trials[(trials["arm"] != "off") | (trials["params.epochs"] == 3)]
    table = variance_explained(holes, factors=["arm", "epochs"]).set_index("term")
    assert table.loc["arm x epochs", "verdict"] == TOO_FEW
    assert np.isnan(table.loc["arm x epochs", "df"])
    assert table.loc["arm", "verdict"] == MATTERS


def test_sentences_decide_by_holm_over_all_terms(rng: Generator) -> None:
    table = variance_explained(crossed(rng), factors=["arm", "epochs"])
    terms = table["term"] != "replicate"
    assert terms.sum() == 3
    for p, word in ((0.001, "Arm matters for"), (0.03, "Whether arm matters for")):
        seen = table.assign(p=np.where(table["term"] == "arm", p, 0.9))
        said = verdict(seen)
        assert said[0].startswith(word)
        assert said[2].startswith("Whether the interaction arm x epochs matters for")
        assert said[-1].startswith(f"Decided: {int(p < 0.01)} of 3 terms")
    assert "too few" in verdict(variance_explained(crossed(rng, n_replicates=0), factors=["arm"]))[0]


def test_a_sweep_without_a_trial_is_too_few(rng: Generator) -> None:
    nothing = crossed(rng).iloc[:0].drop(columns="params.epochs")
    assert set(variance_explained(nothing, factors=["arm", "epochs"])["verdict"]) == {TOO_FEW}


@pytest.mark.parametrize("n_replicates", [0, 1])
def test_nothing_is_said_without_replicates(n_replicates: int, rng: Generator) -> None:
    table = variance_explained(crossed(rng, n_replicates=n_replicates), factors=["arm", "epochs"])
    assert table["term"].tolist() == ["arm", "epochs", "arm x epochs", "replicate"]
    assert set(table["verdict"]) == {TOO_FEW}


def test_values_without_noise_or_alike_are_not_judged(rng: Generator) -> None:
    for trials in (crossed(rng, noise=0.0), crossed(rng).assign(final_val_top1_error=0.3)):
        assert set(variance_explained(trials, factors=["arm"])["verdict"]) == {TOO_FEW}


def test_a_factor_of_one_level_is_not_judged(rng: Generator) -> None:
    trials = crossed(rng)
    table = variance_explained(trials[trials["params.epochs"] == 3], factors=["arm", "epochs"]).set_index("term")
    assert table.loc["epochs", "verdict"] == TOO_FEW
    assert table.loc["arm", "verdict"] == MATTERS


def test_mistakes_are_refused(rng: Generator) -> None:
    trials = crossed(rng)
    with pytest.raises(ValueError, match="no arm samples 'epoch', choose one of arm, epochs"):
        variance_explained(trials, factors=["arm", "epoch"])
    for factors in ([], ["arm", "arm"]):
        with pytest.raises(ValueError, match="factors must be different names"):
            variance_explained(trials, factors=factors)
