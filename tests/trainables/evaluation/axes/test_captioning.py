from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.trainables.evaluation.conftest import measurable, planted
from trainables.config import TrialConfig
from trainables.contracts.axes import LAWS, AxisCase
from trainables.contracts.law import judge
from trainables.errors import UserError
from trainables.evaluation.axes import captioning
from trainables.evaluation.axes.captioning import Captioning
from trainables.evaluation.subject import ModelInfo, Subject

SMALL: dict[str, Any] = {
    "n_train": 24,
    "n_images": 6,
    "image_size_px": 32,
    "seeds": 2,
    "epochs": 1,
    "batch_size": 12,
    "units": 8,
    "min_word_count": 1,
    "max_words": 6,
    "beam": 2,
}


@pytest.fixture(autouse=True)
def trained_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks from scratch are trained again in each measurement."""
    monkeypatch.setattr(captioning, "_written_from_scratch", captioning._written_from_scratch.__wrapped__)


def write_planted(folder: Path) -> str:
    """MS-COCO's layout with squares of the three colours that the model knows; one caption in two names the colour."""
    (folder / "annotations").mkdir(parents=True)
    for part, count, seed in (("train", 48, 11), ("val", 30, 12)):
        (folder / f"{part}2017").mkdir()
        images = planted(count, seed=seed)
        named = []
        for number, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
            Image.fromarray(image).save(folder / f"{part}2017" / f"{number}.png")
            named.append({"image_id": number, "caption": f"One square is {images.classes[label]}."})
        files = [{"id": number, "file_name": f"{number}.png"} for number in range(count)]
        content = {"images": files, "annotations": named}
        (folder / "annotations" / f"captions_{part}2017.json").write_text(json.dumps(content))
    return f"coco:{folder}"


def measured(axis: Captioning, subject: Subject) -> dict[tuple[str, str], float]:
    found = axis.measure(subject)
    assert set(found.pictures) == {"captions"}
    assert {value.n for value in found.values} == {30}
    return {(value.setting, value.metric): value.value for value in found.values}


def test_holds_to_the_laws_of_axes(trained: Path) -> None:
    case = AxisCase(Captioning(**SMALL), measurable(trained))
    assert [verdict for verdict in judge(LAWS, case) if verdict.reason] == []
    settings = {(value.setting, value.metric) for value in case.measured.values}
    assert {quantity for quantity in Captioning.headline if quantity[0].startswith("scenes")} <= settings


def test_a_backbone_that_knows_the_colours_names_them(tmp_path: Path, subject: Subject) -> None:
    data = write_planted(tmp_path / "coco")
    axis = Captioning(
        data=data, n_train=None, n_images=None, seeds=2, epochs=6, batch_size=8, units=32, lr=0.01, backbone_lr=0,
        scratch_lr=0.001, beam=2,
    )  # fmt: skip
    axis.check(subject.about)
    found = measured(axis, subject)
    assert found["coco", "bleu_1"] > 0.97
    assert found["coco, constant caption", "bleu_1"] == pytest.approx((3 + 1 / 3) / 4)
    assert found["coco, from scratch", "bleu_1"] < found["coco", "bleu_1"]
    low, mean, high = (found["coco, from scratch", f"bleu_4{end}"] for end in ("_low", "", "_high"))
    assert low <= mean <= high
    assert not any(math.isnan(value) for value in found.values())


def test_models_share_what_is_trained_from_scratch(
    trained: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows nothing gives the same values from scratch, and other ones fine-tuned."""
    axis = Captioning(**{**SMALL, "seeds": 1, "epochs": 2, "n_images": 30})
    first = measured(axis, subject)
    for parameter in subject.saved.net.parameters():
        parameter.mul_(-1)
    other = measured(axis, subject)
    scratch = [key for key in first if key[0] == "scenes, from scratch" and not math.isnan(first[key])]
    assert {key: first[key] for key in scratch} == {key: other[key] for key in scratch}
    assert first["scenes", "cider"] != other["scenes", "cider"]


def test_paths_are_those_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    axis = Captioning(data="coco:photos")
    assert axis.data == f"coco:{tmp_path}/photos"
    assert Captioning.model_validate_json(axis.model_dump_json()) == axis


def test_what_cannot_be_measured_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    about = ModelInfo(TrialConfig(), ("a", "b"), 32, 32, n_test=9, n_val=9, has_boxes=False)
    Captioning().check(about)
    with pytest.raises(UserError, match=r"captioning\.data is 'flickr'; valid: scenes, coco:PATH"):
        Captioning(data="flickr").check(about)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"captioning\.java needs Java"):
        Captioning(java=True).check(about)
