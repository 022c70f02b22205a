"""The dashboard of a Ray cluster, to which jobs are submitted: its address, its token, and whether it answers."""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainables.errors import UserError

PORT = 8265
"""Port of the dashboard unless the cluster was started with another one."""

CONNECT_S, ANSWER_S = 3.0, 5.0
"""Time within which the port, and then the dashboard, must answer."""

TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
"""Environment variable with the file of Ray's token."""

EXAMPLE = f"http://HOST:{PORT}"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that has answered.

    Attributes:
        url: its address, without a slash at its end.
        token: Ray's token; None if there is no file with one. It is sent in the header of requests and nowhere else.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def find_dashboard(address: str, *, insecure: bool = False) -> Dashboard:
    """Return the dashboard at an address, after at most ``CONNECT_S + ANSWER_S`` seconds.

    Args:
        address: for example ``http://localhost:8265``.
        insecure: whether the token may be sent unencrypted to another machine.

    Raises:
        UserError: the address is not that of a dashboard, nothing listens there, the token is wrong, the connection
            is not encrypted, or Ray has another version there.
    """
    host, port, url = _parse(address)
    if url.startswith("http:") and not insecure and not _is_loopback(host):
        tunnel = shlex.join(["ssh", "-N", "-L", f"{PORT}:localhost:{port}", host])
        raise UserError(
            f"--address '{address}': the token and the study would be sent unencrypted. Open a tunnel with: {tunnel}; "
            f"then give --address http://localhost:{PORT}. In a network that you trust, give --insecure instead"
        )
    _check_port(address, host, port)
    dashboard = Dashboard(url, read_token())
    _check_version(address, _get_version(address, dashboard))
    return dashboard


def token_path() -> Path:
    """Return the file of Ray's token."""
    given = os.environ.get(TOKEN_PATH)
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def read_token() -> str | None:
    """Return Ray's token; None if its file is missing or empty.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return token_path().read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read Ray's token in '{token_path()}': {reason}") from None


def _parse(address: str) -> tuple[str, int, str]:
    """Return host, port and URL of a dashboard."""
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else PORT)
        is_valid = parts.scheme in ("http", "https") and parts.path in ("", "/") and not (parts.query or parts.fragment)
    except ValueError:
        is_valid = False
    if not is_valid or not parts.hostname:
        raise UserError(f"--address '{address}': give the address of the cluster's dashboard, for example {EXAMPLE}")
    if parts.username or parts.password:
        raise UserError("--address contains a user name or a password: other users of this machine can read it there")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.hostname, port, f"{parts.scheme}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_port(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UserError(
            f"--address '{address}': nothing listens at {host}:{port} ({reason}): is the cluster up, and the tunnel?"
        ) from None


def _get_version(address: str, dashboard: Dashboard) -> str:
    """Return the version of Ray that a dashboard runs."""
    request = urllib.request.Request(f"{dashboard.url}/api/version", headers=dashboard.headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            content: Any = json.loads(answer.read(65_536))
        return str(content["ray_version"])
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise UserError(f"--address '{address}': {_describe_refusal(dashboard, error.code)}") from None
        reason = f"HTTP {error.code}"
    except urllib.error.URLError as error:
        is_certificate = isinstance(error.reason, ssl.SSLCertVerificationError)
        reason = "its certificate is not trusted" if is_certificate else str(error.reason)
    except TimeoutError:
        reason = "no answer"
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        reason = type(error).__name__
    raise UserError(f"--address '{address}': this is not the dashboard of a Ray cluster ({reason})") from None


def _describe_refusal(dashboard: Dashboard, code: int) -> str:
    path = token_path()
    if dashboard.token is None:
        return f"the cluster asks for a token, and '{path}' does not exist: copy that of the cluster's head, mode 600"
    return f"the token in '{path}' is not the token of this cluster (HTTP {code}): copy that of the cluster's head"


def _check_version(address: str, there: str) -> None:
    here = version("ray")
    if there != here:
        raise UserError(
            f"--address '{address}': the cluster runs Ray {there}, and this machine has Ray {here}: install Ray {there}"
        )
