"""Settings of all tests: one cache folder per session, one thread, signals that are not ignored, no waits for disks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.own_parts.package import write_package
from trainables.parts import add_folder

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # torch reads them when it is imported
    os.environ.setdefault(_variable, "1")

# what the user, the terminal or the batch system has set: no test depends on it, nor does a process that it starts
_KEPT = ("CUTMIX_SWEEP_KILLS", "CUTMIX_SWEEP_REAL_DATA")
_NAMES = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RAY_ADDRESS")
_PREFIXES = ("CUTMIX_SWEEP_", "SLURM_", "GIT_", "WANDB_", "MLFLOW_", "TTY_")
for _variable in [name for name in os.environ if name in _NAMES or name.startswith(_PREFIXES)]:
    if _variable not in _KEPT:
        del os.environ[_variable]
os.environ["TERM"] = "xterm-256color"
os.umask(0o022)

# a job in the background of a script ignores Ctrl-C, and its children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("tests", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images of all tests, and of the processes that they start, in a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTMIX_SWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waits_for_disks(pytestconfig: pytest.Config) -> Iterator[None]:
    """Do not wait until a file is on the disk, about 4 ms per file: no test cuts the power. Benchmarks do wait.

    Tests of what happens when a disk is full while a file is flushed replace ``os.fsync`` themselves.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not pytestconfig.getoption("benchmark_only"):
            patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _no_hidden_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse that a test without the marker ``ray`` starts one, as many functions of Ray do."""
    ran = _ray_runs()
    yield
    if request.node.get_closest_marker("ray") is None and not ran:
        assert not _ray_runs(), "this test has started Ray: mark it, or replace what starts it"


def _ray_runs() -> bool:
    ray = sys.modules.get("ray")
    return hasattr(ray, "is_initialized") and ray.is_initialized()


@pytest.fixture(scope="session")
def own_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of one's own that the README files show, in a folder in which parts are looked for."""
    package = write_package(tmp_path_factory.mktemp("own"))
    add_folder(package.parent)
    return package
