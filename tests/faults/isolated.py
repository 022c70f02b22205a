"""Isolated nodes of a Ray cluster on one machine, made of Linux namespaces; this needs root.

Each node has its own network, processes, host name, home, image cache, shared memory and Ray folder; all other files
are shared. So a node can be killed with everything on it, and can lose a folder while it runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.one_slot import die_with_parent
from tests.processes import has_ended

ROOT = Path(__file__).parents[2]

NETWORK = "10.77.1"
"""First three numbers of the addresses; the network is inside its own namespaces only."""

PORT = 6379
"""Port of the head."""

DASHBOARD = "http://127.0.0.1:8265"
"""Address of the dashboard, as the head sees it."""

START_S = 150
"""Longest start of a node, in seconds."""

PATIENT = {
    "RAY_raylet_start_wait_time_s": str(START_S),
    "RAY_gcs_server_port_wait_time_s": str(START_S),
    "RAY_agent_register_timeout_ms": f"{START_S}000",
    "RAY_worker_register_timeout_seconds": str(START_S),
    "RAY_prestart_worker_first_driver": "0",
}
"""Ray's own waits, for a machine that does other work as well."""

_BOOT = """
hostname "$1"
mount --bind "$2" /etc/hosts
mount --bind "$3" "$4"
mount -t tmpfs -o size=1g tmpfs /dev/shm
exec "$5" -c 'import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()'
"""
"""Process 1 of a node: the kernel removes orphans that end, because it ignores SIGCHLD."""


@dataclass(frozen=True)
class Node:
    """One isolated node.

    Attributes:
        name: host name.
        address: its address.
        folder: its own files: ``home`` and ``ray``.
        init: id of its first process, as this machine sees it.
    """

    name: str
    address: str
    folder: Path
    init: int

    def command(self, *words: str) -> list[str]:
        """Return the command that runs ``words`` on the node."""
        variables = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "LANG": "C.UTF-8",
            **PATIENT,
        }
        enter = ["nsenter", "-t", str(self.init), "--mount", "--uts", "--pid", "--net", "--", "env", "-i"]
        return [*enter, *(f"{name}={value}" for name, value in variables.items()), *words]

    def run(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; return its exit code and all that it printed."""
        return subprocess.run(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def hide(self, folder: Path) -> None:
        """Let the node see an empty folder from now on."""
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
        subprocess.run(["nsenter", "-t", str(self.init), "--mount", "--", *mount], check=True)

    def pids(self) -> list[int]:
        """Return the ids of all processes of the node but the first."""
        own, found = _space(self.init), []
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdecimal() and int(name) != self.init and _space(int(name)) == own:
                found.append(int(name))
        return found

    def kill(self, *, title: re.Pattern[str] | None = None) -> int:
        """Kill all processes of the node, or those whose command matches ``title``; return their number."""
        n_killed = 0
        while pids := [pid for pid in self.pids() if title is None or title.search(_command(pid))]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    n_killed += 1
            if title is not None:
                break
            time.sleep(0.1)
        return n_killed


class IsolatedCluster:
    """Isolated nodes, the first of which is the head; Ray is started on each by :meth:`start`.

    Attributes:
        nodes: the nodes by name.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Prepare nodes with these names; ``folder`` has a short path, because Ray makes sockets below it."""
        self.nodes: dict[str, Node] = {}
        self._folder, self._head = folder, names[0]
        self._id = f"cutmix{os.getpid()}"
        self._boots: list[subprocess.Popen[str]] = []
        self._ray = folder / "ray"
        self._ray.mkdir(parents=True)
        self._addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)}
        hosts = "".join(f"{address} {name}\n" for name, address in self._addresses.items())
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}", encoding="utf-8")

    @property
    def head(self) -> Node:
        """The head."""
        return self.nodes[self._head]

    def boot(self) -> None:
        """Make the nodes, without Ray."""
        _ip(f"netns add {self._id}-0")
        _ip(f"-n {self._id}-0 link add br0 up type bridge")
        for name, address in self._addresses.items():
            self._connect(name, address)
            self.nodes[name] = self._boot(name, address)

    def start(self, name: str, *, n_cpus: int) -> None:
        """Start Ray on a node as README.md says; the first one makes the token, the others get a copy."""
        node, token = self.nodes[name], self.head.folder / "home" / ".ray" / "auth_token"
        if node is self.head:
            node.run("sh", "-c", "umask 077; ray get-auth-token --generate")
            place = ["--head", "--port", str(PORT), "--temp-dir", str(self._ray)]
        else:
            own = node.folder / "home" / ".ray"
            own.mkdir(mode=0o700, exist_ok=True)
            shutil.copy2(token, own)
            place = ["--address", f"{self.head.address}:{PORT}"]
        place += ["--node-ip-address", node.address, "--num-cpus", str(n_cpus), "--object-store-memory", "100000000"]
        done = node.run("ray", "start", *place, timeout_s=START_S)
        if done.returncode:
            raise RuntimeError(f"Ray does not start on {name}: {done.stdout[-1000:]}")

    def end(self) -> None:
        """End all processes of all nodes, and remove their networks."""
        for boot in self._boots:
            boot.kill()  # unshare ends the first process, and the kernel all others with it
            boot.wait()
        for node in self.nodes.values():
            has_ended(node.init)
        for name in ("0", *self._addresses):
            subprocess.run(["ip", "netns", "del", f"{self._id}-{name}"], stderr=subprocess.DEVNULL, check=False)

    def _connect(self, name: str, address: str) -> None:
        """Give a node a network with one link to the bridge."""
        own, bridge = f"{self._id}-{name}", f"{self._id}-0"
        _ip(f"netns add {own}")
        _ip(f"-n {own} link add eth0 type veth peer name to-{name} netns {bridge}")
        _ip(f"-n {bridge} link set dev to-{name} master br0 up")
        _ip(f"-n {own} link set lo up")
        _ip(f"-n {own} addr add {address}/24 dev eth0")
        _ip(f"-n {own} link set eth0 up")
        _ip(f"-n {own} route add default via {address} dev eth0")  # leads nowhere: Ray finds its own address by it

    def _boot(self, name: str, address: str) -> Node:
        folder = self._folder / name
        for part in ("home", "ray"):
            (folder / part).mkdir(parents=True)
        words = [name, self._folder / "hosts", folder / "ray", self._ray, sys.executable]
        space = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        boot = subprocess.Popen(
            ["ip", "netns", "exec", f"{self._id}-{name}", *space, "sh", "-euc", _BOOT, "sh", *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        self._boots.append(boot)
        if boot.stdout is None or boot.stdout.readline() != "ready\n":
            raise RuntimeError(f"node {name} does not start")
        children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text(encoding="utf-8").split()
        return Node(name, address, folder, int(children[0]))


@contextlib.contextmanager
def isolated_cluster(folder: Path, names: Sequence[str]) -> Iterator[IsolatedCluster]:
    """Yield isolated nodes without Ray; end everything on them afterwards."""
    cluster = IsolatedCluster(folder, names)
    try:
        cluster.boot()
        yield cluster
    finally:
        cluster.end()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _space(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 (a text, no path)
    return ""


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""
