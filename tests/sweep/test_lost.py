"""Sweeps whose records or models have lost something: resumed, they equal the undisturbed sweep."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search_spaces.study import Study
from sweep.conductor import Job
from sweep.ledger import model_damage, weights_path
from sweep.model_stamps import STAMPS, ModelStamps
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import DECISIONS, EPOCHS, EVALUATIONS, TABLES, TRIALS, Table
from sweep.records.tail import Tail
from sweep.records.writer import RecordsWriter, write_manifest
from sweep.remaining import read_remaining
from sweep.watch import Watch
from tests.search_spaces.early_stopping.variants import variants
from tests.sweep.conftest import falling, report
from trainables.intact import DamagedFile, set_aside
from trainables.saved_state import verify_state, write_state

MakeStudy = Callable[..., Study]
Row = Mapping[str, Any]

NOT_COMPARED = ["seq", "time_s", "attempts", "attempt", "resumed_at_epoch", "sweep"]
ARMS = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}
STOPPING = {
    name: rule.model_dump() for name, rule in variants(needed=2, grace_period_epochs=1, reduction_factor=2).items()
}


@pytest.fixture
def make(study_of: MakeStudy) -> Callable[..., Study]:
    """Return the function that makes a study with two searches per arm and a confirmation."""

    def make(rule: str = "asha", **changes: Any) -> Study:
        budget = {"trials": 6, "max_epochs": 4, "early_stopping": STOPPING[rule]}
        confirm = {"configs": 1, "searches": 2, "seeds": 2}
        return study_of(**{"arms": ARMS, "budget": budget, "confirm": confirm} | changes)

    return make


def lose(source: Path, target: Path, lost: Callable[[Table, Row], bool]) -> Path:
    """Write the records of a sweep to another folder, without some rows."""
    write_manifest(target, read_manifest(source))
    writer = RecordsWriter(target)
    for table in TABLES.values():
        for row in Tail(source, table).new_rows():
            if not lost(table, row):
                writer.add(table, {name: value for name, value in row.items() if name != "seq"})
    writer.flush(force=True)
    return target


def compared(sweep_dir: Path, table: Table) -> pd.DataFrame:
    """Return a table without the columns that an attempt changes, sorted by its key."""
    frame = read_table(sweep_dir, table).drop(columns=NOT_COMPARED, errors="ignore")
    return frame.sort_values(list(table.key), ignore_index=True)


def assert_equal(sweep_dir: Path, undisturbed: Path) -> None:
    for table in TABLES.values():
        pd.testing.assert_frame_equal(compared(sweep_dir, table), compared(undisturbed, table), check_dtype=False)
        key = list(table.key)
        assert table is TRIALS or not pd.DataFrame(Tail(sweep_dir, table).new_rows(), columns=key).duplicated().any()


def of(table: Table, trial: str, *, epochs: tuple[int, ...] | None = None) -> Callable[[Table, Row], bool]:
    """Return the function that selects the rows of one trial, or some of its epochs."""
    return lambda other, row: (
        other is table and row["trial"] == trial and (epochs is None or row.get("epoch") in epochs)
    )


@pytest.fixture
def undisturbed(simulate: Any, make: Callable[..., Study], tmp_path: Path) -> Path:
    simulate(make(), tmp_path / "undisturbed", n_workers=1).run()
    return tmp_path / "undisturbed"


def some(sweep_dir: Path, status: str, *, confirm: bool = False) -> str:
    trials = read_table(sweep_dir, TRIALS)
    return str(trials.loc[(trials["status"] == status) & trials["confirms"].notna().eq(confirm), "trial"].iloc[0])


LOSSES: dict[str, Callable[[Path], Callable[[Table, Row], bool]]] = {
    "the middle of a curve": lambda folder: of(EPOCHS, some(folder, "completed"), epochs=(2, 3)),
    "the end of a curve": lambda folder: of(EPOCHS, some(folder, "completed"), epochs=(3, 4)),
    "the curve of a stopped trial": lambda folder: of(EPOCHS, some(folder, "stopped")),
    "the curve of a confirmation": lambda folder: of(EPOCHS, some(folder, "completed", confirm=True)),
    "all epochs": lambda _: lambda table, _row: table is EPOCHS,
    "decisions": lambda folder: of(DECISIONS, some(folder, "stopped")),
    "all decisions": lambda _: lambda table, _row: table is DECISIONS,
    "the row of a completed trial": lambda folder: of(TRIALS, some(folder, "completed")),
    "the row of a stopped trial": lambda folder: of(TRIALS, some(folder, "stopped")),
    "the row of a confirmation": lambda folder: of(TRIALS, some(folder, "completed", confirm=True)),
    "the end of every trial": lambda _: lambda table, row: table is TRIALS and row["status"] != "running",
    "all rows of the trials": lambda _: lambda table, _row: table is TRIALS,
    "one test value": lambda _: (
        lambda table, row: table is EVALUATIONS and row["metric"] == "nll" and row["trial"].endswith("00")
    ),
    "all test values": lambda _: lambda table, _row: table is EVALUATIONS,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_lost_is_regained(
    simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path, loss: str
) -> None:
    sweep_dir = lose(undisturbed, tmp_path / "lost", LOSSES[loss](undisturbed))
    simulate(make(), sweep_dir, n_workers=1).run()
    assert_equal(sweep_dir, undisturbed)
    assert read_remaining(sweep_dir, read_manifest(sweep_dir)).n_left == 0
    assert simulate(make(), sweep_dir).run().jobs == []


def test_a_trial_of_which_nothing_is_left_begins_again(
    simulate: Any, make: Callable[..., Study], tmp_path: Path
) -> None:
    """Without a rule its results do not depend on the order of the trials."""
    simulate(make("none"), tmp_path / "undisturbed", n_workers=1).run()
    lost = [some(tmp_path / "undisturbed", "completed"), some(tmp_path / "undisturbed", "completed", confirm=True)]
    sweep_dir = lose(tmp_path / "undisturbed", tmp_path / "lost", lambda _, row: row["trial"] in lost)
    session = simulate(make("none"), sweep_dir).run()
    assert [job.trial for job in session.jobs] == lost
    assert_equal(sweep_dir, tmp_path / "undisturbed")


@pytest.mark.parametrize("seed", range(4))
def test_any_lost_range_of_a_table_is_regained(
    simulate: Any, make: Callable[..., Study], tmp_path: Path, seed: int
) -> None:
    """Also while the sweep is under way: a range of rows of one table is lost, with one worker."""
    luck, folder = random.Random(seed), tmp_path
    study = make(luck.choice(list(STOPPING)), search=luck.choice(["random", "quasi_random"]), seed=seed)
    simulate(study, folder / "undisturbed", n_workers=1).run()
    cut = simulate(study, folder / "cut", n_workers=1).run(luck.choice([None, luck.randrange(60)]))
    cut.conductor.flush(force=True)
    table = luck.choice([EPOCHS, DECISIONS, TRIALS, EVALUATIONS])
    n_rows = len(Tail(folder / "cut", table).new_rows())
    first = luck.randrange(n_rows + 1)
    last = luck.randrange(first, n_rows + 1)
    sweep_dir = lose(folder / "cut", folder / "lost", lambda other, row: other is table and first <= row["seq"] <= last)
    session = simulate(study, sweep_dir, n_workers=1).run(luck.choice([None, luck.randrange(20)]))  # killed again
    del session
    simulate(study, sweep_dir, n_workers=1).run()
    assert_equal(sweep_dir, folder / "undisturbed")


class TestWhatRunsAgain:
    def test_only_what_is_lost(
        self, simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path
    ) -> None:
        trial, warnings = some(undisturbed, "stopped"), []
        sweep_dir = lose(undisturbed, tmp_path / "lost", of(EPOCHS, trial))
        n_epochs = read_table(undisturbed, TRIALS).set_index("trial").loc[trial, "epochs"]
        remaining = read_remaining(sweep_dir, read_manifest(sweep_dir))
        assert (remaining.n_left, remaining.n_trials) == (1, len(read_table(undisturbed, TRIALS)))
        (job,) = simulate(make(), sweep_dir, warn=warnings.append).run().jobs
        assert (job.trial, job.recorded_epochs, job.last_epoch) == (trial, 0, n_epochs)
        assert warnings == [f"the records lack values of trial {trial}: they are computed again"]

    def test_lost_test_values_need_no_epoch(
        self, simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path
    ) -> None:
        trial = some(undisturbed, "completed", confirm=True)
        sweep_dir = lose(undisturbed, tmp_path / "lost", of(EVALUATIONS, trial))
        (job,) = simulate(make(), sweep_dir).run().jobs
        assert (job.trial, job.recorded_epochs, job.last_epoch, job.test) == (trial, 4, 4, True)

    def test_lost_epochs_before_trials_that_are_judged_by_them(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        """Other trials of the search wait; trials of other searches do not."""
        study = make()
        session = simulate(study, tmp_path / "cut", n_workers=1).run(9)
        session.conductor.flush(force=True)
        sweep_dir = lose(tmp_path / "cut", tmp_path / "lost", of(EPOCHS, "off-0000", epochs=(1,)))
        conductor = simulate(study, sweep_dir).conductor
        jobs = [job for _ in range(20) if (job := conductor.next_job())]
        assert jobs[0].trial == "off-0000"
        others = {(job.trial.split("-")[0], conductor.entries[job.trial].search) for job in jobs[1:]}
        assert others == {("off", 1), ("cutmix", 0), ("cutmix", 1)}
        assert conductor.may_go_on

    def test_a_value_that_differs_is_said_and_not_recorded(
        self, simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path
    ) -> None:
        trial, warnings = some(undisturbed, "completed"), []
        sweep_dir = lose(undisturbed, tmp_path / "lost", of(EPOCHS, trial, epochs=(4,)))

        def curve(job: Job, epoch: int) -> dict[str, Any]:
            return falling(job, epoch) | ({"val_ece": 0.75} if epoch == 2 else {})

        conductor = simulate(make(), sweep_dir, warn=warnings.append).conductor
        job = conductor.next_job()
        assert job is not None
        for epoch in (1, 2, 3, 4):  # its state is gone: it begins again
            ended = conductor.on_report(trial, report(job, epoch, curve(job, epoch)))
            assert ended == (epoch == 4)
        conductor.flush(force=True)
        assert_equal(sweep_dir, undisturbed)
        assert [warning for warning in warnings if "differs" in warning] == [
            f"trial {trial}: epoch 2 was computed again and differs: val_ece is 0.75, recorded 0.05; another machine "
            "or library computes other values; recorded values are kept"
        ]

    def test_decisions_whose_order_is_lost_are_said(
        self, simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path
    ) -> None:
        first, warnings = of(EPOCHS, "off-0000", epochs=(1,)), []
        both = lambda table, row: first(table, row) or of(DECISIONS, "off-0000")(table, row)  # noqa: E731
        simulate(make(), lose(undisturbed, tmp_path / "epochs", first), warn=warnings.append)
        assert len(warnings) == 1
        simulate(make(), lose(undisturbed, tmp_path / "both", both), warn=warnings.append)
        assert warnings[-1].startswith("epochs and decisions of search 0 of arm off are lost: its lost decisions are")

    def test_a_trial_that_fails_before_it_has_regained_its_epochs_stays_open(
        self, simulate: Any, make: Callable[..., Study], undisturbed: Path, tmp_path: Path
    ) -> None:
        trial, warnings = some(undisturbed, "completed"), []
        sweep_dir = lose(undisturbed, tmp_path / "lost", of(EPOCHS, trial, epochs=(3, 4)))
        fail = lambda *_: {"failed": "Traceback\nOSError: no images"}  # noqa: E731
        session = simulate(make(), sweep_dir, curve=fail, warn=warnings.append).run()
        assert [job.trial for job in session.jobs] == [trial]
        assert warnings[1:] == [
            f"trial {trial} could not regain what is lost: OSError: no images; its recorded end stays (completed), and "
            "resume runs it again"
        ]
        watch = Watch(session.conductor, sweep_dir, clock=itertools.count(0, 5).__next__)
        watch.on_report(trial)
        assert not any(watch.silent_trials() for _ in range(1000))
        assert f"lost epochs of trial {trial} could not be computed again" in str(watch.ending())
        simulate(make(), sweep_dir, n_workers=1).run()
        assert_equal(sweep_dir, undisturbed)

    def test_a_failed_trial_keeps_the_kind_of_its_failure(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        failure = {"failed": "no memory", "fault": "memory"}
        fail = lambda job, epoch: failure if (job.trial, epoch) == ("off-0000", 3) else falling(job, epoch)  # noqa: E731
        simulate(make("none"), tmp_path / "failed", curve=fail, n_workers=1).run()
        sweep_dir = lose(tmp_path / "failed", tmp_path / "lost", of(EPOCHS, "off-0000", epochs=(1,)))
        simulate(make("none"), sweep_dir, n_workers=1).run()
        assert_equal(sweep_dir, tmp_path / "failed")
        assert read_table(sweep_dir, TRIALS).set_index("trial").loc["off-0000", "fault"] == "memory"

    @pytest.mark.parametrize("epochs", [(), (1,)])
    def test_a_lost_choice_of_tpe_counts_as_failed(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path, epochs: tuple[int, ...]
    ) -> None:
        """Its number would get other parameters now, which its recorded epochs do not belong to."""
        study, warnings = make(search="tpe"), []
        simulate(study, tmp_path / "cut", n_workers=1).run(20).conductor.flush(force=True)
        row, curve = of(TRIALS, "off-0000"), of(EPOCHS, "off-0000", epochs=epochs)
        lost = lambda table, each: row(table, each) or curve(table, each)  # noqa: E731
        sweep_dir = lose(tmp_path / "cut", tmp_path / "lost", lost)
        ended = simulate(study, sweep_dir, warn=warnings.append).run()
        assert "off-0000" not in {job.trial for job in ended.jobs}
        assert warnings == ["trial off-0000 counts as failed: the records have lost the parameters that tpe had chosen"]
        row = read_table(sweep_dir, TRIALS).set_index("trial").loc["off-0000"]
        assert (row["status"], row["fault"], row["params"]) == ("failed", "disk", "{}")
        assert simulate(study, sweep_dir, retry_failed=True, warn=warnings.append).run().jobs == []
        assert len(warnings) == 1


def with_models(sweep_dir: Path) -> Callable[[Job, int], dict[str, Any]]:
    """Return a curve of trials that write a small model after their last epoch."""

    def curve(job: Job, epoch: int) -> dict[str, Any]:
        values = falling(job, epoch)
        if epoch == job.config.optimizer.max_epochs:
            path = weights_path(sweep_dir, job.trial)
            values["model_sha256"] = write_state(path, {"trial": job.trial})
        return values

    return curve


class TestModels:
    @pytest.mark.parametrize("damage", ["flipped", "missing", "another"])
    def test_a_damaged_model_is_regained(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path, damage: str
    ) -> None:
        study, folder, warnings = make(), tmp_path / "sweep", []
        simulate(study, folder, curve=with_models(folder), n_workers=1).run()
        lose(folder, tmp_path / "before", lambda *_: False)
        trial = some(folder, "completed")
        path = weights_path(folder, trial)
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "another":
            path.write_bytes(weights_path(folder, some(folder, "completed", confirm=True)).read_bytes())
        else:
            path.write_bytes(content[:50] + bytes([content[50] ^ 4]) + content[51:])
        session = simulate(study, folder, curve=with_models(folder), regain_models=True, warn=warnings.append)
        assert session.conductor.n_left == 1
        assert [job.trial for job in session.run().jobs] == [trial]
        assert path.read_bytes() == content
        assert path.with_name(f"{trial}.pt.damaged-1").exists() == (damage != "missing")
        assert len(warnings) == 1
        assert trial in warnings[0]
        assert_equal(folder, tmp_path / "before")

    def test_a_trial_that_cannot_regain_its_model_keeps_its_result(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        study, folder, warnings = make(), tmp_path / "sweep", []
        simulate(study, folder, curve=with_models(folder), n_workers=1).run()
        before = read_table(folder, TRIALS)
        weights_path(folder, some(folder, "completed")).unlink()
        curve = lambda *_: {"failed": "Traceback\nValueError: no images"}  # noqa: E731
        ended = simulate(study, folder, curve=curve, regain_models=True, warn=warnings.append).run()
        assert ended.conductor.n_left == 0
        pd.testing.assert_frame_equal(read_table(folder, TRIALS), before)
        assert warnings[-1] == f"trial {ended.jobs[0].trial} could not regain what is lost: ValueError: no images"

    def test_models_are_not_missed_unless_asked(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        study, folder = make(), tmp_path / "sweep"
        simulate(study, folder, curve=with_models(folder), n_workers=1).run()
        weights_path(folder, some(folder, "completed")).unlink()
        assert simulate(study, folder).run().jobs == []

    def test_models_that_have_not_changed_are_read_once(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study, folder, warnings = make(), tmp_path / "sweep", []
        simulate(study, folder, curve=with_models(folder), n_workers=1).run()
        simulate(study, folder, regain_models=True)
        changed, missing = (some(folder, "completed", confirm=confirm) for confirm in (False, True))
        read: list[str] = []
        monkeypatch.setattr("sweep.model_stamps.model_damage", lambda _, trial, sha256: read.append(trial))
        weights_path(folder, changed).touch()
        simulate(study, folder, regain_models=True)
        assert read == [changed]
        monkeypatch.undo()
        weights_path(folder, missing).unlink()
        assert simulate(study, folder, regain_models=True, warn=warnings.append).conductor.n_left == 1
        assert warnings == [
            f"the model is missing of trial {missing}: it is trained again; to leave it, end this run and use: "
            f"cutmix-sweep resume {folder} --no-models"
        ]

    def test_a_model_is_read_again_if_anything_shows_a_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, read = weights_path(tmp_path, "off-0000"), []
        damage: list[DamagedFile | None] = [None]
        monkeypatch.setattr("sweep.model_stamps.model_damage", lambda *model: read.append(model) or damage[0])

        def is_read(sha256: str = "1") -> bool:
            read.clear()
            stamps = ModelStamps(tmp_path)
            stamps.damage("off-0000", sha256)
            stamps.write()
            return bool(read)

        path.parent.mkdir()
        path.write_bytes(b"model")
        assert [is_read(), is_read()] == [True, False]
        os.utime(path, ns=(5, 5))
        assert [is_read(), is_read()] == [True, False]
        path.write_bytes(b"larger model")
        os.utime(path, ns=(5, 5))
        assert [is_read(), is_read()] == [True, False]
        Path(shutil.copy2(path, tmp_path / "copy")).rename(path)
        assert [is_read(), is_read()] == [True, False]
        assert [is_read("2"), is_read("2")] == [True, False]
        path.with_name(STAMPS).write_text("{")
        assert [is_read("2"), is_read("2")] == [True, False]
        path.with_name(STAMPS).unlink()
        path.with_name(STAMPS).mkdir()  # it cannot be written
        assert [is_read(), is_read()] == [True, True]
        path.with_name(STAMPS).rmdir()
        damage[0] = DamagedFile(path, "no state")
        assert [is_read(), is_read()] == [True, True]

    def test_the_recorded_model_is_named_to_the_worker_that_regains_epochs(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        study, folder = make(), tmp_path / "sweep"
        simulate(study, folder, curve=with_models(folder), n_workers=1).run()
        trial = some(folder, "completed")
        (job,) = simulate(study, lose(folder, tmp_path / "lost", of(EPOCHS, trial))).run().jobs
        assert job.model_sha256 == verify_state(weights_path(folder, trial))

    def test_a_model_of_an_older_version_that_was_set_aside_is_missed(self, tmp_path: Path) -> None:
        path = weights_path(tmp_path, "off-0000")
        path.parent.mkdir()
        assert model_damage(tmp_path, "off-0000", None) is None
        path.write_bytes(b"no state")
        set_aside(path)
        assert "it is missing" in str(model_damage(tmp_path, "off-0000", None))

    def test_the_state_of_a_trial_stays_until_its_model_can_be_read(
        self, simulate: Any, make: Callable[..., Study], tmp_path: Path
    ) -> None:
        def curve(job: Job, epoch: int) -> dict[str, Any]:
            return falling(job, epoch) | ({"model_sha256": "0" * 64} if epoch == 4 else {})

        folder = tmp_path / "sweep"
        simulate(make("none"), folder, curve=curve, n_workers=1).run(4).conductor.flush(force=True)
        assert [path.stem for path in (folder / "checkpoints").iterdir()] == ["off-0000"]


def test_a_new_winner_after_a_repair_is_said_and_confirmed(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    """A failed trial is not among the candidates; retried, it wins."""
    budget = {"trials": 3, "max_epochs": 2, "early_stopping": STOPPING["none"]}
    study = study_of(arms={"off": {}}, budget=budget, confirm={"configs": 1, "searches": 1, "seeds": 2})
    levels = {"off-0000": 0.3, "off-0001": 0.1, "off-0002": 0.2}

    def curve(job: Job, _: int) -> dict[str, Any]:
        return {"val_nll": levels[job.trial[:8]]}

    def failing(job: Job, epoch: int) -> dict[str, Any]:
        return {"failed": "bug"} if job.trial == "off-0001" else curve(job, epoch)

    simulate(study, tmp_path, curve=failing).run()
    warnings: list[str] = []
    simulate(study, tmp_path, curve=curve, retry_failed=True, warn=warnings.append).run()
    assert warnings == [
        "the winner of search 0 of arm off is now off-0001, which is confirmed next; the confirmation of off-0002 "
        "stays recorded"
    ]
    confirms = read_table(tmp_path, TRIALS)["confirms"].dropna()
    assert confirms.value_counts().to_dict() == {"off-0001": 2, "off-0002": 2}
