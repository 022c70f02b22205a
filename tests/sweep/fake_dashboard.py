"""A dashboard of a Ray cluster without Ray: the part of its Jobs API that the program uses, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from aiohttp import web


@dataclass
class FakeDashboard:
    """State of the dashboard, and all requests that it has received."""

    token: str | None = None
    ray_version: str = field(default_factory=lambda: version("ray"))
    url: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, bytes] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    n_without_agent: int = 0
    lines: list[str] = field(default_factory=lambda: ["run begins\n", "epoch 1\n"])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        """Return the files of the only package."""
        (content,) = self.packages.values()
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            return {name: package.read(name) for name in package.namelist() if not name.endswith("/")}

    def add_job(self, name: str, *, status: str = "RUNNING", storage: str = "/shared/box", start_s: int = 0) -> None:
        """Add a job as if it had been submitted."""
        metadata = {"study": "small", "sweep": storage.rpartition("/")[2], "storage": storage, "trials": "12"}
        self._add({"submission_id": name, "entrypoint": "x", "metadata": metadata}, status, start_s)

    def _add(self, request: dict[str, Any], status: str, start_s: int) -> None:
        facts = {"type": "SUBMISSION", "status": status, "start_time": 1000 * start_s, "runtime_env": {}}
        kept = {name: request[name] for name in ("submission_id", "entrypoint", "metadata")}
        self.jobs.append({**facts, **kept, "end_time": None if status == "RUNNING" else 1000 * start_s + 5000})

    @web.middleware
    async def _receive(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((f"{request.method} {request.path_qs}", dict(request.headers), await request.read()))
        if self.token is not None:
            given = request.headers.get("Authorization")
            if given is None:
                return web.Response(status=401, text="Unauthorized: Missing authentication token")
            if given != f"Bearer {self.token}":
                return web.Response(status=403, text="Forbidden: Invalid authentication token")
        response: web.StreamResponse = await handler(request)
        return response

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(middlewares=[self._receive], client_max_size=2**24)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/jobs/", self._list)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_post("/api/jobs/{name}/stop", self._stop)
        app.router.add_get("/api/jobs/{name}/logs", self._logs)
        app.router.add_get("/api/jobs/{name}/logs/tail", self._tail)
        app.router.add_get("/api/packages/{protocol}/{name}", self._has_package)
        app.router.add_put("/api/packages/{protocol}/{name}", self._put_package)
        return app

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": self.ray_version, "ray_commit": "x"})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(self.jobs)

    async def _submit(self, request: web.Request) -> web.Response:
        content = await request.json()
        if self.n_without_agent:
            self.n_without_agent -= 1
            return web.Response(status=500, text="No available agent to submit job, please try again later.")
        self._add(content, "RUNNING", len(self.jobs) + 1)
        return web.json_response({"job_id": content["submission_id"], "submission_id": content["submission_id"]})

    async def _stop(self, request: web.Request) -> web.Response:
        self.stopped.append(request.match_info["name"])
        return web.json_response({"stopped": True})

    async def _logs(self, _: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.lines)})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for line in self.lines:
            await socket.send_str(line)
        await socket.close()
        return socket

    async def _has_package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _put_package(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()


@contextlib.contextmanager
def fake_dashboard(**options: Any) -> Iterator[FakeDashboard]:
    """Run a dashboard on a free port as long as the context lasts."""
    dashboard, loop, started = FakeDashboard(**options), asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(dashboard.app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        dashboard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.run_until_complete(asyncio.sleep(0.01))  # connections close in the next step of the loop
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert started.wait(30)
        yield dashboard
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
