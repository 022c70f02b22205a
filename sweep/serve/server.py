"""The server of ``serve``: one process and one port, on the loopback address unless the user names another one."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
import wsgiref.simple_server
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any

from sweep.formats import printable
from trainables.errors import UserError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

PORT = 8080
"""Port that is used if it is free and none is named."""

READ_S = 20.0
"""Time within which a browser must have sent its request."""


class _Server(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    """A thread per request; none of them keeps the process from ending."""

    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind without a look-up of the host name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error in one line; a browser that has closed its connection is none."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"warning: a request could not be answered: {error!r}", file=sys.stderr)  # noqa: T201


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    """Requests are not printed, and a connection that sends nothing is closed."""

    timeout = READ_S

    def address_string(self) -> str:
        """Return the address without a look-up of its name."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def unique_names(folders: Sequence[Path]) -> list[str]:
    """Return a name per sweep for addresses: that of its folder, with a number if another sweep has it already.

    Examples:
        >>> unique_names([Path("a/box"), Path("b/box"), Path("a/my sweep")])
        ['box', 'box-2', 'my-sweep']
    """
    names: list[str] = []
    for folder in folders:
        base = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).lstrip(".") or "sweep"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    Examples:
        >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0")]
        [True, True, True, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of_machine(host: str) -> list[str]:
    """Return the names that a browser on another machine may use; none for the loopback address."""
    return [] if is_loopback(host) else [host, socket.gethostname(), socket.getfqdn()]


def open_server(app: WSGIApplication, *, host: str, port: int | None) -> wsgiref.simple_server.WSGIServer:
    """Return a server that listens.

    Args:
        app: what answers.
        host: address to listen at.
        port: port to listen at; None: ``PORT``, or another one if it is in use.

    Raises:
        UserError: the port is in use, or this machine has no such address.
    """
    kind = _Server6 if ":" in host else _Server
    for candidate in [PORT, 0] if port is None else [port]:
        try:
            server = kind((host, candidate), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None and candidate:
                continue
            raise UserError(_describe_refusal(error, host, candidate)) from None
        server.set_app(app)
        return server
    raise UserError(f"--port: no port is free at {host}")


def _describe_refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port} is in use: choose another port, or leave --port out"
    if error.errno == errno.EACCES:
        return f"--port {port} needs more rights: choose a port from 1024 on"
    return f"--host '{host}': this machine cannot listen there ({error.strerror or error}); for example 127.0.0.1"


def describe_server(host: str, port: int) -> Iterator[str]:
    """Yield the address to open, and on a machine that was reached by SSH the command that makes it reachable."""
    shown = f"[{host}]" if ":" in host else host
    yield f"serving at http://{shown}:{port}/ (Ctrl-C ends it)"
    if is_loopback(host) and os.environ.get("SSH_CONNECTION"):
        remote = os.environ["SSH_CONNECTION"].split()
        server = remote[2] if len(remote) > 2 else socket.gethostname()
        yield f"on your own machine, run: ssh -L {port}:{shown}:{port} {server}"
        yield f"then open http://localhost:{port}/"


def serve_sweeps(
    folders: Sequence[tuple[Path, object]],
    *,
    host: str,
    port: int | None,
    show: Callable[[str], None],
    show_status: Callable[[str], AbstractContextManager[object]],
) -> None:
    """Show sweeps to browsers until a signal arrives.

    Args:
        folders: folder of each sweep, and what the user named.
        host: address to listen at.
        port: port to listen at; None: ``PORT``, or another one if it is in use.
        show: prints one line.
        show_status: returns a context that shows what the program waits for.

    Raises:
        RecordsError: there is no sweep in a folder.
        UserError: a study cannot be read, or the port cannot be used.
        KeyboardInterrupt: a signal has arrived.
    """
    with show_status("reading the records"):
        import pyarrow as pa

        from sweep.serve.app import App
        from sweep.serve.live import LiveSweep
        from sweep.serve.optuna_view import RecordsStorage

        # each request is a thread of its own, and Arrow's allocator keeps memory for threads that have ended
        pa.set_memory_pool(pa.system_memory_pool())
        names = unique_names([folder for folder, _ in folders])
        sweeps = [LiveSweep(folder, place, name) for (folder, place), name in zip(folders, names, strict=True)]
        app = App(sweeps, RecordsStorage(sweeps), hosts=names_of_machine(host))
    with open_server(app, host=host, port=port) as server:
        for line in describe_server(host, server.server_port):
            show(printable(line))
        server.serve_forever(poll_interval=0.2)
