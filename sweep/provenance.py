"""Origin of a run: commits of the code and versions of all installed packages."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

GIT_LIMIT_S = 2.0
"""Longest wait for git: on a slow file system it may hang, and a sweep needs no commit."""

_PROGRAM = Path(__file__).resolve()


def code_versions(project: Path | None = None) -> dict[str, Any]:
    """Return commit and state of the user's project and of this program.

    Args:
        project: folder of the project, for example of the study file; None: the working directory.

    Returns:
        ``project`` and ``cutmix_sweep``: each ``folder``, ``commit`` and ``dirty`` (whether tracked files have changes
        that are not committed), or None if the folder is not in a git repository. This program has a commit only if it
        runs from a checkout. Addresses of repositories are not recorded: they may contain a password.
    """
    return {"project": git_state(project or Path.cwd()), "cutmix_sweep": _program_state()}


@functools.cache  # the code that is loaded stays the same
def _program_state() -> dict[str, Any] | None:
    """Return the git state of this program; None if it is installed, perhaps below the user's own repository."""
    is_checkout = _git(_PROGRAM.parent, "ls-files", "--error-unmatch", _PROGRAM.name) is not None
    return git_state(_PROGRAM.parent.parent) if is_checkout else None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return folder, commit and state of the git repository that contains a folder; None without one."""
    text = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if text is None:
        return None
    lines = text.splitlines()
    commits = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    commit = commits[0] if commits and commits[0] != "(initial)" else None
    return {
        "folder": str(folder.resolve()),
        "commit": commit,
        "dirty": any(not line.startswith("#") for line in lines),
    }


@functools.cache  # reads a file per package
def installed_packages() -> dict[str, str]:
    """Return the version of every installed package by name.

    Examples:
        >>> "torch" in installed_packages()
        True
    """
    packages = {package.name: package.version for package in distributions() if package.name}
    return dict(sorted(packages.items(), key=lambda item: item[0].lower()))


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it is not installed, fails, asks for something or takes too long."""
    # no lock, no question, no program that the repository's configuration names
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError:
        return None
    with process:
        try:
            text, _ = process.communicate(timeout=GIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children too: they would stay
            return None
    return text if process.returncode == 0 else None
