"""The import path of Ray's workers: our packages win over a user's files of the same name.

Ray puts the driver's working directory and the folder of its script first on the import path of every worker, before
the worker's first task. A user's ``sweep.py`` or ``analysis/`` in these folders would replace our packages there. An
imported package is not looked up again, so each worker imports our packages before Ray changes the path.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from trainables.errors import UserError

PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")
"""Packages of cutmix-sweep."""

ROOT = Path(__file__).parents[1]
"""Folder that holds the packages and ``cutmix_sweep.py``."""


def make_setup_hook() -> Callable[[], None]:
    """Return the function that each worker calls when it starts, for ``runtime_env["worker_process_setup_hook"]``.

    The function is nested, so Ray sends it by value: a worker can read it before it has found our packages.

    Examples:
        >>> make_setup_hook()()
        >>> Path(sys.modules["sweep"].__file__).parent == ROOT / "sweep"
        True
    """
    root, packages = str(ROOT), PACKAGES

    def import_packages() -> None:
        """Import the packages from the driver's folder, or on another node from the folder of the installation."""
        folder = root
        if not Path(folder, "cutmix_sweep.py").is_file():
            spec = importlib.util.find_spec("cutmix_sweep")
            if spec is None or spec.origin is None:
                return  # not installed on this node: the trial fails with Python's own message
            folder = str(Path(spec.origin).parent)
        sys.path.insert(0, folder)
        try:
            for package in packages:
                with contextlib.suppress(ImportError):
                    importlib.import_module(package)
        finally:
            sys.path.remove(folder)

    return import_packages


def check_running_ray() -> None:
    """Check the folders that workers of a running Ray search first; only the program that started Ray has the hook.

    Raises:
        UserError: a file in the working directory or in the folder of the script would replace one of our packages.
    """
    files = shadowing_files([Path.cwd(), Path(sys.argv[0]).resolve().parent])
    if files:
        raise UserError(
            f"'{files[0]}' has the name of a package of cutmix-sweep, and the workers of the Ray that runs in this "
            "process would import it: call ray.shutdown() first, so that cutmix-sweep starts Ray, or rename the file"
        )


def shadowing_files(folders: Iterable[Path]) -> list[Path]:
    """Return the files in ``folders`` that an import of one of our packages would find there.

    Examples:
        >>> shadowing_files([ROOT])
        []
    """
    others = [folder for folder in folders if folder.resolve() != ROOT]
    names = [name for package in PACKAGES for name in (f"{package}/__init__.py", f"{package}.py")]
    return [folder / name for folder in others for name in names if (folder / name).is_file()]
