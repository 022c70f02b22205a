"""The Slurm script with a pretended Slurm and Ray: what it starts, with which secrets, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep.templates.cluster import describe_cluster
from sweep.templates.render import render_template

PROGRAMS = {
    # the options of srun end where the command begins
    "srun": 'echo "srun $*" >> "$CALLS"; while [[ $1 == --* ]]; do shift; done; "$@" & '
    "trap 'kill -TERM $!' TERM; wait $!; wait $!",
    "ray": """\
{ echo "ray $*"; stat --format 'token %a' "$RAY_AUTH_TOKEN_PATH"; echo "mode $RAY_AUTH_MODE"; } >> "$CALLS"
cat "$RAY_AUTH_TOKEN_PATH" > "$CALLS.token"
folder=; for option in "$@"; do [[ $option != --temp-dir=* ]] || folder=${option#*=}; done
stat --format 'temp %a' "$folder" >> "$CALLS"
if [[ " $* " == *" --head "* ]]; then exec python3 "$STUBS/listen.py" "$SLURM_JOB_ID"; fi
trap 'echo "ray worker ends" >> "$CALLS"; exit 0' TERM
while :; do sleep 0.05; done
""",
    "cutmix-sweep": """\
echo "sweep $*" >> "$CALLS"
trap 'echo "driver ends" >> "$CALLS"; sleep 0.3; exit 143' TERM
nodes=${SLURM_JOB_NODELIST//[^,]}
until (($(grep -c ^temp "$CALLS") > ${#nodes})); do sleep 0.05; done  # all nodes have started
[[ -z ${END_WITH:-} ]] || exit "$END_WITH"
echo "driver runs" >> "$CALLS"
while :; do sleep 0.05; done
""",
    "scontrol": '[[ $1 != show ]] || exec tr , "\\n" <<< "$3"; echo "scontrol $*" >> "$CALLS"',
    "hostname": "echo first.cluster",
    "getent": 'echo "127.0.0.1 STREAM first"',
}
LISTEN = """\
import signal, socket, sys
with socket.create_server(("127.0.0.1", 20_000 + int(sys.argv[1]) % 1_200 * 10)):
    signal.sigwait({signal.SIGTERM})
"""


def free_job() -> int:
    """Return the number of a job whose port is free."""
    for job in range(100, 1_200):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", 20_000 + job * 10)):
                return job
    raise AssertionError("no free port")


class Job:
    """A started script with its calls."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.calls = folder / "calls"
        self.home = folder / "home"
        stubs = folder / "bin"
        stubs.mkdir()
        self.home.mkdir()
        for name, body in PROGRAMS.items():
            (stubs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
            (stubs / name).chmod(0o700)
        (stubs / "listen.py").write_text(LISTEN)
        cluster = describe_cluster(
            "slurm", "quickstart", options={"--gpus": 0.5}, settings=["resources.gpus=0.5"], storage="/shared"
        )
        text = render_template(cluster)["sweep.sbatch"]
        script = folder / "sweep.sbatch"
        # the environment with the real ray must not come before the pretended one
        script.write_text(
            "\n".join(
                f"environment={folder}" if line.startswith("environment=") else line for line in text.splitlines()
            )
        )
        self.number = free_job()
        self.process = subprocess.Popen(
            ["bash", script],
            env=os.environ
            | {"PATH": f"{stubs}:{os.environ['PATH']}", "HOME": str(self.home), "SLURM_JOB_ID": str(self.number)}
            | {"SLURM_JOB_NODELIST": "first,second", "CALLS": str(self.calls), "STUBS": str(stubs)}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, text: str) -> None:
        for _ in range(1_000):
            if self.calls.exists() and text in self.calls.read_text():
                return
            time.sleep(0.02)
        raise AssertionError(f"{text!r} not in {self.calls.read_text()!r}")

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output

    def lines(self, start: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]


StartJob = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartJob]:
    """Start the script; what a failed test leaves of it is ended."""
    jobs: list[Job] = []

    def start_job(**environment: str) -> Job:
        jobs.append(Job(tmp_path, **environment))
        return jobs[-1]

    yield start_job
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGKILL)
        job.process.wait()
        assert job.process.stdout is not None
        job.process.stdout.close()


@pytest.mark.parametrize(
    ("signum", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)], ids=["time limit", "preempted"]
)
def test_a_signal_reaches_the_driver_and_the_job_continues_later(
    start: StartJob, signum: signal.Signals, requeued: bool
) -> None:
    job = start()
    job.wait_for("driver runs")
    assert oct(stat.S_IMODE((job.home / ".cutmix-sweep" / f"job-{job.number}").stat().st_mode)) == "0o700"
    job.process.send_signal(signum)
    status, output = job.end()
    assert status == 143, output
    assert job.lines("driver") == ["driver runs", "driver ends"]
    assert job.lines("scontrol") == [f"scontrol requeue {job.number}"] * requeued
    assert not list((job.home / ".cutmix-sweep").iterdir())  # the token is gone


def test_nodes_get_their_ports_and_a_secret_token(start: StartJob, tmp_path: Path) -> None:
    job = start(END_WITH="0")
    status, output = job.end()
    assert status == 0, output
    head, worker = sorted(job.lines("srun"), key=lambda line: "--head" not in line)
    port = 20_000 + job.number * 10
    assert {f"--port={port}", f"--dashboard-port={port + 1}", "--dashboard-host=127.0.0.1", "--num-gpus=1"} <= set(
        head.split()
    )
    assert "--nodelist=second" in worker
    assert f"--address=127.0.0.1:{port}" in worker
    assert set(job.lines("token")) == {"token 600"}
    assert set(job.lines("temp")) == {"temp 700"}
    assert set(job.lines("mode")) == {"mode token"}
    token = (tmp_path / "calls.token").read_text()
    assert len(token) == 64
    assert token not in output + job.calls.read_text()
    (sweep,) = job.lines("sweep")
    assert sweep == f"sweep run quickstart --gpus 0.5 --or-resume --out /shared/quickstart --address 127.0.0.1:{port}"


def test_one_node_starts_one_ray(start: StartJob) -> None:
    job = start(END_WITH="3", SLURM_JOB_NODELIST="first")
    status, output = job.end()
    assert status == 3, output
    assert not job.lines("scontrol")
    (srun,) = job.lines("srun")
    assert "--head" in srun
