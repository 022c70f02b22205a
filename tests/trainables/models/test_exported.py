from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainables.evaluation.conftest import data_of, planted
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.models.exported import ABOUT, Form, export_model
from trainables.models.saved import SavedModel, model_state, read_model
from trainables.trial import Trial

RUN = """
import sys
import torch
torch.set_num_threads(1)
extra = {sys.argv[2]: ""}
run = torch.export.load(sys.argv[1], extra_files=extra).module()
generator = torch.Generator().manual_seed(0)
batches = [torch.rand(count, 3, 16, 16, generator=generator) for count in (1, 5)]
assert not any(name.split(".")[0] == "trainables" for name in sys.modules)
torch.save({"batches": batches, "logits": [run(images) for images in batches], "about": extra}, sys.argv[3])
"""
"""argv: the program's file, the name of the text in it, where to write what it computes; outside the repository."""


def trained(ema_decay: float | None) -> Trial:
    config = TrialConfig.model_validate(
        {
            "data": {"batch_size": 16, "pad_px": 1},
            "model": {"width": 0.25, "precision": "fp32"},
            "optimizer": {"max_epochs": 2, "ema_decay": ema_decay},
        }
    )
    trial = Trial(config, data_of(planted(60, seed=1), n_val=12))
    while not trial.done:
        trial.run_epoch()
    return trial


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    path = tmp_path_factory.mktemp("model") / "trial.pt"
    torch.save(model_state(trained(0.5)), path)
    return read_model(path)


def images_of(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))


def test_a_program_runs_where_torch_alone_is(saved: SavedModel, tmp_path: Path) -> None:
    export_model(saved, tmp_path / "model.pt2", "program")
    arguments = [str(tmp_path / "model.pt2"), ABOUT, str(tmp_path / "out.pt")]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", RUN, *arguments], check=True, timeout=240, cwd=tmp_path, env=alone)
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    for images, logits in zip(out["batches"], out["logits"], strict=True):
        torch.testing.assert_close(logits, saved.model(images), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(logits, saved.last(images), rtol=1e-3, atol=1e-3)
    about = json.loads(out["about"][ABOUT])
    assert about["classes"] == ["red", "green", "blue"]
    assert TrialConfig.model_validate_json(json.dumps(about["config"])) == saved.config
    assert (about["height_px"], about["width_px"], about["weights"]) == (16, 16, "ema")
    assert about["mean"] == pytest.approx([0.45] * 3)
    assert about["std"] == pytest.approx([0.15] * 3)


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_weights_are_read_as_the_sweeps_own(ema_decay: float | None, tmp_path: Path) -> None:
    trial = trained(ema_decay)
    torch.save(model_state(trial), tmp_path / "trial.pt")
    own = read_model(tmp_path / "trial.pt")
    export_model(own, tmp_path / "deep" / "model.pt", "weights")
    written = torch.load(tmp_path / "deep" / "model.pt", weights_only=True)
    assert written.keys() == torch.load(tmp_path / "trial.pt", weights_only=True).keys()
    again = read_model(tmp_path / "deep" / "model.pt")
    assert (again.config, again.classes, again.height_px, again.width_px) == (own.config, own.classes, 16, 16)
    for images in (images_of(1), images_of(5)):
        assert torch.equal(again.model(images), own.model(images))
        assert torch.equal(again.last(images), own.last(images))
    assert (again.last is again.model) == (ema_decay is None)
    assert again.weights_name == own.weights_name


@pytest.mark.parametrize("form", ["weights", "program"])
def test_the_model_stays_as_it_is(form: Form, saved: SavedModel, tmp_path: Path) -> None:
    before = saved.model(images_of(5))
    export_model(saved, tmp_path / "model", form)
    assert torch.equal(saved.model(images_of(5)), before)
    kernel = saved.net.stem[0].weight  # type: ignore[index]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_program_is_not_taken_for_weights(saved: SavedModel, tmp_path: Path) -> None:
    export_model(saved, tmp_path / "model.pt2", "program")
    with pytest.raises(UserError, match=r"model\.pt2' is damaged: its content does not fit"):
        read_model(tmp_path / "model.pt2")


def test_forms_that_there_are_not_are_refused(saved: SavedModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a model 'programm'; did you mean 'program'\? valid: program, weights"):
        export_model(saved, tmp_path / "model", "programm")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said(saved: SavedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the model to '.*model\.pt'"):
        export_model(saved, tmp_path / "file" / "model.pt", "weights")
    with pytest.raises(UserError, match=r"cannot write the model to '.*': Is a directory"):
        export_model(saved, tmp_path, "weights")
