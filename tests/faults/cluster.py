"""Faults of a cluster of isolated nodes, one after another, while a submitted sweep runs; this needs root.

``python -m tests.faults.cluster`` submits a sweep to a cluster of three nodes and a head without trials. A fourth node
joins; one node is killed with everything on it; one stops seeing the folder of the sweep, one the images; the driver is
killed. At the end all trials must be completed and the records whole. A table shows what each step printed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

from tests.faults.isolated import DASHBOARD, IsolatedCluster, isolated_cluster
from tests.faults.on_ray import n_epochs
from tests.faults.sweeps import study_values, write_images
from tests.processes import WORKER_TITLE

PATIENCE_S = 120.0
"""Longest wait for one effect of a fault."""

_EPOCH_LINE = re.compile(r"^\S+ \S+ (\S+) epoch (\d+): (.*)$", re.MULTILINE)


_ROUTINE = re.compile(r"(\d\d:\d\d:\d\d |loading|joining|checking|Ray dashboard|Running entry|\S+ \S+\tINFO)")
"""Beginning of a line of the job that tells no fault."""


@dataclass
class Step:
    """One step of the experiment.

    Attributes:
        what: what was done.
        seconds: time until its effect was seen.
        printed: lines of the job since then, without routine.
        lost: epochs that were computed again because of it, at most: each restart counts as one.
        problem: what did not happen; "" if all did.
    """

    what: str
    seconds: float = 0.0
    printed: list[str] = field(default_factory=list)
    lost: int = 0
    problem: str = ""


class Experiment:
    """One sweep on a cluster that loses nodes, folders and its driver.

    Attributes:
        steps: the steps so far.
    """

    def __init__(self, cluster: IsolatedCluster, folder: Path, *, trials: int, epochs: int) -> None:
        """Write images and a study of two arms with so many trials each below ``folder``."""
        self.steps: list[Step] = []
        self._cluster, self._images = cluster, write_images(folder / "images")
        self._store, self._study = folder / "store", folder / "study.yaml"
        self._store.mkdir()
        self._box = self._store / "box"
        budget = {"budget__trials": trials, "budget__max_epochs": epochs, "confirm": None}
        values = study_values("plain", f"imagefolder:{self._images}", **budget)
        self._study.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def run(self) -> None:
        """Submit the sweep, inject all faults, and wait for its end."""
        nodes = self._cluster.nodes
        with self._step("submit, three nodes"):
            self._command("submit", str(self._study), "--address", DASHBOARD, "--out", str(self._box))
            self._wait("an epoch on each node", lambda: {"a", "b", "c"} <= self._nodes())
        with self._step("node d joins"):
            self._cluster.start("d", n_cpus=1)
            self._wait("a trial on node d", lambda: "d" in self._nodes(), patience_s=30.0)
        with self._step("node a is killed with everything on it"):
            nodes["a"].kill()
            self._wait_for_restart()
        with self._step("node b does not see the folder of the sweep any more"):
            nodes["b"].hide(self._store)
            self._wait("node b is left out", lambda: self._is_left_out("b"))
        with self._step("node c loses the images and their cache, and its workers"):
            nodes["c"].hide(self._images)
            cache = nodes["c"].folder / "home" / ".cache"
            if cache.exists():
                nodes["c"].hide(cache)
            nodes["c"].kill(title=WORKER_TITLE)
            self._wait("node c is left out", lambda: self._is_left_out("c"))
        with self._step("the driver is killed"):
            before = n_epochs(self._box)
            self._kill_driver()
            self._wait("ten epochs of the next driver", lambda: n_epochs(self._box) >= before + 10)
        with self._step("the end"):
            self._wait("the job has ended", self._has_ended, patience_s=600.0, pause_s=10.0)
            self._check()

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Do one step; note how long its effect took, what was printed and what was lost."""
        step, began_s = Step(what), time.monotonic()
        self.steps.append(step)
        n_lines, restarts = len(self._output()), self._n_lost()
        print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
        try:
            yield
        except (TimeoutError, RuntimeError) as error:
            step.problem = str(error)
        step.seconds = time.monotonic() - began_s
        printed = [line for line in self._output()[n_lines:] if not _ROUTINE.match(line)]
        step.printed, step.lost = printed, self._n_lost() - restarts
        print("\n".join(f"    {line}" for line in [*step.printed, step.problem] if line), flush=True)

    def _wait(
        self, what: str, holds: Callable[[], bool], *, patience_s: float = PATIENCE_S, pause_s: float = 1.0
    ) -> None:
        until_s = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > until_s:
                raise TimeoutError(f"not within {patience_s:g} s: {what}")
            time.sleep(pause_s)

    def _wait_for_restart(self) -> None:
        lost = self._n_lost()
        self._wait("a trial is restarted", lambda: self._n_lost() > lost)

    def _command(self, *words: str, patience_s: float = 120.0) -> str:
        """Run a command of cutmix-sweep on the head and return what it printed."""
        done = self._cluster.head.run("cutmix-sweep", *words, timeout_s=patience_s)
        if done.returncode:
            raise RuntimeError(f"{words[0]}: exit code {done.returncode}: {done.stdout[-500:]}")
        return done.stdout

    def _trials(self) -> pd.DataFrame | None:
        from sweep.records.errors import RecordsError
        from sweep.records.reader import read_table
        from sweep.records.schema import TRIALS

        with contextlib.suppress(RecordsError, OSError):
            return read_table(self._box, TRIALS)
        return None

    def _nodes(self) -> set[str]:
        """Return the names of the nodes on which trials have run an epoch."""
        return {node for lines in self._epoch_lines().values() for node, _, _ in lines}

    def _epoch_lines(self) -> dict[str, list[tuple[str, str, str]]]:
        """Return node, epoch and values of each epoch in the logs of the trials, by trial."""
        return {
            log.stem: _EPOCH_LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
            for log in (self._box / "logs").glob("*.txt")
        }

    def _n_lost(self) -> int:
        """Return the number of epochs that were computed again: one per restart, and those that a log has twice.

        An epoch that was saved, but not recorded, is reported once more with the same duration: it is not lost.
        """
        trials = self._trials()
        restarts = 0 if trials is None else int((trials["attempts"] - 1).clip(lower=0).sum())
        repeated = 0
        for lines in self._epoch_lines().values():
            computed = {(epoch, values) for _, epoch, values in lines}
            repeated += len(computed) - len({epoch for epoch, _ in computed})
        return restarts + repeated

    def _is_left_out(self, name: str) -> bool:
        from sweep.records.reader import read_manifest

        return any(node["node"] == name for node in read_manifest(self._box)["runs"][-1].get("nodes", []))

    def _kill_driver(self) -> None:
        from sweep.driver import DriverObserver

        driver = DriverObserver(self._box).glance()
        if driver is None or driver.process is None:
            raise RuntimeError("the sweep has no driver")
        self._cluster.nodes[str(driver.host)].run("sh", "-c", f"kill -9 {driver.process}")

    def _has_ended(self) -> bool:
        with contextlib.suppress(RuntimeError):
            listed = self._command("jobs", "--address", DASHBOARD)
            return bool(re.search(r"\b(succeeded|failed|stopped)\b", listed))
        return False

    def _check(self) -> None:
        """Check that the job has succeeded, all trials are completed, and no row is lost or doubled."""
        from sweep.records.reader import read_rows, read_table
        from sweep.records.schema import EPOCHS, TRIALS

        problems = [] if "succeeded" in self._command("jobs", "--address", DASHBOARD) else ["the job has not succeeded"]
        trials, rows = read_table(self._box, TRIALS), read_rows(self._box, EPOCHS).to_pandas()
        if (counts := trials["status"].value_counts().to_dict()) != {"completed": len(trials)}:
            problems.append(f"trials: {counts}")
        if n_doubled := int(rows.duplicated(["trial", "epoch"]).sum()):
            problems.append(f"{n_doubled} epochs are recorded twice")
        if len(rows) != trials["epochs"].sum():
            problems.append(f"{trials['epochs'].sum() - len(rows)} epochs are lost")
        self._command("check", str(self._box))
        if problems:
            raise RuntimeError("; ".join(problems))

    def _output(self) -> list[str]:
        """Return the lines that the job has printed so far."""
        with contextlib.suppress(RuntimeError):
            return self._command("logs", self._box.name, "--address", DASHBOARD).splitlines()
        return []

    def print_end(self) -> None:
        """Print all that the job has printed, and the status of the sweep."""
        print("\n".join(self._output()))
        with contextlib.suppress(RuntimeError):
            print(self._command("status", str(self._box)))


def table(steps: Sequence[Step]) -> str:
    """Return the steps as a Markdown table.

    Examples:
        >>> print(table([Step("node a is killed", 7.25, ["node a is dead"], lost=1)]).splitlines()[-1])
        | node a is killed | 7 | 1 | node a is dead |
    """
    rows = ["| step | seconds | epochs lost | printed |", "| --- | --: | --: | --- |"]
    for step in steps:
        printed = "<br>".join([*step.printed, *([f"PROBLEM: {step.problem}"] if step.problem else [])])
        rows.append(f"| {step.what} | {step.seconds:.0f} | {step.lost} | {printed.replace('|', '/')} |")
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a step had no effect or the sweep is not whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6, help="trials per arm (default: 6)")
    parser.add_argument("--epochs", type=int, default=300, help="epochs per trial (default: 300)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the sweep and the logs of Ray")
    given = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))  # short: Ray makes sockets below it
    with isolated_cluster(folder / "n", ["h", "a", "b", "c", "d"]) as cluster:
        for name in ("h", "a", "b", "c"):
            print(f"{time.strftime('%H:%M:%S')} Ray starts on {name}", flush=True)
            cluster.start(name, n_cpus=0 if name == "h" else 1)
        experiment = Experiment(cluster, folder, trials=given.trials, epochs=given.epochs)
        experiment.run()
        experiment.print_end()
    print(table(experiment.steps))
    problems = [step.problem for step in experiment.steps if step.problem]
    if not given.keep and not problems:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
