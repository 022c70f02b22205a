"""Tables of the paper: their studies, their protocol at the scale of the paper, and what a setting changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.scales import SCALES
from search_spaces.table import TABLES_DIR, Table, TablePart, load_parts, read_table, tables
from search_spaces.yaml_text import parse_yaml
from trainables.errors import UserError
from trainables.strict import parse

PROTOCOL = {
    # epochs, batch, rate, weight decay (sections 4.1.1, 4.1.2, B.1), probability of CutMix (authors' issues 10 and 30)
    "cifar100_pyramidnet200": (300, 64, 0.25, 1e-4, 0.5),
    "cifar100_pyramidnet110": (300, 64, 0.25, 1e-4, 0.5),
    "cifar100_resnet110": (300, 64, 0.1, 1e-4, 1.0),
    "cifar10_pyramidnet200": (300, 64, 0.25, 1e-4, 0.5),
    "imagenet_resnet50": (300, 256, 0.1, 1e-4, 1.0),
    "imagenet_resnet101": (300, 256, 0.1, 1e-4, 1.0),
    "imagenet_resnext101": (300, 256, 0.1, 1e-4, 1.0),
    "cub200_resnet50": (600, 32, 0.01, 1e-4, 1.0),
}
SIZES = {
    # arms, trials and epochs of each table: three seeds of each arm
    "ablation": (7, 21, 6_300),
    "cifar": (22, 66, 19_800),
    "imagenet": (13, 39, 11_700),
    "localization": (8, 24, 3_600 + 7_200),
    "robustness": (8, 24, 7_200),
    "transfer": (4, 12, 3_600),
}
SOURCES = {"cifar100": "cifar100", "cifar10": "cifar10", "imagenet": "imagenet", "cub200": "cub"}


def at_paper(part: TablePart, arm: str) -> tuple[int, int, float, float, float]:
    config = part.study.declared_config(arm, {}, replicate=0)
    optimizer, mix = config.optimizer, config.mix
    return optimizer.max_epochs, config.data.batch_size, optimizer.lr, optimizer.weight_decay, mix.apply.prob


@pytest.mark.parametrize("name", tables())
class TestEvery:
    def test_is_planned_as_in_the_paper(self, name: str) -> None:
        parts = load_parts(name)
        n_arms = [len(part.study.arms) for part in parts]
        n_trials = [len(part.study.arms) * part.study.trials_per_arm for part in parts]
        n_epochs = [sum(map(part.study.max_epochs_in, part.study.arms)) for part in parts]
        assert (sum(n_arms), sum(n_trials), sum(n_epochs)) == SIZES[name]
        for part in parts:
            assert part.study.baseline == "off"
            assert at_paper(part, "cutmix") == PROTOCOL[part.name]
            config = part.study.declared_config("off", {}, replicate=0)
            assert (config.model.name, config.model.width) == (part.entry.model, 1.0)
            assert config.data.source.partition(":")[0] == SOURCES[part.entry.dataset]
            assert config.data.train_frac == 1.0
            assert part.study.resources.gpus == 1

    @pytest.mark.parametrize("scale", SCALES)
    def test_loads_at_every_scale(self, name: str, scale: str) -> None:
        for part in load_parts(name, scale=scale):
            assert len({part.study.resources.gpus, float(scale in ("gpu", "paper"))}) == 1
            assert part.n_measurements >= part.study.trials_per_arm * len(part.entry.arms)

    def test_needs_no_files_at_the_smallest_scale(self, name: str) -> None:
        for part in load_parts(name, scale="smoke"):
            assert part.study.declared_config("off", {}, replicate=0).data.source == "digits"
            assert not [value for values in part.axes.values() for value in values.values() if ":" in str(value)]


@pytest.mark.parametrize("name", tables())
def test_mixes_are_drawn_once_per_batch(name: str) -> None:
    """Algorithm A1, and the authors' code: one lam, one box and one decision to mix; Cutout is drawn per image."""
    for part in load_parts(name):
        for arm in part.study.arms:
            mix = part.study.declared_config(arm, {}, replicate=0).mix
            if mix.apply.prob and mix.content == "partner":
                assert (mix.granularity, mix.apply.gate if mix.apply.prob < 1 else "batch") == ("batch", "batch"), arm


def test_every_arm_of_every_study_is_in_a_table() -> None:
    used: dict[str, set[str]] = {}
    for name in tables():
        for study, entry in read_table(name).studies.items():
            used.setdefault(study, set()).update(entry.arms)
    files = {path.stem: parse_yaml(path.read_text()) for path in (TABLES_DIR / "studies").glob("*.yaml")}
    assert {study: set(values["arms"]) for study, values in files.items()} == used


def test_arms_of_one_study_are_equal_in_all_tables() -> None:
    """So that one sweep serves them all."""
    shared = load_parts("imagenet")[0].study
    for name in ("localization", "robustness", "transfer"):
        [other] = [part.study for part in load_parts(name) if part.name == "imagenet_resnet50"]
        assert {arm: shared.arms[arm] for arm in other.arms} == other.arms
        assert shared.model_copy(update={"arms": {}}) == other.model_copy(update={"arms": {}})


def test_captioners_see_as_many_captions_as_in_the_paper() -> None:
    """100 epochs over all captions, of which an image has five; here an epoch passes over the images."""
    [part] = load_parts("transfer")
    captioning = part.axes["captioning"]
    assert (captioning["epochs"], captioning["batch_size"], captioning["n_train"]) == (100 * 5, 20, None)


class TestSettings:
    def test_of_all_studies_and_of_one(self) -> None:
        settings = ["replicates=5", "cifar100_resnet110.budget.max_epochs=10", "cifar10_pyramidnet200.replicates=2"]
        parts = {part.name: part.study for part in load_parts("cifar", scale="smoke", settings=settings)}
        assert {name: (study.replicates, study.budget.max_epochs) for name, study in parts.items()} == {
            "cifar100_pyramidnet200": (5, 2),
            "cifar100_pyramidnet110": (5, 2),
            "cifar100_resnet110": (5, 10),
            "cifar10_pyramidnet200": (2, 2),
        }

    def test_of_an_axis(self) -> None:
        settings = ["ood.n_images=7", "ood.sets=[uniform]", "adversarial.seed=3"]
        imagenet, cifar = load_parts("robustness", scale="smoke", settings=settings)
        assert cifar.axes["ood"] == {"scores": ["msp"], "n_images": 7, "sets": ["uniform"]}
        assert imagenet.axes["adversarial"] == {"n_images": 40, "eps_255": [8.0], "pgd_steps": [20], "seed": 3}
        with pytest.raises(UserError, match=r"--set ood: takes one setting, for example ood\.n_images=500"):
            load_parts("robustness", settings=["ood=3"])

    def test_a_source_replaces_the_one_of_its_name_or_all(self, tmp_path: Path) -> None:
        def sources(*data: str) -> list[str]:
            parts = load_parts("robustness", data=data)
            return [part.study.declared_config("off", {}, replicate=0).data.source for part in parts]

        assert sources("imagenet:/data/it's") == ["imagenet:/data/it's", "cifar100"]
        assert sources("cifar100:/c", "imagenet:/i") == ["imagenet:/i", "cifar100:/c"]
        assert sources("digits") == ["digits", "digits"]

    def test_mistakes_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"unknown table 'ablatoin'; did you mean 'ablation'\?"):
            load_parts("ablatoin")
        with pytest.raises(UserError, match=r"--scale 'papr' is unknown; did you mean 'paper'\?"):
            load_parts("ablation", scale="papr")
        with pytest.raises(UserError, match="unknown key 'budgt'"):
            load_parts("ablation", settings=["budgt.max_epochs=3"])

    def test_a_table_that_is_wrong_is_refused(self) -> None:
        values = parse_yaml((TABLES_DIR / "robustness.yaml").read_text())
        values["studies"]["cifar100_pyramidnet200"]["smaller"] = {"smoke": {"odd": {}}}
        with pytest.raises(UserError, match=r"smaller\.smoke\.odd is unknown; did you mean 'ood'\?"):
            parse(Table, values, where="table")
