"""What a study promises: equal budgets, pure draws, paired seeds, one meaning for every override."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from search_spaces.check import check_study
from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import at_path, merged
from trainables.strict import parse

ARMS: dict[str, Any] = {
    "off": {"mix": "off"},
    "cutout": {"mix": "cutout", "space": {"mix.size.frac": {"kind": "uniform", "lo": 0.1, "hi": 0.5, "points": 3}}},
    "cutmix": {
        "mix": "cutmix",
        "space": {
            "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0, "points": 3},
            "mix.position.kind": {"kind": "choice", "values": ["clip", "inside"]},
        },
    },
}
COMMON = {
    "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0, "points": 2},
    "data.pad_px": {"kind": "integers", "lo": 0, "hi": 3},
}


def values_of(**changes: Any) -> dict[str, Any]:
    """Values of a small study with ``changes``; a dotted path is written with two underscores."""
    values: dict[str, Any] = {
        "name": "small",
        "question": "?",
        "arms": ARMS,
        "space": COMMON,
        "budget": {"trials": 8, "max_epochs": 4},
    }
    for path, value in changes.items():
        values |= merged(values, at_path(path.replace("__", "."), value)) if "__" in path else {path: value}
    return values


def study_of(**changes: Any) -> Study:
    return parse(Study, values_of(**changes), where="study 'small'")


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_study(study_of(**changes))
    return str(caught.value)


def configs(study: Study, arm: str, count: int) -> list[TrialConfig]:
    return [
        study.trial_config(arm, study.draw(arm, number), replicate=study.replicate(arm, number))
        for number in range(count)
    ]


class TestBudget:
    def test_every_arm_gets_the_same_number_of_trials(self) -> None:
        assert study_of().trials_per_arm == 8

    def test_a_grid_gives_all_arms_what_the_largest_needs(self) -> None:
        study = study_of(search="grid", budget={"max_epochs": 4}, replicates=2)
        sizes = {arm: study.n_grid_points(arm) for arm in study.arms}
        assert sizes == {"off": 8, "cutout": 24, "cutmix": 48}
        assert study.trials_per_arm == 2 * 48

    def test_planned_epochs_come_from_the_budget(self) -> None:
        assert {config.optimizer.max_epochs for config in configs(study_of(), "cutmix", 3)} == {4}

    @pytest.mark.parametrize("search", ["random", "quasi_random", "tpe"])
    def test_a_search_needs_a_number_of_trials(self, search: str) -> None:
        assert "budget.trials is missing" in refusal(search=search, budget={"max_epochs": 4})

    @pytest.mark.parametrize(
        ("changes", "path", "bound"),
        [
            ({"budget": {"trials": 10**11, "max_epochs": 4}}, "budget.trials", 10_000),
            ({"budget": {"trials": 8, "max_epochs": 10**18}}, "budget.max_epochs", 100_000),
            ({"confirm": {"seeds": 10**6}}, "confirm.seeds", 1_000),
            ({"confirm": {"searches": 10**6}}, "confirm.searches", 1_000),
            ({"confirm": {"configs": 10**6}}, "confirm.configs", 10_000),
            ({"replicates": 10**6}, "replicates", 1_000),
        ],
    )
    def test_is_bounded(self, changes: dict[str, Any], path: str, bound: int) -> None:
        assert f"'{path}': input should be less than or equal to {bound}, got" in refusal(**changes)

    def test_a_grid_is_counted_and_not_listed(self) -> None:
        """Its 8e9 points would not fit into the memory."""
        wide = {"kind": "uniform", "lo": 0.01, "hi": 0.5, "points": 2000}
        space = dict.fromkeys(("optimizer.lr", "optimizer.momentum", "data.train_frac"), wide)
        message = refusal(search="grid", arms={"off": {"mix": "off"}}, space=space, budget={"max_epochs": 4})
        assert "the grid of arm 'off' has 8,000,000,000 points" in message
        assert "at most 10,000 trials" in message

    def test_a_recorded_grid_may_be_larger(self) -> None:
        """The status of an older sweep needs its number of trials."""
        space = {"data.split_seed": {"kind": "integers", "lo": 0, "hi": 5_000}}
        arms = {"off": {"mix": "off"}}
        study = study_of(search="grid", arms=arms, space=space, budget={"max_epochs": 4}, replicates=2)
        assert study.trials_per_arm == 10_002
        with pytest.raises(UserError, match="at most 10,000 trials"):
            check_study(study)

    def test_a_grid_larger_than_the_budget_is_refused(self) -> None:
        message = refusal(search="grid", budget__trials=47)
        assert "budget.trials is 47" in message
        assert "arm 'cutmix' has 48 points" in message

    def test_a_grid_as_large_as_the_budget_is_not(self) -> None:
        check_study(study_of(search="grid", budget__trials=48))


class TestVariedEpochs:
    """How long a run is planned may be what a study asks about; then each trial has its own number of epochs."""

    EPOCHS = {"optimizer.max_epochs": {"kind": "choice", "values": [1, 2, 4]}}

    @pytest.mark.parametrize("search", ["random", "quasi_random", "grid"])
    def test_are_planned_alike_in_all_arms(self, search: str) -> None:
        study = study_of(search=search, space=self.EPOCHS, budget__trials=18)
        check_study(study)
        planned = {arm: [config.optimizer.max_epochs for config in configs(study, arm, 18)] for arm in study.arms}
        assert set(planned["off"]) == {1, 2, 4}
        assert [study.max_epochs_in(arm) for arm in planned] == [sum(epochs) for epochs in planned.values()]
        assert len({sum(epochs) for epochs in planned.values()}) == 1

    def test_of_a_trial(self) -> None:
        study = study_of(space=self.EPOCHS)
        assert study.max_epochs_of({"optimizer.max_epochs": 2, "optimizer.lr": 0.1}) == 2
        assert study_of().max_epochs_of({"optimizer.lr": 0.1}) == study_of().budget.max_epochs
        assert study_of().max_epochs_in("off") == 8 * 4

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"search": "tpe"}, "search 'tpe'"),
            ({"budget__early_stopping": {"rule": "asha", "grace_period_epochs": 1}}, "rule is 'asha'"),
            ({"budget__max_epochs": 5}, "budget.max_epochs, which is 5"),
            ({"budget__max_epochs": 3}, "budget.max_epochs, which is 3"),
            ({"base": {"optimizer": {"max_epochs": 4}}}, "base sets 'optimizer.max_epochs'"),
            ({"arms": {"a": {"base": {"optimizer": {"max_epochs": 4}}}}}, "follows from 'budget.max_epochs'"),
            ({"arms": {"a": {"space": EPOCHS}}}, "only this arm varies"),
            ({"space": {"optimizer.max_epochs": {"kind": "uniform", "lo": 1, "hi": 4}}}, "whole numbers"),
            ({"space": {"optimizer.max_epochs": {"kind": "choice", "values": [4, "many"]}}}, "whole numbers"),
            ({"space": {"optimizer.max_epochs": {"kind": "integers", "lo": 0, "hi": 4}}}, "greater than or equal to 1"),
        ],
    )
    def test_are_refused_where_arms_or_trials_would_not_compare(self, changes: dict[str, Any], words: str) -> None:
        message = refusal(**({"space": self.EPOCHS} | changes))
        assert words in message
        assert "optimizer.max_epochs'" in message

    def test_a_grid_that_ends_in_the_middle_of_a_round(self) -> None:
        arms = {
            "pair": {"space": {"data.pad_px": {"kind": "integers", "lo": 0, "hi": 1}}},
            "triple": {"space": {"data.pad_px": {"kind": "integers", "lo": 0, "hi": 2}}},
        }
        study = {"arms": arms, "space": self.EPOCHS, "search": "grid", "budget": {"max_epochs": 4}}
        message = refusal(**study)
        assert "arm 'triple' plans 21 epochs in 9 trials, the grid of arm 'pair' plans 18" in message
        check_study(study_of(**study, replicates=2))


@pytest.mark.parametrize("search", ["random", "quasi_random"])
class TestDraw:
    """The contract of searches that do not look back."""

    def test_is_a_pure_function(self, search: str) -> None:
        """Neither the order nor the number of other draws matters, nor which object draws."""
        study, again = study_of(search=search), study_of(search=search)
        places = [(arm, number) for arm in study.arms for number in range(8)]
        drawn = {place: study.draw(*place) for place in places}
        assert {place: again.draw(*place) for place in reversed(places)} == drawn

    def test_does_not_depend_on_the_rest_of_the_study(self, search: str) -> None:
        alone = study_of(search=search, arms={"cutmix": ARMS["cutmix"]}, budget__trials=3)
        assert [alone.draw("cutmix", number) for number in range(3)] == [
            study_of(search=search).draw("cutmix", number) for number in range(3)
        ]

    def test_common_parameters_are_equal_in_all_arms(self, search: str) -> None:
        study = study_of(search=search)
        for number in range(8):
            off, *others = ({path: study.draw(arm, number)[path] for path in COMMON} for arm in study.arms)
            assert all(other == off for other in others)

    def test_own_parameters_exist_in_their_arm_only(self, search: str) -> None:
        study = study_of(search=search)
        assert {arm: set(study.draw(arm, 0)) - set(COMMON) for arm in study.arms} == {
            "off": set(),
            "cutout": {"mix.size.frac"},
            "cutmix": {"mix.size.alpha", "mix.position.kind"},
        }

    def test_an_arm_may_have_a_common_parameter_of_its_own(self, search: str) -> None:
        own = merged(ARMS, {"off": {"space": {"data.pad_px": {"kind": "fixed", "value": 9}}}})
        study = study_of(search=search, arms=own)
        assert [study.draw("off", number)["data.pad_px"] for number in range(4)] == [9] * 4
        assert all(
            study.draw("cutmix", number) == study_of(search=search).draw("cutmix", number) for number in range(4)
        )

    def test_trials_differ(self, search: str) -> None:
        rates = {study_of(search=search).draw("off", number)["optimizer.lr"] for number in range(8)}
        assert len(rates) == 8

    def test_arms_and_parameters_are_drawn_independently(self, search: str) -> None:
        """Two parameters of equal domain must not walk together, nor one parameter in two arms that own it."""
        domain = {"kind": "uniform", "lo": 0.0, "hi": 1.0}
        arms = {name: {"space": {"optimizer.momentum": domain | {"hi": 0.9}}} for name in ("a", "b")}
        arms["a"]["space"]["mix.label.smoothing"] = domain | {"hi": 0.9}
        study = study_of(search=search, arms=arms)
        a, b = study.draw("a", 0), study.draw("b", 0)
        assert len({a["optimizer.momentum"], a["mix.label.smoothing"], b["optimizer.momentum"]}) == 3

    def test_follows_the_seed(self, search: str) -> None:
        assert study_of(search=search, seed=1).draw("off", 0) != study_of(search=search).draw("off", 0)
        assert study_of(search=search, seed=1).draw("off", 0) == study_of(search=search, seed=1).draw("off", 0)

    def test_replicates_share_a_configuration(self, search: str) -> None:
        study = study_of(search=search, replicates=3)
        drawn = [study.draw("cutmix", number) for number in range(9)]
        assert drawn[0] == drawn[1] == drawn[2]
        assert drawn[3] == drawn[4] == drawn[5]
        assert drawn[0] != drawn[3] != drawn[6]


DIMENSION = {"kind": "uniform", "lo": 0.0, "hi": 1.0}


class TestQuasiRandom:
    def study(self, search: str, *, seed: int, n_common: int, n_own: int) -> Study:
        """A study of one arm, ``a``, whose space is the unit cube."""
        own = {"a": {"space": {f"own.{place}": DIMENSION for place in range(n_own)}}}
        common = {f"common.{place}": DIMENSION for place in range(n_common)}
        return study_of(search=search, arms=own, space=common, seed=seed)

    def points(self, search: str, count: int, *, seed: int, n_common: int, n_own: int) -> np.ndarray:
        """Draws in the unit cube, [count, n_common + n_own]."""
        study = self.study(search, seed=seed, n_common=n_common, n_own=n_own)
        return np.array([list(study.draw("a", number).values()) for number in range(count)])

    @pytest.mark.parametrize(("n_common", "n_own"), [(2, 0), (0, 2), (1, 1), (2, 2)])
    def test_fills_a_space_more_evenly_than_random(self, n_common: int, n_own: int) -> None:
        spread = {
            search: [
                qmc.discrepancy(self.points(search, 32, seed=seed, n_common=n_common, n_own=n_own))
                for seed in range(12)
            ]
            for search in ("random", "quasi_random")
        }
        assert np.median(spread["quasi_random"]) < 0.6 * np.median(spread["random"])
        assert max(spread["quasi_random"]) < np.median(spread["random"])

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_each_coordinate_is_uniform_over_seeds(self, place: int) -> None:
        """A given trial, as well as all of them, is a draw from the domain."""
        for number in (0, 5):
            studies = (self.study("quasi_random", seed=seed, n_common=2, n_own=1) for seed in range(200))
            values = [list(study.draw("a", number).values())[place] for study in studies]
            assert stats.kstest(values, "uniform").pvalue > 0.01

    @pytest.mark.parametrize("n_common", [0, 1, 2])
    def test_a_round_of_trials_has_one_in_each_box(self, n_common: int) -> None:
        """Common and own parameters together too: two sequences in equal bases leave most boxes empty."""
        drawn = self.points("quasi_random", 72, seed=0, n_common=n_common, n_own=2 - n_common)
        for round_ in (drawn[:36], drawn[36:]):
            assert len({(int(4 * u), int(9 * v)) for u, v in round_}) == 36

    def test_a_common_parameter_of_an_arm_s_own_leaves_the_others_alone(self) -> None:
        own = merged(ARMS, {"off": {"space": {"optimizer.lr": {"kind": "fixed", "value": 0.5}}}})
        study = study_of(search="quasi_random", arms=own)
        pads = {arm: [study.draw(arm, number)["data.pad_px"] for number in range(8)] for arm in study.arms}
        assert pads["off"] == pads["cutout"] == pads["cutmix"]

    def test_values_of_a_choice_are_drawn_equally_often(self) -> None:
        space = {"mix.position.kind": {"kind": "choice", "values": ["clip", "inside", "torus", "spill"]}}
        study = study_of(search="quasi_random", arms={"a": {}}, space=space)
        drawn = [study.draw("a", number)["mix.position.kind"] for number in range(16)]
        assert {drawn.count(value) for value in drawn} == {4}


class TestGrid:
    def test_holds_every_combination_once(self) -> None:
        study = study_of(search="grid", budget={"max_epochs": 4})
        expected = itertools.product((0.01, 1.0), range(4), (0.1, pytest.approx(0.3), 0.5))
        points = [study.grid_point("cutout", index) for index in range(study.n_grid_points("cutout"))]
        assert [tuple(point.values()) for point in points] == list(expected)
        assert list(points[0]) == ["optimizer.lr", "data.pad_px", "mix.size.frac"]

    def test_is_laid_out_in_order_and_begun_again(self) -> None:
        """A smaller arm cycles through its points, so that all arms get equal budgets."""
        study = study_of(search="grid", budget={"max_epochs": 4})
        grid = [study.grid_point("off", index) for index in range(study.n_grid_points("off"))]
        assert [study.draw("off", number) for number in range(48)] == grid * 6

    def test_a_replicate_is_one_pass_over_the_points(self) -> None:
        """All points of a replicate share their seed: a block, within which only the parameters differ."""
        study = study_of(search="grid", budget={"max_epochs": 4}, replicates=2)
        assert [study.replicate("cutmix", number) for number in range(96)] == [0] * 48 + [1] * 48
        seeds = [config.seed for config in configs(study, "cutmix", 96)]
        assert len(set(seeds[:48])) == len(set(seeds[48:])) == 1
        assert seeds[0] != seeds[48]

    def test_an_interval_without_points_is_refused(self) -> None:
        message = refusal(search="grid", space={"optimizer.lr": {"kind": "uniform", "lo": 0.1, "hi": 1.0}})
        assert "'optimizer.lr'" in message
        assert "points" in message
        assert "study 'small'" in message

    def test_without_a_space_has_one_point(self) -> None:
        study = study_of(search="grid", arms={"off": {"mix": "off"}}, space={}, budget={"max_epochs": 4})
        assert (study.n_grid_points("off"), study.grid_point("off", 0)) == (1, {})
        assert study.trials_per_arm == 1


class TestSeeds:
    @pytest.mark.parametrize("search", ["random", "quasi_random", "tpe"])
    def test_equal_replicates_share_their_seed_across_arms(self, search: str) -> None:
        study = study_of(search=search)
        seeds = {
            arm: [study.trial_config(arm, {}, replicate=study.replicate(arm, number)).seed for number in range(8)]
            for arm in study.arms
        }
        assert seeds["off"] == seeds["cutout"] == seeds["cutmix"]

    def test_trials_of_an_arm_differ_in_their_seeds(self) -> None:
        assert len({config.seed for config in configs(study_of(), "off", 8)}) == 8

    def test_replicates_of_a_configuration_differ_in_their_seeds_alone(self) -> None:
        first, second = configs(study_of(replicates=2), "cutmix", 2)
        assert first.seed != second.seed
        assert first.model_copy(update={"seed": 0}) == second.model_copy(update={"seed": 0})

    def test_follow_the_study_s_seed(self) -> None:
        assert configs(study_of(seed=5), "off", 1)[0].seed != configs(study_of(), "off", 1)[0].seed


def test_a_confirmation_has_reproducible_kernels() -> None:
    study = study_of(space={}, base={"compute": {"kernels": "fastest"}}, arms={"a": {"mix": "off"}})
    search, confirm = (study.trial_config("a", {}, replicate=0, phase=phase) for phase in ("search", "confirm"))
    assert (search.compute.kernels, confirm.compute.kernels) == ("fastest", "reproducible")


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_precision_of_gpus_needs_gpus(precision: str) -> None:
    parts: dict[str, Any] = {"space": {}, "base": {"model": {"precision": precision}}, "arms": {"a": {"mix": "off"}}}
    check_study(study_of(**parts, resources={"gpus": 0.5}))
    with pytest.raises(
        UserError, match=f"model.precision is '{precision}', which needs a GPU, but resources.gpus is 0"
    ):
        check_study(study_of(**parts))


class TestPrecedence:
    def config(self, **changes: Any) -> TrialConfig:
        study = study_of(space={}, **changes)
        check_study(study)
        return study.trial_config("a", {}, replicate=0)

    def test_an_arm_lies_over_the_base_over_the_defaults(self) -> None:
        config = self.config(
            base={"optimizer": {"lr": 0.5, "momentum": 0.5}}, arms={"a": {"base": {"optimizer": {"momentum": 0.25}}}}
        )
        assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.5, 0.25, 5e-4)

    def test_the_arm_s_preset_wins_what_it_leaves_open_stays(self) -> None:
        base = {"mix": {"label": {"smoothing": 0.1}}}
        mix = self.config(base=base, arms={"a": {"mix": "cutmix"}}).mix
        assert mix.apply.prob == 0.5
        assert mix.label.smoothing == 0.1

    def test_a_preset_leaves_the_smoothing_of_both_its_policies_open(self) -> None:
        mix = self.config(base={"mix": {"label": {"smoothing": 0.1}}}, arms={"a": {"mix": "timm"}}).mix
        assert [policy.label.smoothing for policy in mix.policies] == [0.1, 0.1]

    def test_the_arm_s_preset_wins_over_the_base_s(self) -> None:
        mix = self.config(
            base={"mix": {"preset": "random_erasing", "label": {"smoothing": 0.1}}}, arms={"a": {"mix": "cutout"}}
        ).mix
        assert mix.content == "zero"
        assert mix.size.model_dump() == {"kind": "fixed", "frac": 0.25}
        assert mix.label.smoothing == 0.1

    def test_without_a_word_on_mixing_nothing_is_mixed(self) -> None:
        assert self.config(arms={"a": {}}).mix.apply.prob == 0.0

    def test_the_base_s_preset_serves_arms_that_name_none(self) -> None:
        assert self.config(base={"mix": "mixup"}, arms={"a": {}}).mix.mask.model_dump()["family"] == "flat"

    def test_parts_of_an_arm_s_preset_may_be_changed(self) -> None:
        mix = self.config(arms={"a": {"mix": {"preset": "cutmix", "size": {"alpha": 0.3}}}}).mix
        assert (mix.size.kind, mix.size.alpha) == ("beta", 0.3)
        assert mix.apply.prob == 0.5

    def test_a_drawn_value_wins_over_the_preset(self) -> None:
        study = study_of(arms={"a": {"mix": "cutmix"}}, space={})
        assert study.trial_config("a", {"mix.apply.prob": 0.125}, replicate=0).mix.apply.prob == 0.125

    def test_another_variant_drops_the_old_one_s_parameters(self) -> None:
        study = study_of(arms={"a": {"mix": {"preset": "cutmix", "size": {"alpha": 0.3}}}}, space={})
        size = study.trial_config("a", {"mix.size.kind": "fixed"}, replicate=0).mix.size
        assert size.model_dump() == {"kind": "fixed", "frac": 0.25}


class TestRefusals:
    def test_a_base_value_that_the_space_varies(self) -> None:
        assert "base sets 'optimizer.lr'" in refusal(base={"optimizer": {"lr": 0.1}})

    def test_an_arm_s_base_value_that_the_space_varies(self) -> None:
        message = refusal(arms={"a": {"base": {"optimizer": {"lr": 0.1}}}})
        assert "arm 'a': base sets 'optimizer.lr'" in message

    def test_mix_beside_base_mix(self) -> None:
        """One of them would be dropped without a word."""
        message = refusal(arms={"a": {"mix": "cutmix", "base": {"mix": {"apply": {"prob": 0.9}}}}})
        assert "'arms.a'" in message
        assert "give one of them" in message

    def test_a_base_value_that_an_arm_s_preset_hides(self) -> None:
        message = refusal(base={"mix": {"apply": {"prob": 0.9}}}, arms={"a": {"mix": "cutmix"}})
        assert "arm 'a'" in message
        assert "'mix.apply.prob'" in message

    def test_a_common_parameter_that_an_arm_s_preset_sets(self) -> None:
        domain = {"kind": "uniform", "lo": 0.1, "hi": 0.9}
        message = refusal(space={"mix.apply.prob": domain}, arms={"a": {"mix": "cutmix"}})
        assert "arm 'a'" in message
        assert "'mix.apply.prob'" in message

    @pytest.mark.parametrize("holder", ["base", "arm"])
    @pytest.mark.parametrize(("path", "instead"), [("seed", "'seed'"), ("optimizer.max_epochs", "'budget.max_epochs'")])
    def test_reserved_values(self, holder: str, path: str, instead: str) -> None:
        given = at_path(path, 3)
        message = refusal(base=given) if holder == "base" else refusal(arms={"a": {"base": given}})
        assert f"'{path}' follows from {instead}" in message

    @pytest.mark.parametrize("holder", ["study", "arm"])
    @pytest.mark.parametrize("path", ["seed", "optimizer"])
    def test_reserved_parameters(self, holder: str, path: str) -> None:
        space = {path: {"kind": "fixed", "value": 3}}
        message = refusal(space=space) if holder == "study" else refusal(arms={"a": {"space": space}})
        assert "follows from" in message
        assert path in message

    def test_a_section_that_is_a_number(self) -> None:
        """A drawn value below it would otherwise bring the section back with its defaults."""
        assert "'optimizer'" in refusal(arms={"a": {"base": {"optimizer": 3}}})

    @pytest.mark.parametrize("corner", ["lo", "hi"])
    def test_either_end_of_a_domain_out_of_range(self, corner: str) -> None:
        domain = {"kind": "uniform", "lo": 0.1, "hi": 0.9} | {corner: {"lo": -0.5, "hi": 1.5}[corner]}
        message = refusal(arms={"a": {"mix": "cutmix", "space": {"mix.apply.prob": domain}}})
        assert "arm 'a'" in message
        assert "'mix.apply.prob'" in message

    def test_a_learning_rate_for_another_optimizer(self) -> None:
        adamw = {"optimizer": {"name": "adamw"}}
        assert "optimizer.lr is 1, but with optimizer.name 'adamw' it must be at most 0.05" in refusal(base=adamw)
        low = COMMON | {"optimizer.lr": {"kind": "loguniform", "lo": 1e-4, "hi": 1e-2}}
        check_study(study_of(base=adamw, space=low))

    def test_a_wrong_value_behind_others_in_a_choice(self) -> None:
        domain = {"kind": "choice", "values": ["clip", "inside", "sphere"]}
        message = refusal(arms={"a": {"mix": "cutmix", "space": {"mix.position.kind": domain}}})
        assert "'mix.position.kind' is unknown: 'sphere'" in message

    @pytest.mark.parametrize("mix", [3, ["cutmix"], {"preset": ["cutmix"]}, {"preset": 3}])
    @pytest.mark.parametrize("short", [True, False])
    def test_a_policy_that_is_none(self, mix: Any, short: bool) -> None:
        message = refusal(arms={"a": {"mix": mix} if short else {"base": {"mix": mix}}})
        assert "'a'" in message or "arms.a" in message
        assert "mix" in message

    @pytest.mark.parametrize("name", ["Cut", "cut-mix", "9lives", "", "a b"])
    def test_names_that_are_no_names(self, name: str) -> None:
        assert "small letters" in refusal(arms={name: {}})
        assert "name" in refusal(name=name)

    def test_no_arm_and_too_many(self) -> None:
        assert "'arms'" in refusal(arms={})
        assert "at most 1000 items" in refusal(arms={f"arm_{number}": {} for number in range(1_001)})

    def test_all_that_is_wrong_is_said_at_once(self) -> None:
        lines = refusal(replicates=0, seed=-1, search="luck").splitlines()
        assert len(lines) == 3
        assert all(line.startswith("study 'small': ") for line in lines)


@pytest.mark.parametrize("search", ["random", "quasi_random", "grid", "tpe"])
def test_a_study_comes_back_from_its_manifest(search: str) -> None:
    """Taken up again, a sweep must be the same study to the last trial."""
    study = study_of(
        search=search,
        budget={"trials": 48, "max_epochs": 4, "early_stopping": {"rule": "none"}},
        base={"optimizer": {"schedule": {"kind": "step", "milestones_frac": [0.5, 0.75]}}, "data": {"flip": None}},
        resources={"cpus": 2, "gpus": 0.5},
        seed=7,
    )
    check_study(study)
    again = parse(Study, json.loads(json.dumps(study.model_dump(mode="json"))), where="manifest")
    assert again == study
    for arm in study.arms:
        assert configs(again, arm, 5) == configs(study, arm, 5)


class TestRenamedKeys:
    """A renamed key draws what it drew under its first name: the numbers are those of the program before."""

    GRANULARITY, SECOND_ALPHA = "mix.granularity", "mix.alternate.mix.size.alpha"
    RAMP = "mix.apply.schedule.ramp_down_start"

    def study(self, search: str) -> Study:
        return study_of(
            seed=3,
            search=search,
            arms={
                "off": {"mix": "off"},
                "cutmix": {
                    "mix": "cutmix",
                    "space": {
                        self.RAMP: {"kind": "uniform", "lo": 0.0, "hi": 1.0},
                        "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0},
                    },
                },
                "both": {
                    "mix": "torchvision",
                    "space": {self.SECOND_ALPHA: {"kind": "loguniform", "lo": 0.1, "hi": 4.0}},
                },
            },
            space={
                "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0},
                self.GRANULARITY: {"kind": "choice", "values": ["sample", "batch"]},
                "mix.label.smoothing": {"kind": "uniform", "lo": 0.0, "hi": 0.3},
            },
        )

    def test_random_search(self) -> None:
        study = self.study("random")
        assert list(study.draw("cutmix", 0).values()) == [
            0.0426567212646144,
            "batch",
            0.26722522668902277,
            0.7365296007351371,
            0.6029833294318836,
        ]
        assert list(study.draw("cutmix", 1).values()) == [
            0.4071197287478815,
            "sample",
            0.05405608886578741,
            0.2965139734450102,
            0.10866006857049632,
        ]
        assert list(study.draw("both", 0).values()) == [
            0.0426567212646144,
            "batch",
            0.26722522668902277,
            0.48762311274113435,
        ]

    def test_quasi_random_search(self) -> None:
        drawn = self.study("quasi_random").draw("cutmix", 1)
        assert list(drawn.values()) == [
            0.25309188796584714,
            "batch",
            0.1849562082890392,
            0.2730299517569495,
            0.14088202730110583,
        ]


class TestReference:
    def test_is_the_first_arm_by_default(self) -> None:
        assert study_of().baseline == "off"

    def test_may_be_any_arm(self) -> None:
        assert study_of(reference="cutmix").baseline == "cutmix"

    def test_must_be_an_arm(self) -> None:
        message = refusal(reference="cutmx")
        assert "reference: there is no arm 'cutmx'; did you mean 'cutmix'? valid: cutmix, cutout, off" in message
