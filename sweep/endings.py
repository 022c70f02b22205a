"""Messages of a command that ends before its work is done; light enough for every command to import."""

from __future__ import annotations

import errno
import os
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.formats import cut
from sweep.mirrored import shown
from sweep.nodes import Failing
from sweep.signals import RAY_LOST_CODE, exit_code
from trainables.errors import OneLineError
from trainables.object_store import StorageError

MAX_REASON = 200
"""Characters of another program's error that a message quotes; the whole message then fits into 500."""

FAILED_CODE = 1
"""Exit code of a command in which something failed."""

REFUSED_CODE = 2
"""Exit code of a command that cannot do its work."""

LIMIT_CODE = 3
"""Exit code of a sweep that used up its wall clock or GPU hours: nothing failed, and ``resume`` continues it."""


NO_RESULT_CODE = 4
"""Exit code of a sweep that has ended without a completed search trial in some arm: that arm has no result."""


@dataclass(frozen=True)
class Joined:
    """The cluster of a run, and how it is joined; ``resume`` needs the same options.

    Attributes:
        address: ``auto`` or ``HOST:PORT``; None: Ray is started on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run; otherwise it gets no trials.
        max_trials: largest number of trials, or of measurements, at the same time; None: as many as fit on the nodes.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.

    Examples:
        >>> Joined("auto", max_trials=4).options
        ['--max-trials', '4']
    """

    address: str | None = None
    insecure: bool = False
    strict_nodes: bool = False
    max_trials: int | None = None
    start_timeout: float | None = None

    @property
    def options(self) -> list[str]:
        """Options of the command line, without the address."""
        return [
            *(["--insecure"] if self.address and self.insecure else []),
            *(["--strict-nodes"] if self.address and self.strict_nodes else []),
            *([] if self.max_trials is None else ["--max-trials", str(self.max_trials)]),
            *([] if self.start_timeout is None else ["--start-timeout", f"{self.start_timeout:g}"]),
        ]


HERE = Joined()
"""A Ray of the run's own on this machine."""


class EndedEarly(OneLineError):
    """A command ended before its work was done; what is finished is recorded.

    Attributes:
        exit_code: exit code of the command.
    """

    exit_code = FAILED_CODE


class NotBegun(EndedEarly):
    """A sweep was interrupted before its first trial."""

    def __init__(self, signum: int) -> None:
        """Describe what interrupted it.

        Examples:
            >>> print(NotBegun(signal.SIGTERM))
            interrupted by SIGTERM before the first trial; nothing was written, run the same command again
        """
        self.exit_code = exit_code(signum)
        super().__init__(
            f"interrupted{describe_signal(signum)} before the first trial; nothing was written, "
            "run the same command again"
        )


class SweepEnded(EndedEarly):
    """A sweep ended before all its trials had ended; ``resume`` continues it.

    Attributes:
        sweep_dir: folder of the sweep.
        joined: cluster of the run.
        settings: limits to change when the sweep is resumed, by dotted path; otherwise it ends again at once.
        retry_failed: whether failed trials are to be restarted; otherwise it ends again at once.
    """

    def __init__(
        self,
        message: str,
        sweep_dir: Path,
        joined: Joined,
        *,
        settings: Mapping[str, float] | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Describe what happened, and the command with which the sweep continues."""
        self.sweep_dir, self.joined = sweep_dir, joined
        self.settings, self.retry_failed = dict(settings or {}), retry_failed
        options = [*joined.options, *(["--retry-failed"] if retry_failed else [])]
        for path, value in self.settings.items():
            options += ["--set", f"{path}={value:g}"]
        super().__init__(f"{message}; resume with: {resume_command(sweep_dir, joined.address, *options)}")


class Interrupted(SweepEnded):
    """A signal ended a sweep."""

    def __init__(
        self, sweep_dir: Path, joined: Joined, n_ended: int, n_trials: int, *, signum: int = signal.SIGINT
    ) -> None:
        """Describe the progress.

        Examples:
            >>> print(Interrupted(Path("my sweeps/box"), HERE, 3, 8))
            interrupted after 3 of 8 trials; resume with: cutmix-sweep resume 'my sweeps/box'
            >>> print(Interrupted(Path("box"), Joined("auto", insecure=True), 3, 8, signum=signal.SIGTERM))
            interrupted by SIGTERM after 3 of 8 trials; resume with: cutmix-sweep resume box --address auto --insecure
        """
        self.exit_code = exit_code(signum)
        super().__init__(
            f"interrupted{describe_signal(signum)} after {n_ended} of {n_trials} trials", sweep_dir, joined
        )


class Stopped(SweepEnded):
    """A person ended a sweep with `stop`."""

    exit_code = exit_code(signal.SIGTERM)

    def __init__(self, why: str, sweep_dir: Path, joined: Joined, n_ended: int, n_trials: int) -> None:
        """Describe who ended it, and the progress.

        Examples:
            >>> print(Stopped("by kim at 2026-11-28 12:03:10+00:00", Path("box"), HERE, 3, 8).args[0].partition(";")[0])
            stopped by kim at 2026-11-28 12:03:10+00:00, after 3 of 8 trials
        """
        super().__init__(f"stopped {why}, after {n_ended} of {n_trials} trials", sweep_dir, joined)


class WorkerLost(SweepEnded):
    """Tune ended its run although trials are left: no other worker took over the trial of a lost one."""

    def __init__(self, sweep_dir: Path, joined: Joined, n_ended: int, n_trials: int) -> None:
        """Describe the progress."""
        super().__init__(f"a worker was lost: {n_ended} of {n_trials} trials have ended", sweep_dir, joined)


class NotRegained(SweepEnded):
    """Trials failed when their lost epochs were computed again."""

    def __init__(self, trials: str, sweep_dir: Path, joined: Joined, n_ended: int, n_trials: int) -> None:
        """Describe the trials and the progress.

        Examples:
            >>> str(NotRegained("trial off-0001", Path("box"), HERE, 7, 8)).partition(";")[0]
            'lost epochs of trial off-0001 could not be computed again: 7 of 8 trials have ended'
        """
        super().__init__(
            f"lost epochs of {trials} could not be computed again: {n_ended} of {n_trials} trials have ended; fix the "
            "cause first",
            sweep_dir,
            joined,
        )


class RayLost(SweepEnded):
    """Ray has lost a part without which no trial can run."""

    exit_code = RAY_LOST_CODE

    def __init__(self, reason: str, sweep_dir: Path, joined: Joined, n_ended: int, n_trials: int) -> None:
        """Describe the loss and the progress.

        Examples:
            >>> print(RayLost("Ray has lost its process raylet", Path("box"), HERE, 3, 8))
            Ray has lost its process raylet: 3 of 8 trials have ended; resume with: cutmix-sweep resume box
        """
        super().__init__(f"{reason}: {n_ended} of {n_trials} trials have ended", sweep_dir, joined)


class LimitReached(SweepEnded):
    """A limit of the budget ended a sweep.

    Attributes:
        limit: name of the limit below ``budget.limits``.
    """

    def __init__(
        self,
        limit: str,
        message: str,
        sweep_dir: Path,
        joined: Joined,
        *,
        code: int,
        settings: Mapping[str, float] | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Describe the limit, and the options of ``resume`` with which the sweep continues."""
        self.limit = limit
        self.exit_code = code
        super().__init__(message, sweep_dir, joined, settings=settings, retry_failed=retry_failed)


class DiskFault(SweepEnded):
    """A file of a sweep could not be written."""

    exit_code = REFUSED_CODE

    def __init__(self, error: OSError, sweep_dir: Path, joined: Joined) -> None:
        """Describe the error."""
        super().__init__(f"{user_message(error) or reason_of(error)}; fix the cause first", sweep_dir, joined)


class NodeFault(SweepEnded):
    """Nodes of the cluster let no trial run."""

    exit_code = REFUSED_CODE

    def __init__(self, failing: Failing, sweep_dir: Path, joined: Joined) -> None:
        """Describe the reason.

        Examples:
            >>> failing = Failing("trials in a row failed on node 'a100-1': no space left on device", retry_failed=True)
            >>> str(NodeFault(failing, Path("box"), HERE)).rpartition("; ")[0]
            "trials in a row failed on node 'a100-1': no space left on device; fix the cause first"
        """
        message = f"{cut(failing.message, 2 * MAX_REASON)}; fix the cause first"
        super().__init__(message, sweep_dir, joined, retry_failed=failing.retry_failed)


class FolderLost(EndedEarly):
    """The folder of a sweep was deleted or moved while a command wrote into it."""

    exit_code = REFUSED_CODE

    def __init__(self, sweep_dir: Path) -> None:
        """Describe the loss.

        Examples:
            >>> print(FolderLost(Path("sweeps/box")))
            the folder 'sweeps/box' was deleted or moved while it was in use: its records are gone with it
        """
        super().__init__(
            f"the folder '{sweep_dir}' was deleted or moved while it was in use: its records are gone with it"
        )


class EvaluationInterrupted(EndedEarly):
    """An evaluation was interrupted."""

    def __init__(self, n_done: int, n_tasks: int, *, signum: int = signal.SIGINT) -> None:
        """Describe the progress, and how to continue."""
        self.exit_code = exit_code(signum)
        super().__init__(
            f"interrupted{describe_signal(signum)} after {n_done} of {n_tasks} measurements, which are recorded; "
            "run the same command again for the others"
        )


def resume_command(sweep_dir: Path, address: str | None = None, *options: str) -> str:
    """Return the command that continues a sweep, as it can be pasted into a shell.

    Examples:
        >>> resume_command(Path("my sweeps/box"), "auto", "--retry-failed")
        "cutmix-sweep resume 'my sweeps/box' --address auto --retry-failed"
    """
    return shlex.join(
        ["cutmix-sweep", "resume", shown(str(sweep_dir)), *(["--address", address] if address else []), *options]
    )


def describe_signal(signum: int) -> str:
    """Return ``by SIGTERM`` and so on, with a space before it; nothing for Ctrl-C, which the user has just pressed."""
    return "" if signum == signal.SIGINT else f" by {signal.Signals(signum).name}"


def user_message(error: OSError) -> str | None:
    """Return a message for a full, faulty, read-only or protected disk; None for other errors.

    Examples:
        >>> user_message(OSError(errno.ENOSPC, "No space left on device", "records/part-0"))
        "cannot write to 'records/part-0': No space left on device"
    """
    if isinstance(error, StorageError):
        return error.describe()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or (error.errno == errno.EIO and error.filename):
        return f"cannot write to {_named(error)}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM):
        action = "read" if error.filename and not _is_readable(Path(os.fsdecode(error.filename))) else "write to"
        return f"cannot {action} {_named(error)}: {error.strerror}"
    return None


def _named(error: OSError) -> str:
    return f"'{os.fsdecode(error.filename)}'" if error.filename else "the disk"


def _is_readable(path: Path) -> bool:
    """Return whether an existing file can be read, and for a file that does not exist, whether its folder can."""
    existing = path if os.path.lexists(path) else path.parent
    return os.access(existing, os.R_OK | (os.X_OK if existing.is_dir() else 0))


def reason_of(error: BaseException) -> str:
    """Return another program's error in one line of at most ``MAX_REASON`` characters.

    Examples:
        >>> reason_of(RuntimeError("no such server:\\n  connection refused"))
        'no such server: connection refused'
    """
    line = " ".join(str(error).split()) or type(error).__name__
    return cut(line, MAX_REASON)
