"""The five ways of a wrong connection, and others: each has its own message within seconds, before Ray is started."""

from __future__ import annotations

import contextlib
import json
import platform
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest

from sweep import connection
from sweep.connection import check_connection
from trainables.errors import UserError

TOKEN = "0" * 64

MakeHead = Callable[..., str]


class Head(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A head that answers as Ray's does."""

    def __init__(self, token: str | None, ray_version: str, python: str) -> None:
        self.token, self.metadata = token, {"ray_version": ray_version, "python_version": python}

    def service(self, details: Any) -> Any:
        answers = {
            "/ray.rpc.NodeInfoGcsService/GetClusterId": b"\x0a\x00\x12\x04\x01\x02\x03\x04",
            "/ray.rpc.InternalKVGcsService/InternalKVGet": b"\x12" + self._value(),
        }
        if details.method not in answers:
            return None
        shown = dict(details.invocation_metadata).get("authorization")

        def answer(request: bytes, context: Any) -> bytes:
            if self.token is not None and shown != f"Bearer {self.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return answers[details.method]

        return grpc.unary_unary_rpc_method_handler(answer)

    def _value(self) -> bytes:
        value = json.dumps(self.metadata).encode()
        assert len(value) < 128
        return bytes([len(value)]) + value


@pytest.fixture
def head() -> Iterator[MakeHead]:
    """Return a function that starts a head and returns its address."""
    servers = []

    def start(
        token: str | None = TOKEN,
        ray: str = version("ray"),
        python: str = platform.python_version(),
        *,
        kind: Any = Head,
    ) -> str:
        server = grpc.server(ThreadPoolExecutor(1), handlers=[kind(token, ray, python)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder without a token, and an environment without Ray's variables."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    return tmp_path


@pytest.fixture
def token_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")


def refusal(address: str, **options: Any) -> str:
    """Message of an address that is refused; it comes in time, in one line."""
    started_s = time.monotonic()
    with pytest.raises(UserError) as refused:
        check_connection(address, **options)
    assert time.monotonic() - started_s < 10
    message = str(refused.value)
    assert message.startswith(f"--address '{address}': ")
    assert len(message) <= 500
    assert "\n" not in message
    return message


def test_a_cluster_with_the_right_token_is_joined(head: MakeHead, home: Path, token_mode: None) -> None:
    (home / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
    check_connection(head())


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert f"nothing listens at port {port} of 127.0.0.1: start the head" in refusal(f"127.0.0.1:{port}")


def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, timeout: float) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    message = refusal("10.77.0.99:6379")
    assert "no connection to port 6379 of 10.77.0.99 (no answer within 3 s)" in message
    assert "nc -vz 10.77.0.99 6379" in message


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STEP_S", 0.05)
    ended = threading.Event()

    def find(*_: Any, **__: Any) -> None:
        ended.wait(5)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find)
    assert "no name server has answered within 0.05 s" in refusal("hedd:6379")
    ended.set()
    monkeypatch.setattr(connection, "STEP_S", 3.0)
    message = refusal("hedd:6379")
    assert "'hedd' is not known here ([Errno -2] Name or service not known)" in message
    assert "getent hosts hedd" in message


def test_another_program_listens(head: MakeHead) -> None:
    class Other(Head):
        def service(self, details: Any) -> None:
            return None

    assert "another program than the head of a Ray cluster listens at port" in refusal(head(kind=Other))
    with socket.create_server(("127.0.0.1", 0)) as server:  # a dashboard: it speaks HTTP/1
        port = server.getsockname()[1]

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller, contextlib.suppress(OSError):
                        caller.recv(100)
                        caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert "8265 is its dashboard" in refusal(f"127.0.0.1:{port}")


def test_something_listens_and_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STEP_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        message = refusal(f"127.0.0.1:{server.getsockname()[1]}")
    assert "is open, but nothing answers within 0.3 s: look at the head with: ray status" in message


def test_no_token(head: MakeHead, home: Path, token_mode: None) -> None:
    address = head()
    message = refusal(address)
    assert f"the cluster at {address} asks for a token, and there is none in {home}/.ray/auth_token: copy it" in message
    assert "scp 127.0.0.1:.ray/auth_token ~/.ray/" in message


def test_a_wrong_token(head: MakeHead, token_mode: None, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "token").write_text("1" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
    address = head()
    message = refusal(address)
    assert f"the token in {home}/token is not the token of the cluster at {address}: copy it" in message
    assert "1" * 64 not in message
    monkeypatch.setenv("RAY_AUTH_TOKEN", "2" * 64)
    assert "the token in the variable RAY_AUTH_TOKEN is not" in refusal(address)


@pytest.mark.parametrize(("mode", "state"), [("", "is not set"), ("disabled", "is 'disabled'")])
def test_no_authentication_mode(
    head: MakeHead, home: Path, monkeypatch: pytest.MonkeyPatch, mode: str, state: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert "there is no token in" in refusal(head())
    (home / ".ray" / "auth_token").write_text(TOKEN)
    assert refusal(head()).endswith(f"but RAY_AUTH_MODE {state} here: run: export RAY_AUTH_MODE=token")


def test_an_open_cluster_is_refused_where_others_reach_it(head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    address = head(None)
    check_connection(address)  # on the loopback
    monkeypatch.setattr(connection._Cluster, "_is_loopback", False)
    assert "everyone who reaches 127.0.0.1" in refusal(address)
    check_connection(address, insecure=True)


@pytest.mark.parametrize(("ray", "python"), [("2.59.0", platform.python_version()), (version("ray"), "3.10.1")])
def test_other_versions(head: MakeHead, ray: str, python: str) -> None:
    message = refusal(head(None, ray, python))
    here = f"this machine Ray {version('ray')} on Python {platform.python_version()}"
    assert f"the cluster runs Ray {ray} on Python {python}, and {here}" in message
    assert f"ray[default,tune]=={ray}" in message


def test_what_is_not_understood_is_left_to_ray(head: MakeHead) -> None:
    class Future(Head):
        def _value(self) -> bytes:
            return b"\x02{}"

    check_connection(head(None, kind=Future))


@pytest.mark.parametrize("address", ["head", ":6379", "head:x", "head:99999", "http://head", "s3://x:1/"])
def test_other_forms(address: str) -> None:
    assert "must be auto or HOST:PORT, for example 10.0.0.5:6379" in refusal(address)


def test_auto(head: MakeHead, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray sends an existing token to a cluster that it finds itself, also without RAY_AUTH_MODE."""
    (home / ".ray" / "auth_token").write_text(TOKEN)
    address = head()
    find = _ray_that_finds(monkeypatch, address)
    check_connection("auto")
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert "RAY_AUTH_MODE is not set" in refusal("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    find.append(ConnectionError("Could not find any running Ray instance. Please specify the one"))
    assert "no Ray runs on this machine: start it with: ray start --address HEAD:6379" in refusal("auto")


def _ray_that_finds(monkeypatch: pytest.MonkeyPatch, address: str) -> list[Exception]:
    """Put a stand-in in the place of Ray, whose import takes seconds; it raises what is appended to the list."""
    errors: list[Exception] = []

    def find(_: str) -> str:
        if errors:
            raise errors[-1]
        return address

    for name, facts in (
        ("ray", {"is_initialized": lambda: False}),
        ("ray._private", {}),
        ("ray._private.services", {"canonicalize_bootstrap_address_or_die": find}),
    ):
        module = types.ModuleType(name)
        vars(module).update(facts)
        monkeypatch.setitem(sys.modules, name, module)
    return errors
