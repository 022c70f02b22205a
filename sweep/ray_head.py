"""A Ray on this machine, in a process of its own: started as a script by ``ray_start``, never imported.

Ray waits for its parts in compiled code, which no signal interrupts, and it leaves them running when one of them fails.
So the wait happens here, where the caller can end it: it ends this process and all that it has started.

The caller writes one line of JSON to the standard input: the arguments of ``ray.init``. The answer on the standard
output is one line of JSON: the address, or the error. Ray runs until the standard input ends, also if the caller dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import select
import signal
import socket
import sys
import threading
from typing import Any

import psutil

_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


_LOWEST_PORT = 10_000
"""Lowest port that an agent gets."""

_LOWEST_GIVEN = 32_768
"""Lowest port that Linux gives to connections by default."""


_SHUTDOWN_S = 10.0
"""Longest time that Ray gets to end its parts itself, in seconds."""


def main() -> None:
    """Start Ray, report it, and stop it when the standard input ends."""
    caller = os.getppid()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints is no answer
    try:
        reply = _start(json.loads(sys.stdin.readline()))
    except BaseException as error:  # Ray raises a bare Exception when it is slow
        reply = {"error": f"{type(error).__name__}: {error}"}
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the caller decides when it ends
    print(json.dumps(reply), file=answer, flush=True)
    while os.getppid() == caller and not select.select([sys.stdin], [], [], 1)[0]:
        pass
    if "error" not in reply:
        import ray

        timer = threading.Timer(_SHUTDOWN_S, _end)  # Ray may wait for a part that it has lost
        timer.daemon = True
        timer.start()
        ray.shutdown()
    _end()


def _end() -> None:
    """End this process and all others of its session: agents outlive their raylet, and the caller may be gone."""
    for process in psutil.pids():
        with contextlib.suppress(OSError):
            if process != os.getpid() == os.getsid(process):
                os.kill(process, signal.SIGKILL)
    os._exit(0)  # without the exit handlers of Ray, which wait for parts that did not start


def _start(arguments: dict[str, Any]) -> dict[str, Any]:
    import ray

    with contextlib.suppress(AttributeError):  # another version of Ray
        _choose_agent_ports(ray._private.parameter)
        _pass_listen_port(ray._private.services)
    context = ray.init(address="local", log_to_driver=False, logging_level=logging.CRITICAL, **arguments)
    return {"address": context.address_info["gcs_address"], "dashboard_url": context.dashboard_url or ""}


def _choose_agent_ports(parameter: Any) -> None:
    """Set the ports of Ray's agents; ``parameter`` is Ray's module with the parameters of a node.

    An agent that chooses its own port writes it to a file, for which the raylet waits 15 s and then ends. That is too
    short on a busy machine, and no variable changes it. With a given port, it waits as long as it is told.
    """

    class Params(parameter.RayParams):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            with contextlib.ExitStack() as stack:  # all are bound at the same time, so they differ
                for name in _AGENT_PORTS:
                    setattr(self, name, stack.enter_context(_bind_free_port()).getsockname()[1])

    parameter.RayParams = Params


def _bind_free_port() -> socket.socket:
    """Bind a port below those that the system gives to connections: no other program gets it before the agent binds it.

    An agent that cannot bind its port ends, and the raylet with it.
    """
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:  # noqa: PTH123
            lowest = int(file.read().split()[0])
    except OSError:  # not Linux
        lowest = _LOWEST_GIVEN
    for port in random.SystemRandom().sample(range(_LOWEST_PORT, max(lowest, _LOWEST_PORT + 100)), 100):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    return socket.create_server(("127.0.0.1", 0))


def _pass_listen_port(services: Any) -> None:
    """Pass the raylet the listen port of its agent too; ``services`` is Ray's module that starts processes.

    Ray passes this port to the agent alone, so the raylet would wait for its file. The raylet has an option for it.
    """
    start = services.start_ray_process

    def start_ray_process(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
        port = re.search(r"--listen-port=(\d+)", " ".join(command))
        if process_type == "raylet" and port is not None:
            command = [*command, f"--dashboard_agent_listen_port={port[1]}"]
        return start(command, process_type, *args, **kwargs)

    services.start_ray_process = start_ray_process


if __name__ == "__main__":
    main()
