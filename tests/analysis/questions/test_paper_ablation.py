"""Which published claims survive."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data import grid
from analysis.data.frames import Sweep, load
from analysis.questions import paper_ablation
from tests.analysis.simulated_grids import GRIDS


@pytest.fixture(scope="module")
def ablation(simulate: Callable[..., Path]) -> Sweep:
    return load(simulate(**GRIDS["paper_ablation"](True)))


def differences(**rows: tuple[float, str]) -> pd.DataFrame:
    """Differences to CutMix by arm: estimate and verdict."""
    table = pd.DataFrame([(arm, *row) for arm, row in rows.items()], columns=["arm", "estimate", "verdict"])
    ends = {"low": table["estimate"] - 0.01, "high": table["estimate"] + 0.01, "n_pairs": 5, "p_holm": 0.01}
    return table.assign(**ends, margin=0.005)


def test_a_claim_ends_by_sign_and_decision() -> None:
    found = paper_ablation.claims(
        differences(
            off=(0.02, "higher"),
            one_hot=(-0.02, "lower"),
            scheduled=(0.0, "within margin"),
            fixed_size=(0.001, "undecided"),
            feature=(0.01, "too few"),
            my_own=(0.5, "higher"),
        )
    ).set_index("arm")
    assert found["claim"].to_dict() == {
        "off": "survives",
        "one_hot": "is reversed",
        "scheduled": "does not survive",
        "fixed_size": "is undecided",
        "feature": "too few",
    }
    # tables 5 and 8, and 3 for feature CutMix, which table 8 lacks
    assert found["published_change"].tolist() == pytest.approx([0.0198, 0.0142, 0.0025, 0.0050, 0.0040])
    assert found["dataset"].tolist() == ["cifar100"] * 4 + ["imagenet"]
    assert found["holds_published"].tolist() == [True, False, True, True, True]


def test_the_best_epoch_is_never_worse_than_the_last(ablation: Sweep) -> None:
    trials = paper_ablation.with_best_epoch(ablation.trials, ablation.epochs)
    own = ablation.epochs.query("trial == 'off-0003'")["val_top1_error"]
    row = trials.set_index("trial").loc["off-0003"]
    assert row[paper_ablation.BEST] == own.min()
    assert row["best_epoch_gap"] == pytest.approx(own.iloc[-1] - own.min())
    assert (trials["best_epoch_gap"] >= 0).all()
    gaps = paper_ablation.best_epoch_gaps(trials).set_index("arm")
    assert gaps.loc["off", "estimate"] == pytest.approx(trials.query("arm == 'off'")["best_epoch_gap"].mean())


def test_an_unfinished_trial_has_no_best_epoch(ablation: Sweep) -> None:
    unfinished = ablation.trials.assign(final_val_top1_error=np.nan)
    assert paper_ablation.with_best_epoch(unfinished, ablation.epochs)[paper_ablation.BEST].isna().all()


def test_three_seeds_show_what_a_t_test_of_three_shows(ablation: Sweep) -> None:
    from statsmodels.stats.power import TTestIndPower

    trials = ablation.trials[ablation.trials["arm"].isin(["off", "cutmix"])]
    sd = np.sqrt(trials.groupby("arm", observed=True)["final_val_top1_error"].var().mean())
    effect = TTestIndPower().solve_power(nobs1=3, alpha=0.05, power=0.8)
    assert paper_ablation.three_seeds(trials) == pytest.approx(sd * effect, rel=1e-3)
    assert math.isnan(paper_ablation.three_seeds(trials.iloc[:0]))


def test_the_verdict_follows_the_data(ablation: Sweep) -> None:
    trials = grid.split(paper_ablation.with_best_epoch(ablation.trials, ablation.epochs), paper_ablation.VARIED)
    last = paper_ablation.claims(grid.arm_differences(trials, baseline="cutmix", margin=grid.MARGIN))
    assert last["arm"].tolist()[-3:] == ["feature, layer 1", "feature, layer 2", "feature, layer 3"]
    said = paper_ablation.verdict(last, last.assign(claim="is undecided"), least=0.01)
    first = "That off is worse than cutmix (+1.98 points on cifar100, pyramidnet200_a240_bn) survives"
    assert said[0].startswith(first)
    choice = next(line for line in said if line.startswith("With the best epoch"))
    assert "off (is undecided instead of survives)" in choice
    assert "scheduled" not in choice
    few = next(line for line in said if line.startswith("With the SD between seeds"))
    assert few.endswith("smaller than that: scheduled, fixed_size, complete_label, feature.")
    same = paper_ablation.verdict(last, last)
    assert "no claim would have another result" in same[-2]
    assert not any("SD between seeds" in line for line in same)
    none = paper_ablation.claims(differences(scheduled=(0.0, "within margin")))
    assert "does not survive: no difference larger than 0.5 points" in paper_ablation.verdict(none, none)[0]


def test_without_pairs_nothing_is_judged() -> None:
    nothing = paper_ablation.claims(differences())
    assert paper_ablation.verdict(nothing, nothing) == [
        "Undecided: too few pairs of trials have completed for any interval."
    ]


def test_three_series_stand_side_by_side() -> None:
    claims = paper_ablation.claims(differences(off=(0.02, "higher")))
    info = paper_ablation.series(claims, claims).set_index("series")
    assert list(info.index) == list(paper_ablation.SERIES)
    assert info["estimate"].tolist() == pytest.approx([0.02, 0.02, 0.0198])
    assert info["n"].tolist() == [5, 5, 3]
    assert np.isnan(info["low"].iloc[-1])


def test_test_errors_stand_beside_published_ones_once_there_are_any(
    simulate: Callable[..., Path], null_dir: Path
) -> None:
    confirm = load(simulate(**GRIDS["paper_ablation"](True)), phase="confirm")
    table = paper_ablation.beside_published(confirm)
    assert table.set_index("arm").loc["one_hot", "published"] == 15.89
    assert paper_ablation.beside_published(load(null_dir, phase="confirm")).empty
