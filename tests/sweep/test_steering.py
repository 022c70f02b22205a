"""Steering a sweep while it runs: requests in its inbox, and what they do to its trials, rungs, study and records."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.extension import extended
from search_spaces.study import Study
from sweep import control
from sweep.control import extend_running, pause_sweep, resume_paused, set_value, stop_sweep, stop_trials
from sweep.endings import Joined, Stopped
from sweep.findings.explain import explain
from sweep.followed import FollowedSweep
from sweep.inbox import Inbox, Request, Result, new_request
from sweep.ledger import checkpoint_path
from sweep.lock import locked
from sweep.records import manifest_file
from sweep.records.reader import read_manifest, read_rows, read_sweep
from sweep.records.schema import DECISIONS, EPOCHS
from sweep.records.study_edits import check_study
from sweep.remaining import read_remaining
from sweep.request_files import MAX_BYTES
from sweep.search import PastTrial, propose
from sweep.status import read_status
from sweep.steering import Steering
from sweep.watch import Watch
from tests.slots import fixed_slots
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]
WHY = "by kim at 2026-11-28 12:03:10+00:00"
TWO_ARMS = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}
OWN_ARM = {"mix": {"preset": "cutmix", "mask": {"family": "mypkg.masks:Diamond"}}}
NONE = {"rule": "none"}


def trials_of(sweep_dir: Path) -> dict[str, dict[Any, Any]]:
    """Return the recorded trials of both phases by name."""
    phases = (read_sweep(sweep_dir), read_sweep(sweep_dir, "confirm"))
    return {row["trial"]: row for records in phases for row in records.trials.to_dict("records")}


def killed_copy(sweep_dir: Path) -> Path:
    """Return the place of a copy of a sweep, in which its driver is taken for killed."""
    return sweep_dir.with_name(f"{sweep_dir.name}-killed")


def steering_of(session: Any, **options: Any) -> Steering:
    return Steering(session.conductor, session.sweep_dir, clock=itertools.count(0, 5).__next__, **options)


def ask(session: Any, steering: Steering, verb: Any, **content: Any) -> Result:
    """Write a request, let the driver apply it, and return the result."""
    inbox = Inbox(session.sweep_dir)
    name = inbox.add(new_request(verb, **content))
    steering.update()
    result = inbox.result(name)
    assert result is not None
    assert not inbox.pending()
    return result


class TestInbox:
    def test_keeps_the_order_and_the_result(self, tmp_path: Path) -> None:
        inbox = Inbox(tmp_path)
        names = [inbox.add(new_request(verb)) for verb in ("pause", "resume", "stop")]
        assert [pending.name for pending in inbox.pending()] == names
        assert inbox.result(names[0]) is None
        inbox.finish(names[0], Result(applied=False, text="no"))
        assert inbox.result(names[0]) == Result(applied=False, text="no")
        assert inbox.withdraw(names[1])
        assert not inbox.withdraw(names[1])
        assert [pending.name for pending in inbox.pending()] == names[2:]

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"{", "Expecting"),
            (b"[]", "not a request"),
            (b" " * (MAX_BYTES + 1), "not a request"),
            (b"[" * 60_000, ""),
            (b'{"verb": "delete", "by": "kim", "at": "now"}', "delete"),
            (b'{"verb": "stop", "by": "kim", "at": "now", "trails": "off-0000"}', "trails"),
            (None, ""),
        ],
    )
    def test_what_is_no_request_is_refused(self, tmp_path: Path, content: bytes | None, problem: str) -> None:
        inbox, name = Inbox(tmp_path), "0-x.json"
        inbox.folder.mkdir()
        if content is None:
            (inbox.folder / name).symlink_to("/etc/passwd")
        else:
            (inbox.folder / name).write_bytes(content)
        (pending,) = inbox.pending()
        assert pending.request is None
        assert problem in pending.problem
        inbox.finish(name, Result(applied=False, text="no"))
        assert not inbox.pending()

    def test_is_not_written_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "inbox").symlink_to("/tmp")
        with pytest.raises(UserError, match="is a link"):
            Inbox(tmp_path).add(new_request("pause"))

    def test_a_reason_is_one_line_without_control_characters(self) -> None:
        request = Request(verb="pause", by="kim", at="now", reason="too\n\x1b[31mhot")
        assert request.why == "by kim at now: too \\x1b[31mhot"
        with pytest.raises(UserError, match="--reason has 300"):
            new_request("pause", reason="x" * 300)


class TestCancelledTrial:
    def test_ends_at_its_next_report_and_stays_ended(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of()
        session = simulate(study, tmp_path)
        session.run(3)
        running = session.conductor.running[0]
        epochs = running.epochs
        text = session.conductor.cancel_trial(running.trial, WHY)
        assert "its worker stops it at the end of its epoch" in text
        simulate(study, shutil.copytree(tmp_path, killed_copy(tmp_path))).run()
        session.run()
        for folder in (tmp_path, killed_copy(tmp_path)):
            row = trials_of(folder)[running.trial]
            assert (row["status"], row["why"], row["epochs"]) == ("cancelled", WHY, epochs)
            assert not checkpoint_path(folder, running.trial).exists()
            assert not read_rows(folder, EPOCHS).to_pandas().duplicated(["trial", "epoch"]).any()
        assert session.conductor.n_left == 0
        assert explain(row, []) == f"{running.trial} was stopped {WHY}, after {epochs} epochs; no rule decided this."

    @pytest.mark.parametrize("mode", ["stop", "promote"])
    def test_is_in_no_rung_afterwards(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, mode: str) -> None:
        """Later decisions are those of a rule that has not seen it, also after a kill."""
        stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2, "mode": mode}
        budget = {"trials": 9, "max_epochs": 5, "early_stopping": stopping}
        study = study_of(arms={"off": {"mix": "off"}}, budget=budget)
        values = [0.1, 0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.55, 0.45]

        def curve(job: Any, epoch: int) -> dict[str, Any]:
            return {"val_nll": values[int(job.trial[-4:])] / epoch, "val_top1_error": 0.5}

        session = simulate(study, tmp_path, curve=curve, n_workers=1)
        session.run(3)  # of the best trial, which passed the rungs 1 and 2
        session.conductor.cancel_trial("off-0000", WHY)
        killed = simulate(study, shutil.copytree(tmp_path, killed_copy(tmp_path)), curve=curve, n_workers=1)
        for each in (session.run(), killed.run()):
            rule = study.budget.early_stopping.build(5)
            assert rule is not None
            decisions = read_rows(each.sweep_dir, DECISIONS).to_pandas()
            later = decisions[decisions["trial"] != "off-0000"].to_dict("records")
            assert len(later) > 8
            for row in later:
                judged = rule.observe(int(row["trial"][-4:]), row["rung_epochs"], row["value"])
                assert judged is not None
                assert (judged.verdict, judged.n_recorded) == (row["verdict"], row["n_recorded"])

    def test_may_not_have_begun(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path)
        session.run(2)
        session.conductor.cancel_trial("cutmix-0003", WHY)
        session.run()
        row = trials_of(tmp_path)["cutmix-0003"]
        assert (row["status"], row["epochs"], row["attempts"]) == ("cancelled", 0, 0)
        assert "cutmix-0003" not in {job.trial for job in session.jobs}
        assert len(trials_of(tmp_path)) == 12

    @pytest.mark.parametrize(
        ("trial", "reason"), [("off-0000", "has ended already: completed"), ("of-0000", "did you mean 'off-0000'")]
    )
    def test_is_refused_otherwise(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, trial: str, reason: str
    ) -> None:
        study = study_of(budget={"trials": 1, "max_epochs": 1, "early_stopping": NONE})
        session = simulate(study, tmp_path).run()
        with pytest.raises(UserError, match=reason):
            session.conductor.cancel_trial(trial, WHY)

    def test_teaches_tpe_nothing(self, study_of: MakeStudy) -> None:
        study = study_of(search="tpe")
        past = [PastTrial(study.draw("off", n), {1: 0.1 * n}, completed=True, ended=True) for n in range(6)]
        seen = [PastTrial({"optimizer.lr": 0.9 + n / 100}, {1: -1.0}, completed=True, ended=True) for n in range(6)]
        without = propose(study, "off", 7, past)
        assert propose(study, "off", 7, [*past, *(replace(trial, cancelled=True) for trial in seen)]) == without
        assert propose(study, "off", 7, [*past, *seen]) != without

    def test_that_lost_epochs_does_not_regain_them(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path)
        session.run(3)
        trial = session.conductor.running[0].trial
        session.conductor.cancel_trial(trial, WHY)
        for folder in (tmp_path / "records" / "epochs", tmp_path / "records" / "copies" / "epochs"):
            shutil.rmtree(folder)
        warnings: list[str] = []
        again = simulate(study_of(), tmp_path, warn=warnings.append)
        assert again.conductor.entries[trial].status == "cancelled"
        assert not any(trial in warning for warning in warnings)
        assert read_remaining(tmp_path, read_manifest(tmp_path)).n_left == again.conductor.n_left


class TestCancelledArm:
    def test_ends_whole_and_the_others_go_on(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(
            confirm={"searches": 2, "seeds": 2}, budget={"trials": 6, "max_epochs": 2, "early_stopping": NONE}
        )
        session = simulate(study, tmp_path)
        session.run(9)  # arm off has completed trials, running ones, and some that have not begun
        text = session.conductor.cancel_arm("off", WHY)
        session.run()
        rows = trials_of(tmp_path)
        off = [row for row in rows.values() if row["arm"] == "off"]
        assert {row["status"] for row in off} == {"completed", "cancelled"}
        assert f"{sum(row['status'] == 'cancelled' for row in off)} trials cancelled" in text
        assert sum(row["phase"] == "search" for row in off) == 6
        assert all(row["status"] == "cancelled" for row in off if row["phase"] == "confirm")
        others = [row for row in rows.values() if row["arm"] != "off"]
        assert len(others) == 2 * (6 + 4)
        assert {row["status"] for row in others} == {"completed"}
        status = read_status(tmp_path)
        assert status.state == "ended"
        assert "A person stopped" in status.verdict
        assert "so the arms have unequal budgets" in status.verdict
        with pytest.raises(UserError, match="have ended already"):
            session.conductor.cancel_arm("off", WHY)

    def test_of_another_name_is_refused(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="did you mean 'cutmix'"):
            simulate(study_of(), tmp_path).conductor.cancel_arm("cutmx", WHY)


def test_a_cancelled_confirmation_is_a_missing_seed(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    study = study_of(
        arms=TWO_ARMS,
        confirm={"searches": 1, "seeds": 3},
        budget={"trials": 2, "max_epochs": 1, "early_stopping": NONE},
    )
    session = simulate(study, tmp_path, n_workers=1)
    while not (confirming := [entry for entry in session.conductor.entries.values() if entry.confirms]):
        session.run(1)
    winner = confirming[0].confirms
    other = f"{winner}-confirm-02"
    session.conductor.cancel_trial(other, WHY)
    session.run()
    status = read_status(tmp_path)
    counts = dict(zip(status.confirmed["arm"], status.confirmed["n_seeds"], strict=True))
    assert counts[confirming[0].arm] == 2
    assert set(counts.values()) == {2, 3}
    assert f"A person stopped 1 confirmation trial ({confirming[0].arm} 1): its seed is missing." in status.verdict


class TestPause:
    def test_ends_running_trials_at_their_next_epoch_and_starts_none(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of()
        session = simulate(study, tmp_path)
        session.run(3)
        lines: list[str] = []
        steering = steering_of(session, show=lines.append)
        epochs = {entry.trial: entry.epochs for entry in session.conductor.running}
        assert ask(session, steering, "pause", reason="the room is hot").text.startswith("paused, 2 running trials end")
        session.run(20)
        steering.update()
        assert session.conductor.running == []
        assert {trial: session.conductor.entries[trial].epochs for trial in epochs} == {
            trial: count + 1 for trial, count in epochs.items()
        }
        assert "the room is hot: no trial runs; resume with: cutmix-sweep resume" in lines[-1]
        followed = FollowedSweep(tmp_path)
        assert followed.running == []
        waiting = trials_of(tmp_path)[next(iter(epochs))]
        assert explain(waiting, []).startswith(f"{waiting['trial']} waits: paused by ")
        assert not ask(session, steering, "pause").applied
        killed = simulate(study, shutil.copytree(tmp_path, killed_copy(tmp_path))).run()
        assert ask(session, steering, "resume").applied
        assert not ask(session, steering, "resume").applied
        for each in (session.run(), killed):
            assert each.conductor.n_left == 0
            assert not read_rows(each.sweep_dir, EPOCHS).to_pandas().duplicated(["trial", "epoch"]).any()
            assert not any(list(checkpoint_path(each.sweep_dir, "x").parent.iterdir()))

    def test_of_few_slots_sets_the_last_trials_aside(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(
            study_of(budget={"trials": 2, "max_epochs": 9, "early_stopping": NONE}), tmp_path, n_workers=3
        )
        session.run(3)
        first = session.conductor.running[0].trial
        steering = steering_of(session)
        assert ask(session, steering, "set", values={"max_trials": "1"}).applied
        session.run(3)
        assert [entry.trial for entry in session.conductor.running] == [first]
        assert not ask(session, steering, "set", values={"max_trials": "0"}).applied
        assert ask(session, steering, "set", values={"max_trials": "null"}).applied
        session.run(1)
        assert len(session.conductor.running) == 3
        session.run()
        assert {row["epochs"] for row in trials_of(tmp_path).values()} == {9}


class TestExtension:
    def test_gives_the_records_of_the_larger_study(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        small = study_of(arms=TWO_ARMS, confirm={"searches": 2, "seeds": 1}, budget={"trials": 4, "max_epochs": 2})
        session = simulate(small, tmp_path / "grown")
        session.run(7)
        steering = steering_of(session)
        arms = {"fmix": {"mix": "fmix"}}
        assert ask(session, steering, "extend", values={"trials": 1, "arms": arms}).text.startswith(
            "added: trials per search +1, arms"
        )
        session.run(5)
        assert ask(session, steering, "extend", values={"searches": 1, "seeds": 1}).applied
        session.run()
        large = extended(extended(small, trials=1, arms=arms), searches=1, seeds=1)
        simulate(large, tmp_path / "large").run()
        grown, expected = (trials_of(tmp_path / name) for name in ("grown", "large"))
        keys = ("params", "seed", "search", "control")
        search = {name for name, row in expected.items() if row["phase"] == "search"}
        assert {name for name, row in grown.items() if row["phase"] == "search"} == search
        for name in search:
            assert [grown[name].get(key) for key in keys] == [expected[name].get(key) for key in keys]
        check_study(tmp_path / "grown")
        assert simulate(large, tmp_path / "grown").conductor.n_left == 0

    @pytest.mark.parametrize("instant", ["before the copy", "before the result"])
    def test_is_applied_once_although_a_kill_comes(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
    ) -> None:
        session = simulate(study_of(budget={"trials": 4, "max_epochs": 2}), tmp_path)
        session.run(2)
        steering, inbox = steering_of(session), Inbox(tmp_path)
        name = inbox.add(new_request("extend", values={"trials": 2}))

        def kill(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        write = manifest_file.write_checked_json
        if instant == "before the copy":
            monkeypatch.setattr(
                manifest_file, "write_checked_json", lambda path, *more, **__: write(path, *more) if not __ else kill()
            )
        else:
            monkeypatch.setattr(Inbox, "finish", kill)
        with pytest.raises(KeyboardInterrupt):
            steering.update()
        monkeypatch.undo()
        check_study(tmp_path)
        study = Study.model_validate_json(json.dumps(read_manifest(tmp_path)["study"]))
        assert study.trials_per_arm == 6
        again = simulate(study, tmp_path)
        steering_of(again).update()
        result = inbox.result(name)
        assert result is not None
        assert result.applied
        assert again.conductor.study.trials_per_arm == 6
        again.run()
        assert len(trials_of(tmp_path)) == 18

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({}, "nothing to add"),
            ({"trails": 1}, "did you mean 'trials'"),
            ({"arms": {"off": {"mix": "off"}}}, "has an arm 'off' already"),
            ({"arms": {"deep": {"mix": "off", "base": {"model": {"name": "resnet18"}}}}}, "another network"),
            ({"arms": {"own": OWN_ARM}}, "do not have the mask family 'mypkg.masks:Diamond'"),
            ({"seeds": 1}, "confirms nothing"),
        ],
    )
    def test_is_refused_before_anything_changes(
        self,
        simulate: Any,
        study_of: MakeStudy,
        tmp_path: Path,
        own_package: Path,
        values: dict[str, Any],
        reason: str,
    ) -> None:
        session = simulate(study_of(), tmp_path)
        before = (tmp_path / "sweep.json").read_bytes()
        result = ask(session, steering_of(session), "extend", values=values)
        assert not result.applied
        assert reason in result.text
        assert (tmp_path / "sweep.json").read_bytes() == before

    def test_of_a_limit(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path)
        steering = steering_of(session)
        assert ask(session, steering, "set", values={"budget.limits.gpu_hours": "8"}).applied
        assert session.conductor.study.budget.limits.gpu_hours == 8
        check_study(tmp_path)
        for values in ({"budget.trials": "9"}, {"budget.limits.gpu_hours": "-1"}, {}, {"seed": "1"}):
            assert not ask(session, steering, "set", values=values).applied


class TestRun:
    def test_is_ended_by_a_request(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(), tmp_path)
        session.run(3)
        steering = steering_of(session, joined=Joined("auto"))
        watch = Watch(session.conductor, tmp_path, steering=steering)
        assert not watch.is_over()
        name = Inbox(tmp_path).add(new_request("stop", reason="wrong data"))
        assert watch.is_over()
        answer = Inbox(tmp_path).result(name)
        assert answer is not None
        assert answer.text.endswith(" --address auto")
        ending = watch.ending()
        assert isinstance(ending, Stopped)
        assert ending.exit_code == 143
        assert ": wrong data, after 0 of 12 trials; resume with: cutmix-sweep resume" in str(ending)

    @pytest.mark.parametrize("verb", ["resume", "stop"])
    def test_leaves_tune_while_it_is_paused(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Any
    ) -> None:
        from sweep import tune_callback

        monkeypatch.setattr(tune_callback, "IDLE_S", 0.0)
        session, draws = simulate(study_of(), tmp_path), itertools.count()
        watch = Watch(session.conductor, tmp_path, steering=steering_of(session))

        def draw() -> None:
            if next(draws) == 2:
                Inbox(tmp_path).add(new_request(verb))

        callback = tune_callback.ConductorCallback(session.conductor, draw, watch, fixed_slots(1))
        assert callback.hold()  # it is not paused
        Inbox(tmp_path).add(new_request("pause"))
        with pytest.raises(tune_callback.Parked):
            callback.on_step_end(0, [])
        assert callback.hold() == (verb == "resume")
        assert next(draws) >= 3

    def test_is_not_bound_by_requests_to_an_earlier_one(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        inbox = Inbox(tmp_path)
        session = simulate(study_of(), tmp_path)
        stale = [inbox.add(new_request(verb)) for verb in ("stop", "pause")]
        lasting = inbox.add(new_request("stop", trial="off-0000"))
        steering = steering_of(session)
        steering.update()
        results = [inbox.result(name) for name in (*stale, lasting)]
        assert [result and result.applied for result in results] == [False, False, True]
        assert not steering.stopped
        assert not session.conductor.paused

    def test_goes_on_if_the_inbox_cannot_be_written(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = simulate(study_of(), tmp_path)
        lines: list[str] = []
        steering = steering_of(session, show=lines.append)
        Inbox(tmp_path).add(new_request("pause"))

        def fail(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Inbox, "finish", fail)
        steering.update()
        steering.update()
        assert session.conductor.paused
        assert len([line for line in lines if "cannot be written" in line]) == 1


@contextmanager
def driven(session: Any) -> Iterator[Steering]:
    """Run a sweep in another thread, under its lock, as long as the context lasts."""
    ended = threading.Event()
    with locked(session.sweep_dir) as lock:
        steering = Steering(session.conductor, session.sweep_dir, lock=lock, clock=itertools.count(0, 5).__next__)

        def drive() -> None:
            while not ended.wait(0.01):
                steering.update()

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            yield steering
        finally:
            ended.set()
            thread.join()


class TestCommands:
    def test_reach_the_process_that_runs_the_sweep(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run
    ) -> None:
        box = tmp_path / "box"
        session = simulate(study_of(), box)
        session.run(3)
        trial = session.conductor.running[0].trial
        with driven(session) as steering:
            code, out, err = run("stop", box, "--trial", trial, "--reason", "its loss jumps")
            assert (code, err) == (0, "")
            assert out.startswith(f"trial {trial} is cancelled after ")
            assert trials_of(box)[trial]["why"].endswith(": its loss jumps")
            code, _, err = run("stop", box, "--trial", trial)
            assert (code, "it has ended already: cancelled" in err) == (2, True)
            assert run("pause", box)[:2] == (
                0,
                f"paused, 1 running trials end at their next epoch; resume with: cutmix-sweep resume {box}\n",
            )
            code, _, err = run("pause", box)
            assert (code, "is paused already, by " in err) == (2, True)
            status = read_status(box)
            assert status.driver is not None
            assert status.driver.paused.startswith("by ")
            assert "paused by " in run("status", box)[1]
            code, out, _ = run("resume", box)
            assert (code, out.startswith("the sweep continues; it was paused by ")) == (0, True)
            assert run("set", box, "max_trials=1")[0] == 0
            assert session.conductor.max_trials == 1
            code, out, _ = run("extend", box, "--add-trials", 2)
            assert (code, out.startswith("added: trials per search +2; ")) == (0, True)
            assert session.conductor.study.trials_per_arm == 6
            code, out, _ = run("stop", box, "--arm", "cutout")
            assert (code, out.startswith("arm cutout: ")) == (0, True)
            code, out, _ = run("stop", box, "--no-wait")
            assert (code, out.startswith("requested: ")) == (0, True)
            while not steering.stopped:
                pass
        assert not Inbox(box).pending()

    def test_act_themselves_if_no_process_runs_it(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run
    ) -> None:
        box = tmp_path / "box"
        study = study_of()
        session = simulate(study, box)
        session.run(3)
        session.conductor.flush(force=True)
        trial = session.conductor.running[0].trial
        code, out, _ = run("stop", box, "--trial", trial)
        assert (code, "no worker runs it" in out) == (0, True)
        assert run("stop", box, "--arm", "off")[0] == 0
        assert not (box / "inbox").exists()
        simulate(study, box).run()
        rows = trials_of(box)
        assert rows[trial]["status"] == "cancelled"
        assert all(row["status"] in ("cancelled", "completed", "stopped") for row in rows.values())
        for words in (["stop", box], ["pause", box], ["set", box, "max_trials=4"]):
            code, _, err = run(*words)
            assert (code, "no process runs" in err) == (2, True)
        assert not (box / "inbox").exists()

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["stop", "--trial", "cutmx-0000"], "did you mean 'cutmix-0000'"),
            (["stop", "--arm", "cutmx"], "did you mean 'cutmix'"),
            (["stop", "--arm", "off", "--trial", "off-0000"], "exclude each other"),
            (["set", "max_trials"], "give NAME=VALUE"),
            (["set", "max_trials=none of them"], "whole number"),
            (["set", "budget.trials=9"], "valid: max_trials"),
            (["extend"], "nothing to add"),
            (["extend", "--add-arms", "cutmx"], "cutmix"),
        ],
    )
    def test_refuse_before_anything_is_written(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run, words: list[str], reason: str
    ) -> None:
        box = tmp_path / "box"
        session = simulate(study_of(), box)
        session.run(3)
        session.conductor.flush(force=True)
        with driven(session):
            code, out, err = run(words[0], box, *words[1:])
        assert (code, out) == (2, "")
        assert reason in err
        assert not (box / "inbox").exists()

    def test_are_refused_while_a_process_measures(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run
    ) -> None:
        simulate(study_of(), tmp_path / "box").run(3).conductor.flush(force=True)
        with locked(tmp_path / "box"):
            for words in (["stop"], ["stop", "--arm", "off"], ["pause"], ["extend", "--add-trials", "1"]):
                code, _, err = run(words[0], tmp_path / "box", *words[1:])
                assert (code, "takes no requests now" in err) == (2, True)
        assert not (tmp_path / "box" / "inbox").exists()

    def test_take_a_request_back_if_the_process_ends(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = simulate(study_of(), tmp_path)
        session.run(3)
        session.conductor.flush(force=True)
        trial = session.conductor.running[0].trial
        monkeypatch.setattr(control, "DRIVER_S", 0.0)
        monkeypatch.setattr(control, "find_driver", lambda _: control.Driver(takes_requests=True))
        assert "no worker runs it" in stop_trials(tmp_path, trial=trial)
        assert extend_running(tmp_path, {"trials": 1}) == ""
        monkeypatch.setattr(control, "find_driver", lambda _: control.Driver(paused="by kim", takes_requests=True))
        assert resume_paused(tmp_path) == ""
        monkeypatch.setattr(control, "find_driver", lambda _: control.Driver(takes_requests=True))
        for command in (stop_sweep, pause_sweep, lambda folder: set_value(folder, "max_trials=2")):
            with pytest.raises(UserError, match="ended before it had answered"):
                command(tmp_path)
        assert not Inbox(tmp_path).pending()
