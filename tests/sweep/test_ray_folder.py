"""Ray's folder: the one that Ray would take if it can be used, otherwise a private one; its token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sweep import ray_folder
from sweep.ray_folder import (
    MAX_BYTES,
    choose_folder,
    private_folder,
    secure_token,
    temporary_variables,
    token_problem,
    token_variables,
)
from trainables.errors import UserError


@pytest.fixture(autouse=True)
def private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable that Ray reads is set; the private folder lies in the test's folder, which is never too long."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray_folder, "PRIVATE_PARENTS", (str(tmp_path),))
    monkeypatch.setattr(ray_folder, "MAX_BYTES", len(str(tmp_path)) + 30)
    return tmp_path / f"cutmix-{os.getuid()}"


def test_the_limit_is_what_ray_and_its_dashboard_need() -> None:
    socket = "x" * MAX_BYTES + "/session_2026-11-28_01-41-12_701401_4194304/sockets/dash_TaskEventsHead"
    assert len(socket) == ray_folder.SOCKET_BYTES


def test_the_folder_of_the_user_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray opens its own folder to all users: the folder above it must be closed."""
    for name, mode in (("a", 0o755), ("b", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)  # whatever the umask is
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a"))
    closed = tmp_path / "a" / f"cutmix-{os.getuid()}"
    assert choose_folder() == (closed / "ray", "")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "b"))
    assert choose_folder() == (tmp_path / "b" / "ray", "")
    assert not list((tmp_path / "b").iterdir())


def test_a_prepared_folder_below_the_users_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "a" / private.name).symlink_to(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a"))
    folder, note = choose_folder()
    assert folder == private / "ray"
    assert "is a link or belongs to another user" in note


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("d" * 40, "is too long"), ("none", "does not exist"), ("/proc/sys", "cannot be written")],
)
def test_a_private_folder_replaces_a_bad_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Path, folder: str, reason: str
) -> None:
    if reason == "is too long":
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / folder))
    chosen, note = choose_folder()
    assert chosen == private / "ray"
    assert note.startswith("RAY_TMPDIR=")
    assert reason in note
    assert str(private) in note
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_folder_that_others_prepared_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Path
) -> None:
    (tmp_path / "other").mkdir()
    private.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="is a link or belongs to another user"):
        private_folder()
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    with pytest.raises(
        UserError, match="TMPDIR=/proc/nowhere does not exist, and no private folder can be made"
    ) as error:
        choose_folder()
    assert len(str(error.value)) <= 500
    private.unlink()
    private.mkdir(mode=0o777)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    private.rename(tmp_path / "cutmix-12345")
    with pytest.raises(OSError, match="belongs to another user"):
        private_folder()


def test_temporary_files_of_the_parts_of_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert temporary_variables(tmp_path) == {}
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert temporary_variables(tmp_path) == {}
    for bad in ("/proc/nowhere", "/" + "d" * 90):
        monkeypatch.setenv("TMPDIR", bad)
        assert temporary_variables(tmp_path) == {"TMPDIR": str(tmp_path)}


def test_the_token_is_only_for_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token_variables() == {"RAY_AUTH_MODE": "token"}
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    text = token.read_text()
    assert len(text) == 64
    assert token_problem() == ""
    for path, mode in ((token, 0o644), (token.parent, 0o755)):  # as Ray leaves them
        path.chmod(mode)
    parents = [parent.stat().st_mode & 0o011 for parent in token.parents]
    assert bool(token_problem()) == all(parents)
    secure_token()
    assert token_problem() == ""
    assert [stat.S_IMODE(path.stat().st_mode) for path in (token, token.parent)] == [0o600, 0o700]
    assert token_variables() == {"RAY_AUTH_MODE": "token"}
    assert token.read_text() == text
    for home in ("/proc/self", "/proc/nowhere"):  # written nowhere there, even by root
        monkeypatch.setenv("HOME", home)
        assert token_variables() == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(private / "auth_token")}
    monkeypatch.setattr(ray_folder, "PRIVATE_PARENTS", ("/proc/nowhere",))
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH"):
        token_variables()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token_variables() == {}
