"""Importances: what matters is found beside its shadow, what does not is left undecided."""

from __future__ import annotations

import optuna
import pandas as pd
import pytest
from numpy.random import Generator, default_rng

from analysis.methods.importance import MATTERS, importances
from analysis.statistics import TOO_FEW, UNDECIDED


@pytest.fixture
def trials(rng: Generator) -> pd.DataFrame:
    """Trials whose error falls with ``p`` alone; ``rare`` is drawn by some, two have no final value."""
    n = 16
    drawn = pd.DataFrame({"params.p": rng.uniform(size=n), "params.a": 10 ** rng.uniform(-3, 0, n)})
    drawn["params.k"], drawn["params.rare"] = rng.choice(["x", "y"], n), rng.uniform(size=n)
    drawn.loc[::3, "params.rare"] = None
    values = 0.5 - 0.2 * drawn["params.p"] + rng.normal(0, 0.005, n)
    return drawn.assign(arm="cutmix", final_val_top1_error=values.where(values.index >= 2))


def test_what_matters_comes_first_and_stands_out(trials: pd.DataFrame, rng: Generator) -> None:
    trials = trials.drop(columns=["params.k", "params.rare"])  # fewer parameters take fewer shuffles
    found = importances(trials, arm="cutmix", rng=rng, log=["a"], shuffles=39)
    first, rest = found.iloc[0], found.iloc[1:]
    assert (first["param"], first["verdict"], first["n"], first["n_left_out"]) == ("p", MATTERS, 14, 2)
    assert first["fraction"] > 0.7
    assert found["fraction"].sum() == pytest.approx(1)
    assert set(rest["verdict"]) == {UNDECIDED}
    assert (found["p_holm"] >= found["p"]).all()


def test_importances_are_those_of_optuna(trials: pd.DataFrame, rng: Generator) -> None:
    found = importances(trials, arm="cutmix", rng=rng, shuffles=1).set_index("param")
    study, known = optuna.create_study(), trials.dropna(subset=["final_val_top1_error"])
    span = optuna.distributions.FloatDistribution(known["params.p"].min(), known["params.p"].max())
    for _, row in known.iterrows():
        params = {"p": row["params.p"]}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions={"p": span}, value=row["final_val_top1_error"])
        )
    alone = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25).evaluate(study)
    assert found.loc["p", "importance"] == pytest.approx(alone["p"])  # PED-ANOVA takes parameters one by one


def test_the_same_generator_gives_the_same_importances(trials: pd.DataFrame) -> None:
    first, again = (importances(trials, arm="cutmix", rng=default_rng(3), shuffles=2) for _ in "ab")
    pd.testing.assert_frame_equal(first, again)


def test_trials_with_a_conditional_parameter_are_counted(trials: pd.DataFrame, rng: Generator) -> None:
    drew = int(trials["params.rare"][2:].notna().sum())
    ped = importances(trials, arm="cutmix", rng=rng, shuffles=1).set_index("param").loc["rare"]
    assert (ped["verdict"], ped["n"]) == (UNDECIDED, drew)


def test_few_trials_or_equal_values_decide_nothing(trials: pd.DataFrame, rng: Generator) -> None:
    for poor in (trials.head(9), trials.assign(final_val_top1_error=0.3)):  # seven with a value
        found = importances(poor, arm="cutmix", rng=rng)
        assert set(found["verdict"]) == {TOO_FEW}
        assert found[["importance", "shadow", "fraction", "p"]].isna().all(axis=None)


def test_an_arm_that_draws_nothing_has_no_rows(trials: pd.DataFrame, rng: Generator) -> None:
    assert importances(trials, arm="off", rng=rng).empty


def test_mistakes_are_refused(trials: pd.DataFrame, rng: Generator) -> None:
    with pytest.raises(ValueError, match="'p' has no logarithm: its smallest value is -1"):
        importances(trials.assign(**{"params.p": -1.0}), arm="cutmix", rng=rng, log=["p"])


def test_optuna_speaks_as_loudly_as_before(trials: pd.DataFrame, rng: Generator) -> None:
    before = optuna.logging.get_verbosity()
    importances(trials, arm="cutmix", rng=rng, shuffles=1)
    assert optuna.logging.get_verbosity() == before


def test_chance_alone_gives_an_importance_that_shrinks_with_trials() -> None:
    """A parameter without influence is as important as its shadow; one with half of the variance is far above it."""
    rng, means = default_rng(7), {}
    for n in (16, 64):
        studies = []
        for _ in range(15):
            drawn = pd.DataFrame({"params.real": rng.uniform(size=n), "params.null": rng.uniform(size=n)})
            values = 12**0.5 * drawn["params.real"] + rng.normal(size=n)
            table = drawn.assign(arm="a", final_val_top1_error=values)
            found = importances(table, arm="a", rng=rng, shuffles=5).set_index("param")
            studies.append(found[["importance", "shadow"]])
        means[n] = sum(studies) / len(studies)
        assert means[n].loc["null", "importance"] < 2.5 * means[n].loc["null", "shadow"]
    assert means[16]["shadow"].mean() > 1.5 * means[64]["shadow"].mean() > 0
    assert means[64].loc["real", "importance"] > 5 * means[64].loc["real", "shadow"]


def test_a_null_arm_seldom_has_a_parameter_that_matters() -> None:
    rng, n, decided = default_rng(5), 8, 0
    for _ in range(8):
        null = pd.DataFrame({"params.a": rng.uniform(size=n), "arm": "a", "final_val_top1_error": rng.normal(size=n)})
        decided += int((importances(null, arm="a", rng=rng, shuffles=19)["verdict"] == MATTERS).any())
    assert decided <= 2  # of 8 at a level of 5 %: more have a chance of 0.6 %
