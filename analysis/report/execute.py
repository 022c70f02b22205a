"""Execution of notebooks, in a kernel of the running interpreter.

A kernel runs the code of the notebook and of installed packages only. The folder of the sweep, which may come from
somebody else, is data: the kernel works in an empty folder, and its import path has no folder but the installed
packages and those in the user's PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

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
        # by default Python puts its working directory first on the import path, and IPython does so again
        argv = [sys.executable, "-P", "-m", "ipykernel_launcher", "--InteractiveShellApp.ignore_cwd=True"]
        argv += ["-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def execute(path: Path, *, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """Run a notebook in an empty folder and return it with its outputs; the file is not changed.

    Args:
        path: the notebook.
        environment: variables of its kernel, in addition to those of this process.

    Raises:
        NotebookFailedError: a cell raised an error, or the kernel died.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        with TemporaryDirectory(prefix="cutmix-sweep-kernel-") as name:
            folder, profile = Path(name, "work"), Path(name, "ipython")
            folder.mkdir()
            client = NotebookClient(
                notebook,
                timeout=None,
                kernel_manager_class=_SameInterpreter,
                resources={"metadata": {"path": str(folder)}},
            )
            client.execute(env={**os.environ, **_import_path(), "IPYTHONDIR": str(profile), **environment})
    except CellExecutionError as error:
        message = (error.evalue.strip().splitlines() or ["no message"])[-1]
        raise NotebookFailedError(f"{_where(path, notebook)}: {error.ename}: {message}") from None
    except DeadKernelError:
        raise NotebookFailedError(f"notebook '{path.name}': its kernel died, possibly out of memory") from None
    return notebook


def _import_path() -> dict[str, str]:
    """Return the variables of the import path of a kernel and of the processes that it starts.

    It has the packages of this process and the user's own PYTHONPATH. A relative folder in it would mean another one.
    """
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(folder).is_absolute()]
    return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *folders]), "PYTHONSAFEPATH": "1"}


def _where(path: Path, notebook: nbformat.NotebookNode) -> str:
    """Return the name of the notebook with the number and the first line of the cell that failed."""
    for number, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"notebook '{path.name}', cell {number} ({cell.source.strip().splitlines()[0]})"
    return f"notebook '{path.name}'"
