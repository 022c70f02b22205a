"""Board, files and start of Prometheus and Grafana. No Ray, and neither program is needed."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.study import Study
from sweep.jobs import metadata_of
from sweep.metrics import METRICS, SWEEP_LABELS
from sweep.monitor.board import PANELS, RAY_METRICS, board
from sweep.monitor.files import Monitor, describe_monitor, monitor_files
from sweep.monitor.start import Server, installed_servers, started
from sweep.worker_names import named_workers
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]
EXPRESSIONS = sorted({expr for panel in PANELS for expr, _ in panel.series})
OURS = {metric.exported: {*SWEEP_LABELS, "SessionName", *metric.labels} for metric in METRICS}


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    return Monitor(tmp_path / "monitor", (tmp_path / "ray",), 19090, 13000)


class TestBoard:
    def test_shows_every_metric_and_no_other(self) -> None:
        text = " ".join(EXPRESSIONS)
        used = set(re.findall(r"\bray_\w+", text))
        assert used == {*OURS, *RAY_METRICS}

    @pytest.mark.parametrize("expr", EXPRESSIONS)
    def test_uses_labels_that_the_metric_has(self, expr: str) -> None:
        for name, conditions in re.findall(r"(ray_\w+)\{([^}]*)\}", expr):
            labels = set(re.findall(r'(\w+)=~?"', conditions))
            assert labels <= OURS.get(name, {"SessionName"})
            assert "SessionName" in labels
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr):
            known = {label for name in re.findall(r"ray_\w+", expr) for label in OURS[name]}
            assert {label.strip() for label in labels.split(",")} <= known

    @pytest.mark.parametrize("expr", EXPRESSIONS)
    def test_expressions_parse(self, expr: str) -> None:
        promql_parser = pytest.importorskip("promql_parser")
        promql_parser.parse(re.sub(r"\$\w+", ".*", expr))

    def test_names_of_series_are_labels_of_their_query(self) -> None:
        for panel in PANELS:
            for expr, name in panel.series:
                for label in re.findall(r"\{\{(\w+)\}\}", name):
                    assert label in expr or label in {"arm", "instance", "GpuIndex"}, panel.title

    def test_panels_fill_the_board_without_overlap(self) -> None:
        made = board()
        assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
        assert len({panel["title"] for panel in made["panels"]}) == len(made["panels"])
        cells = [
            (x, y)
            for panel in made["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert {x for x, _ in cells} == set(range(24))

    def test_takes_what_the_page_of_the_ray_dashboard_gives(self) -> None:
        variables = {variable["name"]: variable for variable in board()["templating"]["list"]}
        assert set(variables) == {"datasource", "SessionName", *SWEEP_LABELS}
        assert board()["uid"] == "cutmix-sweep"

    def test_metrics_of_ray_exist(self) -> None:
        from ray.dashboard.modules.reporter import reporter_agent

        source = Path(reporter_agent.__file__).read_text()
        for name in RAY_METRICS:
            assert f'"{name.removeprefix("ray_")}"' in source


class TestFiles:
    def test_listen_on_this_machine_only(self, monitor: Monitor) -> None:
        files = monitor_files(monitor)
        ini = configparser.ConfigParser()
        ini.read_string(files[monitor.folder / "grafana" / "grafana.ini"])
        assert (ini["server"]["http_addr"], ini["server"]["http_port"]) == ("127.0.0.1", "13000")
        assert ini["auth.anonymous"]["org_role"] == "Viewer"
        assert ini["auth"].getboolean("disable_login_form")
        assert "--web.listen-address=127.0.0.1:19090" in monitor.prometheus_command

    def test_belong_together(self, monitor: Monitor) -> None:
        files = {str(path.relative_to(monitor.folder)): text for path, text in monitor_files(monitor).items()}
        (scrape,) = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
        (target,) = scrape["file_sd_configs"][0]["files"]
        assert target == str(monitor.ray_dirs[0] / "session_latest" / "prom_metrics_service_discovery.json")
        (source,) = yaml.safe_load(files["grafana/provisioning/datasources/cutmix-sweep.yml"])["datasources"]
        assert source["url"] == "http://127.0.0.1:19090"
        (provider,) = yaml.safe_load(files["grafana/provisioning/dashboards/cutmix-sweep.yml"])["providers"]
        assert provider["options"]["path"] == str(monitor.folder / "grafana" / "dashboards")
        assert json.loads(files["grafana/dashboards/cutmix-sweep.json"]) == json.loads(json.dumps(board()))
        assert json.loads(files["grafana/dashboards/ray-core.json"])["uid"] == "rayDefaultDashboard"

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_the_ray_dashboard_shows_the_board(self, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
        from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_data_grafana_dashboard

        for name, value in monitor.variables.items():
            monkeypatch.setenv(name, value)
        assert generate_data_grafana_dashboard()[1] == board()["uid"]

    def test_prometheus_takes_its_file(self, monitor: Monitor) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed")
        path = monitor.folder / "prometheus.yml"
        path.parent.mkdir()
        path.write_text(monitor_files(monitor)[path])
        subprocess.run([promtool, "check", "config", path], check=True, capture_output=True)


class TestVerb:
    def test_writes_the_files_and_says_what_to_do(self, run: Run, tmp_path: Path) -> None:
        to = tmp_path / "monitor"
        status, out, _ = run("monitor", "--to", to, "--ray-dir", tmp_path, "--prometheus-port", 19090)
        assert status == 0
        lines = out.splitlines()
        written = [path for path in to.rglob("*") if path.is_file()]
        assert {str(path) for path in written} == set(lines[: len(written)])
        assert lines[len(written) :] == describe_monitor(Monitor(to, (tmp_path,), 19090))
        assert any(
            "ssh -L 3000:localhost:3000 -L 19090:localhost:19090 -L 8265:localhost:8265 " in line for line in lines
        )
        assert run("monitor", "--to", to, "--ray-dir", tmp_path, "--prometheus-port", 19090)[:2] == (0, out)

    def test_replaces_no_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "prometheus.yml").write_text("mine")
        status, _, err = run("monitor", "--to", tmp_path, "--ray-dir", tmp_path)
        assert status == 2
        assert "exists with another content, and no file is replaced: choose another folder with --to" in err
        assert [path.name for path in tmp_path.iterdir()] == ["prometheus.yml"]

    def test_says_what_is_not_installed(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        status, _, err = run("monitor", "--to", tmp_path / "monitor", "--ray-dir", tmp_path, "--start")
        assert status == 2
        assert "the program prometheus is not installed" in err
        assert not (tmp_path / "monitor").exists()


SERVER = """#!{python}
import http.server, sys
print("begins", flush=True)
if {fails}: sys.exit("no space left")
http.server.HTTPServer(("127.0.0.1", {port}), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class TestStart:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Callable[..., Server]:
        def make(*, fails: bool = False) -> Server:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            program = tmp_path / "prometheus"
            program.write_text(SERVER.format(python=sys.executable, port=port, fails=fails))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            return Server("Prometheus", (str(program),), port, "/", tmp_path / "prometheus.log")

        return make

    def test_waits_for_an_answer_and_ends_the_program(self, server: Callable[..., Server]) -> None:
        one = server()
        with started([one]) as ended:
            assert ended() == ""
        assert "begins" in one.log.read_text()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", one.port), timeout=2)

    def test_says_why_a_program_ends(self, server: Callable[..., Server]) -> None:
        with (
            pytest.raises(UserError, match="Prometheus has ended: no space left; see '"),
            started([server(fails=True)]),
        ):
            pass

    def test_refuses_a_port_in_use(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
        server()
        monkeypatch.setenv("PATH", str(tmp_path))
        with socket.create_server(("127.0.0.1", 0)) as used:
            port = used.getsockname()[1]
            with pytest.raises(UserError, match=f"port {port} of this machine is in use: .* --prometheus-port"):
                installed_servers(Monitor(tmp_path, (), port))


def test_names_and_files_have_no_secret(study_of: MakeStudy, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of the metrics are tested in ``test_metrics.py``, records and logs where they are written."""
    names = ("RAY_AUTH_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")
    for name in (*names, "CUTMIX_SWEEP_NOTIFY_URL"):
        monkeypatch.setenv(name, "https://geheim.example")
    texts = [*monitor_files(monitor).values(), *describe_monitor(monitor), str(metadata_of(study_of(), "/shared/box"))]
    assert not any("geheim" in text for text in texts)


def test_workers_are_named_after_the_sweep() -> None:
    from ray.tune.execution.class_cache import _ActorClassCache

    class Worker:
        pass

    original = _ActorClassCache.get
    with named_workers("box"):
        actor_class = _ActorClassCache().get(Worker)
        given: list[dict[str, Any]] = []
        actor_class._remote = lambda **options: given.append(options)
        for _ in range(2):
            actor_class.options(num_cpus=1).remote()
    first, second = (options["name"] for options in given)
    assert re.fullmatch(r"cutmix-sweep:box:worker-\d+", first)
    assert first != second
    assert _ActorClassCache.get is original
