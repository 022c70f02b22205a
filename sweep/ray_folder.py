"""Where Ray keeps its files on this machine: a folder that is short enough for its sockets, and its token."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from sweep.endings import reason_of
from trainables.errors import UserError

SOCKET_BYTES = 107
"""Longest path of a socket on Linux, in bytes; macOS allows 103."""

_LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_TaskEventsHead"
"""The longest path below its folder at which Ray, or its dashboard, makes a socket."""

MAX_BYTES = SOCKET_BYTES - len(_LONGEST_SOCKET)
"""Longest path of Ray's folder, in bytes."""

_PYTHON_SOCKET = "/pymp-12345678/listener-12345678"
"""Path of a socket of Python's multiprocessing below ``$TMPDIR``."""

PRIVATE_PARENTS = ("/tmp", "/var/tmp")
"""Folders below which a private folder is made; not $XDG_RUNTIME_DIR, which the system empties at logout."""


def choose_folder() -> tuple[Path, str]:
    """Return the folder for Ray's files, and a sentence if it is not below the folder that the user has chosen.

    Ray opens its own folder to all users, so it lies in a folder that only this user can enter: ``$RAY_TMPDIR``,
    ``$TMPDIR`` or ``/tmp`` itself if that is private, otherwise ``cutmix-UID`` below it. Where that is too long,
    missing or not writable, a private folder below ``/tmp`` or ``/var/tmp`` is made.

    Raises:
        UserError: no folder can be used.
    """
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    parent = Path(os.environ[variable] if variable else "/tmp").absolute()
    origin = f"{variable}={parent}" if variable else str(parent)
    private = parent if _is_private(parent) else _private_below(parent)
    problem = _problem_of(private / "ray", given=parent)
    if problem is None:
        try:
            if private != parent:
                _make_private(private)
            return private / "ray", ""
        except OSError as error:
            problem = f"has no private folder ('{private}': {error.strerror or error})"
    try:
        folder = private_folder() / "ray"
    except OSError as error:
        raise UserError(
            f"{_shortened(origin)} {problem}, and no private folder can be made ({error}): set RAY_TMPDIR to a folder "
            f"that only you can enter, with a path of at most {MAX_BYTES - len('/ray')} bytes"
        ) from None
    return folder, f"{_shortened(origin)} {problem}: Ray's files are in {folder}"


def other_users_folders() -> list[str]:
    """Return the folders in which Ray would keep its files, but which another user has made, with their owners."""
    found = []
    for parent in map(Path, PRIVATE_PARENTS):
        for folder in (parent / "ray", _private_below(parent)):
            with contextlib.suppress(OSError):
                owner = folder.lstat().st_uid
                if owner not in (os.getuid(), 0):
                    found.append(f"'{folder}' of user {owner}")
    return found


def private_folder() -> Path:
    """Return a folder that only this user can read, which is made if it is missing.

    Raises:
        OSError: it cannot be made below any parent, or is a link, or belongs to another user.
    """
    reasons = []
    for parent in PRIVATE_PARENTS:
        folder = _private_below(Path(parent))
        try:
            _make_private(folder)
        except OSError as error:
            reasons.append(f"'{folder}': {error.strerror or error}")
        else:
            return folder
    raise OSError("; ".join(reasons))


def temporary_variables(folder: Path) -> dict[str, str]:
    """Return the environment variable with which the parts of Ray make their own temporary files below ``folder``.

    It is empty if ``$TMPDIR`` can be used: the processes of the dashboard make sockets there too.
    """
    given = os.environ.get("TMPDIR")
    if not given or (len(os.fsencode(given)) <= SOCKET_BYTES - len(_PYTHON_SOCKET) and Path(given).is_dir()):
        return {}
    return {"TMPDIR": str(folder)}


def token_variables() -> dict[str, str]:
    """Return the environment variables with which the parts of a local Ray find their token.

    Ray reads the token from ``~/.ray/auth_token`` and makes it there. Without a home folder, or with one that cannot be
    written, it is made in the private folder of this user instead.

    Raises:
        UserError: a token is needed, and can be written nowhere.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() != "token":
        return {}
    variables = {"RAY_AUTH_MODE": "token"}
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return variables
    if (path := _home_token()) is not None and (_is_readable(path) or _made_token(path)):
        return variables if os.environ.get("HOME") else {**variables, "RAY_AUTH_TOKEN_PATH": str(path)}
    with contextlib.suppress(OSError):
        path = private_folder() / "auth_token"
        if path.is_file() or _made_token(path):
            return {**variables, "RAY_AUTH_TOKEN_PATH": str(path)}
    raise UserError(
        "Ray needs a token, and neither ~/.ray nor a private folder can be written: save a token in a file and set "
        "RAY_AUTH_TOKEN_PATH to its path, or set HOME to a folder that you can write to"
    )


def _private_below(parent: Path) -> Path:
    return parent / f"cutmix-{os.getuid()}"


def _is_private(folder: Path) -> bool:
    """Return whether only this user can enter an existing folder."""
    try:
        facts = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


def token_problem() -> str:
    """Return why Ray's token is not this user's secret; "" if it is, or if there is none yet."""
    path = _used_token_path()
    try:
        facts = path.stat() if path is not None else None
    except OSError:
        return ""
    if path is None or facts is None:
        return ""
    if facts.st_uid not in (os.getuid(), 0):
        return f"'{path}' belongs to another user"
    reachable = facts.st_mode & 0o077 and all(parent.stat().st_mode & 0o011 for parent in path.absolute().parents)
    return f"other users can read '{path}'" if reachable else ""


def secure_token() -> None:
    """Make an existing token readable by this user alone; Ray itself leaves it readable by all users."""
    path = _used_token_path()
    if path is None:
        return
    with contextlib.suppress(OSError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    with contextlib.suppress(OSError):
        if path == _home_token() and path.parent.lstat().st_mode & 0o077:
            path.parent.chmod(0o700)


def _used_token_path() -> Path | None:
    """Return the file in which Ray looks for its token; None if it looks for none."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if (mode is not None and mode.lower() != "token") or os.environ.get("RAY_AUTH_TOKEN"):
        return None
    return token_path()


def token_path() -> Path | None:
    """Return the file for Ray's token, which may be missing; None if no home folder is known."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(given) if given else _home_token()


def _home_token() -> Path | None:
    with contextlib.suppress(RuntimeError):  # no home folder is known
        return Path.home() / ".ray" / "auth_token"
    return None


def _is_readable(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_file() and os.access(path, os.R_OK)
    return False


def _problem_of(folder: Path, *, given: Path | None = None) -> str | None:
    """Return why Ray cannot keep its files in ``folder``, which need not exist; None if it can.

    Args:
        folder: the folder for Ray's files.
        given: a folder above it, which must exist; None: the folder that it is in.
    """
    given = given or folder.parent
    length = len(os.fsencode(folder))
    if length > MAX_BYTES:
        n_more = length - len(os.fsencode(given))
        return f"is too long for Ray's sockets (at most {MAX_BYTES - n_more} bytes)"
    if not given.is_dir():
        return "does not exist"
    probe = next(path for path in (folder, *folder.parents) if path.exists())
    if probe != given and probe.stat().st_uid != os.getuid():
        return "belongs to another user"
    try:
        # a file is written: the permissions say nothing of a read-only or special file system, and root may always
        file = probe / f".cutmix-{os.getpid()}-{secrets.token_hex(4)}"
        file.touch()
        file.unlink()
    except OSError as error:
        return f"cannot be written ({reason_of(error) if error.strerror is None else error.strerror})"
    return None


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can read.

    Raises:
        OSError: it cannot be made, or is a link, or belongs to another user.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()  # a link to a folder of one's own passes mkdir
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise PermissionError("is a link or belongs to another user")
    folder.chmod(0o700)
    problem = _problem_of(folder)
    if problem is not None:
        raise OSError(problem)


def _made_token(path: Path) -> bool:
    """Write a new token that only this user can read; return whether it could be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
    except OSError:
        return False
    return True


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
