"""Names of sweeps, and the errors by which arms are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.data import arms, frames
from sweep.records.errors import RecordsError
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest


def _none(arm: str, params: Mapping[str, Any]) -> float:
    return 0.0


def test_a_grid_is_compared_by_means_of_seeds(simulate: Callable[..., Path]) -> None:
    space = {"cutmix": {"mix.size.alpha": [0.3, 1.0]}}
    folder = simulate(study="my_own", arms=("off", "cutmix"), replicates=4, spaces=space, stop=False, gain=_none)
    values = arms.arm_values(folder).set_index(["arm", "replicate"])["error"]
    trials = frames.load(folder).trials.query("arm == 'cutmix' and seed == 2")
    assert len(trials) == 2
    assert values["cutmix", 2] == pytest.approx(trials["final_val_top1_error"].mean())
    assert values.groupby("arm").size().to_dict() == {"cutmix": 4, "off": 8}


@pytest.mark.parametrize(("reference", "baseline"), [({}, "off"), ({"reference": "cutmix"}, "cutmix")])
def test_the_baseline_is_the_studys_reference_or_its_first_arm(
    simulate: Callable[..., Path], reference: dict[str, str], baseline: str
) -> None:
    folder = simulate(study="my_own", arms=("off", "cutmix"), n_trials=2, n_epochs=4, stop=False)
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "study": {**manifest["study"], **reference}})
    assert set(arms.arm_values(folder)["baseline"]) == {baseline}


class TestLabels:
    def test_are_names_of_folders(self, tmp_path: Path) -> None:
        assert arms.labels([tmp_path / "a", tmp_path / "b"]) == {"a": tmp_path / "a", "b": tmp_path / "b"}

    def test_tell_folders_of_equal_name_apart(self, tmp_path: Path) -> None:
        labels = arms.labels([tmp_path / "x" / "s", tmp_path / "y" / "s"])
        assert len(labels) == 2
        assert not any("/" in label for label in labels)

    def test_come_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(arms.SWEEP_DIRS, f"{tmp_path / 'a'}:{tmp_path / 'b'}")
        assert list(arms.labels()) == ["a", "b"]

    def test_need_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(arms.SWEEP_DIRS, raising=False)
        with pytest.raises(RecordsError, match="no sweeps to compare"):
            arms.labels()
