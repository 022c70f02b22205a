from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.evaluation.conftest import measurable
from tests.trainables.evaluation.detection.test_voc import an_object, write
from trainables.config import TrialConfig
from trainables.contracts.axes import LAWS, AxisCase
from trainables.contracts.law import Law
from trainables.errors import UserError
from trainables.evaluation.axes import detection
from trainables.evaluation.axes.detection import Detection
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.strict import parse

SMALL = {"image_size_px": 48, "n_train": 12, "n_images": 6, "seeds": 2, "steps": 3, "batch_size": 4}


def tiny_about(**changes: object) -> ModelInfo:
    values = {"config": TrialConfig(), "classes": ("a", "b"), "height_px": 32, "width_px": 32}
    return ModelInfo(**{**values, "n_test": 9, "n_val": 9, "has_boxes": False, **changes})  # type: ignore[arg-type]


def measured(axis: Detection, subject: Subject) -> dict[tuple[str, str], float]:
    return {(value.setting, value.metric): value.value for value in axis.measure(subject).values}


@pytest.fixture(scope="module")
def case(trained: Path) -> AxisCase:
    return AxisCase(Detection.model_validate(SMALL), measurable(trained))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[AxisCase], case: AxisCase) -> None:
    law(case)


def test_conditions_metrics_and_intervals(case: AxisCase) -> None:
    values = {(value.setting, value.metric): value for value in case.measured.values}
    conditions = [f"{name}, scenes{start}" for name in ("ssd", "faster_rcnn") for start in ("", ", from scratch")]
    metrics = [f"{name}{end}" for name in ("map_50", "map", "voc07_map") for end in ("", "_low", "_high")]
    expected = {(condition, metric) for condition in conditions for metric in metrics}
    gains = {(conditions[k], f"map_50_gain{end}") for k in (0, 2) for end in ("", "_low", "_high")}
    assert values.keys() == expected | gains
    assert {value.n for value in values.values()} == {6}
    for condition in (conditions[0], conditions[2]):
        difference = values[condition, "map_50"].value - values[f"{condition}, from scratch", "map_50"].value
        assert values[condition, "map_50_gain"].value == pytest.approx(difference)
    assert {quantity for quantity in Detection.headline if "scenes" in quantity[0]} == {
        (condition, "map_50") for condition in conditions
    }


def test_training_from_scratch_is_that_of_the_network_and_done_once(subject: Subject) -> None:
    """Another model of the same network has the same values from scratch, also in another process."""
    axis = Detection.model_validate({**SMALL, "detectors": ["ssd"], "seeds": 1, "steps": 12, "lr": 0.05})
    first = measured(axis, subject)
    hits = detection._scratch_scores.cache_info().hits
    for parameter in subject.saved.net.parameters():
        parameter.mul_(0.5)
    other = measured(axis, subject)
    assert detection._scratch_scores.cache_info().hits == hits + 1
    detection._scratch_scores.cache_clear()  # as in another process
    again = measured(axis, subject)
    differs = {
        setting for (setting, metric), value in first.items() if metric == "map" and value != other[setting, metric]
    }
    assert differs == {"ssd, scenes"}
    np.testing.assert_equal(again, other)


def test_a_detector_learns(subject: Subject) -> None:
    """Far above an untrained one, whose boxes cover a few objects by chance."""
    learning = {"detectors": ["ssd"], "seeds": 1, "from_scratch": False, "image_size_px": 48, "n_train": 40}
    learning |= {"n_images": 40, "batch_size": 8}
    values = {
        steps: measured(Detection.model_validate({**learning, "steps": steps, "lr": 0.05}), subject)
        for steps in (1, 80)
    }
    assert values[1]["ssd, scenes", "map_50"] < 0.02
    assert values[80]["ssd, scenes", "map_50"] > 0.1


def test_voc_is_trained_and_tested_on(tmp_path: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both detectors, with their augmentation, from a relative path; the condition names the years."""
    thing, hard = an_object("dog", 3, 3, 30, 25), an_object("cat", 2, 3, 8, 9, difficult=1)
    write(tmp_path / "VOC2007", "trainval", {f"00000{k}": [thing] for k in range(4)})
    write(tmp_path / "VOC2007", "test", {f"00010{k}": [thing, hard] for k in range(3)})
    monkeypatch.chdir(tmp_path.parent)
    settings = {"data": f"voc:{tmp_path.name}", "image_size_px": 48, "seeds": 1, "steps": 2, "batch_size": 2}
    axis = Detection.model_validate({**settings, "n_images": 2, "from_scratch": False})
    assert axis.data == f"voc:{tmp_path}"
    axis.check(subject.about)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # decodes in this process
    result = axis.measure(subject)
    torch.set_num_threads(threads)
    assert {value.setting for value in result.values} == {"ssd, voc07", "faster_rcnn, voc07"}
    assert {value.n for value in result.values} == {2}
    assert result.pictures["boxes"].startswith(b"\x89PNG")


def test_recipes_follow_the_images_and_the_paper() -> None:
    voc = Detection(data="voc:/somewhere")
    ssd, faster_rcnn = voc.recipe("ssd"), voc.recipe("faster_rcnn")
    assert (ssd.steps, ssd.batch_size, ssd.lr) == (120_000, 32, 0.001)
    rates = [ssd.lr_at(step) for step in (79_999, 80_000, 99_999, 100_000)]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])
    assert (faster_rcnn.steps, faster_rcnn.batch_size, faster_rcnn.lr) == (120_000, 8, 0.01)
    assert [faster_rcnn.lr_at(step) for step in (99_999, 100_000)] == pytest.approx([1e-2, 1e-3])
    assert (voc._side_px("ssd"), voc._side_px("faster_rcnn")) == (300, 600)
    assert Detection(steps=7).recipe("ssd").steps == 7


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"data": "vok:x"}, r"'data': must be scenes or voc:PATH, got 'vok:x'; did you mean 'voc'"),
        ({"data": "voc:"}, "must be scenes or voc:PATH"),
        ({"detectors": ["ssd", "ssd"]}, "each detector once"),
        ({"detectors": ["yolo"]}, r"'detectors\.0' is unknown: 'yolo'; valid: faster_rcnn, ssd$"),
        ({"detectors": []}, "at least one detector"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse(Detection, settings, where="--set detection")


def test_networks_and_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}' does not contain VOC2007; expected"):
        Detection(data=f"voc:{tmp_path}").check(tiny_about())
    small = tiny_about(height_px=8, width_px=8)
    with pytest.raises(
        UserError, match="'tiny', trained on images of 8x8 px, cannot be the backbone of faster_rcnn: a"
    ):
        Detection().check(small)
    Detection(detectors=("ssd",)).check(small)
    Detection().check(tiny_about())
