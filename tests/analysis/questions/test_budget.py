"""The length of a run at which a gain changes its sign, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.grid import ERROR
from analysis.questions import budget as crossing

LENGTHS = (4, 8, 16, 32)
Loss = Callable[[float, float], float]


def sweep(
    loss: Loss, *, noise: float = 0.01, n_seeds: int = 6, shares: Sequence[float] = (1.0,), seed: int = 0
) -> pd.DataFrame:
    """Trials of ``off`` and ``cutmix``, whose error exceeds that of off by the loss at these epochs and share."""
    rng, rows = np.random.default_rng(seed), []
    for share, epochs, replicate in product(shares, LENGTHS, range(n_seeds)):
        for arm in ("off", "cutmix"):
            error = 0.3 + (arm == "cutmix") * loss(epochs, share) + rng.normal(0, noise)
            rows.append((arm, replicate, epochs, share, round(1000 * share), error))
    names = ["arm", "replicate", f"params.{crossing.EPOCHS}", f"params.{crossing.SHARE}", "n_train", ERROR]
    return pd.DataFrame(rows, columns=names).astype({"arm": pd.CategoricalDtype(["off", "cutmix"], ordered=True)})


def found_in(trials: pd.DataFrame) -> pd.DataFrame:
    return crossing.crossings(crossing.curves(trials))


def test_a_crossing_lies_where_the_line_between_two_lengths_is_zero() -> None:
    losses = {4: 0.2, 8: 0.1, 16: -0.3, 32: -0.4}
    (row,) = found_in(sweep(lambda epochs, _: losses[int(epochs)], noise=1e-6)).to_dict("records")
    assert row["verdict"] == crossing.STARTS
    assert row["epochs"] == pytest.approx(8 * 2 ** (0.1 / 0.4), rel=1e-3)
    assert row["low"] == pytest.approx(row["epochs"], rel=0.01)
    assert row["images"] == pytest.approx(1000 * row["epochs"])


def test_intervals_at_planned_lengths_are_those_of_t_tests_together() -> None:
    trials = sweep(lambda epochs, _: 0.0)
    curves = crossing.curves(trials)
    planned = curves[curves["is_planned"]].set_index("epochs")
    wide = trials.pivot(index="replicate", columns=["arm", f"params.{crossing.EPOCHS}"], values=ERROR)
    for epochs in LENGTHS:
        test = stats.ttest_rel(wide["cutmix"][epochs], wide["off"][epochs])
        ends = test.confidence_interval(1 - 0.05 / len(LENGTHS))
        assert planned.loc[epochs, ["low", "high"]].tolist() == pytest.approx([ends.low, ends.high])


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        (lambda epochs, share: -0.2, crossing.THROUGHOUT),
        (lambda epochs, share: 0.2, crossing.HURTS),
        (lambda epochs, share: 0.0, crossing.UNDECIDED),
        (lambda epochs, share: 0.1 * math.log2(epochs / 12), crossing.STOPS),
        (lambda epochs, share: 0.1 * math.log2(12 / epochs), crossing.STARTS),
    ],
)
def test_each_course_has_its_verdict(loss: Loss, verdict: str) -> None:
    found = found_in(sweep(loss))
    assert found["verdict"].tolist() == [verdict]
    assert found["epochs"].notna().tolist() == [verdict in (crossing.STARTS, crossing.STOPS)]


def test_one_that_starts_and_stops_has_two_crossings() -> None:
    losses = {4: 0.2, 8: -0.2, 16: -0.2, 32: 0.2}
    found = found_in(sweep(lambda epochs, _: losses[int(epochs)]))
    assert found["verdict"].tolist() == [crossing.STARTS, crossing.STOPS]
    assert found["epochs"].to_numpy() == pytest.approx([4 * math.sqrt(2), 16 * math.sqrt(2)], rel=0.1)


def test_the_true_crossing_lies_within_as_often_as_promised() -> None:
    held, decided, loss = 0, 0, lambda epochs, _: 0.05 * math.log2(11 / epochs)
    # the true mean is a line between planned lengths over the logarithm, as the method takes it for
    for seed in range(60):
        for row in found_in(sweep(loss, n_seeds=4, noise=0.02, seed=seed)).to_dict("records"):
            decided += row["verdict"] == crossing.STARTS
            held += row["verdict"] == crossing.STARTS and row["low"] <= 11 <= row["high"]
    assert decided >= 20
    assert held >= 0.95 * decided


def test_a_difference_of_none_is_rarely_decided() -> None:
    every = [found_in(sweep(lambda *_: 0.0, n_seeds=3, seed=seed)) for seed in range(80)]
    assert sum((found["verdict"] != crossing.UNDECIDED).any() for found in every) <= 2
    # decided somewhere: 4 expected at a joint level of 5 %, 10 or more in less than one of 100 repetitions
    assert sum((found[["helps", "hurts"]] != "").any(axis=None) for found in every) < 10


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (lambda share: 12.0, crossing.PASSES),
        (lambda share: 6.0 / share, crossing.IMAGES),
        (lambda share: 6.0 / share**2, "neither"),
    ],
)
def test_what_carries_over_from_share_to_share_is_told(at: Callable[[float], float], verdict: str) -> None:
    trials = sweep(lambda epochs, share: 0.15 * math.log2(at(share) / epochs), shares=(0.5, 1.0))
    found = crossing.carry_over(found_in(trials))
    assert found["verdict"].tolist() == [verdict]
    assert found["n_shares"].tolist() == [2]


def test_sentences_follow_the_data() -> None:
    falls = crossing.verdict(
        found_in(sweep(lambda epochs, share: 0.15 * math.log2(6 / share / epochs), shares=(0.5, 1.0)))
    )
    assert falls[0].startswith("With 50 % of the images, cutmix starts to help at 1")
    assert "The number of epochs at which cutmix starts to help is determined by images shown" in falls[2]
    assert falls[-1].startswith("Decided: 2 of 2")
    flat = crossing.verdict(found_in(sweep(lambda *_: 0.0)))
    assert "whether cutmix crosses off from 4 to 32 epochs is undecided (n = 6 seeds)" in flat[0]
    assert flat[-1].startswith("Decided: 0 of 1")
    late = crossing.verdict(found_in(sweep(lambda epochs, _: -0.2 * (epochs == 32))))
    assert "decided: it helps at 1" in late[0]
    good = crossing.verdict(found_in(sweep(lambda *_: -0.2)))
    assert "cutmix has a lower error than off throughout, from 4 to 32 epochs" in good[0]


def test_too_little_is_said_to_be_too_few() -> None:
    whole = sweep(lambda *_: 0.0)
    some = (
        whole.iloc[:0],
        whole[whole["arm"] == "off"],
        whole[whole["arm"] == "cutmix"],
        whole[whole["replicate"] == 0],
    )
    for trials in (
        *some,
        whole.drop(columns=f"params.{crossing.EPOCHS}"),
        whole[whole[f"params.{crossing.EPOCHS}"] == 4],
    ):
        assert found_in(trials).empty
        assert crossing.verdict(found_in(trials))[0].startswith("Undecided: too few")
    assert crossing.carry_over(found_in(whole.iloc[:0])).empty


def test_seeds_that_lack_a_length_are_left_out() -> None:
    trials = sweep(lambda *_: -0.2)
    trials.loc[(trials["replicate"] == 2) & (trials[f"params.{crossing.EPOCHS}"] == 8), ERROR] = np.nan
    assert set(crossing.curves(trials)["n"]) == {5}
