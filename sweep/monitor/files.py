"""The files with which Prometheus and Grafana show the sweeps of a Ray cluster, and the commands that start both."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sweep.monitor.board import board
from sweep.output_folder import write_files
from sweep.ray_folder import choose_folder
from sweep.ray_job import BOARD_UID, DASHBOARD_VARIABLES

TARGETS = "session_latest/prom_metrics_service_discovery.json"
"""File below Ray's folder that lists the addresses of the metrics of all nodes."""

GRAFANA_HOMES = (Path("/usr/share/grafana"), Path("/usr/local/share/grafana"))
"""Folders in which packages install what Grafana needs beside its program."""


@dataclass(frozen=True)
class Monitor:
    """Where Prometheus and Grafana keep their files, and their ports on this machine.

    Attributes:
        folder: folder of all files.
        ray_dirs: folders of Ray, each with the addresses of one cluster.
        prometheus_port: port of Prometheus.
        grafana_port: port of Grafana.
    """

    folder: Path
    ray_dirs: tuple[Path, ...]
    prometheus_port: int = 9090
    grafana_port: int = 3000

    @property
    def prometheus_command(self) -> tuple[str, ...]:
        """Command that starts Prometheus on the loopback of this machine."""
        return (
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
        )

    @property
    def grafana_command(self) -> tuple[str, ...]:
        """Command that starts Grafana on the loopback of this machine."""
        program = "grafana" if shutil.which("grafana") or not shutil.which("grafana-server") else "grafana-server"
        server = ("server",) if program == "grafana" else ()
        homepath = ("--homepath", str(_grafana_home(program)))
        return (program, *server, "--config", str(self.folder / "grafana" / "grafana.ini"), *homepath)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of ``ray start --head``, with which the Ray dashboard shows the board."""
        return {
            "RAY_PROMETHEUS_HOST": f"http://localhost:{self.prometheus_port}",
            "RAY_GRAFANA_HOST": f"http://localhost:{self.grafana_port}",
            **DASHBOARD_VARIABLES,
        }


def default_ray_dirs() -> tuple[Path, ...]:
    """Return the folders of a cluster that was started with ``ray start`` and of a sweep without ``--address``."""
    cluster = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    return tuple(dict.fromkeys((cluster.absolute(), choose_folder()[0])))


def monitor_files(monitor: Monitor) -> dict[Path, str]:
    """Return the text of each file by its path.

    Examples:
        >>> files = monitor_files(Monitor(Path("/m"), (Path("/tmp/ray"),)))
        >>> print(files[Path("/m/prometheus.yml")])
        global:
          scrape_interval: 10s
        scrape_configs:
        - job_name: ray
          file_sd_configs:
          - files:
            - /tmp/ray/session_latest/prom_metrics_service_discovery.json
            refresh_interval: 10s
        <BLANKLINE>
    """
    grafana = monitor.folder / "grafana"
    provisioning = grafana / "provisioning"
    files = {
        monitor.folder / "prometheus.yml": _yaml(_prometheus(monitor)),
        grafana / "grafana.ini": _grafana_ini(grafana, monitor.grafana_port),
        provisioning / "datasources" / "cutmix-sweep.yml": _yaml(_data_source(monitor)),
        provisioning / "dashboards" / "cutmix-sweep.yml": _yaml(_boards(grafana / "dashboards")),
        grafana / "dashboards" / "cutmix-sweep.json": json.dumps(board(), indent=2) + "\n",
    }
    if core := _board_of_ray():
        files[grafana / "dashboards" / "ray-core.json"] = core
    return files


def write_monitor(monitor: Monitor) -> list[Path]:
    """Write all files and return their paths; no other file is replaced.

    Raises:
        UserError: a file of the folder has another content, or cannot be written; nothing was written then.
    """
    return write_files(monitor_files(monitor), below=monitor.folder, option="--to")


def describe_monitor(monitor: Monitor) -> list[str]:
    """Return the lines that say how to start Prometheus and Grafana, and how to reach them."""
    ports = (monitor.grafana_port, monitor.prometheus_port, 8265)
    tunnel = ["ssh", *(part for port in ports for part in ("-L", f"{port}:localhost:{port}")), socket.gethostname()]
    return [
        "1. Start both on the machine of the Ray dashboard, or let `cutmix-sweep monitor --start` do it:",
        f"   {shlex.join(monitor.prometheus_command)}",
        f"   {shlex.join(monitor.grafana_command)}",
        "2. For a cluster, set these variables before it starts; `cutmix-sweep run` without --address needs none "
        "of them with the default ports:",
        *(f"   export {name}={value}" for name, value in monitor.variables.items()),
        "3. From your own machine, open a tunnel:",
        f"   {shlex.join(tunnel)}",
        f"4. Board: http://localhost:{monitor.grafana_port}/d/{BOARD_UID}",
        "   In the Ray dashboard, http://localhost:8265: page Metrics, tab Ray Data.",
    ]


def _yaml(content: object) -> str:
    return yaml.safe_dump(content, sort_keys=False)


def _prometheus(monitor: Monitor) -> dict[str, object]:
    targets = [str(folder / TARGETS) for folder in monitor.ray_dirs]
    scrape = {"job_name": "ray", "file_sd_configs": [{"files": targets, "refresh_interval": "10s"}]}
    return {"global": {"scrape_interval": "10s"}, "scrape_configs": [scrape]}


def _data_source(monitor: Monitor) -> dict[str, object]:
    source = {
        "name": "Prometheus",  # the name that the Ray dashboard asks for
        "type": "prometheus",
        "access": "proxy",
        "isDefault": True,
        "url": f"http://127.0.0.1:{monitor.prometheus_port}",
        "jsonData": {"timeInterval": "10s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _boards(folder: Path) -> dict[str, object]:
    provider = {"name": "cutmix-sweep", "folder": "Ray", "type": "file", "options": {"path": str(folder)}}
    return {"apiVersion": 1, "providers": [provider]}


def _grafana_ini(grafana: Path, port: int) -> str:
    """Return the settings of Grafana: on the loopback only, without a login, for reading only."""
    sections: dict[str, dict[str, object]] = {
        "server": {"http_addr": "127.0.0.1", "http_port": port},
        "paths": {"data": grafana / "data", "logs": grafana / "logs", "provisioning": grafana / "provisioning"},
        "security": {"allow_embedding": "true", "disable_initial_admin_creation": "true"},
        "auth": {"disable_login_form": "true"},
        "auth.basic": {"enabled": "false"},
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false", "check_for_plugin_updates": "false"},
    }
    texts = {name: "".join(f"{key} = {value}\n" for key, value in keys.items()) for name, keys in sections.items()}
    return "\n".join(f"[{name}]\n{text}" for name, text in texts.items())


def _board_of_ray() -> str:
    """Return Ray's own board, which its dashboard shows in the tab Core; "" if this version of Ray has none."""
    try:
        from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_default_grafana_dashboard

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves a file to the garbage collector
            content, _ = generate_default_grafana_dashboard()
    except Exception:  # an interface of Ray's own; the board of the sweeps does not depend on it
        return ""
    return f"{content}\n"


def _grafana_home(program: str) -> Path:
    found = shutil.which(program)
    homes: Sequence[Path] = GRAFANA_HOMES
    if found is not None:
        homes = (Path(found).resolve().parent.parent, *homes)
    return next((home for home in homes if (home / "conf" / "defaults.ini").is_file()), GRAFANA_HOMES[0])
