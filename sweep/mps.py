"""NVIDIA's Multi-Process Service (MPS): kernels of several trials run side by side on one GPU, not in turns.

A daemon per node serves all GPUs of the node. Programs that find its folder in their environment use it, and programs
that find no daemon there run as usual. Compute modes and clocks of the GPUs stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from search_spaces.resources import AUTO, Resources
from trainables.errors import UserError

PROGRAM = "nvidia-cuda-mps-control"
"""Program that starts and controls the daemon; it comes with NVIDIA's driver."""

PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables with the folders of the daemon: its sockets and its logs."""

ANSWER_S = 10.0
"""Longest wait for an answer of the daemon, seconds."""

CLIENTS_S = 5.0
"""Longest wait for the end of the daemon's last programs, seconds."""


@dataclass(frozen=True)
class Mps:
    """The daemon of each node, in a folder that has the same path on all of them.

    A user has one daemon per node. So a run finds a daemon that a killed run has left, and ends it.

    Attributes:
        folder: folder on a disk of the node; the names of the sockets in it must be short.
        is_required: whether a node without the daemon cannot run trials.
    """

    folder: str
    is_required: bool

    def environment(self) -> dict[str, str]:
        """Return the environment variables of all programs that use the daemon.

        Examples:
            >>> Mps("/tmp/mps", is_required=True).environment()["CUDA_MPS_PIPE_DIRECTORY"]
            '/tmp/mps/pipes'
        """
        return {PIPES: f"{self.folder}/pipes", LOGS: f"{self.folder}/logs"}

    def start(self) -> str:
        """Start the daemon on this node unless it runs; return why that is not possible, "" if it runs."""
        if shutil.which(PROGRAM) is None:
            return describe_missing()
        try:
            self._make_folders()
            if self._ask("get_server_list") is not None:
                return ""
            message = Path(self.folder, "start.txt")
            with message.open("wb") as output:  # no pipe: the daemon would keep it open
                command = [PROGRAM, "-d"]
                ended = subprocess.run(
                    command, env=self._own_environment(), stdout=output, stderr=output, timeout=ANSWER_S, check=False
                )
            if self._ask("get_server_list") is not None:
                return ""
            lines = message.read_text(encoding="utf-8", errors="replace").split("\n")
            return f"{PROGRAM} -d ended with exit code {ended.returncode}: {lines[0] or 'no message'}"
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{PROGRAM} cannot be used: {error}"

    def stop(self) -> None:
        """End the daemon on this node; a daemon that other programs use stays."""
        until_s = time.monotonic() + CLIENTS_S
        while (clients := self._clients()) and time.monotonic() < until_s:
            time.sleep(0.2)
        if clients is not None and not clients:
            self._ask("quit")
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the daemon on this machine inside this context.

        Raises:
            UserError: it does not start, and trials need it.
        """
        if (problem := self.start()) and self.is_required:
            raise UserError(f"resources.mps is on, but {problem}: set resources.mps to auto or off")
        try:
            yield
        finally:
            self.stop()

    def _make_folders(self) -> None:
        """Make the folders, which only their owner may read.

        Raises:
            OSError: they cannot be made, or belong to another user.
        """
        top = Path(self.folder)
        with contextlib.suppress(FileExistsError):
            top.mkdir(mode=0o700)
        if top.is_symlink() or top.stat().st_uid != os.getuid():
            raise PermissionError(f"'{self.folder}' belongs to another user, or is a link")
        for name in self.environment().values():
            Path(name).mkdir(mode=0o700, exist_ok=True)

    def _own_environment(self) -> dict[str, str]:
        """Return the environment of the daemon, which serves all GPUs: trials name theirs by their number there."""
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return {**inherited, **self.environment()}

    def _clients(self) -> list[str] | None:
        """Return the processes that use the daemon; None if there is no daemon."""
        servers = self._ask("get_server_list")
        if servers is None:
            return None
        of_servers = [self._ask(f"get_client_list {server}") or "" for server in servers.split()]
        return " ".join(of_servers).split()

    def _ask(self, command: str) -> str | None:
        """Return the answer of the daemon; None if there is no daemon."""
        if not Path(self.folder).is_dir():
            return None
        try:
            answer = subprocess.run(
                [PROGRAM],
                input=f"{command}\n",
                env=self._own_environment(),
                capture_output=True,
                text=True,
                timeout=ANSWER_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if answer.returncode or "Cannot find MPS control daemon" in answer.stderr else answer.stdout


def mps_of(resources: Resources) -> Mps | None:
    """Return the daemon that the trials of a run use; None if they use none, or one that their environment names.

    Examples:
        >>> mps_of(Resources(trials_per_gpu=4)) is None, mps_of(Resources(mps="auto")) is None
        (True, True)
    """
    is_shared = 0 < resources.gpus < 1 or resources.trials_per_gpu == AUTO
    if resources.mps == "off" or (resources.mps == "auto" and not is_shared) or PIPES in os.environ:
        return None
    return Mps(f"/tmp/cutmix-sweep-mps-{os.getuid()}", is_required=resources.mps == "on")


def check_mps(resources: Resources) -> None:
    """Check that this machine has the program of a daemon that trials on it need.

    Raises:
        UserError: it has not.
    """
    mps = mps_of(resources)
    if mps is not None and mps.is_required and shutil.which(PROGRAM) is None:
        raise UserError(f"resources.mps is on, but {describe_missing()}: set resources.mps to auto or off")


def describe_missing() -> str:
    """Return in words that this machine lacks the program."""
    return f"there is no {PROGRAM} in PATH (it comes with NVIDIA's driver)"
