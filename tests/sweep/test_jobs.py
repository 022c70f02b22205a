"""Sweeps as jobs of a Ray cluster: what is sent, what is checked before, and how a lost driver comes back."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search_spaces.discover import built_in_studies, load_study
from search_spaces.extension import extended
from search_spaces.study import Study
from sweep.dashboard import ANSWER_S, CONNECT_S, find_dashboard
from sweep.jobs import RESTARTS, check_storage, list_jobs, write_package
from sweep.ledger import log_name
from sweep.log_files import read_log
from sweep.manifest import with_change
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest
from sweep.restart import has_begun, run_again
from sweep.signals import catch_signals
from tests.sweep.fake_dashboard import FakeDashboard, fake_dashboard
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]
TOKEN = "a-secret-token-of-the-cluster"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home folder without a token, and an environment that must not be used."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
    return tmp_path / "home"


def write_token(home: Path, token: str = TOKEN) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{token}\n")
    return path


@contextmanager
def other_server(answer: bytes) -> Iterator[str]:
    """Run a server that answers each request with these bytes; b"" lets the client wait."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            waiting = []
            while not ended.is_set():
                try:
                    client = server.accept()[0]
                except TimeoutError:
                    continue
                waiting.append(client)
                if answer:
                    client.recv(65_536)
                    client.sendall(answer)
                    client.close()
            for client in waiting:
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


class TestDashboard:
    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(UserError, match=rf"nothing listens at 127.0.0.1:{port} \(Connection refused\)"):
            find_dashboard(f"http://127.0.0.1:{port}")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>", "JSONDecodeError"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "TypeError"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "BadStatusLine"),
            (b"", "timed out"),
        ],
    )
    def test_something_else_listens(self, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str) -> None:
        monkeypatch.setattr("sweep.dashboard.ANSWER_S", 0.3)
        with (
            other_server(answer) as url,
            pytest.raises(UserError, match="is not the dashboard of a Ray cluster") as error,
        ):
            find_dashboard(url)
        assert reason in str(error.value) or "no answer" in str(error.value)
        assert CONNECT_S + ANSWER_S < 10

    def test_the_token_is_missing_or_wrong(self, home: Path) -> None:
        with fake_dashboard(token=TOKEN) as dashboard:
            with pytest.raises(UserError, match=r"asks for a token, and '.*auth_token' does not exist: copy"):
                find_dashboard(dashboard.url)
            write_token(home, "another")
            with pytest.raises(UserError, match=r"the token in '.*auth_token' is not the token of this") as error:
                find_dashboard(dashboard.url)
            assert "another" not in str(error.value)
            write_token(home)
            found = find_dashboard(dashboard.url + "/")
            assert (found.url, found.token) == (dashboard.url, TOKEN)
            assert TOKEN not in repr(found)

    def test_the_token_may_have_another_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text(TOKEN)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        with fake_dashboard(token=TOKEN) as dashboard:
            assert find_dashboard(dashboard.url).token == TOKEN

    def test_another_version_of_ray_runs(self) -> None:
        with fake_dashboard(ray_version="2.9.0") as dashboard, pytest.raises(UserError, match=r"runs Ray 2.9.0, and"):
            find_dashboard(dashboard.url)

    @pytest.mark.parametrize(
        "address", ["auto", "10.0.0.5:6379", "ray://10.0.0.5:10001", "http://", "http://head:port", "http://head/jobs"]
    )
    def test_the_address_is_no_url_of_a_dashboard(self, address: str) -> None:
        with pytest.raises(UserError, match=r"for example http://HOST:8265"):
            find_dashboard(address)

    def test_a_password_does_not_belong_into_the_address(self) -> None:
        with pytest.raises(UserError, match="other users of this machine can read it") as error:
            find_dashboard("http://kim:secret@head:8265")
        assert "secret" not in str(error.value)

    def test_nothing_is_sent_unencrypted_to_another_machine(self) -> None:
        tunnel = r"ssh -N -L 8265:localhost:8265 192.0.2.1; then give --address http://localhost:8265"
        with pytest.raises(UserError, match=tunnel):
            find_dashboard("http://192.0.2.1:8265")


@pytest.fixture
def dashboard(home: Path) -> Iterator[FakeDashboard]:
    """Run a dashboard that asks for a token, which the user has."""
    write_token(home)
    with fake_dashboard(token=TOKEN) as running:
        yield running


class TestSubmit:
    @pytest.mark.parametrize(("patience_s", "code"), [(60.0, 0), (0.0, 2)])
    def test_waits_for_the_agent_of_a_cluster_that_has_just_been_started(
        self, dashboard: FakeDashboard, run: Run, monkeypatch: pytest.MonkeyPatch, patience_s: float, code: int
    ) -> None:
        monkeypatch.setattr("sweep.jobs.AGENT_S", patience_s)
        monkeypatch.setattr("sweep.jobs.AGENT_PAUSE_S", 0.0)
        dashboard.n_without_agent = 2
        status, _, err = run("submit", "quickstart", "--out", "/shared/box", "--address", dashboard.url)
        assert status == code
        assert ("No available agent" in err) == bool(code)
        assert len(dashboard.jobs) == (not code)

    def test_sends_the_study_and_nothing_else(
        self, dashboard: FakeDashboard, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "private.txt").write_text("a secret of the folder")
        words = ["quickstart", "--scale", "smoke", "--set", "budget.trials=4", "--seed", 7, "--out", "/shared/box"]
        words += ["--max-trials", 16]
        code, out, err = run("submit", *words, "--address", dashboard.url, "--log-to", "mlflow:http://10.0.0.9:5000")
        assert (code, err) == (0, "")
        assert out.startswith("submitted as job box: study quickstart, records in /shared/box\n")
        assert f"cutmix-sweep logs box --address {dashboard.url} --follow" in out
        files = dashboard.files()
        assert list(files) == ["quickstart.yaml"]
        path = tmp_path / "sent.yaml"
        path.write_bytes(files["quickstart.yaml"])
        expected = load_study("quickstart", scale="smoke", settings=["budget.trials=4", "seed=7"])
        assert load_study(str(path)) == expected
        (job,) = dashboard.jobs
        assert job["submission_id"] == "box"
        assert job["entrypoint"] == (
            "cutmix-sweep run quickstart.yaml --address auto --out /shared/box --or-resume "
            f"--restarts {RESTARTS} --max-trials 16 --log-to=mlflow:http://10.0.0.9:5000"
        )
        facts = job["metadata"]
        assert facts["arms"] == ", ".join(expected.arms)
        assert {name: facts[name] for name in ("study", "sweep", "id", "storage")} == {
            "study": "quickstart", "sweep": "box", "id": "0d464f", "storage": "/shared/box",
        }  # fmt: skip
        assert re.fullmatch(r"\d+\.\d+.*", facts["version"])
        assert int(facts["trials"]) == len(expected.arms) * (4 + expected.confirming_per_arm)

    def test_sends_parts_of_ones_own(self, dashboard: FakeDashboard, run: Run, own_package: Path) -> None:
        study = own_package.parent / "own.yaml"
        study.write_text(
            "name: own\nquestion: Does it travel?\narms:\n  off: {mix: off}\n  diamond: {mix: {preset: cutmix, mask: "
            "{family: 'mypkg.masks:Diamond'}}}\nbudget: {trials: 2, max_epochs: 3}\n"
        )
        code, _, err = run("submit", study, "--address", dashboard.url, "--out", "/shared/own")
        assert (code, err) == (0, "")
        names = set(dashboard.files())
        assert {"own.yaml", "mypkg/__init__.py", "mypkg/masks.py"} <= names
        assert all(name == "own.yaml" or re.fullmatch(r"mypkg/\w+\.py", name) for name in names)

    def test_keeps_the_token_in_the_header(self, dashboard: FakeDashboard, run: Run) -> None:
        where = ["--address", dashboard.url]
        texts = [
            *run("submit", "quickstart", "--out", "/shared/box", *where)[1:],
            *run("jobs", *where)[1:],
            *run("logs", "box", *where)[1:],
            *run("logs", "box", "--follow", *where)[1:],
            *run("stop", "box", *where)[1:],
        ]
        sent = [f"{line} {body!r}" for line, _, body in dashboard.requests]
        packages = [repr(content) for content in dashboard.files().values()]
        assert not [text for text in (*texts, *sent, *packages, str(dashboard.jobs)) if TOKEN in text]
        assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, headers, _ in dashboard.requests)
        assert all(TOKEN not in str({**headers, "Authorization": ""}) for _, headers, _ in dashboard.requests)
        assert TOKEN not in str(dict(os.environ))

    def test_takes_another_name_for_the_same_sweep_after_its_job(self, dashboard: FakeDashboard, run: Run) -> None:
        words = ["submit", "quickstart", "--out", "/shared/box", "--address", dashboard.url]
        assert run(*words)[0] == 0
        code, _, err = run(*words)
        assert (code, "job box runs this sweep already" in err) == (2, True)
        dashboard.jobs[0]["status"] = "FAILED"
        assert run(*words)[1].startswith("submitted as job box-2: ")
        assert run("logs", "box-2", "--address", dashboard.url)[1] == "run begins\nepoch 1\n"

    @pytest.mark.parametrize("out", ["sweeps/box", "/shared/b x", "/", "/shared/.box"])
    def test_refuses_a_folder_that_the_cluster_cannot_use(self, out: str) -> None:
        with pytest.raises(UserError, match=r"--out '"):
            check_storage(out)


@pytest.mark.parametrize("name", built_in_studies())
def test_a_study_arrives_as_it_was_sent(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    assert load_study(str(tmp_path / write_package(study, [], tmp_path))) == study


class TestJobs:
    def test_are_listed_the_newest_first(self, dashboard: FakeDashboard, run: Run) -> None:
        assert "no job of this cluster is a sweep" in run("jobs", "--address", dashboard.url)[1]
        dashboard.add_job("old", status="STOPPED", start_s=100)
        dashboard.add_job("new", start_s=200)
        dashboard.jobs.append({"type": "DRIVER", "status": "RUNNING", "entrypoint": "python other.py"})
        found = list_jobs(dashboard.url)
        assert [(job.name, job.status, job.study, job.trials) for job in found] == [
            ("new", "running", "small", 12),
            ("old", "stopped", "small", 12),
        ]
        assert found[1].seconds == 5
        _, out, _ = run("jobs", "--address", dashboard.url)
        assert re.search(r"^new +running +- +small +12 ", out, flags=re.MULTILINE)

    def test_are_found_by_the_name_of_their_sweep(self, dashboard: FakeDashboard, run: Run) -> None:
        dashboard.add_job("box-2", storage="/shared/box", start_s=200)
        code, out, _ = run("stop", "box", "--address", dashboard.url)
        assert (code, dashboard.stopped) == (0, ["box-2"])
        assert out == ("job box-2 ends within 30 s; to continue the sweep, submit it again with --out /shared/box\n")
        code, _, err = run("stop", "box2", "--address", dashboard.url)
        assert (code, "did you mean 'box-2'" in err) == (2, True)
        dashboard.jobs[0]["status"] = "SUCCEEDED"
        assert run("stop", "box", "--address", dashboard.url)[1] == "job box-2 has ended already: succeeded\n"

    def test_have_output_that_can_be_followed(self, dashboard: FakeDashboard, run: Run) -> None:
        dashboard.add_job("box")
        for more in ([], ["--follow"]):
            assert run("logs", "box", "--address", dashboard.url, *more) == (0, "run begins\nepoch 1\n", "")

    def test_stop_a_trial_in_a_folder_that_is_visible_here(
        self, dashboard: FakeDashboard, run: Run, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        box = tmp_path / "box"
        simulate(study_of(), box).run(3).conductor.flush(force=True)
        dashboard.add_job("box", storage=str(box))
        where = ["--address", dashboard.url]
        assert run("stop", "box", "--trial", "off-0000", *where)[1].startswith("trial off-0000 is cancelled")
        (box / log_name("off-0000")).parent.mkdir()
        (box / log_name("off-0000")).write_text("epoch 1\n")
        assert run("logs", "box", "--trial", "off-0000", *where)[1] == "epoch 1\n"
        dashboard.add_job("far", storage="/elsewhere/far")
        code, _, err = run("logs", "far", "--trial", "off-0000", *where)
        assert (code, "'/elsewhere/far' of job far is not visible on this machine" in err) == (2, True)


class TestLogs:
    def test_of_a_folder(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run) -> None:
        box = tmp_path / "box"
        simulate(study_of(), box).run(3).conductor.flush(force=True)
        code, _, err = run("logs", box, "--trial", "of-0000")
        assert (code, "did you mean 'off-0000'" in err) == (2, True)
        code, _, err = run("logs", box, "--trial", "off-0000")
        assert (code, "trial 'off-0000' has no log" in err) == (2, True)
        (box / "sweep.log").write_text("run begins\n")
        assert run("logs", box)[:2] == (0, "run begins\n")
        code, _, err = run("logs", tmp_path / "bx")
        assert (code, "no sweep in" in err) == (2, True)

    def test_are_followed_as_long_as_the_sweep_runs(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulate(study_of(), tmp_path).run(3).conductor.flush(force=True)
        path = tmp_path / log_name("off-0000")
        path.parent.mkdir()
        steps = iter(["epoch 1\n", "epoch 1\nepoch 2\n", "newer\n"])
        path.write_text(next(steps))
        from sweep import log_files

        presence = iter([log_files.Presence.ALIVE] * 2 + [log_files.Presence.GONE])
        monkeypatch.setattr(log_files.DriverObserver, "look", lambda _: next(presence))
        texts = list(read_log(tmp_path, "off-0000", follow=True, sleep=lambda _: path.write_text(next(steps)) and None))
        assert texts == ["epoch 1\n", "epoch 2\n", "newer\n"]


class TestOrResume:
    def test_knows_the_study_of_a_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study, box = study_of(), tmp_path / "box"
        assert not has_begun(study, box)
        simulate(study, box)
        assert has_begun(study, box)
        larger = extended(study, trials=1)
        with pytest.raises(UserError, match=r"has a sweep of another study.*cutmix-sweep resume"):
            has_begun(larger, box)
        write_manifest(box, with_change(read_manifest(box), larger, "extend", "1"))
        assert has_begun(study, box)  # extended while it ran
        assert has_begun(larger, box)

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["--or-resume"], "--or-resume needs --out"),
            (["--restarts", "2", "--out", "box"], "--restarts needs --out and --or-resume"),
        ],
    )
    def test_needs_a_folder(self, run: Run, words: list[str], reason: str) -> None:
        code, _, err = run("run", "quickstart", *words)
        assert (code, reason in err) == (2, True)


DRIVER = """
import os, pathlib, signal, sys
calls = pathlib.Path(sys.argv[1])
n = len(calls.read_text()) if calls.exists() else 0
calls.write_text("x" * (n + 1))
end = sys.argv[2].split(",")[min(n, len(sys.argv[2].split(",")) - 1)]
os.kill(os.getpid(), int(end[1:])) if end.startswith("s") else sys.exit(int(end))
"""


class TestRestarts:
    @pytest.mark.parametrize(
        ("ends", "code", "n_runs"),
        [
            ("0", 0, 1),
            ("2", 2, 1),
            ("3", 3, 1),
            ("130", 130, 1),
            ("143", 143, 1),
            ("s15", 143, 1),
            ("s9,0", 0, 2),  # killed for lack of memory
            ("s11,1,0", 0, 3),
            ("s9", 137, 4),
            ("1", 1, 4),
        ],
    )
    def test_only_a_lost_driver_is_started_again(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, ends: str, code: int, n_runs: int
    ) -> None:
        simulate(study_of(), tmp_path / "box").run(3).conductor.flush(force=True)
        calls, program = tmp_path / "calls", [sys.executable, "-c", DRIVER]
        with catch_signals():
            ended = run_again([str(calls), ends], tmp_path / "box", 3, program=program, sleep=lambda _: None)
        assert (ended, len(calls.read_text())) == (code, n_runs)

    def test_a_finished_sweep_with_failures_is_not_run_again(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(budget={"trials": 1, "max_epochs": 1}), tmp_path / "box").run()
        calls = tmp_path / "calls"
        with catch_signals():
            assert run_again([str(calls), "1"], tmp_path / "box", 3, program=[sys.executable, "-c", DRIVER]) == 1
        assert len(calls.read_text()) == 1

    def test_progress_gives_it_new_lives(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        box, calls = tmp_path / "box", tmp_path / "calls"
        session = simulate(study_of(), box)

        def work(_: float) -> None:
            if len(calls.read_text()) < 6:
                session.run(2).conductor.flush(force=True)

        with catch_signals():
            run_again([str(calls), "s9"], box, 1, program=[sys.executable, "-c", DRIVER], sleep=work)
        assert len(calls.read_text()) == 7

    def test_a_signal_is_passed_on(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path / "box")
        code = (
            "import pathlib, signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
            f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
            "time.sleep(60)\n"
        )

        def end(signals: Any) -> None:
            while not (tmp_path / "ready").exists():
                time.sleep(0.01)
            signals.handle(15)

        with catch_signals() as signals:
            thread = threading.Thread(target=end, args=[signals])
            thread.start()
            assert run_again([], tmp_path / "box", 3, program=[sys.executable, "-c", code]) == 143
            thread.join()
