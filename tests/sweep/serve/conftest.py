"""A served sweep, and requests without a network."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import pytest

from search_spaces.study import Study
from sweep.serve import live
from sweep.serve.app import App
from sweep.serve.live import LiveSweep
from sweep.serve.optuna_view import RecordsStorage


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.0)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


class Client:
    """Sends requests to an application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, path: str, method: str = "GET", host: str = "127.0.0.1:8080", body: bytes = b"") -> Answer:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "HTTP_HOST": host}
        environ |= {"PATH_INFO": path, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ["CONTENT_TYPE"] = "application/json"
        setup_testing_defaults(environ)
        answered: list[Any] = []
        content = self._app(environ, lambda status, headers, exc_info=None: answered.extend((status, headers)))
        status, headers = answered
        body = b"".join(content)
        if hasattr(content, "close"):
            content.close()
        return Answer(int(status.split()[0]), dict(headers), body)


@pytest.fixture
def sweep_dir(simulate: Any, study_of: Callable[..., Study], tmp_path: Path) -> Path:
    """Return a small sweep that has been interrupted."""
    study = study_of(question="<script>alert(1)</script>?", confirm={"searches": 2, "seeds": 1})
    simulate(study, tmp_path / "mine").run(24).conductor.flush(force=True)
    return tmp_path / "mine"


@pytest.fixture
def client(sweep_dir: Path) -> Client:
    sweeps = [LiveSweep(sweep_dir, sweep_dir, "mine")]
    return Client(App(sweeps, RecordsStorage(sweeps)))
