"""Run measurements as Ray tasks: each is recorded when it ends, and its failure does not affect the others."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.resources import Resources
from sweep.display import SILENT, Display
from sweep.endings import EvaluationInterrupted
from sweep.evaluation.pictures import save_pictures
from sweep.evaluation.request import Task
from sweep.records.schema import COMPLETED, EVALUATIONS, FAILED, MEASUREMENTS
from sweep.records.writer import RecordsWriter
from sweep.signals import current_signals
from sweep.slots import NODE_LABEL, UPDATE_S, Slots
from trainables.cores import set_threads
from trainables.data.places import Place, format_places, images_at, parse_places
from trainables.errors import UserError
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Measured, library
from trainables.trial_files import local_model

if TYPE_CHECKING:
    import ray

IDLE_S = 0.2
"""Pause between two looks while no node has room, seconds."""


def run_tasks(
    tasks: Sequence[Task],
    sweep_dir: Path,
    resources: Resources,
    *,
    slots: Slots,
    max_tasks: int | None = None,
    display: Display = SILENT,
    places: Mapping[str, Place] | None = None,
    poll: Callable[[], None] = lambda: None,
) -> None:
    """Run the tasks on the cluster that is up, and record each result.

    Args:
        tasks: measurements to run.
        sweep_dir: folder of the sweep.
        resources: CPU cores and GPUs per measurement.
        slots: slots for measurements, which follow the nodes of the cluster.
        max_tasks: largest number of measurements at the same time; None: as many as fit.
        display: shows the progress.
        places: where the images of each data source lie and what they must contain; None: as in the configurations.
        poll: is called several times per minute, for example to check nodes that have joined.

    Raises:
        EvaluationInterrupted: by a signal; finished measurements are recorded.
        UserError: no node can run measurements.
    """
    writer = RecordsWriter(sweep_dir)
    n_done = 0
    display.show_line(f"{len(tasks)} measurements, {slots.describe(max_tasks)}, records in {sweep_dir}")
    turns = _Turns(slots, max_tasks, display, poll)
    with display.show_measurements(len(tasks)) as update:
        try:
            with contextlib.closing(_results(tasks, resources, turns, format_places(places or {}))) as results:
                for task, outcome in results:
                    _record(writer, task, outcome)
                    save_pictures(sweep_dir, task, outcome.get("measured"))
                    writer.flush()
                    n_done += 1
                    update(f"measured {task.axis.name} of {task.trial}")
        except KeyboardInterrupt:
            signum = current_signals().signum or signal.SIGINT
            raise EvaluationInterrupted(n_done, len(tasks), signum=signum) from None
        finally:
            writer.flush(force=True)


@dataclass(frozen=True)
class _Turns:
    """How many measurements may run now, and where."""

    slots: Slots
    max_tasks: int | None
    display: Display
    poll: Callable[[], None]

    def limit(self) -> int:
        """Look at the nodes, and return how many measurements may run at once.

        Raises:
            UserError: no node can run measurements.
        """
        self.poll()
        self.slots.update()
        if line := self.slots.waiting_line():
            self.display.show_line(line)
        failing = self.slots.timeout() or (self.slots.nodes.failing if self.slots.nodes else None)
        if failing is not None:
            raise UserError(failing.message)
        return self.slots.limit(self.max_tasks)

    def options(self) -> dict[str, Any]:
        """Return the options of a task of Ray that keep it from the nodes that cannot run it."""
        unfit = self.slots.nodes.unfit if self.slots.nodes else []
        return {"label_selector": {NODE_LABEL: f"!in({','.join(unfit)})"}} if unfit else {}


def _results(
    tasks: Sequence[Task], resources: Resources, turns: _Turns, images: str
) -> Generator[tuple[Task, dict[str, Any]]]:
    """Yield each task and its result as the tasks end.

    Ray has at most as many tasks as can run at once.
    """
    import ray

    device = "cuda" if resources.gpus else "cpu"
    measure = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1)(measure_task)
    waiting, running = list(tasks), dict[Any, Task]()
    while waiting or running:
        limit = turns.limit()
        while waiting and len(running) < limit:
            task, payload = waiting[0], _payload(waiting.pop(0)) | {"images": images}
            running[measure.options(**turns.options()).remote(payload, resources.cpus, device)] = task
        if not running:
            time.sleep(IDLE_S)
            continue
        ready, _ = ray.wait(list(running), timeout=UPDATE_S)
        for each in ready:
            yield running.pop(each), _outcome(each)


def _outcome(ready: ray.ObjectRef[dict[str, Any]]) -> dict[str, Any]:
    import ray

    try:
        outcome: dict[str, Any] = ray.get(ready)
    except ray.exceptions.RayError as error:  # the worker died in both attempts
        return {"why": f"the worker was lost: {str(error).splitlines()[0]}"}
    return outcome


def _payload(task: Task) -> dict[str, Any]:
    return {
        "axis": AXES.name_of(type(task.axis)),
        "settings": task.settings,
        "model_path": task.model_path,
        "record": dict(task.record),
        "curve": dict(task.curve),
    }


def measure_task(payload: Mapping[str, Any], threads: int, device: str) -> dict[str, Any]:
    """Measure one axis of one model in a worker.

    Returns:
        ``measured``, or ``why`` if the measurement failed; and ``seconds``, ``device``, ``node``.
    """
    set_threads(threads)
    from trainables.evaluation.subject import Subject
    from trainables.models.saved import read_model

    started_s = time.perf_counter()
    outcome: dict[str, Any] = {"device": device, "node": socket.gethostname()}
    try:
        axis = AXES[payload["axis"]].model_validate_json(payload["settings"])
        sha256 = payload["record"].get("model_sha256")  # null in records of older versions
        expected = sha256 if isinstance(sha256, str) else None
        saved = read_model(local_model(payload["model_path"]), expected_sha256=expected)
        subject = Subject(saved, record=payload["record"], curve=payload["curve"], device=device)
        with images_at(parse_places(payload["images"])):
            outcome["measured"] = axis.measure(subject)
    except UserError as error:
        outcome["why"] = str(error)
    except Exception:
        outcome["why"] = traceback.format_exc(limit=-3).strip()
    return outcome | {"seconds": time.perf_counter() - started_s}


def _record(writer: RecordsWriter, task: Task, outcome: Mapping[str, Any]) -> None:
    common = {"trial": task.trial, "axis": task.axis.name, "settings": task.settings, "time_s": time.time()}
    measured: Measured | None = outcome.get("measured")
    for value in measured.values if measured else ():
        row = {name: getattr(value, name) for name in ("metric", "value", "n", "setting", "split")}
        origin = {"library": value.library or library("torch"), "seed": task.axis.seed}
        writer.add(EVALUATIONS, {**common, **row, **origin})
    facts = {name: outcome.get(name) for name in ("why", "seconds", "device", "node")}
    facts["n_values"] = len(measured.values) if measured else None
    writer.add(MEASUREMENTS, {**common, **facts, "status": COMPLETED if measured else FAILED})
