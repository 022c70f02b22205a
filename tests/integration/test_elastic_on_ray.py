"""Slots that follow a real Ray: a cluster that grows from nothing and shrinks, fractions of GPUs, a lost head.

The trials do nothing, and each part of a cluster is ended by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

WAIT_S = 120
WORKERS = 3

IDLE = """
import os, sys, time
from pathlib import Path
from typing import Any
import ray
from ray import tune
from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.engine import cluster, run_trials
from sweep.signals import catch_signals
from sweep.slots import LiveNode, Slots
from sweep.curve import VALUE_COLUMNS
from sweep.records.schema import ABOUT_COLUMNS
from sweep.watch import Watch
from trainables.strict import parse

FACTS = {"device": "cpu", "precision": "fp32", "step_kind": "eager", "node": "here"}
REPORT = dict.fromkeys([*VALUE_COLUMNS, *ABOUT_COLUMNS], 1) | FACTS

def study(n_trials, epochs, **resources):
    values = {"name": "idle", "question": "?", "arms": {"off": {"mix": "off"}}, "resources": resources,
              "budget": {"trials": n_trials, "max_epochs": epochs, "early_stopping": {"rule": "none"}},
              "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}}}
    return parse(Study, values, where="study 'idle'")

class Idle(tune.Trainable):
    start_s, step_s = 0.0, 0.1
    def setup(self, config):
        time.sleep(self.start_s)
        self.begin(config)
    def reset_config(self, new_config):
        self.begin(new_config)
        return True
    def begin(self, config):
        self.trial, self.epoch, self.folder = config["trial"], config["recorded_epochs"], Path(config["log_path"])
    def step(self):
        time.sleep(self.step_s)
        self.epoch += 1
        self.note()
        node_id = ray.get_runtime_context().get_node_id()
        return {"trial": self.trial, "epoch": self.epoch, **REPORT, "node_id": node_id}
    def note(self):
        pass
"""

GROWING = """
class Slow(Idle):
    start_s = 4.0  # other trials end meanwhile: their workers must not take the trials of those that start

nodes, most_actors, most_slots = set(), 0, 0
def look():
    global most_actors, most_slots
    most_slots = max(most_slots, slots.n_slots)
    states = [actor["State"] for actor in ray._private.state.actors().values()]
    most_actors = max(most_actors, len([state for state in states if state != "DEAD"]))
    if min(len(nodes), most_slots) >= conductor.max_trials and conductor.n_left:
        conductor.cancel_arm("off", "by the test")

class Nodes(tune.Callback):
    def on_trial_result(self, iteration, trials, trial, result, **info):
        nodes.add(result["node_id"])

idle, folder = study(400, 4, cpus=1), Path(sys.argv[2])
with cluster(idle.resources, address=sys.argv[1], start_timeout_s=90) as slots:
    conductor = Conductor(idle, folder)
    conductor.max_trials = int(sys.argv[3])
    print("at the start", slots.n_slots, slots.limit(), slots.limit(conductor.max_trials), flush=True)
    run_trials(folder, conductor, slots=slots, trainable=Slow, poll=look, callbacks=[Nodes()])
    # on a busy machine, Ray's autoscaler may start one node too many for a moment
    print("grown", len(nodes) >= conductor.max_trials, most_actors <= most_slots + 1, conductor.n_left, flush=True)
    until_s = time.monotonic() + 60
    while slots.n_slots and time.monotonic() < until_s:
        time.sleep(0.5)
        slots.update()
    print("at the end", slots.n_slots, flush=True)
"""

LOST_HEAD = """
idle, folder = study(4, 1000, cpus=1), Path(sys.argv[2])
ray_ = cluster(idle.resources, address=sys.argv[1], start_timeout_s=90)
with catch_signals(is_program=True) as signals, ray_ as slots:
    signals.defer()
    signals.bound("resume with: ...")
    conductor = Conductor(idle, folder)
    watch = Watch(conductor, folder, signals=signals)
    run_trials(folder, conductor, slots=slots, trainable=Idle, watch=watch)
    os._exit(watch.ending().exit_code)
"""

SHARED_GPUS = """
class Together(Idle):
    def note(self):
        sign = self.folder.with_name(f"{os.environ['CUDA_VISIBLE_DEVICES']} {self.trial}")
        sign.parent.mkdir(exist_ok=True)
        sign.touch()
        until_s = time.monotonic() + 90
        while len(list(sign.parent.iterdir())) < self.together and time.monotonic() < until_s:
            time.sleep(0.05)

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
ray.init(num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
def slots_for(study):
    return Slots(study.resources, lambda: [LiveNode("5f", "here", ray.cluster_resources())])

for share, number in (({"gpus": 0.25}, 8), ({"trials_per_gpu": 3}, 6)):
    shared, folder = study(number, 1, cpus=1, **share), Path(sys.argv[1], str(number))
    folder.mkdir()
    slots = slots_for(shared)
    trainable = type("Together", (Together,), {"together": number})
    run_trials(folder, Conductor(shared, folder), slots=slots, trainable=trainable)
    devices = [sign.name.split()[0] for sign in (folder / "logs").iterdir()]
    print(slots.n_slots, {device: devices.count(device) for device in sorted(set(devices))}, flush=True)

class Large(Idle):
    def begin(self, config):
        super().begin(config)
        self.gpus = config["gpus"]
    def step(self):
        if self.trial in ("off-0001", "off-0002") and self.epoch == 1 and self.gpus < 1:
            return {"trial": self.trial, "out_of_memory": "CUDA out of memory", "node": "here"}
        return super().step()
    def note(self):
        self.folder.parent.mkdir(exist_ok=True)
        with open(self.folder.with_name("epochs"), "a") as file:
            print(self.trial, self.epoch, ray.get_runtime_context().get_assigned_resources()["GPU"], file=file)

shared, folder = study(4, 2, cpus=1, trials_per_gpu=2), Path(sys.argv[1], "large")
folder.mkdir()
conductor, slots = Conductor(shared, folder), slots_for(shared)
run_trials(folder, conductor, slots=slots, trainable=Large)
lines = Path(folder, "logs", "epochs").read_text().splitlines()
print(sorted(lines[-2:]), len(lines), slots.n_slots, {entry.status for entry in conductor.entries.values()}, flush=True)
"""


def config(port: int) -> dict[str, object]:
    """Configuration of Ray's own autoscaler, whose nodes are processes of this machine."""
    lists = ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    lists += ("initialization_commands", "setup_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")
    return {
        "cluster_name": "elastic",
        "max_workers": WORKERS,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{port}",
            "launch_multiple": True,
            "use_node_id_as_ip": True,  # the nodes share one address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": WORKERS,
            },
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 0.05,
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "auth": {},
        "docker": {},
        **{name: [] for name in lists},
    }


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, psutil.Process, dict[str, str]]]:
    """Address and process of the head of a cluster that grows, and the environment of its drivers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = tempfile.mkdtemp(dir="/tmp")  # short enough for Ray's sockets
    file = Path(folder, "cluster.json")
    file.write_text(json.dumps(config(port)))
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "0"]
    command += ["--port", str(port), "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
    command += ["--temp-dir", f"{folder}/ray", "--object-store-memory", "100000000", "--disable-usage-stats"]
    command += [f"--autoscaling-config={file}"]
    waits = {name: str(WAIT_S) for name in ("RAY_raylet_start_wait_time_s", "RAY_gcs_server_port_wait_time_s")}
    waits |= {"RAY_agent_register_timeout_ms": f"{WAIT_S}000", "RAY_worker_register_timeout_seconds": str(WAIT_S)}
    environment = {**os.environ, **waits, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    environment.pop("RAY_ADDRESS", None)
    with open(f"{folder}/log", "wb") as log:  # noqa: PTH123
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    parts = psutil.Process(process.pid)
    try:
        until_s = time.monotonic() + WAIT_S
        while "Ray runtime started" not in Path(folder, "log").read_text():
            assert process.poll() is None, Path(folder, "log").read_text()
            assert time.monotonic() < until_s
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", parts, environment
    finally:
        known = [*parts.children(recursive=True), *_parts_in(folder), parts]
        for part in known:
            with contextlib.suppress(psutil.NoSuchProcess):
                part.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _parts_in(folder: str) -> list[psutil.Process]:
    """Processes whose command names the folder of this cluster: the nodes of the autoscaler outlive it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(folder in word for word in process.cmdline()):
                found.append(process)
    return found


def run(code: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IDLE + code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)


def test_a_cluster_grows_from_nothing_and_shrinks(head: tuple[str, object, dict[str, str]], tmp_path: Path) -> None:
    address, _, environment = head
    ended = run(GROWING, address, str(tmp_path), str(WORKERS), environment=environment)
    assert ended.stdout.splitlines() == ["at the start 0 1 3", "grown True True 0", "at the end 0"], ended.stderr


def test_a_lost_head_ends_the_driver_in_words(head: tuple[str, psutil.Process, dict[str, str]], tmp_path: Path) -> None:
    address, process, environment = head
    command = [sys.executable, "-c", IDLE + LOST_HEAD, address, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as driver:
        try:
            until_s = time.monotonic() + WAIT_S
            while not list(tmp_path.glob("records/epochs/*")):
                assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
                assert time.monotonic() < until_s
                time.sleep(0.1)
            (gcs,) = [part for part in process.children(recursive=True) if part.name() == "gcs_server"]
            gcs.kill()
            killed_s = time.monotonic()
            _, error = driver.communicate(timeout=60)
        finally:
            driver.kill()
    assert driver.returncode == 5, error
    assert time.monotonic() - killed_s < 40
    # `ray start --block` ends the raylet of the head too
    words = (f"the head of the Ray cluster at {address} does not answer any more", "Ray has lost its process raylet")
    assert any(each in error for each in words), error
    assert "resume with: cutmix-sweep resume" in error


def test_trials_share_gpus_and_those_that_do_not_fit_get_a_whole_one(tmp_path: Path) -> None:
    ended = run(SHARED_GPUS, str(tmp_path), environment=dict(os.environ))
    alone = "['off-0001 2 1.0', 'off-0002 2 1.0'] 8 2 {'completed'}"  # each with a GPU, after the others
    assert ended.stdout.splitlines() == ["8 {'0': 4, '1': 4}", "6 {'0': 3, '1': 3}", alone], ended.stderr
