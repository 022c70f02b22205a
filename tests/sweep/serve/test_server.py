"""The verb ``serve``: where it listens, how it ends, and what it refuses."""

from __future__ import annotations

import socket
import threading
import urllib.request
import wsgiref.simple_server
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.serve.server import describe_server, open_server
from trainables import extras
from trainables.errors import UserError

Run = Callable[..., tuple[int, str, str]]


def hello(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_listens_at_the_named_address_only() -> None:
    with open_server(hello, host="127.0.0.1", port=None) as server:
        assert server.socket.getsockname() == ("127.0.0.1", server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
                assert answer.read() == b"hello"
        finally:
            server.shutdown()
            thread.join()


def test_a_port_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} is in use"):
            open_server(hello, host="127.0.0.1", port=port)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sweep.serve.server.PORT", port)
            with open_server(hello, host="127.0.0.1", port=None) as server:
                assert server.server_port != port
    with pytest.raises(UserError, match=r"--host '192\.0\.2\.1': this machine cannot listen there"):
        open_server(hello, host="192.0.2.1", port=None)


def test_says_how_to_reach_it_from_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert list(describe_server("127.0.0.1", 8080)) == ["serving at http://127.0.0.1:8080/ (Ctrl-C ends it)"]
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    assert "on your own machine, run: ssh -L 8080:127.0.0.1:8080 10.0.0.2" in describe_server("127.0.0.1", 8080)
    assert len(list(describe_server("0.0.0.0", 8080))) == 1


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C as soon as the server listens."""

    def serve_forever(server: object, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wsgiref.simple_server.WSGIServer, "serve_forever", serve_forever)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)


@pytest.mark.usefixtures("interrupted")
def test_ends_with_code_0(run: Run, sweep_dir: Path) -> None:
    status, out, err = run("serve", sweep_dir, sweep_dir)
    assert status == 0
    assert out.startswith("serving at http://127.0.0.1:")
    assert err == "no longer serving; the sweeps themselves were not interrupted\n"


@pytest.mark.usefixtures("interrupted")
def test_another_address_is_warned_of(run: Run, sweep_dir: Path) -> None:
    _, _, err = run("serve", sweep_dir, "--host", "0.0.0.0")
    assert err.startswith("warning: --host 0.0.0.0: every machine that reaches this address can read the sweeps")


def test_refuses_in_one_message(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = run("serve", tmp_path)
    assert (status, out) == (2, "")
    assert err == f"error: no sweep in '{tmp_path}': the folder has no sweep.json\n"
    monkeypatch.setitem(extras.EXTRAS, "serve", ("not_there",))
    status, out, err = run("serve", tmp_path)
    assert (status, out) == (2, "")
    assert "pip install 'cutmix-sweep[serve]'" in err
