"""The designs of the built-in studies: comparable arms, and what each one's question needs."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from trainables.config import TrialConfig

ROOT = Path(__file__).parents[2]
BASELINES = ["off", "cutout", "mixup", "cutmix"]


def configs(study: Study, arm: str) -> Iterator[TrialConfig]:
    for number in range(study.trials_per_arm):
        yield study.declared_config(arm, study.draw(arm, number), replicate=study.replicate(arm, number))


@pytest.mark.parametrize("name", built_in_studies())
class TestEvery:
    def test_begins_with_the_baselines(self, name: str) -> None:
        study = load_study(name)
        assert list(study.arms)[:4] == BASELINES
        assert study.arms["off"].mix == "off"
        assert study.arms["cutmix"].mix == "cutmix"

    def test_says_why_it_is_open_and_has_a_notebook(self, name: str) -> None:
        assert load_study(name).why_open
        assert (ROOT / "analysis" / "notebooks" / f"{name}.ipynb").is_file()

    def test_gives_every_point_of_a_grid_as_many_runs(self, name: str) -> None:
        study = load_study(name)
        if study.search != "grid":
            return
        for arm in study.arms:
            points = collections.Counter(str(study.draw(arm, number)) for number in range(study.trials_per_arm))
            assert len(set(points.values())) == 1
            assert min(points.values()) >= study.replicates >= 3

    def test_shares_seeds_between_arms(self, name: str) -> None:
        study = load_study(name)
        seeds = [{config.seed for config in configs(study, arm)} for arm in study.arms]
        assert all(own <= max(seeds, key=len) for own in seeds)
        assert min(map(len, seeds)) >= 3


def test_paper_ablation_has_the_five_variants_of_table_8_at_one_probability() -> None:
    study = load_study("paper_ablation")
    variants = {"scheduled", "fixed_size", "complete_label", "one_hot", "center_gaussian"}
    assert set(study.arms) == {*BASELINES, *variants, "feature"}
    probs = {arm: next(configs(study, arm)).mix.apply.mean_prob for arm in study.arms}
    assert {probs[arm] for arm in set(study.arms) - {"off", "cutout", "mixup"}} == {0.5}


def test_position_varies_the_label_where_the_border_takes_something() -> None:
    study = load_study("position")
    varied = {arm for arm in study.arms if "mix.label.lam" in study.space_of(arm)}
    assert varied == {"cutmix", "spill"}
    assert {next(configs(study, arm)).mix.position.kind for arm in ("cutmix", "spill", "inside", "torus")} == {
        "clip",
        "spill",
        "inside",
        "torus",
    }


def test_budget_plans_each_length_with_each_fraction_of_the_images() -> None:
    for scale in (None, "smoke", "laptop", "gpu", "paper"):
        study = load_study("budget", scale=scale)
        cells = {(config.optimizer.max_epochs, config.data.train_frac) for config in configs(study, "cutmix")}
        lengths, shares = ({cell[place] for cell in cells} for place in (0, 1))
        assert len(cells) == len(lengths) * len(shares) >= 4


def test_schedules_mix_equally_much() -> None:
    study = load_study("schedule")
    mixing = [next(configs(study, arm)).mix for arm in study.arms if arm not in ("off", "cutout", "mixup")]
    assert [mix.apply.mean_prob for mix in mixing] == pytest.approx([0.5] * 7)
    assert len({mix.apply.schedule for mix in mixing}) == 7
    assert len({mix.model_copy(update={"apply": None}) for mix in mixing}) == 1


def test_early_stopping_records_whole_curves() -> None:
    study = load_study("early_stopping")
    assert len(study.arms) * study.trials_per_arm == 64
    for scale in (None, "smoke", "laptop", "gpu", "paper"):
        assert load_study("early_stopping", scale=scale).budget.early_stopping.rule == "none"


def test_label_rule_reaches_all_three_rules_of_the_paper() -> None:
    exponents = {config.mix.label.exponent for config in configs(load_study("label_rule"), "cutmix")}
    assert {0, 1, "inf"} < exponents


def test_pairing_crosses_granularity_and_gate_in_every_arm_that_pairs() -> None:
    study = load_study("pairing")
    for arm in set(study.arms) - {"off", "cutout"}:
        assert len({(config.mix.granularity, config.mix.apply.gate) for config in configs(study, arm)}) == 4
    kinds: list[Any] = [next(configs(study, arm)).mix.pairing.kind for arm in study.arms]
    assert set(kinds) == {"permute", "derange", "cross_class", "same_class"}


def test_co_movement_spreads_the_strength_of_mixing() -> None:
    study = load_study("co_movement")
    for arm in set(study.arms) - {"off"}:
        probs = [config.mix.apply.prob for config in configs(study, arm)]
        assert min(probs) < 0.25
        assert max(probs) > 0.75


def test_compute_crosses_depth_with_mixing() -> None:
    for scale in (None, "laptop", "gpu", "paper"):
        study = load_study("compute", scale=scale)
        nets = [{config.model.name for config in configs(study, arm)} for arm in study.arms]
        assert all(own == nets[0] for own in nets)
        assert len(nets[0]) >= 3


def test_robust_vs_adversarial_attacks_with_and_without_mixing() -> None:
    study = load_study("robust_vs_adversarial")
    arms = {arm: next(configs(study, arm)) for arm in study.arms}
    kinds = {arm: config.adversarial and config.adversarial.kind for arm, config in arms.items()}
    assert kinds == dict.fromkeys(BASELINES) | {
        "fgsm": "fgsm",
        "pgd": "pgd",
        "cutmix_fgsm": "fgsm",
        "cutmix_pgd": "pgd",
    }
    assert {config.adversarial.eps_255 for config in arms.values() if config.adversarial} == {8.0}
    assert arms["cutmix_pgd"].mix == arms["cutmix"].mix
