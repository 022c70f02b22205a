"""Several workers per trial on a real Ray: a killed worker is replaced, and the curve is that of one worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from search_spaces.discover import load_study
from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.display import SilentDisplay
from sweep.engine import run_trials
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, TRIALS
from tests.processes import has_ended
from tests.slots import fixed_slots
from trainables.data.prepared import prepare_data
from trainables.trial import Trial

pytestmark = pytest.mark.ray

TOLERANCES = {"lr": 0, "effective_prob": 0, "pasted_frac": 0, "train_loss": 1e-3, "val_nll": 1e-2}
"""Relative differences to one worker; an error of 120 images changes by steps, so that rounding can be seen in it."""

SETTINGS = ["budget.early_stopping.rule=none", "budget.trials=1", "budget.max_epochs=3", "base.model.precision=fp32"]


TITLES = "_Follower", "_Leader", "cutmix-sweep "
"""What is in the titles of the processes of groups, between and during their steps."""


def members() -> dict[int, str]:
    """Titles of the workers of groups by process."""
    titles = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            titles[process.pid] = " ".join(process.cmdline())
    return {pid: title for pid, title in titles.items() if any(text in title for text in TITLES)}


class Killer(SilentDisplay):
    """Kills a worker of the group after the first epoch that is recorded."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def show_sweep(self, conductor: Conductor) -> AbstractContextManager[Callable[[], None]]:
        def update() -> None:
            if not self.killed and any(entry.epochs for entry in conductor.entries.values()):
                self.killed.append(next(pid for pid, title in members().items() if "worker 2 of a group" in title))
                os.kill(self.killed[0], signal.SIGKILL)

        return nullcontext(update)


def study_of(study_file: Path, *settings: str) -> Study:
    study = load_study(str(study_file), settings=[*SETTINGS, *settings])
    return study.model_copy(update={"arms": {name: study.arms[name] for name in ("cutmix", "mixup")}})


def test_two_workers_per_trial_and_one_of_them_is_killed(ray_cluster: None, study_file: Path, tmp_path: Path) -> None:
    study, killer = study_of(study_file, "resources.workers=2"), Killer()
    run_trials(tmp_path, Conductor(study, tmp_path), slots=fixed_slots(1), display=killer)
    trials = read_table(tmp_path, TRIALS).set_index("trial")
    assert (trials["status"] == "completed").all(), trials["why"].tolist()
    assert sorted(trials["attempts"]) == [1, 2]
    assert trials["resumed_at_epoch"].max() >= 1
    epochs = read_table(tmp_path, EPOCHS).set_index(["trial", "epoch"]).sort_index()
    for arm in study.arms:
        config = study.trial_config(arm, study.draw(arm, 0), replicate=0)
        alone = Trial(config, prepare_data(config.data))
        results = [alone.run_epoch() for _ in range(config.optimizer.max_epochs)]
        for name, rtol in TOLERANCES.items():
            expected = [getattr(result, name) for result in results]
            assert epochs.loc[f"{arm}-0000", name].tolist() == pytest.approx(expected, rel=rtol, abs=0), (arm, name)
    assert all(has_ended(pid) for pid in [*killer.killed, *members()])
