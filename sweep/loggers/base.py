"""What every live logger does, and the trial that it sees."""

from __future__ import annotations

import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit, urlunsplit

from sweep.endings import reason_of
from sweep.log_to import LogTo
from trainables.errors import UserError

SERVER_TIMEOUT_S = 5.0
"""Time that a server has to answer before a sweep starts."""

Fact = str | int | float | bool


@dataclass
class LoggedTrial:
    """A trial as a logger sees it.

    Attributes:
        trial_id: the same each time that the trial is resumed, in this run of the sweep or a later one.
        name: name of the trial.
        arm: name of its arm.
        facts: flat values by which trials are compared: arm, seed, sampled parameters by dotted path, and so on.
        config: whole configuration of the trial, nested.
        epoch: last epoch that was logged.
    """

    trial_id: str
    name: str
    arm: str
    facts: Mapping[str, Fact]
    config: Mapping[str, object]
    epoch: int


class LiveLogger(ABC):
    """Logger of all trials of one sweep; it is called from one thread.

    Its constructor checks, before Ray starts, that trials can be logged, and raises ``UserError`` otherwise.
    """

    @abstractmethod
    def begin(self, trial: LoggedTrial) -> int:
        """Begin the run of a trial, or continue it.

        Returns:
            The last epoch that must not be logged again: the records of a killed sweep may lack epochs that it logged.
            0 if an epoch that is logged twice does no harm.
        """

    @abstractmethod
    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch."""

    @abstractmethod
    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        """End the run of a trial, and send what is left of it."""


def check_server(log_to: LogTo, url: str, *, name: str, advice: str) -> None:
    """Check that a server answers; any answer will do, also one that refuses the request.

    Raises:
        UserError: nothing answers within ``SERVER_TIMEOUT_S``.
    """
    try:
        with urllib.request.urlopen(url, timeout=SERVER_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, HTTPException) as error:
        cause = getattr(error, "reason", error)  # urllib wraps the error of the connection
        reason = getattr(cause, "strerror", None) or reason_of(error)
    parts = urlsplit(url)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # no password
    raise UserError(f"{log_to}: no {name} server answers at {shown}: {reason}; {advice}")
