"""A notebook that starts, watches, interrupts, resumes and reports a sweep, beside files with our packages' names."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient
from nbformat import NotebookNode

from sweep.records.reader import read_sweep

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]

CHECKS = {
    "ray": "import ray; print(ray.is_initialized())",
    "shadow": "_ = (sweep.dir / 'analysis.py').write_text('raise RuntimeError(\"shadowed by the sweep\")')",
    "printed": "print(len(sweep.trials)); print(report)",
}
"""Cells that the test adds to the example."""


def notebook_cells() -> dict[str, NotebookNode]:
    """Return the example of the README as cells, with further cells that check it."""
    section = (ROOT / "sweep" / "README.md").read_text().split("## From Python and a notebook\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    run, load, resume, results = (nbformat.v4.new_code_cell(block.strip()) for block in blocks)
    run.metadata.tags = ["raises-exception"]
    checks = {name: nbformat.v4.new_code_cell(source) for name, source in CHECKS.items()}
    example = {"run": run, "load": load, "resume": resume, "results": results}
    order = ("run", "ray", "load", "resume", "shadow", "results", "printed")
    return {name: (example | checks)[name] for name in order}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder whose files would be imported in place of our packages, and would fail."""
    (tmp_path / "analysis").mkdir()
    for name in ("sweep.py", "search_spaces.py", "trainables.py", "analysis/__init__.py"):
        (tmp_path / name).write_text("raise RuntimeError('shadowed by ' + __file__)\n")
    return tmp_path


@pytest.fixture
def kernel(folder: Path) -> Iterator[KernelManager]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    manager, client = start_new_kernel(startup_timeout=240, cwd=str(folder), env=environment)
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


@contextmanager
def stop_button(kernel: KernelManager, sweep_dir: Path) -> Iterator[None]:
    """Press the stop button of the notebook as soon as a trial has run an epoch."""
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.05):
            if any("epoch 1:" in log.read_text() for log in (sweep_dir / "logs").glob("*.txt")):
                os.killpg(os.getpgid(kernel.provisioner.pid), signal.SIGINT)  # as Jupyter does
                return

    button = threading.Thread(target=press)
    button.start()
    try:
        yield
    finally:
        over.set()
        button.join()


def outputs(cell: NotebookNode, kind: str) -> list[str]:
    """Return what a cell has shown: texts of a mime type, or texts of a stream."""
    if "/" in kind:
        return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]
    return [output.text for output in cell.outputs if output.output_type == "stream" and output.name == kind]


def test_a_sweep_in_a_notebook(folder: Path, kernel: KernelManager) -> None:
    sweep_dir = folder / "sweeps" / "digits"
    cells = notebook_cells()
    notebook = nbformat.v4.new_notebook(cells=list(cells.values()))
    client = NotebookClient(notebook, timeout=240, km=kernel)
    try:
        with stop_button(kernel, sweep_dir):
            client.execute()
    finally:
        client.kc.stop_channels()

    [error] = [output for output in cells["run"].outputs if output.output_type == "error"]
    message, in_python = error.traceback
    assert message.startswith("Interrupted: interrupted after ")
    assert message.endswith(f" of 6 trials; resume with: cutmix-sweep resume {sweep_dir}")
    assert in_python == f"in Python: cutmix_sweep.resume('{sweep_dir}')"
    [progress] = outputs(cells["run"], "text/html")
    assert "running trial" in progress
    assert outputs(cells["ray"], "stdout") == ["False\n"]
    [status] = outputs(cells["load"], "text/html")
    assert re.search(r"interrupted.*, \d of 6 trials are left; resume with: cutmix-sweep resume", status)

    resumed, result = outputs(cells["resume"], "text/html")
    assert "6 of 6 trials ended" in resumed
    assert "interrupted" not in result
    records = read_sweep(sweep_dir)
    assert records.trials["status"].tolist() == ["completed"] * 6
    assert records.trials["epochs"].tolist() == [6] * 6
    commands = [run["command"].split("(")[0] for run in records.manifest["runs"]]
    assert commands == ["cutmix_sweep.run", "cutmix_sweep.resume"]
    [printed] = outputs(cells["printed"], "stdout")
    n_trials, report = printed.splitlines()
    assert n_trials == "6"
    assert Path(report).read_text().startswith("<!DOCTYPE html>")

    # the user's files were not imported, neither in the kernel nor in the workers nor in the kernel of the report
    [warning] = outputs(cells["run"], "stderr")  # and nothing else is printed
    assert f"'{folder}/sweep.py'" in warning
    assert not any("shadowed by" in str(cell.outputs) for cell in cells.values())
