"""Built-in studies at their smallest scale on a real Ray: those whose trials differ in more than their mixing."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.discover import load_study
from sweep.launch import start_sweep
from sweep.records.reader import read_sweep

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("ray_cluster")
def test_runs_of_unequal_length_and_size(tmp_path: Path) -> None:
    study = load_study("budget", scale="smoke")
    start_sweep(study, out=tmp_path / "sweep")
    trials = read_sweep(tmp_path / "sweep").trials
    assert set(trials["status"]) == {"completed"}
    assert (trials["epochs"] == trials["config.optimizer.max_epochs"]).all()
    assert set(trials["epochs"]) == {1, 2}
    assert trials.groupby("config.data.train_frac")["n_train"].nunique().tolist() == [1, 1]
    assert trials["n_train"].nunique() == 2
    assert {path.stem for path in (tmp_path / "sweep" / "models").iterdir()} == set(trials["trial"])


@pytest.mark.usefixtures("ray_cluster")
def test_adversarial_training(tmp_path: Path) -> None:
    study = load_study("robust_vs_adversarial", scale="smoke", settings=["budget.max_epochs=1"])
    start_sweep(study, out=tmp_path / "sweep")
    trials = read_sweep(tmp_path / "sweep").trials.set_index("arm")
    assert set(trials["status"]) == {"completed"}
    assert trials["config.adversarial.kind"].dropna().to_dict() == {
        "fgsm": "fgsm",
        "pgd": "pgd",
        "cutmix_fgsm": "fgsm",
        "cutmix_pgd": "pgd",
    }
