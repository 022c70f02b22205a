"""Cutmix-sweep from Python and from a notebook.

    import cutmix_sweep as cs

    sweep = cs.run("alpha_prob", data="imagefolder:photos", out="sweeps/alpha")  # shows its progress
    sweep.trials  # pandas, one row per trial
    sweep.evaluate(axes=["calibration"])
    sweep.report()  # path of one HTML page
    cs.load("sweeps/alpha")  # the same sweep again, for example after a restart of the kernel

Options have the names and meanings of the command line. Importing this module loads neither torch nor Ray.
``python -m cutmix_sweep`` is the command line.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.endings import EndedEarly, Interrupted
    from sweep.notebook.handle import Sweep
    from sweep.notebook.studies import plan, preview, studies
    from sweep.notebook.sweeps import confirm, extend, load, reproduce, resume, run
    from trainables.errors import UserError
    from trainables.mixing.mixer import Mixer

__all__ = [
    "EndedEarly",
    "Interrupted",
    "Mixer",
    "Sweep",
    "UserError",
    "confirm",
    "extend",
    "load",
    "plan",
    "preview",
    "reproduce",
    "resume",
    "run",
    "studies",
]

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("trainables", "search_spaces", "sweep", "analysis")
_LAZY = {
    "EndedEarly": "sweep.endings",
    "Interrupted": "sweep.endings",
    "Mixer": "trainables.mixing.mixer",
    "Sweep": "sweep.notebook.handle",
    "UserError": "trainables.errors",
    **dict.fromkeys(("plan", "preview", "studies"), "sweep.notebook.studies"),
    **dict.fromkeys(("confirm", "extend", "load", "reproduce", "resume", "run"), "sweep.notebook.sweeps"),
}
"""Modules of the names that are imported when they are first used."""


def __getattr__(name: str) -> Any:
    """Import a name of ``_LAZY``."""
    if name not in _LAZY:
        raise AttributeError(f"module 'cutmix_sweep' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """Return the public names, for the completion of an editor or a notebook."""
    return sorted(__all__)


def main() -> None:
    """Run the command line."""
    from sweep.cli import main

    main()


class ShadowedImportError(ImportError):
    """Raised when another module with the name of one of the packages has been imported already."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"ImportError: {self}"]


def _import_packages() -> None:
    """Import the packages from the folder of this module, although a user's ``sweep.py`` may precede them on the path.

    Raises:
        ShadowedImportError: another module of the same name has been imported already.
    """
    path = list(sys.path)
    sys.path.insert(0, str(_ROOT))
    try:
        modules = [importlib.import_module(name) for name in _PACKAGES]
    finally:
        sys.path.remove(str(_ROOT))
    for module in modules:
        file = Path(module.__file__ or next(iter(module.__path__)))
        if _ROOT not in file.resolve().parents:
            raise ShadowedImportError(
                f"'{file}' is imported as '{module.__name__}', the name of a package of cutmix-sweep: rename the file "
                "and restart Python, or import cutmix_sweep first"
            )
    if __name__ != "__main__" and Path(*sys.argv[:1]).name != "cutmix-sweep":  # the command line runs no user's import
        _warn_of_shadowed_files(path)


def _warn_of_shadowed_files(path: Sequence[str]) -> None:
    """Warn of files that would have been imported in place of the packages, and that can no longer be imported."""
    from sweep.workers import shadowing_files

    before = path[: path.index(str(_ROOT))] if str(_ROOT) in path else path
    files = shadowing_files(Path(folder).absolute() for folder in before)
    if files:
        names = ", ".join(f"'{file}'" for file in files)
        warnings.warn(
            f"{names}: a package of cutmix-sweep has the same name, so this process cannot import the file any more; "
            "rename the file if your code imports it",
            stacklevel=4,
        )


_import_packages()

if __name__ == "__main__":
    main()
