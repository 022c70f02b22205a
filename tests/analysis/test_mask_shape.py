from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.frames import load
from analysis.mask_shape import REFERENCE, doses, effects, verdict
from analysis.statistics import HIGHER, LOWER, TOO_FEW, UNDECIDED


def test_planted_differences_are_found(planted_shapes_dir: Path, rng: np.random.Generator) -> None:
    found = effects(load(planted_shapes_dir).trials, rng=rng).set_index("arm")
    assert REFERENCE not in found.index
    assert found["verdict"].to_dict() == {
        "off": HIGHER, "cutmix": UNDECIDED, "ellipse": UNDECIDED, "fourier": LOWER,
    }  # fmt: skip
    assert found.loc["fourier", "estimate"] == pytest.approx(-0.1, abs=0.02)
    assert (found["n_pairs"] == 24).all()
    assert (found["low"] < found["estimate"]).all()
    assert (found["estimate"] < found["high"]).all()


def test_a_null_study_is_undecided_about_as_often_as_promised(simulate: Callable[..., Path]) -> None:
    decided = 0
    for seed in range(12):
        trials = load(simulate(study="mask_shape", arms=("box", "ellipse", "grid"), stop=False, seed=seed)).trials
        decided += effects(trials, rng=np.random.default_rng(seed))["verdict"].isin([LOWER, HIGHER]).any()
    assert decided <= 3  # at a joint level of 95 % four or more come up once in 600 times


def test_pairs_share_their_replicate(rng: np.random.Generator) -> None:
    # replicates differ by far more than arms: only pairing finds what is there
    trials = pd.DataFrame(
        {
            "arm": pd.Categorical(["box"] * 6 + ["ellipse"] * 6, categories=["box", "ellipse"], ordered=True),
            "replicate": [*range(6), *range(5, -1, -1)],
            "final_val_top1_error": [
                *(0.1 * n for n in range(6)),
                *(0.1 * n + 0.01 + 0.001 * n for n in range(5, -1, -1)),
            ],
        }
    )
    (row,) = effects(trials, rng=rng).to_dict("records")
    assert row["verdict"] == HIGHER
    assert row["estimate"] == pytest.approx(0.0125)


def test_few_pairs_are_said_to_be_few(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    found = effects(load(simulate(study="mask_shape", arms=("box", "grid"), n_trials=4, stop=False)).trials, rng=rng)
    assert found["verdict"].tolist() == [TOO_FEW]
    assert verdict(found) == ["Undecided: too few pairs of trials have completed for any interval."]


def test_without_the_reference_nothing_is_compared(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    found = effects(load(simulate(study="mask_shape", arms=("off", "grid"), stop=False)).trials, rng=rng)
    assert found.empty
    assert verdict(found)[0].startswith("Undecided")


def test_an_unknown_metric_is_refused(planted_shapes_dir: Path, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="val_top1_eror"):
        effects(load(planted_shapes_dir).trials, rng=rng, metric="val_top1_eror")


def test_doses_are_means_of_what_is_recorded() -> None:
    trials = pd.DataFrame(
        {"arm": ["box", "box", "off"], "dose_exposure": [0.1, 0.2, 0.0], "dose_boundary_px": [8.0, 10.0, 0.0]}
    )
    table = doses(trials)
    assert table.loc["box"].to_dict() == pytest.approx({"exposure": 0.15, "border, px": 9.0})
    assert table.loc["off"].to_dict() == {"exposure": 0.0, "border, px": 0.0}
