"""What a browser gets: the numbers of ``status``, names as data only, and nothing that writes or lies elsewhere."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.report.write import PAGE, REPORT
from sweep.documents import status_document
from sweep.lock import locked
from sweep.manifest import with_run, with_study
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import TRIALS
from sweep.records.writer import write_manifest
from sweep.serve import document, results
from sweep.serve.app import ASSETS
from tests.sweep.serve.conftest import Client


def without_age(status: dict[str, Any]) -> dict[str, Any]:
    ages = {"heartbeat_age_s": 0.0, "quiet_s": None}
    return {**status, "driver": status["driver"] and {**status["driver"], **ages}}


def test_results_are_those_of_status(client: Client, sweep_dir: Path, simulate: Any, study_of: Any) -> None:
    data = client("/data/mine.json").json
    assert data["status"] == status_document(sweep_dir)
    assert (data["state"], data["running"], data["left_s"]) == ("interrupted", [], None)
    with locked(sweep_dir):
        data = client("/data/mine.json").json
        assert without_age(data["status"]) == without_age(status_document(sweep_dir))
        assert data["state"] == "running"
    assert [arm["arm"] for arm in data["arms"]] == ["off", "cutout", "cutmix"]
    assert {"name": "mine", "state": "interrupted"}.items() <= client("/data/sweeps.json").json["sweeps"][0].items()


def test_an_extended_sweep_has_trials_left_before_the_first_of_them_begins(
    client: Client, sweep_dir: Path, study_of: Any
) -> None:
    """``extend`` changes ``sweep.json`` while Ray starts; until then there are no new rows."""
    n_trials = client("/data/mine.json").json["n_trials"]
    stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    study = study_of(
        confirm={"searches": 2, "seeds": 1}, budget={"trials": 6, "max_epochs": 5, "early_stopping": stopping}
    )
    write_manifest(sweep_dir, with_run(with_study(read_manifest(sweep_dir), study), "extended"))
    assert client("/data/mine.json").json["n_trials"] > n_trials


def test_running_trials_have_node_and_curve(client: Client, sweep_dir: Path, simulate: Any, study_of: Any) -> None:
    with locked(sweep_dir):
        study = study_of(question="<script>alert(1)</script>?", confirm={"searches": 2, "seeds": 1})
        session = simulate(study, sweep_dir)
        session.run(5).conductor.flush(force=True)
        data = client("/data/mine.json").json
        running = {entry.trial for entry in session.conductor.running}
        assert {each["trial"] for each in data["running"]} == running
        assert running
        curves = [curve for arm in data["arms"] for curve in arm["curves"]]
        assert {curve["trial"] for curve in curves if curve["status"] == "running"} <= running
        shown = sum(node["running"] for node in data["nodes"])
        assert shown == len(running)
    rungs = {rung["epochs"]: rung for rung in data["arms"][0]["rungs"]}
    assert rungs[1]["n"] == rungs[1].get("continue", 0) + rungs[1].get("stop", 0) + rungs[1].get("spared", 0)


def test_pages_are_files_with_a_strict_policy(client: Client) -> None:
    for path in ("/", "/sweeps/mine/", "/assets/draw.js", "/data/mine.json", "/nothing"):
        answer = client(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy, path
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.headers["Content-Type"].startswith("text/html"):  # names from the records are in no page
            assert b"script>alert" not in answer.body
        head = client(path, method="HEAD")
        assert (head.status, head.headers.keys(), head.body) == (answer.status, answer.headers.keys(), b"")


def test_no_page_loads_anything_from_elsewhere() -> None:
    for path in ASSETS.iterdir():
        text = path.read_text()
        assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), path.name
        assert "innerHTML" not in text
        assert " style=" not in text
        assert "onclick" not in text


def test_refuses_every_method_that_writes(client: Client) -> None:
    new_study = json.dumps({"study_name": "new", "directions": ["minimize"]}).encode()
    for path in ("/", "/api/studies", "/api/studies/0", "/api/trials/0/tell", "/data/mine.json"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = client(path, method=method, body=new_study)
            assert (answer.status, answer.headers.get("Allow")) == (405, "GET, HEAD"), (method, path)


def test_refuses_other_hosts(client: Client) -> None:
    """A page of the internet could otherwise let its own domain name lead to this server."""
    for host in ("evil.example", "127.0.0.1.evil.example:8080", "", "[", "192.168.0.7:8080"):
        for path in ("/", "/data/mine.json", "/api/studies", "/dashboard"):
            assert client(path, host=host).status == 421, (host, path)
    for host in ("localhost", "localhost:9000", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:80"):
        assert client("/assets/page.css", host=host).status == 200, host


def test_optuna_dashboard_is_there(client: Client, sweep_dir: Path) -> None:
    (url,) = (arm["optuna"] for arm in client("/data/mine.json").json["arms"] if arm["arm"] == "cutmix")
    number = url.removeprefix("/dashboard/studies/")
    assert client(url).status == 200
    study = client(f"/api/studies/{number}").json
    assert study["name"] == "mine/cutmix"
    assert len(study["trials"]) == (read_table(sweep_dir, TRIALS)["arm"] == "cutmix").sum() > 0
    names = [each["study_name"] for each in client("/api/studies").json["study_summaries"]]
    assert names == ["mine/off", "mine/cutout", "mine/cutmix"]
    assert client("/static/bundle.js").status == 200
    assert client("/static/../_app.py").status in (403, 404)
    assert client("/optuna/").headers["Location"] == "/dashboard"


def test_report_and_nothing_else_of_the_folder(client: Client, sweep_dir: Path, tmp_path: Path) -> None:
    assert Path(REPORT, PAGE) == document.REPORT
    assert client("/data/mine.json").json["report"]["url"] is None
    (sweep_dir / REPORT).mkdir()
    (sweep_dir / document.REPORT).write_text("<h1>Report</h1>")
    (tmp_path / "secret").write_text("secret")
    (sweep_dir / REPORT / "link").symlink_to(tmp_path / "secret")
    url = client("/data/mine.json").json["report"]["url"]
    assert client(url).body == b"<h1>Report</h1>"
    assert "script-src" not in client(url).headers["Content-Security-Policy"]
    for name in ("link", "../sweep.json", "../../secret", "..", "", ".", "//etc/passwd", "\0", "no.html"):
        assert client(f"/sweeps/mine/report/{name}").status == 404, name
    for path in ("/sweeps/mine/sweep.json", "/sweeps/mine/records/counts.json", "/assets/../app.py", "/sweeps/no/"):
        assert client(path).status == 404, path


def test_a_lost_sweep_is_said_and_the_last_state_stays(client: Client, sweep_dir: Path) -> None:
    before = client("/data/mine.json").json
    sweep_dir.rename(sweep_dir.with_name("elsewhere"))
    after = client("/data/mine.json").json
    assert "no sweep" in after["problem"]
    assert after["status"] == before["status"]


def test_slow_results_keep_no_page_waiting(
    client: Client, sweep_dir: Path, simulate: Any, study_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page gets the former results with their age until the new ones are there; the counts are the present ones."""
    begun, may_end = threading.Event(), threading.Event()

    def slow_document(folder: Path, **options: Any) -> dict[str, Any]:
        begun.set()
        assert may_end.wait(60)
        return status_document(folder, **options)

    monkeypatch.setattr(results, "QUICK_S", -1.0)
    monkeypatch.setattr(results, "status_document", slow_document)
    before = client("/data/mine.json").json
    study = study_of(question="<script>alert(1)</script>?", confirm={"searches": 2, "seeds": 1})
    simulate(study, sweep_dir).run()
    during = client("/data/mine.json").json
    assert begun.wait(60)
    assert during["status"] == before["status"]
    assert during["status_age_s"] > 0
    assert during["n_ended"] == during["n_trials"] > before["n_ended"]
    may_end.set()
    deadline_s = time.monotonic() + 60
    while (after := client("/data/mine.json").json)["status_age_s"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert after["status"] == status_document(sweep_dir)
