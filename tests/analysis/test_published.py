"""Published numbers, and own ones beside them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import analysis
from analysis.data.frames import Sweep, load
from analysis.published import compare_to_published, load_published
from sweep.records.schema import EPOCHS, EVALUATIONS, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from trainables.mixing.presets import PRESETS
from trainables.networks import NETWORKS

ERRORS = {"off": [0.24, 0.25, 0.26], "cutmix": [0.20, 0.22, 0.21], "one_hot": [0.23, 0.23, 0.26]}
MakeSweep = Callable[..., Sweep]


@pytest.fixture
def confirmed(tmp_path: Path) -> MakeSweep:
    """Write a confirmation of made-up test errors and load it."""

    def make(errors: dict[str, Sequence[float]] = ERRORS, *, model: str = "cifar_resnet110_bn", **data: Any) -> Sweep:
        study = {
            "name": "known",
            "question": "?",
            "arms": {arm: {} for arm in errors},
            "metric": "val_nll",
            "budget": {},
        }
        empty: dict[str, Any] = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
        write_manifest(tmp_path, {"schema_version": 1, "study": study, **empty})
        writer = RecordsWriter(tmp_path)
        config = {
            "data": {"source": "cifar100", "train_frac": 0.5, "val_frac": 0.2, "batch_size": 128} | data,
            "model": {"name": model, "width": 1.0},
            "optimizer": {"max_epochs": 60},
        }
        for arm, values in errors.items():
            for number, error in enumerate(values):
                trial = f"{arm}-confirm-{number}"
                row = {"trial": trial, "arm": arm, "phase": "confirm", "status": "completed", "params": "{}"}
                row |= {"config": json.dumps(config), "confirms": f"{arm}-0000", "number": number, "seed": number}
                writer.add(TRIALS, row)
                writer.add(EPOCHS, {"trial": trial, "arm": arm, "epoch": 60})
                test = {"trial": trial, "axis": "classification", "split": "test", "setting": "last", "n": 100}
                writer.add(EVALUATIONS, test | {"metric": "top1_error", "value": error})
        writer.flush(force=True)
        return load(tmp_path, phase="confirm")

    return make


class TestTable:
    def test_has_what_the_paper_says(self) -> None:
        table = load_published().set_index(["dataset", "model", "metric", "arm"])["value"]
        assert table.index.is_unique
        for key, value in {
            ("imagenet", "resnet50", "top1_error", "off"): 23.68,
            ("imagenet", "resnet50", "top1_error", "cutmix"): 21.40,
            ("imagenet", "resnext101_32x4d", "top1_error", "cutmix"): 19.47,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "cutmix"): 14.47,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "cutmix_one_hot"): 15.89,
            ("cifar10", "pyramidnet200_a240_bn", "top1_error", "mixup"): 3.09,
            ("cub200", "resnet50", "top1_loc", "cutout"): 52.78,
            ("imagenet", "resnet50", "fgsm_top1_accuracy", "mixup"): 24.4,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "stochastic_depth"): 15.86,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "mixup_alpha_0.5"): 15.78,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "cutout_manifold_mixup"): 15.09,
            ("cifar100", "pyramidnet200_a240_bn", "top1_error", "shakedrop"): 15.08,
            ("cifar10", "pyramidnet200_a240_bn", "top1_error", "manifold_mixup"): 3.15,
            ("cifar100", "pyramidnet200_a240_bn", "ood_tnr_at_tpr95", "cutmix"): 69.0,
            ("cifar100", "pyramidnet200_a240_bn", "ood_tnr_at_tpr95", "mixup"): 11.8,
            ("cifar100", "pyramidnet200_a240_bn", "ood_auroc", "mixup"): 49.3,
            ("cifar100", "pyramidnet200_a240_bn", "ood_detection_accuracy", "mixup"): 60.9,
            ("cifar100", "pyramidnet200_a240_bn", "ood_tnr_at_tpr95", "cutout"): 18.8,
            ("cifar100", "pyramidnet200_a240_bn", "ood_auroc", "cutout"): 68.7,
            ("cifar100", "pyramidnet200_a240_bn", "ood_detection_accuracy", "cutout"): 71.3,
            ("coco", "resnet50", "coco_caption_bleu4", "cutmix"): 24.9,
        }.items():
            assert table[key] == value

    def test_cutmix_is_better_than_nothing_wherever_both_are_there(self) -> None:
        table = load_published().pivot(index=["dataset", "model", "metric"], columns="arm", values="value")
        gain = (table["cutmix"] - table["off"]).dropna()
        is_error = gain.index.get_level_values("metric").str.endswith("_error")
        assert len(gain) == 51
        assert (gain[is_error] < 0).all()
        assert (gain[~is_error] > 0).all()

    def test_is_whole(self) -> None:
        """Rows per table of the paper; the one number without a table is from the repository's README."""
        tables = load_published()["source"].str.extract(r"Table (\w+)$")[0].value_counts()
        assert tables.to_dict() == {
            # rows times columns; the rows of table 8 without its baseline and CutMix, which are those of table 5
            **{"3": 13 * 2, "4": 6 * 2, "5": 15 * 2, "6": 4 * 2, "7": 5, "8": 5 * 2, "9": 12 * 2 - 1},
            # table 10 without the errors of table 3; table A1 without the BLEU-1 and BLEU-4 of table 10
            **{"10": 4 * 4, "11": 4, "12": 4 * 3, "A1": 4 * 5, "A2": 7 * 4 * 3},
        }

    def test_says_how_each_number_was_trained(self) -> None:
        table = load_published()
        own = table["taken_from"] == ""
        rows = {
            "cifar": table["dataset"].str.startswith("cifar"),
            "localization": (table["metric"] == "top1_loc") & (table["dataset"] == "imagenet") & own,
            "birds": (table["dataset"] == "cub200") & own,
        }
        own_imagenet = (table["dataset"] == "imagenet") & own & ~rows["localization"]
        training = ["epochs", "batch_size", "selection", "start"]
        best = "best epoch on test"
        for chosen, expected in (
            (rows["cifar"], (300, 64, best, "random weights")),
            (own_imagenet, (300, 256, best, "random weights")),
        ):
            assert set(table.loc[chosen, training].itertuples(index=False, name=None)) == {expected}
        assert set(table.loc[rows["localization"], "epochs"]) == {20}  # appendix B.2
        assert set(table.loc[rows["localization"], "start"]) == {"ImageNet weights"}
        resnets = rows["localization"] & (table["model"] == "resnet50")
        assert table.loc[resnets, "note"].str.contains("stride 1 in the last stage").all()
        assert set(table.loc[rows["birds"], "epochs"]) == {600}  # appendix B.1
        is_ood = table["metric"].str.startswith("ood")
        assert set(table.loc[rows["cifar"] & is_ood, "model"]) == {"pyramidnet200_a240_bn"}

    def test_names_the_numbers_that_the_paper_copied(self) -> None:
        copied = load_published().query("taken_from != ''")
        errors = copied[copied["metric"] == "top1_error"].set_index(["model", "arm"])["value"]
        assert errors.to_dict() == {
            **{("resnet50", "dropblock"): 21.87, ("resnet152", "off"): 21.69, ("resnet50", "autoaugment"): 22.40},
            **{("resnet50_se", "off"): 22.12, ("resnet50_ge", "off"): 21.88},
            **{("resnet101_se", "off"): 20.94, ("resnet101_ge", "off"): 20.74},
        }
        assert set(copied["selection"]) == {"not known"}
        assert set(copied.loc[copied["arm"] == "dropblock", "epochs"]) == {270}
        starred = copied.loc[copied["metric"] == "top1_loc", "arm"]  # of table 9
        assert sorted(starred) == ["acol", "acol", "adl", "adl", "has", "spg", "spg"]

    def test_says_how_much_noise_adds_to_the_gain_out_of_distribution(self) -> None:
        """Gain of the mean of seven sets, of which the five natural ones gain 21.9 points of TNR."""
        table = load_published().set_index(["metric", "arm"])
        tnr = table.loc["ood_tnr_at_tpr95", "value"]
        noise = 100 * (1 - 5 * (56.6 - 34.7) / (7 * (tnr["cutmix"] - tnr["off"])))
        assert f"{noise:.0f} % of the gain" in table.loc[("ood_tnr_at_tpr95", "cutmix"), "note"]
        assert "39 % of the gain" in table.loc[("ood_auroc", "cutmix"), "note"]

    @pytest.mark.parametrize("name", ["compute", "paper_ablation", "robust_vs_adversarial", "schedule"])
    def test_notebooks_quote_it(self, name: str) -> None:
        table = load_published()
        text = (Path(analysis.__file__).parent / "notebooks" / f"{name}.ipynb").read_text("utf-8")
        why = text.split("## Why it is open")[1].split("## What was run")[0]
        quoted = re.findall(r"(\d\d?\.\d+)(?= %| against| on)", why)
        values = {*table["value"].map("{:g}".format), *re.findall(r"\d+\.\d+", " ".join(table["note"]))}
        assert quoted
        assert {f"{float(number):g}" for number in quoted} <= values

    def test_every_number_has_a_source_a_unit_and_a_range(self) -> None:
        table = load_published()
        assert table["source"].str.contains("Table|README").all()
        assert set(table["unit"]) == {"%"}
        assert table["value"].between(0, 100).all()
        assert set(table["n_seeds"].dropna()) == {3}

    def test_is_in_the_names_of_this_program_where_it_has_them(self) -> None:
        table = load_published()
        assert set(PRESETS) & set(table["arm"]) >= {"off", "cutout", "mixup", "cutmix", "cutmix_one_hot"}
        assert set(NETWORKS) & set(table["model"]) >= {"resnet50", "resnet101", "cifar_resnet110_bn"}

    def test_every_arm_of_the_ablation_table_is_a_preset(self) -> None:
        arms = load_published()["arm"]
        assert set(arms[arms.str.startswith("cutmix_")]) - {"cutmix_shakedrop"} <= set(PRESETS)


class TestBeside:
    def test_sets_means_and_intervals_beside(self, confirmed: MakeSweep) -> None:
        row = compare_to_published(confirmed()).set_index("arm").loc["cutmix"]
        values = 100 * np.array(ERRORS["cutmix"])
        low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        assert (row["own"], row["low"], row["high"]) == pytest.approx((21.0, low, high))
        assert (row["seeds"], row["published"], row["published_model"]) == (3, 20.11, "cifar_resnet110_bn")
        assert row["own_change"] == pytest.approx(21.0 - 25.0)
        assert row["published_change"] == pytest.approx(20.11 - 23.14)
        assert row["source"].endswith("Table 6")

    def test_keeps_to_the_network_that_was_run(self, confirmed: MakeSweep) -> None:
        assert compare_to_published(confirmed())["arm"].tolist() == [
            "off",
            "cutmix",
        ]  # one-hot: published of another network only

    def test_says_what_differs(self, confirmed: MakeSweep) -> None:
        differs = compare_to_published(confirmed())["differs"].iloc[0]
        assert differs == (
            "40 % of the training images, not all; 60 epochs, not 300; 128 images per batch, not 64; weights of the "
            "last epoch, not best epoch on test; published: rate 0.1, mixed with probability 1; 1.1 million "
            "parameters, so with bottlenecks"
        )

    def test_of_another_network_every_one_is_shown(self, confirmed: MakeSweep) -> None:
        found = compare_to_published(confirmed(model="tiny")).set_index(["arm", "published_model"])
        assert {model for arm, model in found.index if arm == "off"} == {
            "pyramidnet200_a240_bn",
            "pyramidnet110_a64_bn",
            "cifar_resnet110_bn",
        }
        one_hot = found.loc[("one_hot", "pyramidnet200_a240_bn")]  # an arm of the built-in study, a preset's number
        assert one_hot["published_change"] == pytest.approx(15.89 - 16.45)
        assert one_hot["differs"].startswith("network tiny, not pyramidnet200_a240_bn; ")

    def test_seeds_differ(self, confirmed: MakeSweep) -> None:
        found = compare_to_published(confirmed({"off": [0.2, 0.3]}, model="resnet50"), dataset="imagenet")
        assert "2 seeds, published number unknown" in found["differs"].iloc[0]
        found = compare_to_published(confirmed({"off": [0.2, 0.3]}))
        assert "2 seeds, not 3" in found["differs"].iloc[0]

    def test_a_copied_number_has_no_change(self, confirmed: MakeSweep) -> None:
        """Its baseline was trained by another recipe."""
        found = compare_to_published(
            confirmed({"off": [0.2], "dropblock": [0.1]}, model="resnet50"), dataset="imagenet"
        )
        row = found.set_index("arm").loc["dropblock"]
        assert (row["published"], math.isnan(row["published_change"])) == (21.87, True)
        assert "60 epochs, not 270" in row["differs"]
        assert "published epoch unknown" in row["differs"]
        assert "published: number from Ghiasi et al., NeurIPS 2018" in row["differs"]

    def test_the_data_set_may_be_named(self, confirmed: MakeSweep) -> None:
        sweep = confirmed(source="imagefolder:somewhere/cifar10")
        assert compare_to_published(sweep).empty
        assert compare_to_published(sweep, dataset="cifar10")["published"].tolist() == [3.85, 2.88]

    def test_without_a_baseline_there_is_no_change(self, confirmed: MakeSweep) -> None:
        assert math.isnan(compare_to_published(confirmed({"cutmix": [0.2, 0.2, 0.21]}))["own_change"].iloc[0])

    def test_takes_a_table_of_ones_own(self, confirmed: MakeSweep) -> None:
        mine = pd.DataFrame(
            [
                {
                    "dataset": "cifar100",
                    "model": "cifar_resnet110_bn",
                    "arm": "off",
                    "metric": "top1_error",
                    "value": 30.0,
                }
            ]
        ).assign(n_seeds=3, epochs=60, batch_size=128, selection="last epoch", source="mine", taken_from="", note="")
        assert compare_to_published(confirmed(), published=mine)["published"].tolist() == [30.0]

    def test_without_test_values_it_says_so(self, planted: Sweep) -> None:
        with pytest.raises(ValueError, match="cutmix-sweep confirm"):
            compare_to_published(planted)


def test_several_searches_of_an_arm_are_one_row_with_a_value_per_search(confirmed: MakeSweep) -> None:
    sweep = confirmed({"off": [0.24, 0.26, 0.28, 0.30]})
    study = sweep.manifest["study"] | {"confirm": {"searches": 2}}
    trials = sweep.trials.assign(search=[0, 0, 1, 1], confirms=["off-0000", "off-0000", "off-0001", "off-0001"], rank=1)
    [row] = compare_to_published(replace(sweep, manifest={"study": study}, trials=trials)).head(1).to_dict("records")
    assert (row["own"], row["seeds"]) == (pytest.approx(27), 4)
    interval = stats.ttest_1samp([25, 29], 0).confidence_interval()
    assert (row["low"], row["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    # the trials of a former winner, which another configuration of its search has replaced, are no values of the arm
    former = trials.assign(search=[0, 0, 1, 0], rank=[1, 1, 1, 2])
    [row] = compare_to_published(replace(sweep, manifest={"study": study}, trials=former)).head(1).to_dict("records")
    assert (row["own"], row["seeds"]) == (pytest.approx((25 + 28) / 2), 3)
