"""Whether a Ray cluster can be joined: checked within 10 s, before images are decoded, with one message per cause."""

from __future__ import annotations

import ipaddress
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sweep import gcs
from sweep.endings import reason_of
from sweep.ray_folder import token_path
from trainables.errors import UserError

TOTAL_S = 9.5
"""Longest time of all steps together, in seconds."""

STEP_S = 3.0
"""Longest wait for a name server, for a connection, and for each answer, in seconds."""

PORT = 6379
"""Port at which the head of a Ray cluster listens unless it is told otherwise."""


@dataclass(frozen=True)
class Token:
    """What this process would show a cluster.

    Attributes:
        value: the token; None if there is none.
        place: where it is, or where it should be.
        mode: value of ``RAY_AUTH_MODE``; "" if it is not set.
        is_sent: whether Ray sends it.
    """

    value: str | None
    place: str
    mode: str
    is_sent: bool


def check_connection(address: str | None, *, insecure: bool = False) -> None:
    """Check that the Ray cluster at ``address`` can be joined from here; an address None needs no check.

    In this order: the form of the address, the name, the port, the program that listens there, the token, the versions
    of Ray and Python. A process that uses a Ray already stays with it, so nothing is checked.

    Args:
        address: ``auto`` or ``HOST:PORT``; None: Ray is started on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.

    Raises:
        UserError: it cannot be joined; the message has host, port and the command to run next.

    Examples:
        >>> check_connection(None)
        >>> check_connection("ray://head:10001")
        Traceback (most recent call last):
        trainables.errors.UserError: --address 'ray://head:10001': addresses of a Ray client are not supported: give \
HOST:PORT, or run this command on a node of the cluster with --address auto
    """
    if address is None or ("ray" in sys.modules and sys.modules["ray"].is_initialized()):
        return
    ends_at_s = time.monotonic() + TOTAL_S
    found = _find_cluster() if address == "auto" else address
    if found is None:  # only Ray can find it
        return
    host, port = _host_and_port(found)
    where = f"--address '{address[:80]}'"
    ip = _listening_ip(_resolved(host, port, where), port, where)
    if os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true"):  # certificates replace the token
        return
    cluster = _Cluster(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}", host, where, ends_at_s)
    token = find_token(automatic=address == "auto" and not os.environ.get("RAY_ADDRESS"))
    try:
        cluster.authenticate(token, insecure=insecure)
        cluster.check_versions()
    except gcs.UnknownAnswer:  # Ray itself decides when it joins
        return
    except gcs.NotRay:
        raise UserError(
            f"{where}: another program than the head of a Ray cluster listens at port {port} of {host}: give the port "
            f"of `ray start --head`, which is {PORT} unless --port says otherwise (8265 is its dashboard, 10001 its "
            "client port)"
        ) from None
    except gcs.NoAnswer:
        raise UserError(
            f"{where}: port {port} of {host} is open, but nothing answers within {STEP_S:g} s: look at the head with: "
            "ray status; restart it if it hangs, or give the port of `ray start --head`"
        ) from None


def _host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        UserError: the address has another form.
    """
    if address.startswith("ray://"):
        raise UserError(
            f"--address '{address}': addresses of a Ray client are not supported: give HOST:PORT, or run this command "
            "on a node of the cluster with --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--address '{address[:80]}': must be auto or HOST:PORT, for example 10.0.0.5:{PORT}")
    return host.strip("[]"), int(port)


def _find_cluster() -> str | None:
    """Return the address that Ray takes for ``auto``; None if this version of Ray does not tell it.

    Raises:
        UserError: there is no cluster.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    try:
        from ray._private.services import canonicalize_bootstrap_address_or_die as find
    except ImportError:
        return None
    try:
        return str(find("auto"))
    except (ConnectionError, ValueError) as error:
        reason = "no Ray runs on this machine" if "not find any" in str(error) else reason_of(error)
        raise UserError(
            f"--address 'auto': {reason}: start it with: ray start --address HEAD:{PORT}, or give the address of the "
            f"head: --address HEAD:{PORT}"
        ) from None


def _resolved(host: str, port: int, where: str) -> list[str]:
    """Return the IP addresses of a host; a name server may need minutes to say that it knows none.

    Raises:
        UserError: the host has none, or no name server answers in time.
    """
    found: list[str] = []
    reasons: list[str] = []

    def resolve() -> None:
        try:
            found.extend(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            reasons.append(reason_of(error))

    thread = threading.Thread(target=resolve, name="address of a host", daemon=True)
    thread.start()
    thread.join(STEP_S)
    if not found:
        reason = reasons[0] if reasons else f"no name server has answered within {STEP_S:g} s"
        raise UserError(
            f"{where}: the host '{host[:80]}' is not known here ({reason}): check its name with: getent hosts "
            f"{host[:80]}; or give its IP address, which `hostname -I` prints on the head"
        )
    return list(dict.fromkeys(found))


def _listening_ip(ips: Sequence[str], port: int, where: str) -> str:
    """Return the first IP address of a host at which something listens.

    Raises:
        UserError: nothing does.
    """
    errors: list[OSError] = []
    for ip in ips:
        try:
            socket.create_connection((ip, port), timeout=STEP_S / len(ips)).close()
        except OSError as error:
            errors.append(error)
        else:
            return ip
    if all(isinstance(error, ConnectionRefusedError) for error in errors):
        raise UserError(
            f"{where}: nothing listens at port {port} of {ips[0]}: start the head there with: ray start --head --port "
            f"{port}; if it runs already, it has another port (without --port: {PORT})"
        ) from None
    first = errors[0]
    reason = f"no answer within {STEP_S:g} s" if isinstance(first, TimeoutError) else reason_of(first)
    raise UserError(
        f"{where}: no connection to port {port} of {ips[0]} ({reason}): check that the machine runs and that no "
        f"firewall closes the port, with: nc -vz {ips[0]} {port}"
    ) from None


def find_token(*, automatic: bool = False) -> Token:
    """Return the token of this process.

    Args:
        automatic: whether Ray also sends an existing token if ``RAY_AUTH_MODE`` is not set, as it does for a cluster
            that it finds itself.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "")
    value = os.environ.get("RAY_AUTH_TOKEN") or None
    place = "the variable RAY_AUTH_TOKEN"
    if value is None:
        path = token_path()
        place = "~/.ray/auth_token" if path is None else str(path)
        try:
            value = (path or Path(place)).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeError):
            value = None
    is_sent = mode.lower() == "token" or (automatic and not mode and value is not None)
    return Token(value, place, mode, is_sent)


@dataclass
class _Cluster:
    """A cluster whose head is asked.

    Attributes:
        target: IP address and port of the head.
        host: the head as the user calls it.
        where: the option that names it, as messages quote it.
        ends_at_s: monotonic time at which the last answer must have come.
        cluster_id: id of the cluster; "" before it has answered.
        token: token with which it answers; None if it asks for none.
    """

    target: str
    host: str
    where: str
    ends_at_s: float
    cluster_id: str = ""
    token: str | None = None

    def authenticate(self, token: Token, *, insecure: bool) -> None:
        """Request the id of the cluster, first without a token.

        Raises:
            UserError: the cluster is open to others, or accepts no token of this process.
        """
        if self._accepts(None):
            if not insecure and not self._is_loopback:
                raise UserError(
                    f"{self.where}: this cluster asks for no token, and everyone who reaches {self.target} can run "
                    "code on it: restart it with: ray get-auth-token --generate; export RAY_AUTH_MODE=token; ray start "
                    "--head; or join it as it is with --insecure"
                )
            return
        asks = f"the cluster at {self.target} asks for a token"
        copy = f"mkdir -p -m 700 ~/.ray; scp {self.host}:.ray/auth_token ~/.ray/; chmod 600 ~/.ray/auth_token"
        if not token.is_sent:
            state = f"is '{token.mode}'" if token.mode else "is not set"
            advice = "" if token.value else f"; there is no token in {token.place} either, copy it with: {copy}"
            raise UserError(
                f"{self.where}: {asks}, but RAY_AUTH_MODE {state} here: run: export RAY_AUTH_MODE=token{advice}"
            )
        if token.value is None and os.environ.get("RAY_ENABLE_K8S_TOKEN_AUTH"):
            raise gcs.UnknownAnswer("Ray reads the token of a Kubernetes service account")
        advice = f"copy it from the head with: {copy}; or print it there with: ray get-auth-token"
        if token.value is None:
            raise UserError(f"{self.where}: {asks}, and there is none in {token.place}: {advice}")
        if not self._accepts(token.value):
            raise UserError(
                f"{self.where}: the token in {token.place} is not the token of the cluster at {self.target}: {advice}"
            )

    def check_versions(self) -> None:
        """Check that Ray would join the cluster.

        Raises:
            UserError: its Ray or Python has another version.
        """
        there = gcs.ask_versions(self.target, self.token, self.cluster_id, timeout_s=self._left_s)
        try:
            here = gcs.Versions(version("ray"), platform.python_version())
        except PackageNotFoundError:  # installed in another way
            return
        n_parts = 2 if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor" else 3
        python = [each.python.split(".")[:n_parts] for each in (there, here)]
        if there.ray != here.ray or python[0] != python[1]:
            raise UserError(
                f"{self.where}: the cluster runs Ray {there.ray} on Python {there.python}, and this machine Ray "
                f"{here.ray} on Python {here.python}: install the versions of the cluster here (pip install "
                f"'ray[default,tune]=={there.ray}'), or start the cluster from this environment"
            )

    def _accepts(self, token: str | None) -> bool:
        """Return whether the cluster tells its id to who shows this token."""
        try:
            self.cluster_id = gcs.ask_cluster_id(self.target, token, timeout_s=self._left_s)
        except gcs.Unauthenticated:
            return False
        self.token = token
        return True

    @property
    def _left_s(self) -> float:
        return min(STEP_S, max(0.1, self.ends_at_s - time.monotonic()))

    @property
    def _is_loopback(self) -> bool:
        return ipaddress.ip_address(self.target.rpartition(":")[0].strip("[]").partition("%")[0]).is_loopback
