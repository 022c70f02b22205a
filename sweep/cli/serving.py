"""The verb that shows sweeps in a browser: serve."""

from __future__ import annotations

import contextlib

from sweep.cli.app import app, echo, new_display
from sweep.terminal import serve_options
from trainables.extras import check_extra


@app.command()
def serve(
    sweep_dirs: serve_options.SweepDirs,
    host: serve_options.Host = "127.0.0.1",
    port: serve_options.Port = None,
) -> None:
    """Show sweeps live in a browser, with optuna-dashboard, until Ctrl-C; nothing of a sweep is written.

    Example: `cutmix-sweep serve sweeps/box sweeps/border`
    """
    check_extra("serve", needed_by="the command serve")
    from sweep.serve.server import is_loopback, serve_sweeps
    from sweep.storage import opened

    if not is_loopback(host):
        echo(
            f"warning: --host {host}: every machine that reaches this address can read the sweeps, without a password",
            err=True,
        )
    display = new_display(stderr=True)
    try:
        with contextlib.ExitStack() as stack:
            places = [stack.enter_context(opened(place, show_status=display.show_status)) for place in sweep_dirs]
            folders = [(sweep.path, sweep.place) for sweep in places]
            serve_sweeps(folders, host=host, port=port, show=echo, show_status=display.show_status)
    except KeyboardInterrupt:
        echo("no longer serving; the sweeps themselves were not interrupted", err=True)
