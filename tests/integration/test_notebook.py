"""A notebook that starts, watches, interrupts, resumes and reports a sweep, beside files with our packages' names."""

from __future__ import annotations

import os
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

CELLS = {
    "import": "import cutmix_sweep as cs",
    "run": """
study = {
    "question": "Does <b>CutMix</b> help?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "budget": {"trials": 3, "max_epochs": 6, "early_stopping": {"rule": "none"}},
    "base": {"data": {"train_frac": 0.3, "batch_size": 64}, "model": {"width": 0.25}},
}
cs.run(study, cpus=1, out="sweeps/tiny")
""",
    "load": "sweep = cs.load('sweeps/tiny'); sweep.status()",
    "ray": "import ray; print(ray.is_initialized())",
    "resume": "sweep.resume()",
    "trials": "print(sweep.trials['status'].tolist())",
    "report": "print(sweep.report())",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder whose files would be imported in place of our packages, and would fail."""
    (tmp_path / "analysis").mkdir()
    for name in ("sweep.py", "search_spaces.py", "trainables.py", "analysis/__init__.py"):
        (tmp_path / name).write_text("raise RuntimeError('shadowed by ' + __file__)\n")
    return tmp_path


@pytest.fixture
def kernel(folder: Path) -> Iterator[KernelManager]:
    manager, client = start_new_kernel(cwd=str(folder), env={**os.environ, "PYTHONPATH": str(ROOT)})
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


@contextmanager
def stop_button(kernel: KernelManager, sweep_dir: Path) -> Iterator[None]:
    """Press the stop button of the notebook as soon as a trial has saved an epoch."""
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.05):
            if any((sweep_dir / "checkpoints").glob("*.pt")):
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
    """Return what a cell has shown: texts of a mime type, or lines of an output type."""
    if "/" in kind:
        return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]
    return [output.text for output in cell.outputs if output.output_type == "stream" and output.name == kind]


def test_a_sweep_in_a_notebook(folder: Path, kernel: KernelManager) -> None:
    cells = {name: nbformat.v4.new_code_cell(source.strip()) for name, source in CELLS.items()}
    cells["run"].metadata.tags = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(cells=list(cells.values()))
    client = NotebookClient(notebook, timeout=120, km=kernel)
    try:
        with stop_button(kernel, folder / "sweeps" / "tiny"):
            client.execute()
    finally:
        client.kc.stop_channels()

    [error] = [output for output in cells["run"].outputs if output.output_type == "error"]
    message, in_python = error.traceback
    assert message.startswith("Interrupted: interrupted after ")
    assert " of 6 trials; resume with: " in message
    assert in_python == f"in Python: cutmix_sweep.resume('{folder}/sweeps/tiny')"
    [progress] = outputs(cells["run"], "text/html")
    assert "running trial" in progress
    assert "cutmix" in progress

    [status] = outputs(cells["load"], "text/html")
    assert "Does &lt;b&gt;CutMix&lt;/b&gt; help?" in status
    assert "not running; resume with" in status
    assert outputs(cells["ray"], "stdout") == ["False\n"]

    resumed, result = outputs(cells["resume"], "text/html")
    assert "6 of 6 trials ended" in resumed
    assert "not running" not in result
    records = read_sweep(folder / "sweeps" / "tiny")
    assert records.trials["status"].tolist() == ["completed"] * 6
    assert records.trials["epochs"].tolist() == [6] * 6
    assert [run["command"].split("(")[0] for run in records.manifest["runs"]] == [
        "cutmix_sweep.run",
        "cutmix_sweep.resume",
    ]
    assert outputs(cells["trials"], "stdout") == [f"{['completed'] * 6}\n"]
    [report] = outputs(cells["report"], "stdout")
    assert Path(report.strip()).read_text().startswith("<!DOCTYPE html>")

    # the files of the user were not imported, in the kernel, in the workers or in the kernel of the report
    [warning] = outputs(cells["import"], "stderr")
    assert f"'{folder}/sweep.py'" in warning
    assert not any("shadowed by" in str(cell.outputs) for cell in cells.values())
