"""Start Ray on this machine, patiently, or join a cluster; every failure is a message for the user."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sweep.connection import find_token
from sweep.display import Display
from sweep.head_watch import HeadWatch, find_raylet
from sweep.ray_errors import cause_of, describe_join_error, describe_load, describe_start_error, pressure
from sweep.ray_folder import choose_folder, secure_token, token_problem, token_variables
from sweep.ray_job import DASHBOARD_VARIABLES, job_facts
from sweep.ray_process import RayProcess, StartError
from sweep.signals import SIGNALS, current_signals
from trainables.cores import usable_cores
from trainables.errors import UserError

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a local Ray: trials read their images from a file, and results are small."""

WATCH_S = 1.0
"""Time between two looks at the parts of Ray on this machine, in seconds."""

_JOIN_WAITS = {"RAY_gcs_server_port_wait_time_s": "1", "RAY_py_gcs_connect_timeout_s": "20"}
"""Ray's own waits when it joins; it would try 20 times, for 30 seconds each."""

_WITH_DASHBOARD, _WITHOUT_DASHBOARD = None, False
"""Values of Ray's ``include_dashboard``; with the first, Ray also starts if only its dashboard does not."""


@contextlib.contextmanager
def local_ray(runtime_env: Mapping[str, Any], display: Display) -> Iterator[str]:
    """Start Ray on this machine and join it; yield the address of its dashboard, "" without one; stop it at the end.

    Raises:
        UserError: it does not start within its time, twice.
    """
    folder, note = choose_folder()
    if note:
        display.show_warning(note)
    if problem := token_problem():
        display.show_warning(f"{problem}: who knows Ray's token can run code on your clusters; delete it for a new one")
    secure_token()
    with _environment({**token_variables(), **DASHBOARD_VARIABLES}):
        head = _start_patiently(folder, display)
        try:
            with display.show_status("connecting to Ray"), _loopback():
                _join(head.address, runtime_env)
            with _watched(lambda: _describe_lost(head.lost_part()), WATCH_S):
                yield head.dashboard_url
        except StartError as error:
            raise UserError(describe_start_error(str(error), head.logs)) from None
        finally:
            _leave()
            head.stop()


@contextlib.contextmanager
def joined_ray(address: str, runtime_env: Mapping[str, Any], display: Display) -> Iterator[str]:
    """Join the cluster at ``address``; yield the address of its dashboard, "" without one; leave it at the end.

    The connection must have been checked: Ray itself would try an address at which nothing listens for minutes.

    Raises:
        UserError: the cluster cannot be reached, or does not accept this process.
    """
    try:
        with display.show_status(f"joining the Ray cluster at {address}"), _environment(_JOIN_WAITS):
            dashboard_url = _join(address, runtime_env)
        with _watched(_head_watch(address).find_loss, WATCH_S):
            yield dashboard_url
    except StartError as error:
        raise UserError(describe_join_error(address, str(error))) from None
    finally:
        _leave()


def _describe_lost(part: str) -> str:
    return f"Ray has lost its process {part}" if part else ""


def _head_watch(address: str) -> HeadWatch:
    """Return the watch of the head of the cluster that this process has joined."""
    import ray

    token = find_token(automatic=address == "auto" and not os.environ.get("RAY_ADDRESS"))
    sent = token.value if token.is_sent else None
    return HeadWatch(ray.get_runtime_context().gcs_address, sent, raylet=find_raylet())


@contextlib.contextmanager
def _watched(find_loss: Callable[[], str], pause_s: float) -> Iterator[None]:
    """End the command if Ray loses a part that it needs: Ray itself would let it wait for minutes, or for ever.

    Args:
        find_loss: returns what is lost, as a sentence; "" if nothing is.
        pause_s: pause between two looks, seconds.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(pause_s):
            if loss := find_loss():
                current_signals().lose(loss)
                return

    threading.Thread(target=watch, name="parts of Ray", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _start_patiently(folder: Path, display: Display) -> RayProcess:
    """Return a running Ray; if the first attempt fails, a second one does without the dashboard.

    Raises:
        UserError: with the cause of the first failure, and what to do.
    """
    failures: list[StartError] = []
    for attempt, include_dashboard in (("", _WITH_DASHBOARD), ("attempt 2, without its dashboard", _WITHOUT_DASHBOARD)):
        with display.show_status(", ".join(filter(None, ("starting Ray", attempt, describe_load())))):
            try:
                process = RayProcess(
                    folder,
                    patience_s=min(300.0, max(60.0, 30 * (1 + pressure()))),
                    num_cpus=usable_cores(),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=include_dashboard,
                )
                try:
                    import ray  # noqa: F401  # meanwhile

                    process.wait()
                except BaseException:  # Ctrl-C too
                    process.stop(kill=True)
                    raise
            except StartError as error:
                failures.append(error)
            else:
                if not process.dashboard_url:
                    display.show_warning("the dashboard of Ray did not start: the sweep runs without it")
                return process
        if not cause_of(str(failures[0])).passes:
            break
    raise UserError(describe_start_error(str(failures[0]), failures[0].logs))


def _join(address: str, runtime_env: Mapping[str, Any]) -> str:
    """Join a cluster and return the address of its dashboard, "" without one.

    Raises:
        StartError: whatever Ray raises.
    """
    import ray

    with contextlib.suppress(AttributeError):  # Ray has read the environment when it was imported, perhaps long ago
        ray._raylet.Config.initialize("")
    try:
        with _keep_handlers(), _without_messages():
            context = ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                runtime_env=dict(runtime_env),
                job_config=ray.job_config.JobConfig(metadata=job_facts()),
            )
    except Exception as error:  # Ray raises a bare Exception too
        causes = [error, *([error.__cause__] if error.__cause__ else [])]  # Ray words the first alone in general terms
        raise StartError("; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)) from error
    return context.dashboard_url or ""


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Keep Ray from replacing 127.0.0.1 by an address of this machine that others can reach.

    Its environment variable for this is read when Ray is imported, perhaps long ago.
    """
    import ray

    constants = getattr(ray._private, "ray_constants", None)
    replaces = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if constants is None or replaces is None:  # another version of Ray
        yield
        return
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = replaces


def _leave() -> None:
    if "ray" in sys.modules:
        with contextlib.suppress(Exception):  # the cluster may be gone; this must not hide another error
            sys.modules["ray"].shutdown()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, and unset them at the end."""
    added = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Join Ray inside this context: Ray would print errors of workers, one of 900 characters, between our own lines.

    ``log_to_driver`` does not concern them. The sweep says itself which trials have lost their worker.
    """
    from ray._private import worker

    listen = getattr(worker, "listen_error_messages", None)
    if listen is None:  # another version of Ray
        yield
        return
    worker.listen_error_messages = lambda *_: None
    try:
        yield
    finally:
        worker.listen_error_messages = listen


@contextlib.contextmanager
def _keep_handlers() -> Iterator[None]:
    """Join Ray inside this context: Ray would replace the handler of SIGTERM by one that ends in a stack dump."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {signum: signal.getsignal(signum) for signum in SIGNALS}
    from ray._private import utils

    replace = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = replace
        for signum, handler in handlers.items():
            if handler is not None:
                signal.signal(signum, handler)
