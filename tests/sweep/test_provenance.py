"""A manifest says from which code and packages each run came."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from search_spaces.discover import load_study
from sweep.manifest import new_manifest, with_run
from sweep.provenance import code_versions, git_state, installed_packages
from tests.processes import has_ended


@pytest.fixture(autouse=True)
def _no_settings_of_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out the user's settings, and a repository above the test's folder."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "größe"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "https://user:token@example.org/secret.git")
    (folder / "study.yaml").write_text("a: 1\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def fake_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_commit_and_changes(repository: Path) -> None:
    state = git_state(repository)
    assert state == {"folder": str(repository), "commit": git(repository, "rev-parse", "HEAD").strip(), "dirty": False}
    (repository / "sweeps").mkdir()
    (repository / "sweeps" / "new").write_text("untracked", encoding="utf-8")
    assert git_state(repository) == state
    (repository / "study.yaml").write_text("a: 2\n", encoding="utf-8")
    assert git_state(repository) == {**state, "dirty": True}
    assert "token" not in json.dumps(code_versions(repository))


def test_a_folder_without_git(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    assert code_versions(tmp_path)["project"] is None


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {"folder": str(tmp_path), "commit": None, "dirty": False}


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_a_git_that_hangs(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child"
    fake_git(tmp_path, monkeypatch, f"sleep 600 & echo $! > '{child}.new'; mv '{child}.new' '{child}'; wait")
    for limit_s in (0.5, 5.0, 60.0):  # git itself may start slowly
        monkeypatch.setattr("sweep.provenance.GIT_LIMIT_S", limit_s)
        assert git_state(repository) is None
        if child.exists():
            break
    assert has_ended(int(child.read_text(encoding="utf-8")))


def test_all_packages() -> None:
    packages = installed_packages()
    assert packages["numpy"] == version("numpy")
    assert list(packages) == sorted(packages, key=str.lower)


def test_each_run_has_its_own(repository: Path, tmp_path: Path) -> None:
    study = load_study("quickstart", scale="smoke")
    manifest = with_run(new_manifest(study, tmp_path, "run", {}), "run", project=repository)
    (repository / "study.yaml").write_text("a: 2\n", encoding="utf-8")
    git(repository, "commit", "-q", "-a", "-m", "two")
    runs = with_run(manifest, "resume")["runs"]
    assert [run["code"]["project"]["folder"] for run in runs] == [str(repository)] * 2
    assert runs[0]["code"]["project"]["commit"] != runs[1]["code"]["project"]["commit"]
    assert runs[0]["packages"] == installed_packages()


def test_older_manifests_continue(tmp_path: Path) -> None:
    manifest = new_manifest(load_study("quickstart", scale="smoke"), tmp_path, "run", {})
    manifest["runs"] = [{"started_at": "2026-01-01T00:00:00+00:00", "command": "run"}]
    assert set(with_run(manifest, "resume")["runs"][1]["code"]) == {"project", "cutmix_sweep"}
