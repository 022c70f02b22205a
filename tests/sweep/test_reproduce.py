"""Tables of the paper, run from end to end at the smallest size, without Ray."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from PIL import Image

from search_spaces.study import Study
from search_spaces.table import Table, load_parts, tables
from search_spaces.table import read_table as read_table_file
from sweep.document_models import document_schema
from sweep.formats import format_duration
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import EVALUATIONS, MEASUREMENTS, TRIALS
from sweep.reproduce import axis_settings, check_parts, missing_arms, plan_parts
from tests.faults import one_slot
from tests.slots import fixed_slots
from trainables.cores import usable_cores
from trainables.errors import UserError
from trainables.evaluation.axes import AXES

Run = Callable[..., tuple[int, str, str]]
SMALL = ["replicates=1", "budget.max_epochs=1", "base.data.train_frac=0.02", "base.evaluation.batch_size=100"]
SMALL_AXES = {
    "classification": ["n_images=40"],
    "localization": ["n_images=40", "n_thresholds=5"],
    "adversarial": ["n_images=12", "n_random=1"],
    "occlusion": ["n_images=20", "holes_frac=[0.0, 0.5]", "mixup_lams=[0.5]"],
    "ood": ["n_images=30"],
    "captioning": ["n_train=4", "n_images=4", "epochs=1", "batch_size=2", "seeds=1", "units=8", "beam=1"],
    "detection": ["n_train=4", "n_images=4", "steps=1", "batch_size=2", "seeds=1", "detectors=[ssd]"],
}
ORDER = ("ablation", "cifar", "robustness", "imagenet", "transfer", "localization")
"""Later tables add arms to the sweeps of earlier ones, or use them as they are."""


KEPT = ("off", "cutmix", "cutmix_shakedrop")


@pytest.fixture(scope="module")
def _in_one_slot() -> Iterator[None]:
    """Run trials and measurements in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.engine.cluster", lambda *_, **__: contextlib.nullcontext(fixed_slots(1)))
        patch.setattr("sweep.engine.run_trials", one_slot._run_trials)
        patch.setattr("sweep.evaluation.run._results", one_slot._measure_in_turn)
        yield


@pytest.fixture
def _few_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave ``KEPT`` of the arms of each table: all of them are loaded in ``tests/search_spaces/test_table.py``."""

    def read(name: str) -> Table:
        table = read_table_file(name)
        studies = {
            study: entry.model_copy(update={"arms": tuple(arm for arm in entry.arms if arm in KEPT)})
            for study, entry in table.studies.items()
        }
        return table.model_copy(update={"studies": studies})

    monkeypatch.setattr("search_spaces.table.read_table", read)


def small(table: str) -> list[str]:
    """Options of the smallest run of a table."""
    axes = {axis for part in load_parts(table, scale="smoke") for axis in part.axes}
    settings = SMALL + [f"{axis}.{setting}" for axis in sorted(axes) for setting in SMALL_AXES[axis]]
    return ["--scale", "smoke", *(text for setting in settings for text in ("--set", setting))]


def document_in(out: str) -> dict[str, Any]:
    """Return the document in an output, after the lines of the trials, which print in a worker otherwise."""
    document: dict[str, Any] = json.loads(out[out.index("{\n") :])
    return document


@pytest.mark.usefixtures("_in_one_slot", "_few_arms")
class TestRun:
    def test_every_table_from_end_to_end_in_one_folder(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        n_trials: dict[str, int] = {}
        for table in ORDER:
            code, out, err = run("reproduce", table, *small(table), "--out", str(tmp_path), "--json", "--quiet")
            assert code == 0, err
            printed = document_in(out)
            jsonschema.validate(printed, document_schema("reproduce"))
            [document] = printed["tables"]
            rows = document["rows"]
            lacking = {row["metric"] for row in rows if row["state"] == "not measured yet"}
            # digits are the only embedded images, so a network that was trained on them has no natural OOD images
            left_out = ("ood_", "voc_faster_rcnn_map", "coco_")  # and not all detectors are measured here
            assert all(metric.startswith(left_out) and not metric.endswith("_noise") for metric in lacking)
            measured = [row for row in rows if row["state"] == "measured"]
            assert len({(row["study"], row["arm"]) for row in measured}) == sum(
                len(study["arms"]) for study in document["studies"]
            )
            assert all(0 <= row["own"] <= 100 for row in measured if row["metric"] != "occlusion_center_area")
            assert all("data digits" in row["not_comparable"][0] for row in measured if row["published"] is not None)
            for study in document["studies"]:
                arms = set(read_table(tmp_path / study["study"], TRIALS)["arm"])
                assert arms >= set(study["arms"])
                n_trials[study["study"]] = len(arms)
        assert n_trials["cifar100_pyramidnet200"] == 3  # the table cifar added an arm to those of ablation

        # the same command again trains and measures nothing, and shows the same
        before = {table: len(read_table(tmp_path / "cub200_resnet50", table)) for table in (MEASUREMENTS, EVALUATIONS)}
        monkeypatch.setattr("sweep.launch.start_sweep", None)
        monkeypatch.setattr("sweep.engine.run_trials", None)
        monkeypatch.setattr("sweep.evaluation.run.run_tasks", None)
        code, again, _ = run("reproduce", table, *small(table), "--out", str(tmp_path), "--json", "--quiet")
        assert (code, document_in(again)) == (0, document_in(out))
        after = {table: len(read_table(tmp_path / "cub200_resnet50", table)) for table in (MEASUREMENTS, EVALUATIONS)}
        assert before == after

        # and so does --show, as text
        code, text, _ = run("reproduce", table, *small(table), "--out", str(tmp_path), "--show")
        assert code == 0
        assert "NOT COMPARABLE with the paper: data digits, not cub200; network tiny, not resnet50" in text
        assert "Not run: googlenet: the paper copied this number from another paper. Published: has 45.21" in text

        # another scale is another study
        other = [*small(table), "--set", "seed=7"]
        code, _, err = run("reproduce", table, *other, "--out", str(tmp_path))
        assert code == 2
        assert "has a sweep of 'cub200_resnet50' with other values" in err
        runs = read_manifest(tmp_path / "imagenet_resnet50")["runs"]
        assert all(each["command"].startswith("cutmix-sweep") for each in runs)


class TestRefusals:
    def test_an_axis_that_does_not_apply_is_refused_before_anything_is_trained(self, run: Run, tmp_path: Path) -> None:
        arguments = ["--scale", "smoke", "--set", "ood.sets=[digits]", "--out", str(tmp_path / "out")]
        code, _, err = run("reproduce", "robustness", *arguments)
        assert code == 2
        assert "ood.sets: the network was trained on 'digits', so it is not out of distribution" in err
        assert not (tmp_path / "out").exists()

    def test_images_that_do_not_fit_on_the_disk_are_refused_before_they_are_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("train/a", "train/b", "test/a", "test/b"):
            (tmp_path / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (40, 40), number).save(tmp_path / name / f"{number}.png")
        parts = load_parts("localization", scale="smoke", data=[f"imagefolder:{tmp_path}"])
        monkeypatch.setattr("sweep.disk_room.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        monkeypatch.setattr("sweep.reproduce.applicable_axes", None)  # decodes all images
        with pytest.raises(UserError, match="but 0 bytes are free in"):
            check_parts(parts)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ablatoin", "--plan"], "unknown table 'ablatoin'; did you mean 'ablation'?"),
            (["ablation"], "--out is missing"),
            (["ablation", "--plan", "--show", "--out", "x"], "--plan and --show exclude each other"),
            (["robustness", "--set", "ood.n_imags=3", "--out", "x"], "unknown key 'n_imags'; did you mean 'n_images'?"),
        ],
    )
    def test_mistakes(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        code, _, err = run("reproduce", *arguments, "--scale", "smoke")
        assert (code, message in err) == (2, True), err
        assert list(tmp_path.iterdir()) == []

    def test_a_sweep_with_other_values_is_not_continued(self, tmp_path: Path) -> None:
        [part] = load_parts("ablation", scale="smoke")
        more = Study.model_validate(part.study.model_dump() | {"arms": {"off": {"mix": "off"}}})
        assert list(missing_arms(part.study, more, tmp_path)) == list(part.study.arms)[1:]
        assert missing_arms(more, part.study, tmp_path) == {}
        for changes in ({"seed": 9}, {"arms": {"off": {"mix": "cutmix"}}}, {"budget": {"max_epochs": 9}}):
            other = Study.model_validate(part.study.model_dump() | changes)
            with pytest.raises(UserError, match="choose a new folder"):
                missing_arms(part.study, other, tmp_path)


class TestPlan:
    @pytest.fixture(autouse=True)
    def _no_probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("plan", "reproduce"):
            monkeypatch.setattr(f"sweep.{module}.measure_speed", lambda *_: 1000.0)

    def test_assumes_the_published_size_of_images_that_are_not_here(self, run: Run) -> None:
        arguments = ["--data", "cifar100:/nowhere", "--gpus", "0", "--cpus", "1", "--json"]
        arguments += ["--set", "base.model.name=cifar_resnet20"]
        code, out, _ = run("reproduce", "ablation", "--plan", *arguments)
        [study] = json.loads(out)["tables"][0]["studies"]
        assert (code, study["n_trials"], study["n_epochs"], study["n_measurements"]) == (0, 21, 6300, 21)
        assert study["why"].startswith("50,000 training images are assumed: cifar100: /nowhere")
        # 300 epochs over 45,000 images; forward and backward pass are three times 41 million multiply-adds
        assert study["train_flops_per_trial"] == pytest.approx(300 * 45_000 * 3 * 2 * 41e6, rel=0.03)
        n_images = 21 * 300 * (45_000 + 5_000 / 3)
        assert study["seconds"] == pytest.approx(n_images / 1000 / min(21, usable_cores()))

    def test_adds_up_the_time(self, run: Run) -> None:
        planned = plan_parts(load_parts("localization", scale="smoke"))
        code, out, _ = run("reproduce", "localization", "--plan", "--scale", "smoke", "--json")
        [document] = json.loads(out)["tables"]
        assert (code, document["rows"]) == (0, [])
        assert [study["seconds"] for study in document["studies"]] == [each.seconds for each in planned]
        assert [study["n_epochs"] for study in document["studies"]] == [16, 16]
        code, out, _ = run("reproduce", "localization", "--plan", "--scale", "smoke")
        total = format_duration(sum(each.seconds or math.nan for each in planned))
        assert "In total: 16 trials, 32 epochs, 16 measurements; " in out
        assert f"training takes about {total} on this machine" in out


def test_lists_the_tables(run: Run) -> None:
    code, out, _ = run("reproduce")
    assert code == 0
    assert all(name in out for name in tables())
    code, out, _ = run("reproduce", "--json")
    assert [each["table"] for each in json.loads(out)["tables"]] == tables()


def test_settings_of_axes_are_read_as_they_were_written() -> None:
    from sweep.evaluation.request import select_axes

    for table in tables():
        for scale in ("smoke", "paper"):
            for part in load_parts(table, scale=scale):
                axes = select_axes(list(part.axes), list(axis_settings(part)))
                assert axes == {name: AXES[name].model_validate(values) for name, values in part.axes.items()}
