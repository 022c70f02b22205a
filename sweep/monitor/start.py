"""Start Prometheus and Grafana where they are installed, and end both together."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.monitor.files import Monitor
from trainables.errors import UserError

READY_S = 60.0
"""Time in which a server must answer after its start."""

END_S = 10.0
"""Time in which a server must end after it was told to."""


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        name: ``Prometheus`` or ``Grafana``.
        command: command that starts it.
        port: port on the loopback of this machine.
        path: path of the page that answers when it is ready.
        log: file of what it prints.
    """

    name: str
    command: tuple[str, ...]
    port: int
    path: str
    log: Path


def installed_servers(monitor: Monitor) -> list[Server]:
    """Return the servers that are installed on this machine.

    Raises:
        UserError: Prometheus is not installed, or a port is in use.
    """
    folder = monitor.folder
    servers = [
        Server(
            "Prometheus", monitor.prometheus_command, monitor.prometheus_port, "/-/ready", folder / "prometheus.log"
        ),
        Server("Grafana", monitor.grafana_command, monitor.grafana_port, "/api/health", folder / "grafana.log"),
    ]
    installed = [server for server in servers if shutil.which(server.command[0])]
    if servers[0] not in installed:
        raise UserError(
            "--start: the program prometheus is not installed: install it, for example with apt-get install "
            "prometheus, or start it on another machine with the file prometheus.yml"
        )
    for server in installed:
        if _is_open(server.port):
            option = f"--{server.name.lower()}-port"
            raise UserError(f"--start: port {server.port} of this machine is in use: choose another one with {option}")
    return installed


@contextlib.contextmanager
def started(servers: Sequence[Server]) -> Iterator[Callable[[], str]]:
    """Start servers and wait until they answer; end them at the end of the context.

    The value of the context is a function that returns the name of a server that has ended; "" as long as all run.

    Raises:
        UserError: a server cannot be started, or does not answer.
    """
    processes: dict[Server, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            processes[server] = _start(server)
        for server, process in processes.items():
            _wait_until_ready(server, process)
        yield lambda: next((server.name for server, process in processes.items() if process.poll() is not None), "")
    finally:
        _end(processes)


def _start(server: Server) -> subprocess.Popen[bytes]:
    try:
        with server.log.open("ab") as log:
            # a session of its own: Ctrl-C is for this program, which then ends the server
            return subprocess.Popen(server.command, stdout=log, stderr=log, start_new_session=True)
    except OSError as error:
        raise UserError(f"{server.name} cannot be started: {error.strerror}") from None


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + READY_S
    url = f"http://127.0.0.1:{server.port}{server.path}"
    while time.monotonic() < until_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    state = "does not answer" if process.poll() is None else "has ended"
    lines = server.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
    raise UserError(f"{server.name} {state}: {lines[-1][:300]}; see '{server.log}'")


def _end(processes: Mapping[Server, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
