"""Notebooks run from the start in a kernel of this very interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

_ROOT = Path(__file__).parents[2]


class NotebookFailedError(Exception):
    """A cell of a notebook raised; the message names the cell and says what was raised."""


class _SameInterpreter(AsyncKernelManager):  # type: ignore[misc]
    """A kernel of the running Python: one that a user has installed as ``python3`` may be another."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def execute(path: Path, *, folder: Path, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """Run a notebook and return it with its outputs; the file is left as it is.

    Args:
        path: the notebook.
        folder: working directory of its cells.
        environment: variables that its kernel has besides those of this process.

    Raises:
        NotebookFailedError: a cell raised, or the kernel died.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_manager_class=_SameInterpreter,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env={**os.environ, "PYTHONPATH": _import_path(), **environment})
    except CellExecutionError as error:
        said = (error.evalue.strip().splitlines() or ["no message"])[-1]
        raise NotebookFailedError(f"{_where(path, notebook)}: {error.ename}: {said}") from None
    except DeadKernelError:
        raise NotebookFailedError(f"notebook '{path.name}': its kernel died, as it does when memory is short") from None
    return notebook


def _import_path() -> str:
    """Let the kernel import the packages that this process has imported."""
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))


def _where(path: Path, notebook: nbformat.NotebookNode) -> str:
    """Name the cell that failed, by its place among all cells and its first line."""
    for number, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"notebook '{path.name}', cell {number} ({cell.source.strip().splitlines()[0]})"
    return f"notebook '{path.name}'"
