"""Optional packages: the modules of each extra, and the refusal that names the command to install one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from trainables.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "eval": (
        "corrupt_tta",
        "faster_coco_eval",
        "pyautoattack",
        "pycocoevalcap",
        "pytorch_ood",
        "torchcam",
        "torchmetrics",
    ),
    "report": (
        "IPython",
        "bleach",
        "ipykernel",
        "jinja2",
        "jupyter_client",
        "markupsafe",
        "nbclient",
        "nbconvert",
        "nbformat",
        "scikit_posthocs",
        "statsmodels",
    ),
    "fast": ("numba",),
    "serve": ("optuna_dashboard",),
    "storage": ("obstore",),
    "timm": ("timm",),
}
"""Modules by extra. ``pip install 'cutmix-sweep[EXTRA]'`` installs their packages."""


def check_extra(extra: str, modules: Iterable[str] | None = None, *, needed_by: str) -> None:
    """Check that the modules of an extra are installed; nothing is imported.

    Args:
        extra: a key of :data:`EXTRAS`.
        modules: the modules that are needed; None: all modules of the extra.
        needed_by: what needs them, as the subject of the message.

    Raises:
        UserError: a module is missing. The message holds the command that installs the extra.

    Examples:
        >>> check_extra("eval", ["json"], needed_by="the axis ood")
        >>> check_extra("eval", ["not_there"], needed_by="the axis ood")
        Traceback (most recent call last):
        trainables.errors.UserError: the axis ood needs the extra 'eval': pip install 'cutmix-sweep[eval]' (...)
    """
    missing = [module for module in (EXTRAS[extra] if modules is None else modules) if find_spec(module) is None]
    if missing:
        raise UserError(
            f"{needed_by} needs the extra '{extra}': pip install 'cutmix-sweep[{extra}]' "
            f"(not installed: {', '.join(missing)})"
        )
