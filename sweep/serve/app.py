"""The web application of ``serve``: pages and documents of the sweeps, and optuna-dashboard; nothing can be written."""

from __future__ import annotations

import ipaddress
import json
import mimetypes
import posixpath
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.mirrored import shown
from sweep.serve.document import REPORT, list_document, sweep_document
from sweep.serve.live import LiveSweep

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from sweep.serve.optuna_view import RecordsStorage

ASSETS = Path(__file__).with_name("assets")
LOOPBACK = ("localhost", "127.0.0.1", "::1")

OPTUNA_PATHS = ("dashboard", "api", "static", "csv", "favicon.ico", "artifacts")
"""First parts of the paths of optuna-dashboard; its page requests them from the root of the server."""

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-downloads"
)
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
)

Page = tuple[str, str, bytes, str]
"""Status, type of content, content, and the policy of the page."""


class App:
    """WSGI application with these paths.

    - ``/``, ``/sweeps/NAME/``: the pages; ``/data/sweeps.json``, ``/data/NAME.json``: what they show.
    - ``/sweeps/NAME/report/...``: the files of the report of a sweep.
    - ``/assets/...``: script and style. All other paths of ``OPTUNA_PATHS``: optuna-dashboard.
    """

    def __init__(self, sweeps: Sequence[LiveSweep], storage: RecordsStorage, *, hosts: Iterable[str] = ()) -> None:
        """Make the application.

        Args:
            sweeps: sweeps to show.
            storage: the same sweeps for optuna-dashboard.
            hosts: names of this machine that a browser may use, besides those of the loopback address.
        """
        from optuna_dashboard import wsgi

        self._sweeps = {live.name: live for live in sweeps}
        self._storage = storage
        self._hosts = {*LOOPBACK, *(name.lower() for name in hosts)}
        self._any_address = bool(self._hosts - set(LOOPBACK))
        self._optuna: WSGIApplication = wsgi(storage)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Return the answer to one request."""
        if not self._is_host(environ.get("HTTP_HOST", "")):
            return _send(_text("421 Misdirected Request", "this host name is not served here"), environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            refusal = _text("405 Method Not Allowed", "the records are only shown here: nothing is written")
            return _send(refusal, environ, start_response, ("Allow", "GET, HEAD"))
        path = environ.get("PATH_INFO", "/")
        first = path.split("/")[1] if path.startswith("/") else ""
        if first in OPTUNA_PATHS:
            environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard fails without it
            return self._optuna(environ, _guarded(start_response))
        if target := self._redirection(path):
            moved = _text("302 Found", target)
            return _send(moved, environ, start_response, ("Location", urllib.parse.quote(target)))
        return _send(self._page(path), environ, start_response)

    def _is_host(self, header: str) -> bool:
        """Return whether a Host header names this machine: any other name may belong to a page of the internet."""
        try:
            host = urllib.parse.urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if host in self._hosts:
            return True
        return self._any_address and _is_address(host)

    def _redirection(self, path: str) -> str:
        if path in ("/optuna", "/optuna/"):
            return "/dashboard"
        name = path.removeprefix("/sweeps/")
        return f"{path}/" if path != name and name in self._sweeps else ""

    def _page(self, path: str) -> Page:
        if path == "/":
            return _asset("list.html")
        if path == "/data/sweeps.json":
            return _json(list_document(list(self._sweeps.values())))
        if match := re.fullmatch(r"/assets/([a-z]+\.(?:css|js))", path):
            return _asset(match[1])
        if (match := re.fullmatch(r"/data/([^/]+)\.json", path)) and match[1] in self._sweeps:
            return _json(sweep_document(self._sweeps[match[1]], optuna_url=self._optuna_url(match[1])))
        if (match := re.fullmatch(r"/sweeps/([^/]+)/(.*)", path)) and match[1] in self._sweeps:
            return _asset("sweep.html") if not match[2] else _report_file(self._sweeps[match[1]].folder, match[2])
        return _not_found()

    def _optuna_url(self, name: str) -> Callable[[str], str]:
        live = self._sweeps[name]
        return lambda arm: f"/dashboard/studies/{self._storage.study_id(live, arm)}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _report_file(folder: Path, name: str) -> Page:
    """Return a file of the report of a sweep; nothing outside its folder, also not through a link."""
    root = (folder / REPORT.parent).resolve()
    if posixpath.normpath(name) != name or not name.startswith(f"{REPORT.parent}/"):
        return _not_found()
    try:
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(root) or not root.is_relative_to(folder.resolve()) or not path.is_file():
            return _not_found()
        content = path.read_bytes()
    except (OSError, ValueError):
        return _not_found()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return "200 OK", _with_charset(kind), content, _REPORT_POLICY


def _with_charset(kind: str) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _asset(name: str) -> Page:
    try:
        content = (ASSETS / name).read_bytes()
    except FileNotFoundError:
        return _not_found()
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
    return "200 OK", _with_charset(kind), content, _PAGE_POLICY


def _json(document: dict[str, Any]) -> Page:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "200 OK", "application/json", shown(text).encode("utf-8", "replace"), _PAGE_POLICY


def _text(status: str, message: str) -> Page:
    return status, "text/plain; charset=utf-8", f"{message}\n".encode(), _PAGE_POLICY


def _not_found() -> Page:
    return _text("404 Not Found", "there is no such page; the list of the sweeps is at /")


def _send(
    page: Page, environ: WSGIEnvironment, start_response: StartResponse, *headers: tuple[str, str]
) -> Iterable[bytes]:
    status, kind, content, policy = page
    sent = [
        ("Content-Type", kind),
        ("Content-Length", str(len(content))),
        ("Content-Security-Policy", policy),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, [*sent, *_HEADERS, *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]


def _guarded(start_response: StartResponse) -> StartResponse:
    """Return a function that adds the headers of all answers to those of optuna-dashboard."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, *_HEADERS], exc_info)

    return start
