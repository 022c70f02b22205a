"""Results of plain Ray Tune. The folder was written by Ray 2.60: three trials of four reports, one of which failed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.frames import Sweep, facts, statuses, varied
from analysis.data.tune_results import load_tune
from sweep.records.schema import EPOCHS, TRIALS

RESULTS = Path(__file__).parent / "tune_results" / "learning_rates"
ERROR = {"val_top1_error": "error"}
RATES = [0.1, 0.2, 0.8]


def reported(rate: float, epoch: int) -> float:
    """Error that the trials were made to report."""
    return 0.5 / epoch + rate / 10


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Results that a test may change."""
    return Path(shutil.copytree(RESULTS, tmp_path / "learning_rates"))


def first(folder: Path) -> Path:
    """Folder of the first trial."""
    return min(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return load_tune(RESULTS, metrics=ERROR | {"val_nll": "nll"}, epoch="epoch", arm="policy")


def test_epochs_are_what_was_reported(sweep: Sweep) -> None:
    rates = sweep.trials.set_index("trial")["config.lr"]
    assert sorted(rates) == RATES
    assert sweep.epochs.groupby("trial")["epoch"].agg(list).to_dict() == {
        trial: [1, 2] if rate == 0.8 else [1, 2, 3, 4] for trial, rate in rates.items()
    }
    for row in sweep.epochs.itertuples():
        assert row.val_top1_error == pytest.approx(reported(rates[row.trial], row.epoch))
        assert row.val_nll == 2.0 / row.epoch
        assert row.seconds > 0


def test_trials_are_told_by_how_they_ended(sweep: Sweep) -> None:
    trials = sweep.trials.set_index("config.lr")
    assert trials["status"].to_dict() == {0.1: "completed", 0.2: "completed", 0.8: "failed"}
    assert trials["why"].to_dict() == {0.1: "", 0.2: "", 0.8: "ValueError: loss is not finite"}
    assert trials["epochs"].to_dict() == {0.1: 4, 0.2: 4, 0.8: 2}
    assert trials["final_val_top1_error"].to_dict() == pytest.approx(
        {0.1: reported(0.1, 4), 0.2: reported(0.2, 4), 0.8: np.nan}, nan_ok=True
    )


def test_frames_are_those_of_a_sweep(sweep: Sweep) -> None:
    assert set(EPOCHS.columns.names) <= set(sweep.epochs)
    assert set(TRIALS.columns.names) - {"params", "config"} <= set(sweep.trials)
    assert (sweep.trials["config.net.depth"] == 8).all()
    assert list(sweep.trials["arm"].cat.categories) == ["off", "mixup"]
    assert varied(sweep.trials, "mixup") == ["lr", "policy"]
    assert statuses(sweep.trials)["failed"].to_dict() == {"off": 0, "mixup": 1}
    assert facts(sweep.manifest)["study"] == "learning_rates"
    assert sweep.epochs["params.lr"].isin(RATES).all()
    assert sweep.epochs["lr"].isna().all()  # never reported, so not known
    assert sweep.trials["dose_exposure"].isna().all()
    assert (len(sweep.decisions), len(sweep.evaluations)) == (0, 0)


def test_all_trials_are_one_arm_without_a_parameter_that_tells_them_apart() -> None:
    assert load_tune(RESULTS, metrics=ERROR).trials["arm"].unique().tolist() == ["learning_rates"]


def test_a_trial_with_fewer_epochs_was_stopped() -> None:
    status = load_tune(RESULTS, metrics=ERROR, max_epochs=6).trials["status"]
    assert sorted(status) == ["failed", "stopped", "stopped"]


def test_a_parameter_may_be_the_seed() -> None:
    assert load_tune(RESULTS, metrics=ERROR, seed="net.depth").trials["seed"].tolist() == [8] * 3


def test_tables_do_when_lines_are_missing(copied: Path) -> None:
    before = load_tune(copied, metrics=ERROR).epochs
    for path in copied.glob("*/result.json"):
        path.unlink()
    assert load_tune(copied, metrics=ERROR).epochs.equals(before)


@pytest.mark.parametrize("end", ['"time_since', '}}, "time'])
def test_a_line_cut_short_is_no_report(copied: Path, end: str) -> None:
    path = first(copied) / "result.json"
    text = path.read_text()
    path.write_text(text[: text.rindex(end) + 2])
    epochs = load_tune(copied, metrics=ERROR).epochs
    assert epochs.groupby("trial")["epoch"].max().tolist() == [3, 4, 2]


def test_of_a_report_that_comes_twice_the_later_counts(copied: Path) -> None:
    path = first(copied) / "result.json"
    again = json.loads(path.read_text().splitlines()[1]) | {"error": 0.25}
    path.write_text(path.read_text() + json.dumps(again) + "\n")
    epochs = load_tune(copied, metrics=ERROR).epochs
    errors = epochs[epochs["trial"] == epochs["trial"].iloc[0]].set_index("epoch")["val_top1_error"]
    assert errors.to_dict() == pytest.approx({1: 0.51, 2: 0.25, 3: reported(0.1, 3), 4: reported(0.1, 4)})


def test_a_column_that_one_trial_lacks_is_nan_there(copied: Path) -> None:
    path = first(copied) / "result.json"
    path.write_text(path.read_text().replace('"error"', '"other"'))
    errors = load_tune(copied, metrics=ERROR).epochs.groupby("trial", sort=False)["val_top1_error"].count()
    assert errors.tolist() == [0, 4, 2]


def test_a_trial_that_has_not_reported(copied: Path) -> None:
    for name in ("result.json", "progress.csv"):
        (first(copied) / name).unlink()
    trials = load_tune(copied, metrics=ERROR).trials
    assert trials["epochs"].tolist() == [0, 4, 2]


def test_without_a_snapshot_of_the_experiment(copied: Path) -> None:
    snapshot(copied).unlink()
    with pytest.warns(UserWarning, match=r"no snapshot .* has the status of '70097_00000', '70097_00001'"):
        trials = load_tune(copied, metrics=ERROR).trials
    assert trials["status"].tolist() == ["completed", "completed", "failed"]


def snapshot(folder: Path) -> Path:
    return next(folder.glob("experiment_state-*.json"))


def states(folder: Path) -> list[dict[str, Any]]:
    """States of the trials in the snapshot of Ray 2.60, by trial."""
    trials = [json.loads(row[0]) for row in json.loads(snapshot(folder).read_text())["trial_data"]]
    return sorted(trials, key=lambda trial: trial["trial_id"])


def before_2_4(trials: list[dict[str, Any]]) -> dict[str, Any]:
    return {"checkpoints": [json.dumps(trial, indent=2) for trial in trials], "runner_data": {}, "stats": {}}


def before_1_2(trials: list[dict[str, Any]]) -> dict[str, Any]:
    return {"checkpoints": trials, "runner_data": {}, "stats": {}}


def in_0_8(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Trials had a path on the machine that ran them."""
    for trial in trials:
        trial["logdir"] = f"/home/me/ray_results/learning_rates/{trial.pop('relative_logdir')}"
        del trial["trial_id"]
    return before_1_2(trials)


def by_id(trials: list[dict[str, Any]]) -> dict[str, Any]:
    for trial in trials:
        del trial["relative_logdir"]
    return before_2_4(trials)


@pytest.mark.parametrize("form", [before_2_4, before_1_2, in_0_8, by_id])
def test_snapshots_of_older_releases(copied: Path, form: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
    trials = states(copied)
    for trial, status in zip(trials, ("RUNNING", "PAUSED", "TERMINATED"), strict=True):
        trial["status"] = status
    snapshot(copied).unlink()
    (copied / "experiment_state.json").write_text(json.dumps(form(trials)))
    assert load_tune(copied, metrics=ERROR).trials["status"].tolist() == ["running", "paused", "stopped"]


def test_a_retried_trial_that_ended_well_is_completed(copied: Path) -> None:
    (first(copied) / "error.txt").write_text("Failure # 1 (occurred at 2026-11-24_18-18-40)\nRuntimeError: no power\n")
    trials = load_tune(copied, metrics=ERROR).trials
    assert trials["status"].tolist() == ["completed", "completed", "failed"]
    assert trials["why"].tolist() == ["", "", "ValueError: loss is not finite"]
    assert trials["final_val_top1_error"].iloc[0] == pytest.approx(reported(0.1, 4))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"trial_data": [["{\\"trial', "Unterminated string"),
        ('{"runner_data": {}}', "neither trial_data nor checkpoints"),
        ('{"checkpoints": [3]}', "a trial is 3"),
        ('{"trial_data": [[]]}', "index out of range"),
    ],
)
def test_a_damaged_snapshot_leaves_the_older_one(copied: Path, content: str, words: str) -> None:
    newer = copied / "experiment_state-2027-01-01_00-00-00.json"
    newer.write_text(content)
    with pytest.warns(UserWarning, match=rf"cannot read the snapshot '.*{newer.name}' \(.*{words}"):
        trials = load_tune(copied, metrics=ERROR).trials
    assert trials["status"].tolist() == ["completed", "completed", "failed"]


def test_the_newest_snapshot_counts(copied: Path) -> None:
    (changed, *_) = states(copied)
    newer = copied / "experiment_state-2027-01-01_00-00-00.json"
    newer.write_text(json.dumps(before_2_4([changed | {"status": "RUNNING"}])))
    assert load_tune(copied, metrics=ERROR).trials["status"].tolist() == ["running", "completed", "failed"]


def test_an_unknown_status_is_said(copied: Path) -> None:
    trials = [trial | {"status": "SLEEPING"} for trial in states(copied)]
    snapshot(copied).write_text(json.dumps(before_2_4(trials)))
    with pytest.warns(UserWarning, match=r"has the status 'SLEEPING' of '70097_00000', '70097_00001'"):
        assert load_tune(copied, metrics=ERROR).trials["status"].tolist() == ["completed", "completed", "failed"]


def test_a_line_cut_in_the_middle_hides_nothing_after_it(copied: Path) -> None:
    path = first(copied) / "result.json"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40] + lines[1], lines[2][:-3], lines[3]]))
    with pytest.warns(UserWarning, match=r"lines 2, 3 of '.*result\.json' cannot be read as a whole: 3 reports"):
        sweep = load_tune(copied, metrics=ERROR)
    errors = sweep.epochs[sweep.epochs["trial"] == "70097_00000"].set_index("epoch")["val_top1_error"]
    assert errors.to_dict() == pytest.approx({epoch: reported(0.1, epoch) for epoch in (1, 2, 4)})
    assert sweep.trials["final_val_top1_error"].iloc[0] == pytest.approx(reported(0.1, 4))


@pytest.mark.parametrize("lacking", [("params.json",), ("params.json", "result.json")])
def test_parameters_are_also_in_reports_and_snapshots(copied: Path, lacking: tuple[str, ...]) -> None:
    for name in lacking:
        (first(copied) / name).unlink()
    with pytest.warns(UserWarning, match=r"cannot read '.*params\.json' \(No such file"):
        trials = load_tune(copied, metrics=ERROR, arm="policy").trials
    assert trials["config.lr"].tolist() == RATES
    assert trials["arm"].tolist() == ["off", "mixup", "mixup"]


def test_a_damaged_table_is_named(copied: Path) -> None:
    (first(copied) / "result.json").unlink()
    table = first(copied) / "progress.csv"
    table.write_text(table.read_text() + "1,2,3" * 100)
    with pytest.raises(ValueError, match=r"cannot read '.*progress\.csv': .*repair or remove it"):
        load_tune(copied, metrics=ERROR)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metrics": {"error": "error"}}, "unknown column 'error', choose one of train_loss, val_top1_error"),
        ({"metrics": {"val_nll": "loss"}}, "no trial reported 'loss'; reported: error, nll, epoch"),
        ({"metrics": ERROR, "epoch": "step"}, "no trial reported 'step'"),
        ({"metrics": ERROR, "arm": "mix"}, "has no parameter 'mix'; it has: lr, net.depth, policy"),
        ({"metrics": ERROR, "seed": "seed"}, "seed: trial '70097_00000' has no parameter 'seed'"),
    ],
)
def test_what_is_not_there_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_tune(RESULTS, **given)  # type: ignore[arg-type]


def test_a_copied_trial_is_named(copied: Path) -> None:
    shutil.copytree(first(copied), copied / "zz copy")
    with pytest.raises(ValueError, match=r"zz copy' are of the same trial '70097_00000': move the copy away"):
        load_tune(copied, metrics=ERROR)


def test_a_folder_without_results_is_described(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, words in (
        (tmp_path, "none of its 0 folders has a params.json, result.json or progress.csv; it contains 'notes.txt'"),
        (tmp_path / "gone", "there is no such folder"),
        (RESULTS.parent, "it contains experiments; load one of them: 'learning_rates'"),
        (first(RESULTS), "it is the folder of one trial; load the folder of its experiment, '.*learning_rates'"),
    ):
        with pytest.raises(ValueError, match=f"no results of Ray Tune in '{folder}': {words}"):
            load_tune(folder, metrics=ERROR)
