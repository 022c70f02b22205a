"""Factors of any study: which vary together, and what they explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.frames import Sweep, load
from analysis.questions import factors
from tests.analysis.simulated_studies import SimulatedTrial, record

ALPHA, PROB, KIND = "mix.size.alpha", "mix.apply.prob", "mix.position.kind"


def grid(simulate: Callable[..., Path], **given: Any) -> Sweep:
    def gain(arm: str, params: Mapping[str, Any]) -> float:
        return 0.1 * (params.get(ALPHA) == 1.0) * params.get(PROB, 1.0)

    sweep = load(simulate(**{"study": "own", "stop": False, "gain": gain, "replicates": 4, "n_epochs": 4, **given}))
    sweep.manifest["study"]["search"] = "grid"
    return sweep


class TestGrid:
    def test_is_split_by_arms_that_vary_the_same(self, simulate: Callable[..., Path], rng: np.random.Generator) -> None:
        spaces = {"mixup": {ALPHA: [0.3, 1.0]}, "cutmix": {ALPHA: [0.3, 1.0], PROB: [0.0, 1.0]}}
        found = factors.factors_of(grid(simulate, spaces=spaces), rng=rng)
        assert [group.factors for group in found.groups] == [[ALPHA, PROB]]
        [table] = found.variance
        terms = table.set_index("term")["verdict"]
        assert terms[f"{ALPHA} x {PROB}"] == "matters"
        assert factors.verdict(found)[0].startswith("cutmix: Alpha matters for validation top-1 error")

    def test_has_the_arm_as_a_factor(self, simulate: Callable[..., Path], rng: np.random.Generator) -> None:
        space = {"mixup": {ALPHA: [0.3, 1.0]}, "cutmix": {ALPHA: [0.3, 1.0]}}
        sweep = grid(simulate, spaces=space)
        found = factors.factors_of(sweep, rng=rng)
        assert [group.factors for group in found.groups] == [["arm", ALPHA]]
        means = factors.level_means(sweep.trials, found.parameters)
        assert means[["arm", "value", "n"]].to_numpy().tolist() == [
            [arm, value, 4] for arm in ("mixup", "cutmix") for value in ("0.3", "1.0")
        ]

    def test_of_one_factor_or_none_has_no_groups(self, simulate: Callable[..., Path], rng: np.random.Generator) -> None:
        for spaces in ({}, {"cutmix": {ALPHA: [0.3, 1.0]}}, {"cutmix": {ALPHA: [0.3]}, "mixup": {ALPHA: [0.3]}}):
            found = factors.factors_of(grid(simulate, spaces=spaces), rng=rng)
            assert found.groups == ()
            assert factors.verdict(found) == []


class TestSearch:
    @pytest.fixture
    def sweep(self, tmp_path: Path) -> Sweep:
        rng = np.random.default_rng(0)
        trials = []
        for number in range(40):
            prob, alpha = rng.uniform(size=2)
            params = {PROB: float(prob), ALPHA: float(alpha), KIND: str(rng.choice(["clip", "torus"]))}
            trials.append(SimulatedTrial("cutmix", number, [0.5 - 0.3 * prob], params=params))
            trials.append(SimulatedTrial("off", number, [0.5]))
        return load(record(tmp_path, "own", ("off", "cutmix"), trials))

    def test_ranks_the_parameters_of_each_arm(self, sweep: Sweep, rng: np.random.Generator) -> None:
        found = factors.factors_of(sweep, rng=rng)
        assert found.variance == ()
        assert found.importance["param"].iloc[0] == PROB
        [sentence] = factors.verdict(found)
        assert sentence.startswith("cutmix: for the final error of completed trials, prob (p = ")
        assert "undecided (n = 40 trials)" in sentence

    def test_has_the_two_leading_numbers_for_a_figure(self, sweep: Sweep, rng: np.random.Generator) -> None:
        found = factors.factors_of(sweep, rng=rng)
        assert factors.numeric_pair(found, sweep.trials, "cutmix") == (PROB, ALPHA)
        assert not factors.is_number(sweep.trials[f"params.{KIND}"])


def test_a_sweep_not_begun_has_no_factors(simulate: Callable[..., Path], rng: np.random.Generator) -> None:
    assert factors.factors_of(load(simulate(n_trials=0)), rng=rng).groups == ()
