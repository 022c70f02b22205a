"""The daemon of NVIDIA's Multi-Process Service, played by a script that records its calls."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.resources import Resources
from sweep import mps
from sweep.doctor import _mps
from sweep.mps import LOGS, PIPES, PROGRAM, Mps, check_mps, mps_of
from sweep.node_check import FolderStorage, Request, end_mps, judge, look_around, versions_here
from sweep.records.beginning import SIGN
from trainables.errors import UserError

SCRIPT = """#!/bin/bash
# the daemon is a file in the folder of the sockets; "clients" has the processes that use it
daemon="$CUDA_MPS_PIPE_DIRECTORY/daemon"
if [ "$1" = -d ]; then
  echo "-d ${CUDA_VISIBLE_DEVICES-all} $CUDA_MPS_LOG_DIRECTORY" >> CALLS
  [ -e FAULT ] && { cat FAULT; exit 1; }
  touch "$daemon"; exit 0
fi
read -r command
[ -e "$daemon" ] || { echo "Cannot find MPS control daemon process" >&2; exit 1; }
echo "$command" >> CALLS
case "$command" in
  get_server_list) [ -e CLIENTS ] && echo 4711;;
  "get_client_list 4711") cat CLIENTS;;
  quit) rm "$daemon";;
esac
exit 0
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.mps = Mps(str(folder / "mps"), is_required=True)
        self.clients, self.fault, self._calls = folder / "clients", folder / "fault", folder / "calls"
        (folder / "bin").mkdir()
        program = folder / "bin" / PROGRAM
        files = {"CALLS": self._calls, "CLIENTS": self.clients, "FAULT": self.fault}
        script = SCRIPT
        for name, file in files.items():
            script = script.replace(name, str(file))
        program.write_text(script)
        program.chmod(0o755)

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(mps, "CLIENTS_S", 0.3)
    return machine


def test_the_daemon_serves_all_gpus_and_ends_with_the_run(machine: Machine) -> None:
    with machine.mps.running():
        folder = Path(machine.mps.folder)
        assert machine.calls() == [f"-d all {machine.mps.environment()[LOGS]}", "get_server_list"]
        assert (folder.stat().st_mode & 0o777, Path(machine.mps.environment()[PIPES], "daemon").exists()) == (
            0o700,
            True,
        )
    assert machine.calls()[-1] == "quit"
    assert not folder.exists()


def test_the_next_run_finds_the_daemon_of_a_killed_one(machine: Machine) -> None:
    assert machine.mps.start() == ""
    with machine.mps.running():
        pass
    assert [call for call in machine.calls() if call.startswith(("-d", "quit"))] == [
        f"-d all {machine.mps.environment()[LOGS]}",
        "quit",
    ]
    machine.mps.stop()  # nothing is left, and nothing happens
    assert machine.calls().count("quit") == 1


def test_a_daemon_that_others_use_stays(machine: Machine) -> None:
    with machine.mps.running():
        machine.clients.write_text("4712\n4713\n")
    assert "quit" not in machine.calls()
    assert Path(machine.mps.folder).exists()


def test_a_daemon_that_does_not_start_is_refused_only_where_it_is_required(machine: Machine) -> None:
    machine.fault.write_text("no GPU supports it\n")
    message = f"resources.mps is on, but {PROGRAM} -d ended with exit code 1: no GPU supports it: set resources.mps to"
    with pytest.raises(UserError, match=message), machine.mps.running():
        pass
    with replace(machine.mps, is_required=False).running():
        pass


def test_a_folder_of_another_user_is_not_used(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(machine.mps.folder).symlink_to(tmp_path / "elsewhere")
    assert "belongs to another user, or is a link" in machine.mps.start()
    assert machine.calls() == []


@pytest.mark.parametrize(
    ("resources", "is_used"),
    [
        ({"trials_per_gpu": 4}, None),
        ({"trials_per_gpu": 4, "mps": "auto"}, False),
        ({"trials_per_gpu": "auto", "mps": "auto"}, False),
        ({"gpus": 1.0, "mps": "auto"}, None),
        ({"mps": "auto"}, None),
        ({"gpus": 0.5, "mps": "on"}, True),
    ],
)
def test_auto_is_for_gpus_that_are_shared(
    resources: dict[str, object], is_used: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PIPES, raising=False)
    daemon = mps_of(Resources.model_validate(resources))
    assert (daemon and daemon.is_required) == is_used
    monkeypatch.setenv(PIPES, "/tmp/nvidia-mps")  # the machine has one that others look after
    assert mps_of(Resources.model_validate(resources)) is None


def test_a_machine_without_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(PIPES, raising=False)
    check_mps(Resources(gpus=0.5, mps="auto"))
    with pytest.raises(UserError, match=f"resources.mps is on, but there is no {PROGRAM} in PATH"):
        check_mps(Resources(gpus=0.5, mps="on"))
    monkeypatch.setattr("sweep.doctor.gpu_names", lambda: ["H100"])
    assert "there is no" in _mps().found


def test_the_check_of_a_node_starts_the_daemon(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(str(tmp_path))
    storage.write(f"{SIGN}77", "77")
    request = Request("77", storage, versions_here(), mps=machine.mps)
    assert look_around(request, "5f").mps == ""
    end_mps(request)
    assert machine.calls()[-1] == "quit"
    monkeypatch.setenv("PATH", "")
    answer = look_around(request, "5f")
    assert f"there is no {PROGRAM} in PATH" in judge(request, answer, "5f")
    assert PROGRAM not in judge(replace(request, mps=replace(machine.mps, is_required=False)), answer, "5f")
