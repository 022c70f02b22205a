"""Tables of the paper that are filled with own values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.frames import Sweep, load
from analysis.published import QUANTITIES, compare_to_published, fill_table, load_published, why_not_comparable
from analysis.published.quantities import NATURAL, NOISE, published_metrics
from analysis.report.sections import published as published_section
from search_spaces.table import read_table, tables
from sweep.findings.summary import PLANNED_EPOCHS
from sweep.records.schema import EPOCHS, EVALUATIONS, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from trainables.evaluation.axes import AXES

Values = dict[str, list[float]]
MakeSweep = Callable[..., Sweep]
STUDY = {"dataset": "cifar100", "model": "pyramidnet200_a240_bn", "arms": ["off", "cutmix"], "metrics": ["top1_error"]}
OFF, CUTMIX = [0.17, 0.16, 0.18], [0.15, 0.145, 0.149]


@pytest.fixture
def searched(tmp_path: Path) -> MakeSweep:
    """Write a sweep whose arms have one trial per seed, with made-up evaluations, and load it."""

    def make(
        values: dict[tuple[str, str, str], Values], *, seeds: dict[str, list[int]] | None = None, **config: Any
    ) -> Sweep:
        arms = dict.fromkeys(arm for each in values.values() for arm in each)
        study = {"name": "known", "question": "?", "arms": {arm: {} for arm in arms}, "metric": "val_nll", "budget": {}}
        empty: dict[str, Any] = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
        write_manifest(tmp_path, {"schema_version": 1, "study": study, **empty})
        writer = RecordsWriter(tmp_path)
        whole = {
            "data": {"source": "cifar100:/x", "train_frac": 1.0, "val_frac": 0.1, "batch_size": 64},
            "model": {"name": "pyramidnet200_a240_bn", "width": 1.0},
            "optimizer": {"max_epochs": 300},
        }
        whole = {part: {**old, **config.get(part, {})} for part, old in whole.items()}
        for arm in arms:
            numbers = (seeds or {}).get(arm, list(range(len(next(iter(values.values()))[arm]))))
            for place, number in enumerate(numbers):
                trial = f"{arm}-{number:04}"
                row = {"trial": trial, "arm": arm, "phase": "search", "status": "completed", "params": "{}"}
                row |= {"config": json.dumps(whole), "number": number, "replicate": number, "seed": number, "search": 0}
                writer.add(TRIALS, row)
                writer.add(EPOCHS, {"trial": trial, "arm": arm, "epoch": 300})
                for (axis, setting, metric), of_arm in values.items():
                    test = {"trial": trial, "axis": axis, "split": "test", "setting": setting, "n": 100}
                    writer.add(EVALUATIONS, test | {"metric": metric, "value": of_arm[arm][place], "time_s": 1.0})
        writer.flush(force=True)
        return load(tmp_path)

    return make


def errors(off: list[float] = OFF, cutmix: list[float] = CUTMIX) -> dict[tuple[str, str, str], Values]:
    return {("classification", "last, float32", "top1_error"): {"off": off, "cutmix": cutmix}}


def filled(sweep: Sweep | None, study: dict[str, Any] = STUDY, **options: Any) -> pd.DataFrame:
    sweeps = {} if sweep is None else {"known": sweep}
    return fill_table(sweeps, {"known": study}, **{"tables": [], **options})


class TestOwn:
    def test_mean_interval_and_change_are_those_of_the_paired_seeds(self, searched: MakeSweep) -> None:
        table = filled(searched(errors())).set_index("arm")
        row = table.loc["cutmix"]
        values, differences = 100 * np.array(CUTMIX), 100 * (np.array(CUTMIX) - np.array(OFF))
        assert row["own"] == pytest.approx(values.mean())
        interval = stats.ttest_1samp(values, 0).confidence_interval()
        assert (row["low"], row["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
        interval = stats.ttest_1samp(differences, 0).confidence_interval()
        assert row["own_change"] == pytest.approx(differences.mean())
        assert (row["change_low"], row["change_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
        assert (row["n"], row["n_trials"], row["state"]) == (3, 3, "measured")
        assert (row["published"], row["published_change"]) == (14.47, pytest.approx(14.47 - 16.45))
        assert (table.loc["off", "own_change"], table.loc["off", "published_change"]) == (0, 0)

    def test_only_common_seeds_are_paired(self, searched: MakeSweep) -> None:
        sweep = searched(errors(OFF, [0.15, 0.14]), seeds={"off": [0, 1, 2], "cutmix": [2, 1]})
        row = filled(sweep).set_index("arm").loc["cutmix"]
        assert row["own"] == pytest.approx(14.5)
        assert row["own_change"] == pytest.approx(100 * np.mean([0.15 - 0.18, 0.14 - 0.16]))

    def test_accuracies_are_complements_and_means_have_the_weights_of_the_paper(self, searched: MakeSweep) -> None:
        values = {
            ("adversarial", "fgsm eps=8/255", "robust_error"): {"off": [0.9, 0.8]},
            ("ood", "natural mean / msp", "auroc"): {"off": [0.8, 0.7]},
            ("ood", "noise mean / msp", "auroc"): {"off": [0.1, 0.2]},
        }
        metrics = ["fgsm_top1_accuracy", "ood_auroc", "ood_auroc_natural", "ood_auroc_noise"]
        table = filled(searched(values), STUDY | {"arms": ["off"], "metrics": metrics}).set_index("metric")
        assert table.loc["fgsm_top1_accuracy", "own"] == pytest.approx(15)
        assert table.loc["ood_auroc", "own"] == pytest.approx((5 * 75 + 2 * 15) / 7)
        assert table.loc["ood_auroc_natural", "own"] == pytest.approx(75)
        assert table.loc["ood_auroc_noise", "own"] == pytest.approx(15)

    def test_a_quantity_that_the_axis_did_not_record_says_so(self, searched: MakeSweep) -> None:
        values = {("ood", "noise mean / msp", "auroc"): {"off": [0.1, 0.2]}}
        study = STUDY | {"arms": ["off"], "metrics": ["ood_auroc", "top1_error"]}
        table = filled(searched(values), study).set_index("metric")
        assert table["state"].tolist() == ["not measured yet", "not measured yet"]
        assert table.loc["ood_auroc", "why"].endswith("the axis ood recorded nothing for natural mean / msp")
        assert table.loc["top1_error", "why"] == ""

    def test_the_data_of_an_axis_count(self, searched: MakeSweep) -> None:
        values = {("captioning", "scenes", "bleu_4"): {"off": [0.1, 0.2]}}
        study = STUDY | {"dataset": "imagenet", "model": "resnet50", "arms": ["off"], "metrics": ["coco_caption_bleu4"]}
        config = {"data": {"source": "imagenet:/i", "batch_size": 256}, "model": {"name": "resnet50"}}
        [row] = filled(searched(values, **config), study).to_dict("records")
        assert (row["own"], row["dataset"], row["published"]) == (pytest.approx(15), "coco", 22.9)
        assert row["not_comparable"] == ["data of the axis scenes, not coco"]

    def test_the_training_of_a_backbone_is_that_of_the_published_one(self, searched: MakeSweep) -> None:
        """Published captions have the epochs and the batch of the captioner in their row."""
        values = {("captioning", "coco", "bleu_4"): {"off": [0.1, 0.2]}}
        study = STUDY | {"dataset": "imagenet", "model": "resnet50", "arms": ["off"], "metrics": ["coco_caption_bleu4"]}
        config = {"data": {"source": "imagenet:/i", "batch_size": 256}, "model": {"name": "resnet50"}}
        sweep = searched(values, **config)
        [row] = filled(sweep, study).to_dict("records")
        assert row["not_comparable"] == []
        assert not any("epochs" in text or "batch" in text for text in row["differs"][:-1])  # the last is the note
        texts = compare_to_published(sweep).set_index("arm").loc["off", "differs"]
        assert "300 epochs" not in texts
        assert "256 images" not in texts
        short = sweep.trials.assign(**{PLANNED_EPOCHS: 90, "config.data.batch_size": 64})
        [row] = filled(replace(sweep, trials=short), study).to_dict("records")
        assert row["not_comparable"] == ["90 epochs, not 300"]
        assert "64 images per batch, not 256" in row["differs"]

    def test_a_sweep_without_a_completed_trial_has_no_value(self, searched: MakeSweep) -> None:
        sweep = searched(errors())
        running = replace(sweep, trials=sweep.trials.assign(status="running"))
        assert set(filled(running)["state"]) == {"not measured yet"}

    def test_an_arm_that_was_searched_has_no_value(self, searched: MakeSweep) -> None:
        sweep = searched(errors())
        lr = {"kind": "uniform", "lo": 0.1, "hi": 0.5}
        sweep.manifest["study"]["space"] = {"optimizer.lr": lr}
        assert set(filled(sweep)["state"]) == {"not measured yet"}


class TestComparable:
    def test_the_protocol_of_the_paper_is(self, searched: MakeSweep) -> None:
        table = filled(searched(errors()))
        assert why_not_comparable(table) == []
        assert table["differs"].iloc[0] == [
            "90 % of the training images, not all",
            "weights of the last epoch, not best epoch on test",
        ]

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            ({"data": {"source": "digits"}}, "data digits, not cifar100"),
            ({"model": {"name": "tiny"}}, "network tiny, not pyramidnet200_a240_bn"),
            ({"model": {"width": 0.5}}, "width times 0.5"),
            ({"optimizer": {"max_epochs": 30}}, "30 epochs, not 300"),
            ({"data": {"train_frac": 0.2}}, "18 % of the training images, not all"),
        ],
    )
    def test_others_are_not(self, searched: MakeSweep, config: dict[str, Any], reason: str) -> None:
        assert why_not_comparable(filled(searched(errors(), **config))) == [reason]


@pytest.mark.parametrize("name", tables())
class TestTables:
    def test_has_every_published_row_or_a_reason(self, name: str) -> None:
        """With the rows of its tables of the paper, whose numbers are as many as the paper has."""
        rows = fill_table({}, **read_table(name).published_values())
        not_run = rows[rows["state"] == "not run"]
        assert not not_run["why"].str.startswith("no study").any(), not_run[["model", "arm", "metric"]]
        published = load_published()
        of_tables = published[published["source"].str.extract(r"Table (\w+)$")[0].isin(read_table(name).tables)]
        run = {
            (row["dataset"], row["model"], metric)
            for row in rows[rows["state"] != "not run"].to_dict("records")
            for metric in published_metrics(row["metric"])
        }
        keys = of_tables[["dataset", "model", "metric"]].itertuples(index=False, name=None)
        assert len(not_run) + sum(key in run for key in keys) >= len(of_tables)

    def test_names_quantities_of_its_axes_and_reasons_that_apply(self, name: str) -> None:
        table, published = read_table(name), load_published()
        for study in table.studies.values():
            assert {QUANTITIES[metric].axis for metric in study.metrics} == set(study.axes)
        for each in table.not_run:
            keys = {key: value for key, value in each.model_dump().items() if key != "why" and value is not None}
            assert (published[list(keys)] == pd.Series(keys)).all(axis=1).any(), each


class TestReport:
    """The section of the notebook ``any_study``."""

    @pytest.fixture
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> list[pd.DataFrame]:
        tables: list[pd.DataFrame] = []
        monkeypatch.setattr(published_section, "show", lambda table, *_, **__: tables.append(table))
        return tables

    def test_shows_what_was_measured_of_the_published_quantities(
        self, searched: MakeSweep, shown: list[pd.DataFrame], tmp_path: Path
    ) -> None:
        values = errors() | {
            ("ood", f"{kind} mean / msp", "auroc"): {"off": OFF, "cutmix": CUTMIX} for kind in ("natural", "noise")
        }
        searched(values)
        published_section.show_published(tmp_path)
        [table] = shown
        assert set(table["metric"]) == {"top1_error", "ood_auroc"}
        row = table.set_index(["metric", "arm"]).loc[("ood_auroc", "cutmix")]
        assert (row["published"], row["own"]) == (94.4, pytest.approx(100 * np.mean(CUTMIX)))

    @pytest.mark.parametrize("data", [{}, {"source": "digits"}])
    def test_is_absent_without_values_or_published_numbers(
        self, searched: MakeSweep, shown: list[pd.DataFrame], tmp_path: Path, data: dict[str, str]
    ) -> None:
        values = errors() if data else {("calibration", "raw", "ece"): {"off": OFF, "cutmix": CUTMIX}}
        searched(values, data=data)
        published_section.show_published(tmp_path)
        assert shown == []


def test_quantities_are_recorded_by_their_axes() -> None:
    """Conditions and metrics are those of the headline, or of the docstring, of the axis."""
    for name, quantity in QUANTITIES.items():
        axis = AXES[quantity.axis]
        text = f"{axis.headline} {axis.__doc__}"
        assert quantity.metric in text.replace("``bleu_1`` to ``bleu_4``", "bleu_1 bleu_2 bleu_3 bleu_4"), name
        conditions = quantity.either or tuple(quantity.conditions)
        for condition in conditions:
            assert condition.split()[0].partition("=")[0] in text, (name, condition)


def test_table_12_is_the_mean_of_table_a2() -> None:
    table = load_published().set_index(["metric", "arm"])["value"]
    for metric in ("ood_tnr_at_tpr95", "ood_auroc", "ood_detection_accuracy"):
        for arm in ("off", "mixup", "cutout", "cutmix"):
            mean = np.mean([table[f"{metric} ({each})", arm] for each in (*NATURAL, *NOISE)])
            assert abs(mean - table[metric, arm]) < 0.06
