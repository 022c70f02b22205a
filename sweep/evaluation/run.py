"""Run measurements as Ray tasks: each is recorded when it ends, and its failure does not affect the others."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.study import Resources
from sweep.display import SILENT, Display
from sweep.endings import EvaluationInterrupted
from sweep.evaluation.pictures import save_pictures
from sweep.evaluation.request import Task
from sweep.records.schema import COMPLETED, EVALUATIONS, FAILED, MEASUREMENTS
from sweep.records.writer import RecordsWriter
from sweep.signals import current_signals
from trainables.cores import set_threads
from trainables.data.places import Place, format_places, images_at, parse_places
from trainables.errors import UserError
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Measured, library
from trainables.trial_files import local_model

if TYPE_CHECKING:
    import ray


def run_tasks(
    tasks: Sequence[Task],
    sweep_dir: Path,
    resources: Resources,
    *,
    slots: int,
    display: Display = SILENT,
    places: Mapping[str, Place] | None = None,
) -> None:
    """Run the tasks on the cluster that is up, and record each result.

    Args:
        tasks: measurements to run.
        sweep_dir: folder of the sweep.
        resources: CPU cores and GPUs per measurement.
        slots: measurements at a time.
        display: shows the progress.
        places: where the images of each data source lie and what they must contain; None: as in the configurations.

    Raises:
        EvaluationInterrupted: by a signal; finished measurements are recorded.
    """
    writer = RecordsWriter(sweep_dir)
    n_done = 0
    display.show_line(f"{len(tasks)} measurements, {slots} at a time, records in {sweep_dir}")
    with display.show_measurements(len(tasks)) as update:
        try:
            with contextlib.closing(_results(tasks, resources, slots, format_places(places or {}))) as results:
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


def _results(
    tasks: Sequence[Task], resources: Resources, slots: int, images: str
) -> Generator[tuple[Task, dict[str, Any]]]:
    """Yield each task and its result as the tasks end.

    Ray has at most as many tasks as can run at once.
    """
    import ray

    device = "cuda" if resources.gpus else "cpu"
    measure = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1)(measure_task)
    waiting, running = list(tasks), dict[Any, Task]()
    while waiting or running:
        while waiting and len(running) < slots:
            task = waiting.pop(0)
            running[measure.remote(_payload(task) | {"images": images}, resources.cpus, device)] = task
        (ready,), _ = ray.wait(list(running))
        yield running.pop(ready), _outcome(ready)


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
