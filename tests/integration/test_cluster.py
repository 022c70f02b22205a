"""A real cluster of one node with a token: what its head answers, the check of its node, requests that leave it out."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweep.connection import check_connection
from trainables.errors import UserError

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

WAIT_S = 120

JOIN = """
import sys
from pathlib import Path
import ray
from search_spaces.discover import load_study
from sweep.endings import Joined
from sweep.engine import cluster
from sweep.node_checker import checked_nodes
from sweep.tune_adapters import resource_request

study = load_study("quickstart", scale="smoke")
with cluster(study.resources, address=sys.argv[1]) as slots:
    manifest = {"runs": [{}], "data": {}}
    with checked_nodes(study, Path(sys.argv[2]), manifest, joined=Joined(sys.argv[1])) as checker:
        print("fit", len(checker.nodes.fit), "unfit", checker.nodes.unfit, "slots", slots.n_slots)
    ray.get(resource_request(study.resources, ["0" * 56]).to_placement_group().ready(), timeout=60)
    asked = resource_request(study.resources, checker.nodes.fit).to_placement_group().ready()
    print("elsewhere", ray.wait([asked], timeout=3)[0])
    task = ray.remote(num_cpus=0)(lambda: ray.get_runtime_context().get_node_id())
    print("same id", [ray.get(task.remote())] == checker.nodes.fit)
"""


@pytest.fixture(scope="module")
def token() -> str:
    return secrets.token_hex(32)


@pytest.fixture(scope="module")
def head(token: str) -> Iterator[str]:
    """Address of a head; its processes are ended by their ids."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = tempfile.mkdtemp(dir="/tmp")  # short enough for Ray's sockets
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "1"]
    command += ["--port", str(port), "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
    command += ["--temp-dir", f"{folder}/ray", "--object-store-memory", "100000000", "--disable-usage-stats"]
    waits = {name: str(WAIT_S) for name in ("RAY_raylet_start_wait_time_s", "RAY_gcs_server_port_wait_time_s")}
    waits |= {"RAY_agent_register_timeout_ms": f"{WAIT_S}000", "RAY_worker_register_timeout_seconds": str(WAIT_S)}
    environment = {**os.environ, **waits, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment.pop("RAY_ADDRESS", None)
    with open(f"{folder}/log", "wb") as log:  # noqa: PTH123
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until_s = time.monotonic() + WAIT_S
        while "Ray runtime started" not in Path(folder, "log").read_text():
            assert process.poll() is None, Path(folder, "log").read_text()
            assert time.monotonic() < until_s
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        parts = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for part in parts:
            with contextlib.suppress(psutil.NoSuchProcess):
                part.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)  # a Ray of another test may run in this process
    monkeypatch.delitem(sys.modules, "ray")
    (tmp_path / ".ray").mkdir()
    return tmp_path


def test_the_head_answers_as_expected(head: str, token: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / ".ray" / "auth_token"
    with pytest.raises(UserError, match="but RAY_AUTH_MODE is not set here"):
        check_connection(head)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(UserError, match="there is none in"):
        check_connection(head)
    file.write_text(token[::-1])
    with pytest.raises(UserError, match="is not the token of the cluster"):
        check_connection(head)
    file.write_text(token)
    check_connection(head)
    monkeypatch.setattr("sweep.connection.version", lambda name: "1.2.3")
    with pytest.raises(UserError, match=r"the cluster runs Ray \d.* and this machine Ray 1\.2\.3 on Python"):
        check_connection(head)


def test_a_node_is_checked_and_can_be_left_out(head: str, token: str, tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [sys.executable, "-c", JOIN, head, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["fit 1 unfit [] slots 1", "elsewhere []", "same id True"]
