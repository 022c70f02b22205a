"""Errors at equal cost, read between networks, against figures by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.frames import load
from analysis.questions import compute
from tests.analysis.simulated_studies import CLASSIC, SimulatedTrial, record

NETWORKS = {"small": 1000.0, "middle": 500.0, "large": 250.0}  # images a second


def table_of(
    folder: Path, errors: Mapping[str, tuple[float, ...]], *, slower: float = 1.0, n_seeds: int = 2
) -> pd.DataFrame:
    """Costs of arms with these errors on the three networks; seeds lie 0.01 apart, those of ``off`` 0.012."""
    trials = [
        SimulatedTrial(
            **{"arm": arm, "number": 10 * place + seed, "replicate": seed, "network": network},
            errors=[errors[arm][place] + (0.012 if arm == "off" else 0.01) * seed],
            images_per_s=speed / (1.0 if arm == "off" else slower),
        )
        for arm in errors
        for place, (network, speed) in enumerate(NETWORKS.items())
        for seed in range(n_seeds)
    ]
    return compute.costs(load(record(folder, "compute", list(errors), trials)))


OFF = (0.30, 0.26, 0.24)


def test_costs_are_of_whole_trainings_and_networks_go_from_cheap_to_dear(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"off": OFF})
    assert list(table["network"].cat.categories) == ["small", "middle", "large"]
    assert table.groupby("network", observed=True)["train_s"].first().tolist() == [
        1.0,
        2.0,
        4.0,
    ]  # 1000 images, an epoch
    assert table["train_flops"].isna().all()


def test_flops_are_the_measured_ones(tmp_path: Path) -> None:
    measured = {("cost", "", "train_flops"): 7e9}
    folder = record(
        tmp_path,
        "compute",
        ["off"],
        [SimulatedTrial("off", 0, [0.3], measured=measured), SimulatedTrial("off", 1, [0.3])],
    )
    assert compute.costs(load(folder))["train_flops"].tolist() == pytest.approx([7e9, np.nan], nan_ok=True)


def test_trials_alike_but_for_another_parameter_are_averaged(tmp_path: Path) -> None:
    trials = [SimulatedTrial("off", number, [error], replicate=0) for number, error in enumerate((0.2, 0.4))]
    table = compute.costs(load(record(tmp_path, "compute", ["off"], trials)))
    assert table["error"].tolist() == pytest.approx([0.3])


def test_slow_downs_are_shares_of_the_first_arms_time(tmp_path: Path) -> None:
    found = compute.slow_downs(table_of(tmp_path, {"off": OFF, "cutmix": OFF}, slower=1.1))
    assert found["estimate"].tolist() == pytest.approx([0.1])
    assert found["n_pairs"].tolist() == [6]


class TestEqualCost:
    def test_equal_costs_are_equal_depths(self, tmp_path: Path) -> None:
        table = table_of(tmp_path, {"off": OFF, "cutmix": (0.28, 0.25, 0.20)})
        at_cost, at_depth = compute.at_equal_cost(table), compute.at_equal_depth(table)
        columns = ["arm", "n_pairs", "estimate", "low", "high"]
        pd.testing.assert_frame_equal(at_cost[columns], at_depth[columns])

    def test_a_slower_arm_is_compared_with_what_its_time_would_have_bought(self, tmp_path: Path) -> None:
        """At 2 ** 0.25 times the cost, off is a quarter of the way to its next network, and as far beyond its last."""
        table = table_of(tmp_path, {"off": OFF, "cutmix": OFF}, slower=2**0.25, n_seeds=1)
        found = compute.at_equal_cost(table)
        assert found["estimate"].item() == pytest.approx(np.mean([0.04 / 4, 0.02 / 4, 0.02 / 4]))

    def test_far_beyond_the_dearest_network_there_is_no_partner(self, tmp_path: Path) -> None:
        table = table_of(tmp_path, {"off": OFF, "cutmix": OFF}, slower=1.5)
        assert compute.at_equal_cost(table)["n_pairs"].tolist() == [4]

    def test_one_network_says_nothing_of_another_cost(self, tmp_path: Path) -> None:
        table = table_of(tmp_path, {"off": OFF, "cutmix": OFF})
        alone = table[table["network"] == "small"]
        assert compute.at_equal_cost(alone)["verdict"].tolist() == ["too few"]

    def test_costs_that_are_not_known_are_left_out_of_the_table(self, tmp_path: Path) -> None:
        table = table_of(tmp_path, {"off": OFF, "cutmix": OFF})
        parts = {cost: compute.at_equal_cost(table, cost=cost) for cost in compute.COSTS}
        assert compute.by_measure(parts)["at_equal"].tolist() == ["train_s"]
        assert len(compute.by_measure({"train_flops": parts["train_flops"]})) == 1


def test_a_step_of_depth_is_compared_seed_by_seed(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"off": OFF, "cutmix": (0.25, 0.25, 0.25)}, slower=1.25)
    found = compute.against_deeper(table)
    assert found[["network", "deeper"]].to_numpy().tolist() == [["small", "middle"], ["middle", "large"]]
    assert found["estimate"].tolist() == pytest.approx([0.25 - 0.26 - 0.001, 0.25 - 0.24 - 0.001])
    assert found["times_cheaper"].tolist() == pytest.approx([2 / 1.25] * 2)


def test_cells_have_an_interval_and_median_costs(tmp_path: Path) -> None:
    row = compute.cells(table_of(tmp_path, {"off": OFF})).iloc[1]
    assert (row["network"], row["n"], row["train_s"]) == ("middle", 2, 2.0)
    assert row["error"] == pytest.approx(0.266)
    assert row["high"] - row["error"] == pytest.approx(12.7062 * 0.006, rel=1e-4)


def test_the_verdict_follows_the_data(simulated_study: Callable[[str, bool], Path]) -> None:
    planted, null = (
        " ".join(compute.verdict(compute.costs(load(simulated_study("compute", is_))))) for is_ in (True, False)
    )
    assert "At equal depth, over 3 networks: cutmix lower than off; cutout, mixup undecided." in planted
    assert "At equal training FLOPs" not in null
    assert "At equal training seconds, over 3 networks: cutout, mixup, cutmix undecided." in null


def test_a_sweep_without_a_trial_or_with_one(simulate: Callable[..., Path]) -> None:
    assert compute.verdict(compute.costs(load(simulate(n_trials=0)))) == ["Undecided: no trial has completed yet."]
    one = compute.costs(load(simulate(n_trials=1, stop=False, arms=CLASSIC)))
    said = compute.verdict(one)
    assert said[0].endswith("too few pairs for cutout, mixup, cutmix.")
    assert said[1] == "At equal depth, over 1 network: too few pairs for cutout, mixup, cutmix."
    assert compute.against_deeper(one).empty
