"""Scales: what they may change, what they leave alone, and what lies over what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.discover import built_in_studies, load_study, parse_setting
from search_spaces.paper_recipes import CUB, IMAGENET
from search_spaces.scales import SCALES, scaled
from search_spaces.study import Study
from trainables.augment.config import ColorJitter, Lighting, ResizedCrop
from trainables.config import CosineSchedule, StepSchedule, TrialConfig
from trainables.errors import UserError
from trainables.merging import merged
from trainables.optimizer import lr_factor

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

    def test_leaves_alone_the_parameters_of_a_varied_variant(self, load: Any) -> None:
        space = {"optimizer.schedule.kind": {"kind": "choice", "values": ["cosine", "step"]}}
        study = load("paper", ("base.data.source=imagenet:/images",), space=space)
        kinds = [
            study.trial_config("off", {"optimizer.schedule.kind": kind}, replicate=0) for kind in ("cosine", "step")
        ]
        assert [config.optimizer.schedule for config in kinds] == [CosineSchedule(), StepSchedule()]

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

    def test_smoke_leaves_the_width_alone_if_a_network_has_none(self, load: Any) -> None:
        """Wherever the network is named: in the file, in an arm, in the space, or by what is set."""
        timm = "timm:convnext_tiny"
        named = {"kind": "choice", "values": ["tiny", timm]}
        off = {"mix": "off"}
        for changes, settings in [
            ({"base": {"model": {"name": timm}}}, ()),
            ({"arms": {"off": off | {"base": {"model": {"name": timm}}}, "plain": off}}, ()),
            ({"space": {"model.name": named}}, ()),
            ({"scales": {"smoke": {"base": {"model": {"name": timm}}}}}, ()),
            ({}, (f'base.model.name="{timm}"',)),
        ]:
            values = SMALL | {"base": {}} | changes
            given: dict[str, Any] = {}
            for setting in settings:
                given = merged(given, parse_setting(setting))
            assert "width" not in scaled(values, "smoke", where="study 'x'", given=given)["base"].get("model", {})
        assert load("smoke").trial_config("off", {}, replicate=0).model.width == 0.25


def config_of(study: Study) -> TrialConfig:
    return study.trial_config("cutmix", {}, replicate=0)


class TestPaper:
    def test_cifar_is_the_published_recipe(self, load: Any) -> None:
        """Yun et al., section 4.1.2 and table 6; train.py of the authors; their answer on ResNet-110 (issue 10)."""
        study = load("paper")
        data, model, optimizer = config_of(study).data, config_of(study).model, config_of(study).optimizer
        assert (data.source, data.batch_size, data.pad_px, data.flip) == ("cifar100", 64, 4, None)
        assert (model.name, model.precision) == ("cifar_resnet110_bn", "fp32")
        assert (optimizer.name, optimizer.max_epochs, optimizer.lr, optimizer.momentum) == ("sgd", 300, 0.1, 0.9)
        assert (optimizer.weight_decay, optimizer.decay_on, optimizer.ema_decay) == (1e-4, "all", None)
        rates = [lr_factor(optimizer.schedule, epoch / 300) for epoch in (0, 149, 150, 224, 225, 299)]
        assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
        assert study.budget.early_stopping.rule == "none"

    def test_imagenet_is_the_published_recipe(self, load: Any) -> None:
        """Section 4.1.1; train.py: crops of 224 px, whose images are 256 px high in evaluation."""
        config = config_of(load("paper", ("base.data.source=imagenet:/images",)))
        data, optimizer = config.data, config.optimizer
        assert (data.source, data.batch_size, data.image_size_px) == ("imagenet:/images", 256, 224)
        assert (data.store, data.center_crop_frac, data.flip) == ("jpeg", 0.875, None)
        crop, jitter, lighting = config.augment.resized_crop, config.augment.color_jitter, config.augment.lighting
        assert (crop, jitter, lighting) == (ResizedCrop(), ColorJitter(hue=0), Lighting(sd=0.1))
        assert (crop.area_frac, jitter.brightness, jitter.contrast, jitter.saturation) == ((0.08, 1), 0.4, 0.4, 0.4)
        assert (config.model.name, config.model.precision) == ("resnet50", "fp32")
        assert (optimizer.max_epochs, optimizer.lr) == (300, 0.1)
        assert (optimizer.weight_decay, optimizer.decay_on) == (1e-4, "all")
        rates = [lr_factor(optimizer.schedule, epoch / 300) for epoch in (74, 75, 149, 150, 224, 225)]
        assert rates == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])

    def test_cub_is_the_published_recipe(self, load: Any) -> None:
        """Appendix B and B.1, from random weights and with one rate for all layers."""
        config = config_of(load("paper", ("base.data.source=cub:/birds",)))
        data, model, optimizer = config.data, config.model, config.optimizer
        assert (data.batch_size, data.image_size_px, data.center_crop_frac, data.pad_px) == (32, 224, 0.875, 16)
        assert (model.name, model.last_stride) == ("resnet50", 1)
        assert (optimizer.max_epochs, optimizer.weight_decay) == (600, 1e-4)
        other = config_of(load("paper", ("base.data.source=cub:/birds", "base.model.name=tiny")))
        assert (other.model.name, other.model.last_stride) == ("tiny", 2)  # it has no stride that could be removed
        own = {CUB: {"base": {"model": {"name": "tiny"}}}}
        assert config_of(load("paper", ("base.data.source=cub:/birds",), scales=own)).model == other.model
        rates = [lr_factor(optimizer.schedule, epoch / 600) for epoch in (149, 150, 299, 300, 449, 450)]
        assert rates == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])

    @pytest.mark.parametrize(
        ("file", "own", "given", "source", "network"),
        [
            ("digits", None, None, "cifar100", "cifar_resnet110_bn"),
            ("digits", None, "imagefolder:/photos", "imagefolder:/photos", "cifar_resnet110_bn"),
            ("digits", None, "imagenet:/a", "imagenet:/a", "resnet50"),
            ("digits", "cifar10", None, "cifar10", "cifar_resnet110_bn"),
            ("digits", "imagenet:/a", None, "imagenet:/a", "resnet50"),
            ("digits", "imagenet:/a", "cifar10", "cifar10", "cifar_resnet110_bn"),
            ("cifar10", None, None, "cifar10", "cifar_resnet110_bn"),
            ("imagenet:/a", None, None, "imagenet:/a", "resnet50"),
            ("imagenet:/a", None, "cifar100", "cifar100", "cifar_resnet110_bn"),
            ("cub:/birds", None, None, "cub:/birds", "resnet50"),
        ],
    )
    def test_follows_the_source(
        self, load: Any, file: str, own: str | None, given: str | None, source: str, network: str
    ) -> None:
        """Of the file if it is one of the paper's, then of its own scale, then of what is set."""
        changes = {"scales": {"paper": {"base": {"data": {"source": own}}}}} if own else {}
        settings = (f"base.data.source={given}",) if given else ()
        config = config_of(load("paper", settings, base={"data": {"source": file}}, **changes))
        assert (config.data.source, config.model.name) == (source, network)
        assert config.data.image_size_px == (224 if network == "resnet50" else None)

    def test_of_a_study_lies_over_it(self, load: Any) -> None:
        own = {"paper": {"replicates": 3, "budget": {"max_epochs": 9}}, IMAGENET: {"budget": {"max_epochs": 8}}}
        imagenet = ("base.data.source=imagenet:/images",)
        assert [load("paper", given, scales=own).budget.max_epochs for given in ((), imagenet)] == [9, 8]
        assert load("paper", imagenet, scales=own).replicates == 3
        with pytest.raises(UserError, match=f"'{IMAGENET}' is unknown"):
            load(IMAGENET)

    @pytest.mark.parametrize(("source", "batch_size"), [("imagenet:/images", 256), ("cub:/birds", 32)])
    @pytest.mark.parametrize("name", built_in_studies())
    def test_every_study_runs_on_large_images(self, name: str, source: str, batch_size: int) -> None:
        study = load_study(name, scale="paper", settings=[f"base.data.source={source}"])
        for arm in study.arms:
            config = study.declared_config(arm, study.draw(arm, 0), replicate=0)
            assert (config.data.batch_size, config.data.image_size_px) == (batch_size, 224)
            assert config.model.name.startswith("resnet")


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
