"""The verb for Prometheus and Grafana: monitor."""

from __future__ import annotations

import time

from sweep.cli.app import app, echo
from sweep.terminal import monitor_options

_LOOK_S = 0.5
"""Time between two looks at the servers."""


@app.command()
def monitor(
    to: monitor_options.To = monitor_options.FOLDER,
    ray_dir: monitor_options.RayDir = None,
    prometheus_port: monitor_options.PrometheusPort = 9090,
    grafana_port: monitor_options.GrafanaPort = 3000,
    start: monitor_options.Start = False,
) -> None:
    """Write the files with which Prometheus and Grafana show running sweeps, and print the commands.

    The board appears in Grafana and in the Ray dashboard. Both programs listen on this machine only.

    Example: `cutmix-sweep monitor --to monitor`
    """
    from sweep.monitor.files import Monitor, default_ray_dirs, describe_monitor, write_monitor
    from sweep.monitor.start import installed_servers, started

    ray_dirs = default_ray_dirs() if ray_dir is None else (ray_dir.absolute(),)
    settings = Monitor(to.absolute(), ray_dirs, prometheus_port, grafana_port)
    servers = installed_servers(settings) if start else []
    for path in write_monitor(settings):
        echo(path)
    for line in describe_monitor(settings):
        echo(line)
    if not start:
        return
    with started(servers) as ended:
        for server in servers:
            echo(f"{server.name} runs: http://localhost:{server.port}")
        if len(servers) == 1:
            echo("warning: Grafana is not installed, so no board is shown; Prometheus has the metrics", err=True)
        while not (name := ended()):
            time.sleep(_LOOK_S)
    echo(f"error: {name} has ended; the other program was ended too", err=True)
    raise SystemExit(1)
