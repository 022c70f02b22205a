"""A real start of Ray in a bad environment: one core, a long $TMPDIR, no home folder; nothing is left behind.

No other user reaches it: its files lie in a private folder, and its ports are on the loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

CODE = """
import os, psutil, ray
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from search_spaces.resources import Resources
from sweep.display import SilentDisplay
from sweep.engine import cluster

# for the port that an agent chooses itself, the raylet waits 15 s: too short on a busy machine
PORTS = ("metrics-agent-port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")

class Shown(SilentDisplay):
    def show_warning(self, text):
        print("warning:", text)

before = dict(os.environ)
with cluster(Resources(), address=None, display=Shown()) as slots:
    cores = ray.get(ray.remote(lambda: len(os.sched_getaffinity(0))).remote())
    [raylet] = [part for part in psutil.Process().children(recursive=True) if part.name() == "raylet"]
    given = dict(option.lstrip("-").split("=", 1) for option in raylet.cmdline() if "=" in option)
    print("without port", [name for name in PORTS if not int(given.get(name, 0))])
    parts = psutil.Process().children(recursive=True)
    sockets = [(part.name(), each) for part in parts for each in part.net_connections("tcp")]
    ports = [(name, each.laddr.ip.removeprefix("::ffff:")) for name, each in sockets if each.status == "LISTEN"]
    print("loopback", len(ports) > 5, "elsewhere", [port for port in ports if port[1] not in ("127.0.0.1", "::1")])
    above = Path(os.path.realpath(ray._private.worker._global_node.get_session_dir_path())).parents
    modes = [oct(path.stat().st_mode & 0o777) for path in (above[1], Path(os.environ["RAY_AUTH_TOKEN_PATH"]))]
    print("modes of folder and token", modes)
    print("slots", slots.n_slots, "cores", cores, "CPU", ray.cluster_resources()["CPU"])
print("left", psutil.Process().children(recursive=True))
print("changed", [name for name in os.environ if name.startswith("RAY_A") and name not in before])
"""


def test_in_a_bad_environment(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    environment = {**os.environ, "TMPDIR": str(long), "HOME": "/proc/self"}
    for name in ("RAY_TMPDIR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        environment.pop(name, None)
    command = [sys.executable, "-c", CODE]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    first, *others = run.stdout.splitlines()
    assert first.startswith("warning: TMPDIR=")
    assert "too long for Ray's sockets" in first
    assert others == [
        "without port []",
        "loopback True elsewhere []",
        "modes of folder and token ['0o700', '0o600']",
        "slots 1 cores 1 CPU 1.0",
        "left []",
        "changed ['RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO']",
    ]
