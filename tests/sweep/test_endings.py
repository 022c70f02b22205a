"""How a sweep ends before its last trial: signals, limits of the budget, and the notices of it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.study import Study
from sweep import notices as notices_module
from sweep import signals as signals_module
from sweep.endings import DiskFault, Interrupted, Joined, LimitReached, RayLost, WorkerLost, user_message
from sweep.notebook.handle import says_how_to_resume
from sweep.notices import URL, URL_FILE, Notices, notify_url
from sweep.signals import RAY_LOST_CODE, SIGNALS, EndingSignals, catch_signals, current_signals
from sweep.watch import MIN_STALL_S, Watch
from tests.processes import PATIENCE_S
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
SECRET = "T0ken"


class TestSignals:
    @pytest.mark.parametrize("signum", SIGNALS)
    def test_are_raised_at_once_or_noted(self, signum: signal.Signals) -> None:
        with catch_signals() as signals, pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signum)
        assert signals.signum == signum
        with catch_signals() as signals:
            signals.defer()
            signal.raise_signal(signum)
        assert signals.signum == signum

    def test_a_second_one_counts_only_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``timeout`` and closing terminals send theirs twice."""
        monkeypatch.setattr(signals_module, "SAME_SIGNAL_S", 3600.0)
        with catch_signals() as signals:
            signals.defer()
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            monkeypatch.setattr(signals_module, "SAME_SIGNAL_S", 0.0)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signals.signum == signal.SIGTERM

    def test_handlers_are_restored(self) -> None:
        before = [signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGUSR1)]
        with catch_signals() as outer:
            with catch_signals() as inner:
                assert inner is outer is current_signals()
            signal.signal(signal.SIGUSR1, lambda *_: None)  # as Tune does
            assert signal.getsignal(signal.SIGTERM) == outer.handle
        assert [signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGUSR1)] == before

    def test_a_thread_catches_none(self) -> None:
        """A sweep may be started in a thread, where Python allows no handlers."""
        caught: list[EndingSignals] = []

        def enter() -> None:
            with catch_signals() as signals:
                caught.append(signals)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert caught[0].signum is None

    @pytest.mark.parametrize("announced", [True, False])
    def test_end_a_program_in_time(self, announced: bool) -> None:
        """Also if the main thread never gets to say how to resume; the words come once."""
        code = (
            "import os, signal, threading, time\n"
            "from sweep import signals as module\n"
            "module.TEARDOWN_S = 0.3\n"
            "with module.catch_signals(is_program=True) as signals:\n"
            "    signals.defer()\n"
            "    signals.bound('resume with: x')\n"
            "    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
            f"    while signals.signum is None or not {announced}: time.sleep(0.01)\n"
            "    signals.announce('resume with: x')\n"
            "    time.sleep(600)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (143, "resume with: x\n")


@pytest.fixture
def watched(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., tuple[Any, Watch]]:
    """Return the function that makes a session of a sweep with limits, and its watch."""

    def make(*, limits: dict[str, Any] | None = None, curve: Any = None, **options: Any) -> tuple[Any, Watch]:
        budget = {"trials": 2, "max_epochs": 2, "limits": limits or {}}
        resources = {"cpus": 1, "gpus": 0.5}
        session = simulate(
            study_of(budget=budget, resources=resources), tmp_path / "box", **({"curve": curve} if curve else {})
        )
        return session, Watch(session.conductor, tmp_path / "box", **options)

    return make


Watched = Callable[..., tuple[Any, Watch]]


class TestLimits:
    def test_wall_clock_counts_from_the_start_of_the_command(self, watched: Watched) -> None:
        now_s = 5000.0
        _, watch = watched(limits={"wall_clock_h": 1.5}, started_s=1000.0, clock=lambda: now_s)
        assert not watch.is_over()
        now_s = 1000.0 + 1.5 * 3600
        assert watch.is_over()
        ending = watch.ending()
        assert isinstance(ending, LimitReached)
        assert ending.exit_code == 3
        assert str(ending).startswith("ended by budget.limits.wall_clock_h = 1.5: 1.5 h since this command started, 0")
        assert str(ending).endswith("box")

    def test_gpu_hours_are_those_of_all_runs(self, watched: Watched, simulate: Any, tmp_path: Path) -> None:
        limits = {"gpu_hours": 4 * 2.0 * 0.5 / 3600}  # four epochs of 2 s on half a GPU
        session, watch = watched(limits=limits)
        session.run(3)
        assert not watch.is_over()
        session.conductor.flush(force=True)
        again = simulate(session.conductor.study, tmp_path / "box")
        watch = Watch(again.conductor, tmp_path / "box", joined=Joined("auto", max_trials=2))
        assert not watch.is_over()
        again.run(1)
        assert watch.is_over()
        ending = watch.ending()
        assert ending is not None
        assert ending.exit_code == 3
        assert str(ending).endswith("--address auto --max-trials 2 --set budget.limits.gpu_hours=0.00222222")
        with pytest.raises(LimitReached) as raised, says_how_to_resume():
            raise ending
        options = "settings={'budget.limits.gpu_hours': 0.00222222}, address='auto', max_trials=2"
        call = f"cutmix_sweep.resume('{tmp_path / 'box'}', {options})"
        assert raised.value.__notes__ == [f"in Python: {call}"]

    def test_failed_trials(self, watched: Watched) -> None:
        session, watch = watched(limits={"failed_trials": 2}, curve=lambda job, epoch: {"failed": "no\nreason"})
        for n_failed in (1, 2):
            session.run(1)
            watch.on_report(("off-0000", "cutout-0000")[n_failed - 1])
            assert watch.is_over() == (n_failed == 2)
        ending = watch.ending()
        assert ending is not None
        assert ending.exit_code == 1
        assert "2 failed trials, 2 of 6 trials have ended" in str(ending)
        assert str(ending).endswith("box --retry-failed")
        with pytest.raises(LimitReached) as raised, says_how_to_resume():
            raise ending
        assert raised.value.__notes__[0].endswith("box', retry_failed=True)")

    def test_the_only_node_whose_disk_lets_no_trial_run(self, watched: Watched) -> None:
        """Trials that run already do not count."""
        full = {"failed": "Traceback:\nUserError: cannot write the image cache", "fault": "disk", "node": "here"}
        session, watch = watched(curve=lambda job, epoch: {} if job.trial == "off-0000" else full)
        for _ in range(12):
            if not watch.is_over():
                session.run(1)
        assert [entry.status for entry in session.conductor.entries.values()].count("failed") == 3
        ending = watch.ending()
        assert ending is not None
        assert ending.exit_code == 2
        assert "failed on node 'here': UserError: cannot write the image cache; fix the cause" in str(ending)
        assert str(ending).endswith("box --retry-failed")

    def test_a_resumed_sweep_knows_its_failures_and_its_pace(
        self, watched: Watched, simulate: Any, tmp_path: Path
    ) -> None:
        def curve(job: Any, epoch: int) -> dict[str, Any]:
            return {"failed": "no images"} if job.trial == "off-0000" else {}

        session, _ = watched(limits={"silent_min": 2.0, "failed_trials": 1}, curve=curve)
        session.run(3).conductor.flush(force=True)
        now_s = 0.0
        again = simulate(session.conductor.study, tmp_path / "box")
        watch = Watch(again.conductor, tmp_path / "box", clock=lambda: now_s)
        assert watch.is_over()
        watch.on_start("cutmix-0000")
        silent: list[str] = []
        for _ in range(6 * 120 // 5):
            assert silent == []
            now_s += 5
            silent += watch.silent_trials()
        assert silent == ["cutmix-0000"]

    def test_a_signal_comes_first_and_a_whole_sweep_has_no_early_end(self, watched: Watched) -> None:
        signals = EndingSignals()
        session, watch = watched(limits={"wall_clock_h": 1e-9}, signals=signals)
        signals.signum = signal.SIGHUP
        assert watch.is_over()
        ending = watch.ending()
        assert isinstance(ending, Interrupted)
        assert ending.exit_code == 129
        session.run()
        assert watch.ending() is None

    def test_a_lost_ray_ends_the_sweep(self, watched: Watched) -> None:
        signals = EndingSignals()
        _, watch = watched(signals=signals)
        assert not watch.is_over()
        signals.lose("Ray has lost its process raylet")
        assert watch.is_over()
        ending = watch.ending()
        assert isinstance(ending, RayLost)
        assert ending.exit_code == RAY_LOST_CODE == 5
        assert "raylet: 0 of 6 trials have ended; resume with: " in str(ending)

    def test_a_lost_ray_ends_a_program_that_ray_blocks(self) -> None:
        code = (
            "from sweep import signals; signals.TEARDOWN_S = 0.1; own = signals.EndingSignals(is_program=True); "
            "own.bound('resume with: x'); own.lose('Ray has lost its process raylet'); print('still here')"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (5, "")
        assert ended.stderr == "Ray has lost its process raylet; resume with: x\n"

    def test_a_trial_that_tune_gave_up_is_said(self, watched: Watched) -> None:
        ending = watched()[1].ending()
        assert isinstance(ending, WorkerLost)
        assert ending.exit_code == 1


class TestSilence:
    @pytest.fixture
    def silent(self, watched: Watched) -> Iterator[SimpleNamespace]:
        """Return a run of a trial with epochs of 2 s, and a clock of which ``wait`` moves the hands."""
        run = SimpleNamespace(now_s=0.0, warned=[])
        run.session, run.watch = watched(limits={"silent_min": 2.0}, clock=lambda: run.now_s, warn=run.warned.append)
        run.session.run(1)
        run.watch.on_start("off-0000")

        def wait(seconds: float) -> list[str]:
            found: list[str] = []
            for _ in range(round(seconds)):
                run.now_s += 1
                found += run.watch.silent_trials()
            return found

        run.wait = wait
        return run

    def test_is_a_day_before_any_epoch_is_known(self, silent: Any) -> None:
        assert silent.wait(86_399) == []
        assert silent.wait(1) == ["off-0000"]

    def test_is_longer_before_the_first_report(self, silent: Any) -> None:
        silent.watch.on_report("off-0000")
        silent.watch.on_start("off-0000")  # on another worker
        assert silent.wait(6 * 120 - 1) == []
        assert silent.wait(1) == ["off-0000"]
        assert silent.warned == [
            "trial off-0000 has reported nothing for 12 min 0 s: its worker is replaced, and the trial restarts after "
            "epoch 1 (budget.limits.silent_min)"
        ]
        silent.watch.on_report("off-0000")
        assert silent.wait(119) == []
        assert silent.wait(1) == ["off-0000"]
        assert silent.wait(120) == ["off-0000"]  # killing it had no effect
        silent.watch.on_stop("off-0000")
        assert silent.wait(10_000) == []

    def test_follows_the_pace_of_the_arm(self, silent: Any) -> None:
        entries = silent.session.conductor.entries
        entries["off-0000"].curve = {1: {**entries["off-0000"].curve[1], "seconds": 30.0}}
        silent.watch.on_report("off-0000")
        assert silent.wait(20 * 30 - 1) == []
        assert silent.wait(1) == ["off-0000"]
        silent.watch.on_stop("off-0000")
        silent.watch.on_start("cutout-0000")  # an arm without an epoch has the pace of the others
        assert silent.wait(6 * 20 * 30 - 1) == []
        assert silent.wait(1) == ["cutout-0000"]

    def test_does_not_count_while_the_driver_is_stopped(self, silent: Any) -> None:
        silent.watch.on_report("off-0000")
        silent.now_s += 100_000
        assert silent.watch.silent_trials() == []
        assert silent.wait(100) == []

    def test_has_no_bound_if_none_is_set(self, watched: Watched) -> None:
        now_s = 0.0
        session, watch = watched(limits={"silent_min": None}, clock=lambda: now_s)
        session.run(1)
        watch.on_start("off-0000")
        for _ in range(100):
            now_s += 5
            assert watch.silent_trials() == []


class Received(HTTPServer):
    """Webhook that keeps what it receives, and answers when it may."""

    status = 200

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.may_answer = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        server.may_answer.wait()
        with suppress(OSError):  # the sender may not wait for it
            self.send_response(server.status)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def webhook(*, status: int = 200, hangs: bool = False) -> Iterator[Received]:
    with Received() as server:
        server.status = status
        if not hangs:
            server.may_answer.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
        thread.join()


class TestNotices:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notices_module, "_PAUSE_S", 0.01)
        monkeypatch.setattr(notices_module, "TIMEOUT_S", PATIENCE_S)
        for name in (URL, URL_FILE, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)

    def test_of_a_sweep(self, watched: Watched) -> None:
        now_s = 0.0
        with webhook() as server:
            notices = Notices(server.url, sweep="box")
            error = 'Traceback:\n  File "net.py", line 3, in run\nValueError: no'
            failing = lambda job, epoch: {"failed": error} if job.trial == "off-0000" else {}  # noqa: E731
            session, watch = watched(curve=failing, notices=notices, clock=lambda: now_s)
            session.run(3)
            watch.on_report("off-0000")
            watch.on_report("cutout-0000")
            for now_s in (MIN_STALL_S - 1, MIN_STALL_S, MIN_STALL_S + 1):  # noqa: B007 (the clock reads it)
                assert not watch.is_over()
            watch.on_report("cutout-0000")
            now_s += MIN_STALL_S
            watch.is_over()
            session.run()
            assert watch.ending() is None
            notices.close(PATIENCE_S)
        assert [body["event"] for body in server.bodies] == ["failed", "stalled", "stalled", "ended"]
        failed, stalled, _, ended = server.bodies
        assert failed["text"] == "cutmix-sweep box: trial off-0000 failed, 1 failed trial so far: ValueError: no"
        assert (failed["trial"], failed["sweep"], failed["study"]) == ("off-0000", "box", "small")
        assert stalled["quiet_s"] == MIN_STALL_S
        assert (ended["n_ended"], ended["n_trials"]) == (6, 6)

    def test_a_stall_is_ten_usual_epochs(self, watched: Watched) -> None:
        """The lock tells other processes of it."""
        now_s, sent, lock = 0.0, [], SimpleNamespace(stall_after_s=None)
        notices: Any = SimpleNamespace(send=lambda event, *_, **__: sent.append(event), show_failure=lambda: None)
        session, watch = watched(
            notices=notices, lock=lock, clock=lambda: now_s, curve=lambda job, epoch: {"seconds": 30.0}
        )
        now_s = 100_000.0
        watch.is_over()
        assert (sent, lock.stall_after_s) == ([], None)  # no epoch is known
        session.run(1)
        watch.on_report("off-0000")
        assert lock.news_at_s == now_s
        now_s += 299
        watch.is_over()
        assert sent == []
        now_s += 1
        watch.is_over()
        assert sent == ["stalled"]
        assert lock.stall_after_s == 300

    def test_a_limit_that_comes_with_the_last_trial_ends_the_sweep_once(self, watched: Watched) -> None:
        sent: list[str] = []
        notices: Any = SimpleNamespace(send=lambda event, *_, **__: sent.append(event), show_failure=lambda: None)
        session, watch = watched(limits={"wall_clock_h": 1e-9}, notices=notices)
        session.run()
        assert watch.is_over()
        watch.on_over()
        assert watch.ending() is None
        assert sent == ["ended"]

    def test_every_tenth_failure(self, watched: Watched) -> None:
        sent: list[str] = []
        notices: Any = SimpleNamespace(send=lambda event, *_, **__: sent.append(event), show_failure=lambda: None)
        session, watch = watched(curve=lambda job, epoch: {"failed": ""}, notices=notices)
        session.run(1)
        for _ in range(21):
            watch.on_report("off-0000")
        assert sent == ["failed"] * 3

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(500, "HTTP status 500"), (200, "no answer within 0.2 s"), (None, "Connection refused")],
    )
    def test_a_webhook_that_fails_is_one_warning(
        self, monkeypatch: pytest.MonkeyPatch, status: int | None, reason: str
    ) -> None:
        warnings: list[str] = []
        if status == 200:
            monkeypatch.setattr(notices_module, "TIMEOUT_S", 0.2)
        with webhook(status=status or 200, hangs=status == 200) as server:
            url = server.url if status else f"http://127.0.0.1:9/hooks/{SECRET}"
            notices = Notices(url, sweep="box", warn=warnings.append)
            for _ in range(3):
                notices.send("failed", "no")
            notices.close(PATIENCE_S)
        assert len(warnings) == 1
        assert f": {reason}; the sweep continues" in warnings[0]
        assert SECRET not in warnings[0]
        if status == 500:
            assert len(server.bodies) == 6  # each is tried twice

    def test_a_webhook_that_hangs_delays_neither_a_sweep_nor_its_end(self) -> None:
        with webhook(hangs=True) as server:
            notices, began_s = Notices(server.url), time.monotonic()
            for _ in range(3):
                notices.send("ended", "all")
            notices.close(0.1)
            assert time.monotonic() - began_s < PATIENCE_S  # the time that each would wait for its answer
            assert len(server.bodies) <= 1
            assert notices._thread.is_alive()
            server.may_answer.set()
            notices._thread.join(PATIENCE_S)
            assert len(server.bodies) == 3

    def test_the_url_comes_from_the_environment_or_a_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = tmp_path / "url"
        path.write_text(f"https://example.org/{SECRET}\n")
        monkeypatch.setenv(URL_FILE, str(path))
        assert notify_url() == f"https://example.org/{SECRET}"
        monkeypatch.setenv(URL, "https://example.org")
        with pytest.raises(UserError, match="both set"):
            notify_url()
        monkeypatch.delenv(URL_FILE)
        assert notify_url() == "https://example.org"
        for wrong in (f"{SECRET}", f"ftp://{SECRET}", f"https://example.org:{SECRET}", f"https://a b/{SECRET}"):
            monkeypatch.setenv(URL, wrong)
            with pytest.raises(UserError, match=URL) as refused:
                notify_url()
            assert SECRET not in str(refused.value)
        monkeypatch.delenv(URL)
        monkeypatch.setenv(URL_FILE, str(tmp_path / "none"))
        with pytest.raises(UserError, match="No such file"):
            notify_url()


class TestDisk:
    def test_a_full_one_names_the_file_and_how_to_resume(self) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "box/records/part-0")
        ending = DiskFault(error, Path("my box"), Joined("auto"))
        assert ending.exit_code == 2
        assert str(ending) == (
            "cannot write to 'box/records/part-0': No space left on device; fix the cause first; resume with: "
            "cutmix-sweep resume 'my box' --address auto"
        )

    @pytest.mark.parametrize("readable", [True, False])
    def test_reading_and_writing_are_told_apart(
        self, readable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda *_: readable)  # root may do everything
        message = user_message(PermissionError(errno.EACCES, "Permission denied", str(tmp_path)))
        assert message == f"cannot {'write to' if readable else 'read'} '{tmp_path}': Permission denied"


def test_the_command_to_resume_can_be_pasted_into_a_shell() -> None:
    joined = Joined("auto", insecure=True, strict_nodes=True, max_trials=4, start_timeout=2.5)
    options = "--address auto --insecure --strict-nodes --max-trials 4 --start-timeout 2.5"
    message = str(Interrupted(Path("/a b/sweep"), joined, 3, 8))
    assert message == f"interrupted after 3 of 8 trials; resume with: cutmix-sweep resume '/a b/sweep' {options}"
