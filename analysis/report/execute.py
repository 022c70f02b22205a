"""Execution of notebooks, in a kernel of the running interpreter."""

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
    """Raised when a cell of a notebook fails; the message names the cell and the error."""


class _SameInterpreter(AsyncKernelManager):  # type: ignore[misc]
    """A kernel of the running Python; the kernel that a user has installed as ``python3`` may be another Python."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # -P: a file in the folder of the sweep must not replace a package
        argv = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def execute(path: Path, *, folder: Path, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """Run a notebook and return it with its outputs; the file is not changed.

    Args:
        path: the notebook.
        folder: working directory of its cells.
        environment: variables of its kernel, in addition to those of this process.

    Raises:
        NotebookFailedError: a cell raised an error, or the kernel died.
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
        message = (error.evalue.strip().splitlines() or ["no message"])[-1]
        raise NotebookFailedError(f"{_where(path, notebook)}: {error.ename}: {message}") from None
    except DeadKernelError:
        raise NotebookFailedError(f"notebook '{path.name}': its kernel died, possibly out of memory") from None
    return notebook


def _import_path() -> str:
    """Return the import path of a kernel that imports the same packages as this process."""
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))


def _where(path: Path, notebook: nbformat.NotebookNode) -> str:
    """Return the name of the notebook with the number and the first line of the cell that failed."""
    for number, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"notebook '{path.name}', cell {number} ({cell.source.strip().splitlines()[0]})"
    return f"notebook '{path.name}'"
