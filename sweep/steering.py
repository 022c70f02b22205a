"""Requests of people, applied to a sweep by the process that runs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from sweep.conductor import Conductor
from sweep.endings import HERE, Joined, reason_of, resume_command
from sweep.growth import Additions, grown, with_setting
from sweep.inbox import Inbox, Pending, Request, Result
from sweep.lock import Lock, LockLost
from sweep.manifest import has_change, with_change
from sweep.records.manifest_file import read_manifest, write_manifest
from trainables.errors import UserError
from trainables.strict import parse

MAX_TRIALS = "max_trials"
"""Name of the value that bounds the trials that run at the same time."""

UNLIMITED = ("null", "none")
"""Values that remove the bound."""


class Steering:
    """Requests to one run of a sweep.

    Attributes:
        stopped: who ended the run, and when; "" if no person did.
    """

    def __init__(
        self,
        conductor: Conductor,
        sweep_dir: Path,
        *,
        joined: Joined = HERE,
        lock: Lock | None = None,
        show: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Receive requests to the run of ``sweep_dir``; requests to an earlier run end without effect.

        Args:
            conductor: conductor of the run.
            sweep_dir: folder of the sweep.
            joined: cluster of the run.
            lock: lock of the folder, which tells other processes that the sweep is paused.
            show: shows one line.
            clock: monotonic clock, seconds.
        """
        self.stopped = ""
        self._conductor, self._dir, self._lock, self._show, self._clock = conductor, sweep_dir, lock, show, clock
        self._joined = joined
        self._inbox = Inbox(sweep_dir)
        self._unmoved: set[str] = set()
        self._due_at_s = clock()
        self._is_idle = False
        if lock is not None:
            lock.takes_requests = True
            lock.show()
        for pending in self._pending():
            request = pending.request
            if request is not None and not (request.trial or request.arm or request.verb == "extend"):
                self._finish(pending.name, Result(applied=False, text="it was meant for an earlier run of the sweep"))

    def update(self) -> None:
        """Apply the requests that have arrived; call it after each step of the run.

        Raises:
            OSError: the records cannot be written.
            LockLost: another process has taken the sweep over.
        """
        now_s = self._clock()
        if now_s < self._due_at_s:
            return
        self._due_at_s = now_s + self._inbox.look_s
        for pending in self._pending():
            result = self._handle(pending)
            self._show(f"{_describe(pending)}: {'' if result.applied else 'refused, '}{result.text}")
            self._finish(pending.name, result)
        if self._conductor.paused and not self._conductor.running and not self._is_idle:
            self._is_idle = True
            self._show(f"paused {self._conductor.paused}: no trial runs; resume with: {resume_command(self._dir)}")

    def _pending(self) -> list[Pending]:
        with contextlib.suppress(OSError):  # a server that does not answer: the next look may succeed
            return [pending for pending in self._inbox.pending() if pending.name not in self._unmoved]
        return []

    def _finish(self, name: str, result: Result) -> None:
        try:
            self._inbox.finish(name, result)
        except OSError as error:  # for example the folder of another user: it must not end the sweep
            self._unmoved.add(name)
            self._show(f"the result of request '{name}' cannot be written: {reason_of(error)}")

    def _handle(self, pending: Pending) -> Result:
        if pending.request is None:
            return Result(applied=False, text=f"it cannot be read: {pending.problem}")
        try:
            return Result(applied=True, text=self._apply(pending.request, pending.name))
        except (OSError, LockLost):
            raise
        except Exception as error:  # whoever can write to the folder must not be able to end the run by accident
            return Result(applied=False, text=reason_of(error))

    def _apply(self, request: Request, name: str) -> str:
        match request:
            case Request(verb="stop", trial=str(trial)):
                return self._conductor.cancel_trial(trial, request.why)
            case Request(verb="stop", arm=str(arm)):
                return self._conductor.cancel_arm(arm, request.why)
            case Request(verb="stop"):
                self.stopped = request.why
                command = resume_command(self._dir, self._joined.address, *self._joined.options)
                return f"the sweep ends; resume with: {command}"
            case Request(verb="pause"):
                return self._pause(request)
            case Request(verb="resume"):
                return self._resume()
            case Request(verb="extend"):
                return self._extend(request, name)
            case _:
                return self._set(request, name)

    def _pause(self, request: Request) -> str:
        if self._conductor.paused:
            raise UserError(f"the sweep is paused already, {self._conductor.paused}")
        self._set_paused(request.why)
        n_running = len(self._conductor.running)
        waiting = f"{n_running} running trials end at their next epoch" if n_running else "no trial runs"
        return f"paused, {waiting}; resume with: {resume_command(self._dir)}"

    def _resume(self) -> str:
        if not self._conductor.paused:
            raise UserError("the sweep is not paused")
        paused, self._is_idle = self._conductor.paused, False
        self._set_paused("")
        return f"the sweep continues; it was paused {paused}"

    def _set_paused(self, why: str) -> None:
        self._conductor.paused = why
        if self._lock is not None:
            self._lock.paused = why
            self._lock.news_at_s = self._clock()  # the pause is not silence
            self._lock.show()

    def _extend(self, request: Request, name: str) -> str:
        what = parse(Additions, request.values, where="extend").describe()
        manifest = read_manifest(self._dir)
        if not has_change(manifest, name):  # otherwise a kill came before its result was written
            study = grown(self._conductor.study, request.values)
            self._conductor.flush(force=True)  # rows so far belong to the study so far
            write_manifest(self._dir, with_change(manifest, study, f"extend: {what}, {request.why}", name))
            self._conductor.change_study(study)
        return f"added: {what}; {self._conductor.n_left} of {self._conductor.n_trials} trials are left"

    def _set(self, request: Request, name: str) -> str:
        if len(request.values) != 1:
            raise UserError("set changes one value at a time")
        [(key, value)] = request.values.items()
        if key == MAX_TRIALS:
            self._conductor.max_trials = parse_max_trials(str(value))
            n_running, bound = len(self._conductor.running), self._conductor.max_trials
            n_excess = 0 if bound is None else max(0, n_running - bound)
            return f"{MAX_TRIALS} is {value}; {n_excess} of {n_running} running trials end at their next epoch"
        manifest = read_manifest(self._dir)
        study = with_setting(self._conductor.study, key, str(value))
        self._conductor.flush(force=True)
        write_manifest(self._dir, with_change(manifest, study, f"set {key}={value}, {request.why}", name))
        self._conductor.change_study(study)
        return f"{key} is {value}"


def parse_max_trials(value: str) -> int | None:
    """Return the largest number of trials at the same time; None for no bound.

    Raises:
        UserError: it is no positive whole number.

    Examples:
        >>> parse_max_trials("4"), parse_max_trials("null")
        (4, None)
    """
    if value.lower() in UNLIMITED:
        return None
    if not value.isascii() or not value.isdecimal() or int(value) < 1:
        raise UserError(f"{MAX_TRIALS}={value}: give a whole number of at least 1, or null for no bound")
    return int(value)


def _describe(pending: Pending) -> str:
    request = pending.request
    if request is None:
        return f"request '{pending.name}'"
    target = request.trial or request.arm or " ".join(f"{key}={value}" for key, value in request.values.items())
    shown = f" {target}" if target and request.verb in ("stop", "set") else ""
    return f"{request.verb}{shown} {request.why}"
