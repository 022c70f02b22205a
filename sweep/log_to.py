"""Live loggers on the command line: their names, and what each of them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from trainables.errors import UserError, did_you_mean

WANDB, MLFLOW, TENSORBOARD, TRACKIO = "wandb", "mlflow", "tensorboard", "trackio"

TARGETS = {
    WANDB: "a project, for example wandb:cutmix",
    MLFLOW: "a store or server, for example mlflow:http://localhost:5000",
    TENSORBOARD: "a folder, for example tensorboard:runs",
    TRACKIO: "a project, for example trackio:cutmix",
}
"""Where a trial is logged to, by the name of the logger."""

_MODULES = {TENSORBOARD: "tensorboardX"}
"""Module that a logger needs, where it has another name; this one is installed with this program."""


@dataclass(frozen=True)
class LogTo:
    """One live logger.

    Attributes:
        package: name of the logger.
        target: project, store, server or folder that it logs to.
    """

    package: str
    target: str

    def __str__(self) -> str:
        """Return the option as it was given."""
        return f"--log-to {self.package}:{self.target}"


def parse_log_to(options: Sequence[str]) -> list[LogTo]:
    """Read the values of ``--log-to``; a value that is given twice counts once.

    Raises:
        UserError: the logger is unknown, it has no target, its target contains a password, or its package is not
            installed.

    Examples:
        >>> parse_log_to(["wandbb:mine"])
        Traceback (most recent call last):
        ...
        trainables.errors.UserError: --log-to 'wandbb:mine': unknown logger 'wandbb'; did you mean 'wandb'? valid: ...
    """
    return [_parse(option) for option in dict.fromkeys(options)]


def _parse(option: str) -> LogTo:
    package, _, target = option.partition(":")
    if package not in TARGETS:
        raise UserError(f"--log-to '{option}': unknown logger '{package}'{did_you_mean(package, TARGETS)}")
    if not target:
        raise UserError(f"--log-to '{option}': no target given: name {TARGETS[package]}")
    if urlsplit(target).password:  # the command line is recorded in the manifest of the sweep
        raise UserError(
            f"--log-to '{package}:...': the target must not contain a password, because the command is recorded: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    if find_spec(_MODULES.get(package, package)) is None:
        raise UserError(f"--log-to '{option}': the package {package} is not installed: pip install {package}")
    return LogTo(package, target)
