"""Live loggers that the command line names: what they are called, and what each needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from trainables.errors import UserError, did_you_mean

WANDB, MLFLOW = "wandb", "mlflow"

TARGETS = {WANDB: "a project, as in wandb:cutmix", MLFLOW: "a store or server, as in mlflow:http://localhost:5000"}
"""What a trial is logged to, by the package that logs it. Neither package is installed with this program."""


@dataclass(frozen=True)
class LogTo:
    """One live logger: its package and where it logs to."""

    package: str
    target: str

    def __str__(self) -> str:
        """Spell it as the option was given."""
        return f"--log-to {self.package}:{self.target}"


def parse_log_to(given: Sequence[str]) -> list[LogTo]:
    """Read options such as ``wandb:PROJECT`` and ``mlflow:URI``.

    Raises:
        UserError: an unknown logger, no target, a password in it, or a package that is not installed.
    """
    return [_parse(text) for text in dict.fromkeys(given)]


def _parse(text: str) -> LogTo:
    package, _, target = text.partition(":")
    if package not in TARGETS:
        raise UserError(f"--log-to '{text}': unknown logger '{package}'{did_you_mean(package, TARGETS)}")
    if not target:
        raise UserError(f"--log-to '{text}': name {TARGETS[package]}")
    if urlsplit(target).password:  # the command line is kept in the sweep's manifest
        raise UserError(f"--log-to '{package}:...': no password there, set MLFLOW_TRACKING_USERNAME and _PASSWORD")
    if find_spec(package) is None:
        raise UserError(f"--log-to '{text}': the package {package} is not installed: pip install {package}")
    return LogTo(package, target)
