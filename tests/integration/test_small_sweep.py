"""One true sweep, end to end: what it leaves behind is what it should."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from search_spaces.discover import load_study
from search_spaces.early_stopping.asha import Asha
from sweep.display import SilentDisplay
from sweep.launch import resume_sweep, start_sweep
from sweep.ledger import EPOCH_COLUMNS, checkpoint_path, weights_path
from sweep.records.reader import SweepRecords, read_sweep
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.models.build import build_model
from trainables.trial import Trial

pytestmark = pytest.mark.ray


def test_every_arm_gets_its_budget(small_sweep: SweepRecords) -> None:
    trials = small_sweep.trials
    assert trials.groupby("arm").size().to_dict() == {"off": 4, "cutout": 4, "mixup": 4, "cutmix": 4}
    assert set(trials["status"]) == {"completed", "stopped"}
    assert trials["trial"].is_unique
    assert (trials["attempts"] == 1).all()
    assert (trials["threads"] == 1).all()
    assert (trials["node"] == os.uname().nodename).all()


def test_epochs_are_whole_and_end_with_the_trial(small_sweep: SweepRecords) -> None:
    merged = small_sweep.trials.set_index("trial")
    for trial, rows in small_sweep.epochs.groupby("trial"):
        assert rows["epoch"].tolist() == list(range(1, merged.loc[trial, "epochs"] + 1))
        assert (merged.loc[trial, "status"] == "completed") == (len(rows) == 4)
    assert np.isfinite(small_sweep.epochs[[name for name in EPOCH_COLUMNS if name != "epoch"]]).all(axis=None)


def test_decisions_follow_the_rule_arm_by_arm(small_sweep: SweepRecords) -> None:
    decisions = small_sweep.decisions
    assert set(decisions["rung_epochs"]) == {1, 2}
    for _, rows in decisions.groupby("arm"):
        rule = Asha([1, 2], reduction_factor=2, min_recorded=2)
        for row in rows.itertuples():
            judgement = rule.observe(int(row.trial[-4:]), row.rung_epochs, row.value)
            assert judgement is not None
            assert judgement.verdict == row.verdict
            assert judgement.n_recorded == row.n_recorded
    stopped = set(decisions.loc[decisions["verdict"] == "stop", "trial"])
    assert stopped == set(small_sweep.trials.loc[small_sweep.trials["status"] == "stopped", "trial"])


def test_equal_replicates_share_their_seed_across_arms(small_sweep: SweepRecords) -> None:
    seeds = small_sweep.trials.groupby("replicate")["seed"]
    assert (seeds.nunique() == 1).all()
    assert seeds.first().is_unique


def test_parameters_stay_in_their_arm(small_sweep: SweepRecords) -> None:
    drawn = small_sweep.trials.set_index("arm")
    assert drawn.loc[["off", "cutout", "mixup"], "params.mix.position.kind"].isna().all()
    assert drawn.loc["cutmix", "params.mix.position.kind"].notna().all()
    assert drawn.loc["cutmix", "config.mix.apply.prob"].equals(drawn.loc["cutmix", "params.mix.apply.prob"])


def test_weights_of_completed_trials_only(small_sweep: SweepRecords, small_sweep_dir: Path) -> None:
    for row in small_sweep.trials.itertuples():
        assert not checkpoint_path(small_sweep_dir, row.trial).exists()
        assert weights_path(small_sweep_dir, row.trial).exists() == (row.status == "completed")


def test_a_trial_of_the_sweep_equals_the_same_trial_alone(small_sweep: SweepRecords, small_sweep_dir: Path) -> None:
    row = small_sweep.trials.query("arm == 'cutmix' and status == 'completed'").iloc[0]
    saved = torch.load(weights_path(small_sweep_dir, row["trial"]), weights_only=True)
    config = TrialConfig.model_validate_json(json.dumps(saved["config"]))
    trial = Trial(config, prepare_data(config.data))
    while not trial.done:
        trial.run_epoch()
    recorded = small_sweep.epochs.query("trial == @row.trial").reset_index(drop=True)
    alone = pd.DataFrame([asdict(result) for result in trial.history]).drop(columns=["seconds", "images_per_s"])
    pd.testing.assert_frame_equal(alone, recorded[alone.columns], check_exact=True)
    for name, weight in trial.weights().items():
        assert torch.equal(weight, saved["weights"][name])


def test_final_weights_load_into_the_network(small_sweep: SweepRecords, small_sweep_dir: Path) -> None:
    row = small_sweep.trials.query("status == 'completed'").iloc[0]
    saved = torch.load(weights_path(small_sweep_dir, row["trial"]), weights_only=True)
    config = TrialConfig.model_validate_json(json.dumps(saved["config"]))
    build_model(config.model, n_classes=10, height_px=32, width_px=32, seed=0).load_state_dict(saved["weights"])


def test_test_images_are_not_read(small_sweep: SweepRecords, small_sweep_dir: Path) -> None:
    cached = list(Path(os.environ["CUTMIX_SWEEP_CACHE"]).iterdir())
    assert any(entry.name.startswith("digits-train-") for entry in cached)
    ended = max(part.stat().st_mtime for part in small_sweep_dir.glob("records/trials/*.parquet"))
    decoded = [entry.stat().st_mtime for entry in cached if entry.name.startswith("digits-test-")]
    assert all(when > ended for when in decoded)  # those of evaluations that came later


def test_a_finished_sweep_has_nothing_to_resume(small_sweep: SweepRecords, small_sweep_dir: Path) -> None:
    lines: list[str] = []

    class Lines(SilentDisplay):
        def show_line(self, text: str) -> None:
            lines.append(text)

    resume_sweep(small_sweep_dir, command="again", display=Lines())
    assert len(lines) == 1
    assert "all 16 trials" in lines[0]
    again = read_sweep(small_sweep_dir)
    pd.testing.assert_frame_equal(again.epochs, small_sweep.epochs)
    assert again.manifest == small_sweep.manifest


@pytest.mark.usefixtures("ray_cluster")
def test_a_paused_trial_is_gone_on_with_beside_trials_that_diverge(study_file: Path, tmp_path: Path) -> None:
    """Promotions come through Tune: a trial's second job starts from the state that its first one left.

    All trials of one arm diverge, which ends these trials and not the sweep.
    """
    settings = ["budget.early_stopping.mode=promote", "budget.trials=6", "budget.control_frac=0.2"]
    study = load_study(str(study_file), settings=[*settings, "arms.off.base.optimizer.lr=1e6"])
    start_sweep(study, out=tmp_path / "promoting")
    records = read_sweep(tmp_path / "promoting")
    off = records.trials[records.trials["arm"] == "off"]
    assert set(off["status"]) == {"diverged"}
    assert set(off["why"]) == {"loss not finite in epoch 1"}
    trials = records.trials.drop(off.index)
    assert set(trials["status"]) == {"completed", "stopped"}
    assert records.trials.groupby("arm").size().to_dict() == {"off": 6, "cutout": 6, "mixup": 6, "cutmix": 6}
    assert trials.loc[trials["control"], "status"].eq("completed").all()
    decisions = records.decisions[records.decisions["arm"] != "off"]
    assert set(decisions["verdict"]) <= {"continue", "pause", "spared"}
    promoted = trials[trials["attempts"] > 1]
    assert len(promoted)
    for row in promoted.itertuples():
        epochs = records.epochs[records.epochs["trial"] == row.trial]
        assert epochs["epoch"].tolist() == list(range(1, row.epochs + 1))
        assert epochs["attempt"].is_monotonic_increasing
        assert epochs["attempt"].iloc[-1] == row.attempts
