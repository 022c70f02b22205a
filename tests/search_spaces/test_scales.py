"""Scales: what they may change, what they leave alone, and what lies over what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.discover import built_in_studies, load_study
from search_spaces.scales import SCALES, scaled
from search_spaces.study import Study
from trainables.errors import UserError

SMALL: dict[str, Any] = {
    "question": "Does it matter?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "budget": {
        "trials": 6,
        "max_epochs": 30,
        "early_stopping": {"rule": "asha", "grace_period_epochs": 5, "reduction_factor": 2},
    },
    "base": {"optimizer": {"lr": 0.3}},
}
MEANING = ("question", "why_open", "arms", "search", "match", "seed")
"""What no scale may touch; of the space, the sizes apart."""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Load a study of the values given, at a scale."""

    def load(scale: str | None = None, settings: tuple[str, ...] = (), **changes: Any) -> Study:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
        return load_study(str(path), scale=scale, settings=settings)

    return load


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", built_in_studies())
class TestBuiltIn:
    def test_loads_and_draws_every_arm(self, name: str, scale: str) -> None:
        study = load_study(name, scale=scale)
        for arm in study.arms:
            for number in (0, study.trials_per_arm - 1):
                params = study.draw(arm, number)
                config = study.declared_config(arm, params, replicate=study.replicate(arm, number))
                assert config.optimizer.max_epochs <= study.budget.max_epochs

    def test_means_what_it_meant(self, name: str, scale: str) -> None:
        study, at_scale = load_study(name), load_study(name, scale=scale)
        assert study.space.keys() == at_scale.space.keys()
        for part in MEANING:
            assert getattr(at_scale, part) == getattr(study, part)
        for arm in study.arms:
            mixes = {s.declared_config(arm, s.draw(arm, 0), replicate=0).mix for s in (study, at_scale)}
            assert len(mixes) == 1


class TestCommon:
    def test_lies_over_the_file(self, load: Any) -> None:
        study = load("gpu")
        config = study.trial_config("off", {}, replicate=0)
        assert (study.budget.trials, study.budget.max_epochs) == (6, 200)
        assert (config.data.source, config.model.name, config.optimizer.lr) == ("cifar100", "resnet18", 0.1)
        assert study.budget.early_stopping.grace_period_epochs == 5
        assert study.resources.gpus == 1

    def test_lies_below_what_is_set(self, load: Any) -> None:
        study = load("gpu", ("budget.max_epochs=50", "base.data.source=digits", "resources.gpus=0.5"))
        assert (study.budget.max_epochs, study.resources.gpus, study.resources.cpus) == (50, 0.5, 2)
        assert study.trial_config("off", {}, replicate=0).data.source == "digits"

    def test_is_absent_without_a_name(self, load: Any) -> None:
        assert load().budget.max_epochs == 30
        assert load().trial_config("off", {}, replicate=0).model.name == "tiny"

    def test_leaves_alone_what_the_study_varies(self, load: Any) -> None:
        space = {"optimizer.lr": {"kind": "uniform", "lo": 0.01, "hi": 0.4}}
        study = load("paper", base={}, space=space)
        assert study.space["optimizer.lr"].corners() == [0.01, 0.4]
        assert study.trial_config("off", {"optimizer.lr": 0.02}, replicate=0).optimizer.lr == 0.02
        assert study.trial_config("off", {"optimizer.lr": 0.02}, replicate=0).optimizer.weight_decay == 1e-4

    def test_a_grid_keeps_its_points_and_a_drawn_space_its_replicates(self, load: Any) -> None:
        space = {"data.pad_px": {"kind": "choice", "values": [0, 2, 4]}}
        budget = {"max_epochs": 30}
        assert load("smoke", search="grid", space=space, budget=budget, replicates=5).trials_per_arm == 3
        drawn = load("smoke", space=space, replicates=2)
        assert (drawn.trials_per_arm, drawn.replicates) == (2, 2)

    @pytest.mark.parametrize(
        ("changes", "searches", "seeds"),
        [
            ({"confirm": {}}, 2, 1),
            ({"confirm": {"searches": 3, "seeds": 4}}, 2, 1),
            ({"confirm": {"searches": 1, "seeds": 4}}, 1, 2),
            ({"confirm": {"searches": 3}, "replicates": 2}, 1, 2),
            ({"confirm": {"searches": 3}, "search": "grid", "replicates": 3}, 1, 2),
            ({"confirm": {}, "space": {"data.pad_px": {"kind": "fixed", "value": 2}}}, 1, 2),
            ({"confirm": {}, "space": {}}, 1, 2),
        ],
    )
    def test_smoke_confirms_two_values_per_arm(
        self, load: Any, changes: dict[str, Any], searches: int, seeds: int
    ) -> None:
        """Two searches where they can be divided, otherwise two seeds."""
        space = {"data.pad_px": {"kind": "choice", "values": [0, 2, 4]}}
        budget = {"trials": None if changes.get("search") == "grid" else 6, "max_epochs": 30}
        study = load("smoke", **({"space": space, "budget": budget} | changes))
        assert (study.n_searches, study.confirm.seeds) == (searches, seeds)
        assert study.confirming_per_arm == 2

    def test_laptop_reads_no_images_that_must_be_fetched(self) -> None:
        for scale in ("smoke", "laptop"):
            assert "source" not in SCALES[scale]["base"]["data"]

    def test_paper_is_the_published_recipe(self, load: Any) -> None:
        study = load("paper")
        config = study.trial_config("cutmix", {}, replicate=0)
        assert (config.data.source, config.data.batch_size, config.data.pad_px) == ("cifar100", 64, 4)
        assert (config.optimizer.max_epochs, config.optimizer.lr, config.optimizer.weight_decay) == (300, 0.1, 1e-4)
        assert config.optimizer.schedule.model_dump() == {"kind": "step", "milestones_frac": (0.5, 0.75), "factor": 0.1}
        assert (config.model.precision, config.optimizer.momentum) == ("fp32", 0.9)
        assert study.budget.early_stopping.rule == "none"


class TestOwn:
    def test_lies_over_the_common_one_and_below_what_is_set(self, load: Any) -> None:
        own = {"gpu": {"budget": {"max_epochs": 90}, "base": {"model": {"name": "resnet34"}}}}
        study = load("gpu", scales=own)
        assert study.budget.max_epochs == 90
        assert study.trial_config("off", {}, replicate=0).model.name == "resnet34"
        assert study.trial_config("off", {}, replicate=0).data.source == "cifar100"
        assert load("gpu", ("budget.max_epochs=40",), scales=own).budget.max_epochs == 40
        assert load(scales=own).budget.max_epochs == 30
        assert load("laptop", scales=own).trial_config("off", {}, replicate=0).model.name == "tiny"

    def test_may_replace_the_values_of_a_size_that_the_study_varies(self, load: Any) -> None:
        space = {"optimizer.max_epochs": {"kind": "choice", "values": [3, 30]}}
        own = {"smoke": {"space": {"optimizer.max_epochs": {"values": [1, 2]}}}}
        budget = {"max_epochs": 30}
        study = load("smoke", search="grid", space=space, budget=budget, scales=own)
        assert study.space["optimizer.max_epochs"].grid() == [1, 2]
        assert study.budget.max_epochs == 2

    def test_must_name_its_longest_run(self, load: Any) -> None:
        space = {"optimizer.max_epochs": {"kind": "choice", "values": [3, 30]}}
        with pytest.raises(UserError, match="largest one must be budget"):
            load("smoke", search="grid", space=space, budget={"max_epochs": 30})

    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"arms": {"off": {"mix": "cutout"}}}, "arms.off.mix"),
            ({"seed": 3}, "seed"),
            ({"search": "grid"}, "search"),
            ({"match": "exposure"}, "match"),
            ({"metric": "val_nll"}, "metric"),
            ({"question": "?"}, "question"),
            ({"base": {"mix": "cutmix"}}, "base.mix"),
            ({"base": {"evaluation": {"ece_bins": 9}}}, "base.evaluation.ece_bins"),
            ({"space": {"optimizer.lr": {"hi": 1.0}}}, "space.optimizer.lr.hi"),
            ({"space": {"model.name": {"values": ["tiny"]}}}, "space.model.name.values"),
            ({"budgets": 3}, "budgets"),
        ],
    )
    @pytest.mark.parametrize("scale", ["gpu", None])
    def test_must_not_change_the_meaning(self, load: Any, changes: dict[str, Any], path: str, scale: str) -> None:
        space = {"optimizer.lr": {"kind": "uniform", "lo": 0.01, "hi": 0.4}}
        with pytest.raises(UserError, match="a scale may change the budget") as caught:
            load(scale, base={}, space=space, scales={"gpu": changes})
        assert f"sets '{path}'" in str(caught.value)
        assert "valid: budget, replicates, base.data" in str(caught.value)

    @pytest.mark.parametrize(
        ("scales", "words"),
        [
            ({"gpus": {}}, "'scales.gpus' is unknown; did you mean 'gpu'?"),
            ({"gpu": 3}, "'scales.gpu' must be a mapping, got 3"),
            (["gpu"], "'scales' must hold values by scale"),
            (None, "'scales' must hold values by scale"),
        ],
    )
    def test_must_be_one(self, load: Any, scales: Any, words: str) -> None:
        with pytest.raises(UserError, match="study 'small'") as caught:
            load(scales=scales)
        assert words in str(caught.value)

    def test_is_checked_as_the_study_is(self, load: Any) -> None:
        with pytest.raises(UserError, match="did you mean 'max_epochs'"):
            load("gpu", scales={"gpu": {"budget": {"max_epoch": 3}}})


def test_an_unknown_scale_is_refused(load: Any) -> None:
    with pytest.raises(UserError, match="did you mean 'laptop'"):
        load("labtop")


def test_what_is_given_stays_as_it_was() -> None:
    values = {"base": {"data": {"train_frac": 1.0}}, "scales": {"smoke": {"replicates": 2}}, "search": "grid"}
    at_scale = scaled(values, "smoke", where="study 'x'")
    assert values["base"] == {"data": {"train_frac": 1.0}}
    assert at_scale["replicates"] == 2
    assert "scales" not in at_scale
    assert SCALES["smoke"]["replicates"] == 1
