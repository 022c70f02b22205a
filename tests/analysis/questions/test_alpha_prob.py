"""The study's verdict follows its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.frames import Sweep, load
from analysis.questions.alpha_prob import effects, verdict


def test_a_planted_effect_is_found(planted: Sweep, rng: np.random.Generator) -> None:
    found = effects(planted.trials, planted.epochs, rng=rng)
    arms = found[found["kind"] == "arms"]
    assert arms["second"].tolist() == ["off", "cutout", "mixup"]
    assert (arms["verdict"] == "lower").all()
    prob = found[(found["first"] == "prob") & (found["when"] == "epoch 3")]
    assert prob["verdict"].tolist() == ["lower"]
    assert prob["n_first"].tolist() == [24]
    sentences = verdict(found)
    assert sentences[0].startswith("At the last planned epoch, cutmix has a lower median validation top-1 error")
    assert "At epoch 3, validation top-1 error falls with prob" in " ".join(sentences)


def test_where_nothing_has_an_effect_everything_is_undecided(null: Sweep, rng: np.random.Generator) -> None:
    found = effects(null.trials, null.epochs, rng=rng)
    assert set(found["verdict"]) <= {"undecided", "too few"}
    *sentences, last = verdict(found)
    assert all("undecided" in sentence.lower() for sentence in sentences)
    assert last.startswith("Decided: 0 of 13 comparisons, at a joint level of 95 %")


def test_seemingly_found_effects_are_as_rare_as_promised(simulate: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for seed in range(10):
        sweep = load(simulate(seed=100 + seed, n_trials=16))
        wrong += effects(sweep.trials, sweep.epochs, rng=rng)["verdict"].isin(["lower", "higher"]).any()
    assert wrong <= 2


def test_without_early_stopping_nothing_is_compared_twice(
    simulate: Callable[..., Path], rng: np.random.Generator
) -> None:
    sweep = load(simulate(n_trials=6, stop=False))
    found = effects(sweep.trials, sweep.epochs, rng=rng)
    assert set(found["when"]) == {"the last planned epoch"}


def test_too_few_trials_are_called_too_few(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    sweep = load(simulate(n_trials=2))
    found = effects(sweep.trials, sweep.epochs, rng=rng)
    assert set(found["verdict"]) == {"too few"}
    assert verdict(found) == ["Undecided: too few trials have completed for any interval."]


def test_a_sweep_under_way_or_without_cutmix(planted: Sweep, rng: np.random.Generator) -> None:
    for trials in (planted.trials.iloc[:0], planted.trials.query("arm == 'off'")):
        found = effects(trials, planted.epochs, rng=rng)
        assert found.empty
        assert verdict(found)[0].startswith("Undecided")


def test_higher_is_said_as_higher(planted: Sweep, rng: np.random.Generator) -> None:
    worse = planted.trials.assign(final_val_top1_error=1 - planted.trials["final_val_top1_error"])
    sentences = verdict(effects(worse, planted.epochs, rng=rng))
    assert "cutmix has a higher median validation top-1 error than off (difference in points +" in sentences[0]


def test_another_metric_has_its_own_words(planted: Sweep, rng: np.random.Generator) -> None:
    found = effects(planted.trials, planted.epochs, rng=rng, metric="val_nll")
    assert "median validation NLL than off (difference in nats -" in verdict(found)[0]
    with pytest.raises(ValueError, match="unknown metric"):
        effects(planted.trials, pd.DataFrame(), rng=rng, metric="accuracy")
