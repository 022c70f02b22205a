"""A start of Ray with a stand-in for its process: every failure ends in one message, and leaves no process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweep import ray_errors, ray_head, ray_start
from sweep.display import SilentDisplay
from sweep.ray_errors import CAUSES, UNKNOWN, cause_of, describe_join_error, describe_load, describe_start_error
from sweep.ray_process import RayProcess, StartError
from sweep.signals import catch_signals
from tests.processes import PATIENCE_S, has_ended, wait_until
from trainables.errors import UserError

MakeHead = Callable[..., Path]

HEAD = """
import json, os, subprocess, sys, time
arguments = json.loads(sys.stdin.readline())
part = subprocess.Popen(["sleep", "60"])
open(os.path.join(arguments["_temp_dir"], "parts"), "a").write(f"{os.getpid()} {part.pid}\\n")
open(os.path.join(arguments["_temp_dir"], "arguments"), "a").write(json.dumps(arguments) + "\\n")
attempt = len(open(os.path.join(arguments["_temp_dir"], "arguments")).readlines())
"""

STARTS = 'print(json.dumps({"address": "127.0.0.1:1", "dashboard_url": %r}), flush=True); sys.stdin.read(); part.kill()'
FAILS = 'print(json.dumps({"error": %r}), flush=True); sys.stdin.read()'


@pytest.fixture
def make_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MakeHead]:
    """Return a function that puts a script in the place of the process that holds Ray, and returns its folder."""

    def make(code: str) -> Path:
        (tmp_path / "head.py").write_text(HEAD + code)
        monkeypatch.setattr(ray_head, "__file__", str(tmp_path / "head.py"))
        return tmp_path

    yield make
    pids = [int(pid) for pid in (tmp_path / "parts").read_text().split()]
    assert pids
    assert all(has_ended(pid) for pid in pids)


class Shown(SilentDisplay):
    """Keep what is shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def show_warning(self, text: str) -> None:
        self.texts.append(f"warning: {text}")

    def show_status(self, text: str) -> contextlib.AbstractContextManager[object]:
        self.texts.append(text)
        return contextlib.nullcontext()


def arguments(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "arguments").read_text().splitlines()]


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_errors, "_load", lambda: 0.0)


def test_a_first_attempt_that_is_too_slow_is_repeated(make_head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = FAILS % "Exception: The current node timed out during startup."
    folder = make_head(f"if attempt == 1:\n    {slow}\nelse:\n    {STARTS % ''}\n")
    monkeypatch.setattr(ray_errors, "_load", lambda: 8.3)
    monkeypatch.setattr(ray_errors, "usable_cores", lambda: 2)
    monkeypatch.setattr(ray_start, "usable_cores", lambda: 2)
    shown = Shown()
    process = ray_start._start_patiently(folder, shown)
    assert (process.address, process.dashboard_url) == ("127.0.0.1:1", "")
    process.stop()
    assert [(start["num_cpus"], start["include_dashboard"]) for start in arguments(folder)] == [(2, None), (2, False)]
    busy = "the machine is busy: load 8.3 on 2 cores"
    assert shown.texts == [
        f"starting Ray, {busy}",
        f"starting Ray, attempt 2, without its dashboard, {busy}",
        "warning: the dashboard of Ray did not start: the sweep runs without it",
    ]


@pytest.mark.parametrize(("error", "attempts"), [("Exception: no idea", 2), ("OSError: AF_UNIX path length", 1)])
def test_what_fails_ends_in_one_message(make_head: MakeHead, idle: None, error: str, attempts: int) -> None:
    folder = make_head(FAILS % error)
    with pytest.raises(UserError, match="Ray does not start on this machine: " + error) as refused:
        ray_start._start_patiently(folder, Shown())
    assert len(str(refused.value)) <= 500
    assert len(arguments(folder)) == attempts


def test_a_limit_on_processes_is_one_message(tmp_path: Path, idle: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("sweep.ray_process.subprocess.Popen", refuse)
    with pytest.raises(UserError, match=r"Resource temporarily unavailable; raise the limits on processes"):
        ray_start._start_patiently(tmp_path, Shown())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("time.sleep(600)", "time limit of 2 s reached"),
        ("sys.stderr.write('first\\nlast'); sys.exit(3)", "its process ended with status 3: last"),
        ("os.kill(os.getpid(), 9)", "its process was killed by signal 9"),
    ],
)
def test_a_process_without_an_answer_is_ended(make_head: MakeHead, code: str, error: str) -> None:
    folder = make_head(code)
    process = RayProcess(folder, patience_s=1.0)
    assert wait_until((folder / "arguments").exists)
    if "sleep" not in code:
        process._process.wait(PATIENCE_S)
    with pytest.raises(StartError, match=error):
        process.wait()


def test_a_lost_part_ends_the_wait(make_head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.ray_process._NEEDED", ("sleep",))
    monkeypatch.setattr("sweep.ray_process._LOST_S", 0.5)
    folder = make_head("time.sleep(1); part.kill(); time.sleep(60)")
    process = RayProcess(folder, patience_s=30.0)
    logs = folder / f"session_2026_{process._process.pid}" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text(
        "[2026-11-28 01:12:04,949 I 20338 20338] (raylet) main.cc:1: fine\n"
        "[2026-11-28 01:12:05,949 C 20338 20338] (raylet) agent_manager.cc:86: One Ray agent failed\n"
    )
    with pytest.raises(StartError, match=r"^sleep ended during the start: One Ray agent failed$") as lost:
        process.wait()
    assert lost.value.logs == logs
    assert str(logs) in describe_start_error(str(lost.value), logs)


def test_a_part_that_is_lost_later_ends_the_command(make_head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.ray_process._NEEDED", ("sleep",))
    folder = make_head(STARTS % "")
    process = RayProcess(folder, patience_s=30.0)
    process.wait()
    with catch_signals() as signals, ray_start._watched(process.lost_part, 0.05):
        time.sleep(0.2)
        assert not signals.lost
        psutil.Process(int((folder / "parts").read_text().split()[1])).kill()
        assert wait_until(lambda: signals.lost)
    process.stop()
    assert signals.lost == "sleep"


def test_a_part_whose_parent_has_ended_is_ended_too(make_head: MakeHead) -> None:
    """A raylet starts agents, which outlive it."""
    orphan = """
raylet = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE, text=True)
agent = int(raylet.stdout.readline())
raylet.wait()
open(os.path.join(arguments["_temp_dir"], "parts"), "a").write(f"{agent}\\n")
"""
    folder = make_head(orphan + STARTS % "")
    process = RayProcess(folder, patience_s=30.0)
    process.wait()
    process.stop()
    agent = int((folder / "parts").read_text().split()[-1])
    assert has_ended(agent)


def test_the_process_that_holds_ray_ends_all_that_it_has_started() -> None:
    """Its caller may have been killed, so it does this itself."""
    code = """
import subprocess
from sweep import ray_head
print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
ray_head._end()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, timeout=120, check=True
    )
    agent = int(done.stdout)
    assert has_ended(agent)


def test_ports_of_agents_are_not_those_of_connections() -> None:
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with ray_head._bind_free_port() as server:
        port = server.getsockname()[1]
        assert ray_head._LOWEST_PORT <= port < max(lowest_given, ray_head._LOWEST_PORT + 100)


def test_ray_waits_as_long_as_it_is_told(make_head: MakeHead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "777")
    reply = '{"address": str(dict(os.environ)), "dashboard_url": ""}'
    folder = make_head(f"print(json.dumps({reply}), flush=True); sys.stdin.read(); part.kill()")
    process = RayProcess(folder, patience_s=90.0)
    process.wait()
    process.stop()
    environment = process.address
    assert "'RAY_raylet_start_wait_time_s': '777'" in environment  # the user's
    assert "'RAY_agent_register_timeout_ms': '90000'" in environment
    assert "RAY_agent_register_timeout_ms" not in os.environ


def test_ray_prints_no_errors_of_workers() -> None:
    from ray._private import worker

    listen = worker.listen_error_messages
    with ray_start._without_messages():
        assert worker.listen_error_messages(None, None) is None  # otherwise it would ask the worker
    assert worker.listen_error_messages is listen


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("Exception: The current node timed out during startup. This could happen because some of the raylet", "load"),
        ("raylet ended during the start: The raylet exited immediately because one Ray agent failed", "load"),
        ("OSError: validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /tmp/x", "path"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/proc/nowhere'", "path"),
        ("PermissionError: [Errno 13] Permission denied: '/tmp/ray'", "path"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "processes"),
        ("ValueError: The configured object store size (1 GB) exceeds /dev/shm size (0.06 GB)", "shared memory"),
        ("its process was killed by signal 9", "memory"),
        ("OSError: [Errno 98] Address already in use", "port"),
        ("AuthenticationError: Token authentication is enabled but no authentication token was found", "token"),
        ("RuntimeError: Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.7", "version"),
        ("Exception: Cannot include dashboard with missing packages.", "package"),
    ],
)
def test_causes(error: str, cause: str) -> None:
    assert cause_of(error) is CAUSES[cause]
    for message in (
        describe_start_error(error * 9, Path("/tmp" + "/x" * 50)),
        describe_join_error("h" * 300, error * 9),
    ):
        assert len(message) <= 500
        assert "\n" not in message


def test_an_unknown_error_has_advice_too() -> None:
    assert cause_of("KeyError: 0") is UNKNOWN
    assert "cutmix-sweep doctor" in describe_start_error("KeyError: 0", None)


def test_a_machine_that_is_not_busy_is_not_mentioned(idle: None) -> None:
    assert describe_load() == ""
    assert ray_errors.pressure() == 1
