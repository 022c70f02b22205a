"""Loading a recorded sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.data.arms import best_confirmed
from analysis.data.frames import Sweep, drawn_in_logs, facts, load, statuses, varied
from sweep.records.writer import write_manifest
from tests.analysis.simulated_studies import SimulatedTrial, record

ROOT = Path(__file__).parents[3]


def test_trials_carry_their_last_planned_epoch(planted: Sweep) -> None:
    trials = planted.trials.set_index("trial")
    last = planted.epochs[planted.epochs["epoch"] == 12].set_index("trial")["val_top1_error"]
    completed = trials["status"] == "completed"
    assert 0 < completed.sum() < len(trials)
    assert trials["final_val_top1_error"][~completed].isna().all()
    assert trials["final_val_top1_error"][completed].to_dict() == last.to_dict()


def test_epochs_carry_what_their_trial_drew(planted: Sweep) -> None:
    trials = planted.trials.set_index("trial")
    sample = planted.epochs.iloc[-1]
    for column in ("params.mix.apply.prob", "params.mix.position.kind", "status", "arm"):
        assert sample[column] == trials.loc[sample["trial"], column]
    assert len(planted.epochs) == planted.epochs[["trial", "epoch"]].drop_duplicates().shape[0]


def test_arms_are_ordered_as_in_the_study_everywhere(planted: Sweep) -> None:
    for frame in (planted.trials, planted.epochs, planted.decisions):
        assert list(frame["arm"].cat.categories) == ["off", "cutout", "mixup", "cutmix"]


def test_an_arm_draws_what_it_draws(planted: Sweep) -> None:
    assert varied(planted.trials, "off") == []
    assert varied(planted.trials, "mixup") == ["mix.size.alpha", "mix.apply.prob"]
    assert varied(planted.trials, "cutmix") == ["mix.size.alpha", "mix.apply.prob", "mix.position.kind"]


def test_the_folder_comes_from_the_environment(planted_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTMIX_SWEEP_DIR", str(planted_dir))
    assert len(load().trials) == 96


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_folder_it_says_what_to_set(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUTMIX_SWEEP_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("CUTMIX_SWEEP_DIR", value)
    with pytest.raises(ValueError, match="set the environment variable CUTMIX_SWEEP_DIR"):
        load()


def test_a_sweep_under_way(simulate: Callable[..., Path]) -> None:
    sweep = load(simulate(n_trials=3, n_running=3))
    assert (sweep.trials["status"] == "running").all()
    assert sweep.trials["final_val_nll"].isna().all()


def test_a_sweep_without_a_row(tmp_path: Path) -> None:
    study = {"name": "empty", "question": "?", "arms": {"off": {}}, "metric": "val_nll", "budget": {}}
    empty: dict[str, object] = {"data": {}, "versions": {}, "hardware": {}, "runs": []}
    write_manifest(tmp_path, {"schema_version": 1, "study": study, **empty})
    sweep = load(tmp_path)
    assert (len(sweep.trials), len(sweep.epochs), len(sweep.decisions)) == (0, 0, 0)
    assert "final_val_top1_error" in sweep.trials
    assert statuses(sweep.trials).empty


def test_five_hundred_trials_of_fifty_epochs(simulate: Callable[..., Path]) -> None:
    sweep = load(simulate(n_trials=125, n_epochs=50, stop=False))
    assert (len(sweep.trials), len(sweep.epochs)) == (500, 25_000)
    assert sweep.trials["final_val_top1_error"].notna().all()


def test_facts_are_one_line_each(planted: Sweep) -> None:
    lines = facts(planted.manifest)
    assert lines["study"] == "alpha_prob"
    assert lines["budget.early_stopping.rule"] == "asha"
    assert lines["versions.python"] == "3.11"
    assert lines["hardware.device"] == "simulated"


def test_facts_of_a_bare_manifest() -> None:
    assert facts({"schema_version": 1})["study"] is None


def test_what_is_drawn_in_logarithms_is_declared_by_the_study_or_the_arm() -> None:
    log, even = {"kind": "loguniform", "lo": 0.1, "hi": 1.0}, {"kind": "uniform", "lo": 0.0, "hi": 1.0}
    study = {"space": {"optimizer.lr": log}, "arms": {"cutmix": {"space": {"alpha": log, "prob": even}}, "off": {}}}
    assert drawn_in_logs({"study": study}, "cutmix") == ["optimizer.lr", "alpha"]
    assert drawn_in_logs({"study": study}, "off") == ["optimizer.lr"]
    assert drawn_in_logs({}, "off") == []


def test_statuses_tell_kinds_of_failures_apart(planted: Sweep) -> None:
    trials = planted.trials.assign(fault=None)
    assert not [name for name in statuses(trials) if "(" in name]
    trials.loc[trials["trial"] == "off-0000", "fault"] = "memory"
    assert statuses(trials)["failed (memory)"].to_dict() == {"off": 1, "cutout": 0, "mixup": 0, "cutmix": 0}


def test_statuses_count_every_trial(planted: Sweep) -> None:
    counts = statuses(planted.trials)
    assert counts.index.tolist() == ["off", "cutout", "mixup", "cutmix"]
    assert counts[["running", "completed", "stopped", "diverged", "failed"]].sum(axis=1).tolist() == [24] * 4
    assert (counts["seeds"] == 24).all()


def test_the_analysis_loads_no_engine() -> None:
    program = (
        "import sys, analysis.data.frames, analysis.plots, analysis.statistics\n"
        "import analysis.questions.alpha_prob, analysis.questions.early_stopping, analysis.methods.fidelity\n"
        "import analysis.methods.importance, analysis.methods.surface, analysis.methods.variance\n"
        "engines = ('torch', 'torchvision', 'ray', 'optuna')\n"
        "print([name for name in engines if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_confirmation_tells_former_winners_apart(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"kind": "uniform", "lo": 0.0, "hi": 1.0}}
    trials = [
        SimulatedTrial("a", number, [error], params={"optimizer.lr": error})
        for number, error in enumerate((0.4, 0.2, 0.3))
    ]
    trials += [SimulatedTrial("a", 0, [0.3], confirms=f"a-{number:04d}") for number in (0, 1)]
    folder = record(tmp_path, "s", ["a"], trials, n_trials=3, space=space, confirm={"searches": 1, "seeds": 2})
    found = load(folder, phase="confirm").trials.set_index("confirms")["rank"]
    assert found.to_dict() == {"a-0000": 3, "a-0001": 1}
    assert best_confirmed(folder)["confirms"].tolist() == ["a-0001"]
    assert "rank" not in load(folder).trials
