"""Models of a true sweep, measured as tasks on Ray."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from sweep.endings import EvaluationInterrupted
from sweep.evaluation import run
from sweep.evaluation.evaluate import Evaluated, evaluate_sweep
from sweep.ledger import weights_path
from sweep.models import export_trial, load_trial
from sweep.records.reader import read_manifest, read_sweep
from sweep.records.schema import COMPLETED
from sweep.terminal.evaluation import print_evaluated
from trainables.data.prepared import prepare_test
from trainables.metrics import classification_metrics
from trainables.models.saved import as_pixels, read_model

pytestmark = pytest.mark.ray

AXES = ["classification", "calibration", "localization"]
SETTINGS = ["calibration.n_images=60", "localization.n_images=40", "localization.n_thresholds=10"]


@pytest.fixture
def sweep_dir(small_sweep_dir: Path, tmp_path: Path) -> Path:
    """A copy of the sweep, to be written to."""
    return Path(shutil.copytree(small_sweep_dir, tmp_path / "sweep"))


@pytest.fixture
def trials(sweep_dir: Path) -> list[str]:
    """A completed trial of each of two arms."""
    done = read_sweep(sweep_dir).trials.query("status == 'completed'").groupby("arm")["trial"].first()
    return [str(done["off"]), str(done["cutmix"])]


@pytest.fixture
def measure(sweep_dir: Path, trials: list[str]) -> Callable[..., Evaluated]:
    def measure(**given: Any) -> Evaluated:
        options: dict[str, Any] = {"axes": AXES, "trials": trials, "settings": SETTINGS}
        options |= {"cpus": None, "gpus": None, "command": "evaluate"}
        return evaluate_sweep(sweep_dir, **(options | given))

    return measure


def table(evaluated: Evaluated) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=300)
    failed = print_evaluated(evaluated, console)
    return failed, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_model_that_cannot_be_read_costs_no_other_its_values(
    measure: Callable[..., Evaluated], sweep_dir: Path, trials: list[str]
) -> None:
    broken = weights_path(sweep_dir, trials[0])
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    first = measure()
    assert list(first.damaged) == [trials[0]]
    assert first.failures.empty
    assert set(first.evaluations["trial"]) == {trials[1]}

    broken.write_bytes(whole)
    again = measure()
    assert again.failures.empty
    assert set(again.evaluations["trial"]) == set(trials)
    measurements = read_sweep(sweep_dir).measurements
    assert (measurements["status"] == COMPLETED).all()
    assert len(measurements) == len(AXES) * 2
    kept = again.evaluations[again.evaluations["trial"] == trials[1]]
    before = first.evaluations
    assert (
        kept[["metric", "value", "time_s"]].to_numpy().tolist()
        == before[["metric", "value", "time_s"]].to_numpy().tolist()
    )
    assert read_manifest(sweep_dir)["runs"][-1]["command"] == "evaluate"
    headlines = read_manifest(sweep_dir)["headlines"]
    assert headlines.keys() == set(AXES)
    assert headlines["calibration"][0] == ["raw", "ece"]

    failed, text = table(again)
    assert failed == 0
    for word in ("classification", "off", "cutmix", "signed ece", "top1 loc error", "arm-cutmix-cam.png"):
        assert word in text


def test_values_are_those_of_the_model_as_loaded(
    measure: Callable[..., Evaluated], sweep_dir: Path, trials: list[str]
) -> None:
    values = measure(axes=["classification"], settings=[]).evaluations
    saved = load_trial(sweep_dir, trials[1])
    images = prepare_test(saved.config.data)
    with torch.inference_mode():
        logits = saved.model(as_pixels(images.images, torch.device("cpu")))
    expected = classification_metrics(logits, torch.from_numpy(images.labels.copy()), 15)
    mine = values[(values["trial"] == trials[1]) & (values["setting"] == "last, float32")].set_index("metric")["value"]
    assert mine["top1_error"] == pytest.approx(expected["top1_error"])
    exported = read_model(export_trial(sweep_dir, trials[1], form="weights", out=sweep_dir / "exported.pt"))
    pixels = as_pixels(images.images[:5], torch.device("cpu"))
    assert torch.equal(exported.model(pixels), saved.model(pixels))


def test_pictures_of_an_arm_are_one_sheet(
    measure: Callable[..., Evaluated], sweep_dir: Path, trials: list[str]
) -> None:
    evaluated = measure(axes=["localization"], settings=["localization.n_images=40"])
    sheets = {path.name: np.asarray(Image.open(path)) for path in evaluated.pictures}
    assert set(sheets) == {"arm-off-cam.png", "arm-cutmix-cam.png"}
    strip = np.asarray(Image.open(sweep_dir / "pictures" / "localization" / f"{trials[0]}-cam.png").convert("RGB"))
    assert (sheets["arm-off-cam.png"] == strip).all()


def test_what_is_cut_short_is_kept_and_gone_on_with(
    measure: Callable[..., Evaluated], sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save_pictures", cut_short)
    with pytest.raises(EvaluationInterrupted, match="interrupted after 0 of 6 measurements"):
        measure()
    monkeypatch.undo()
    assert len(read_sweep(sweep_dir).measurements) == 1
    assert len(measure().evaluations["trial"].unique()) == 2
    assert len(read_sweep(sweep_dir).measurements) == 6
