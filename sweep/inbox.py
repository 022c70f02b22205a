"""Requests to the process that runs a sweep: one file per request in ``DIR/inbox``, from any machine that sees it.

A request is written whole, and its name tells the order: the time and a random number. The driver moves it to
``inbox/done`` together with the result. A request that is still there after the driver has ended can be withdrawn.
With a sweep in an object store, the files are objects, which no process copies.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from sweep.formats import cut, printable
from sweep.mirrored import mirror_of
from sweep.request_files import INBOX, MAX_BYTES, SUFFIX, FolderFiles
from trainables.errors import UserError
from trainables.strict import Frozen, parse

DONE = "done"
"""Folder of the handled requests in the inbox."""

MAX_REASON = 200
"""Longest reason that a person gives, in characters."""

Verb = Literal["stop", "pause", "resume", "extend", "set"]
"""What a request asks for."""


class Request(Frozen):
    """What a person asks of the process that runs a sweep.

    Attributes:
        verb: ``stop`` a trial, an arm or the sweep; ``pause`` the sweep; ``resume`` a paused one; ``extend`` the study;
            ``set`` a value.
        by: name of the user.
        at: time of the request, by the clock of the user's machine, as ISO 8601.
        reason: the user's words; "" if there are none.
        trial: trial to stop; None: not a single trial.
        arm: arm to stop; None: not an arm.
        values: what is added or set, by name.

    Examples:
        >>> Request(verb="pause", by="kim", at="2026-11-28T12:03:10+00:00", reason="the room is hot").why
        'by kim at 2026-11-28 12:03:10+00:00: the room is hot'
    """

    verb: Verb
    by: str = Field(max_length=100)
    at: str = Field(max_length=40)
    reason: str = Field(default="", max_length=MAX_REASON)
    trial: str | None = None
    arm: str | None = None
    values: dict[str, Any] = {}

    @property
    def why(self) -> str:
        """Who asked for it, when, and the reason, in one line."""
        text = f"by {self.by} at {self.at.replace('T', ' ')}"
        return printable(" ".join(f"{text}: {self.reason}".split()) if self.reason else text)


class Result(Frozen):
    """What became of a request.

    Attributes:
        applied: whether it was applied; otherwise it was refused.
        text: what was done, or why it was refused.
    """

    applied: bool
    text: str


class Pending(NamedTuple):
    """A request that is not handled yet.

    Attributes:
        name: name of its file, which tells the order.
        request: its content; None if it cannot be read.
        problem: why it cannot be read; "" if it can.
    """

    name: str
    request: Request | None
    problem: str = ""


def new_request(verb: Verb, *, reason: str = "", **content: Any) -> Request:
    """Return a request of the user of this process, made now.

    Raises:
        UserError: the reason is too long.
    """
    if len(reason) > MAX_REASON:
        raise UserError(f"--reason has {len(reason)} characters: give at most {MAX_REASON}")
    at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return Request(verb=verb, by=user_name(), at=at, reason=reason, **content)


def user_name() -> str:
    """Return the name of the user of this process, otherwise the number."""
    try:
        return cut(printable(getpass.getuser()), 100)
    except (KeyError, OSError):  # a container may have no name for the number
        return f"user {os.getuid()}"


class Inbox:
    """The requests of one sweep, for the user who writes them and for the driver that handles them.

    Attributes:
        folder: folder of the requests, for messages.
        look_s: pause between two looks for requests.
        answer_s: pause between two looks for an answer.

    Examples:
        >>> import tempfile
        >>> inbox = Inbox(Path(tempfile.mkdtemp()))
        >>> name = inbox.add(new_request("pause"))
        >>> [pending.request.verb for pending in inbox.pending()]
        ['pause']
        >>> inbox.finish(name, Result(applied=True, text="paused"))
        >>> inbox.pending(), inbox.result(name).text
        ([], 'paused')
    """

    def __init__(self, sweep_dir: Path) -> None:
        """Open the inbox of ``sweep_dir``; it is made with the first request."""
        mirror = mirror_of(sweep_dir)
        self.folder = sweep_dir / INBOX
        self._files = FolderFiles(self.folder) if mirror is None else mirror.inbox_files()
        self.look_s, self.answer_s = self._files.look_s, self._files.answer_s

    def add(self, request: Request) -> str:
        """Write a request and return its name.

        Raises:
            UserError: the folder is a link, or the request is too long.
            OSError: the file cannot be written.
        """
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        content = request.model_dump_json(exclude_defaults=True).encode()
        if len(content) > MAX_BYTES:
            raise UserError(f"the request is longer than {MAX_BYTES} bytes: interrupt the sweep to add this")
        self._files.write(name, content)
        return name

    def pending(self) -> list[Pending]:
        """Return the requests that are not handled yet, in their order."""
        return [self._read(name) for name in self._names()]

    def withdraw(self, name: str) -> bool:
        """Remove a request; return whether it was still there."""
        return self._files.remove(name)

    def finish(self, name: str, result: Result) -> None:
        """Move a handled request to ``done``, together with its result."""
        request = self._read(name).request
        content = {"request": request and request.model_dump(exclude_defaults=True), **result.model_dump()}
        self._files.write(f"{DONE}/{name}", json.dumps(content).encode())
        self.withdraw(name)

    def result(self, name: str) -> Result | None:
        """Return what became of a request; None if it is not handled yet."""
        try:
            content = json.loads(self._files.read(f"{DONE}/{name}"))
        except FileNotFoundError:
            return None
        return Result(applied=bool(content["applied"]), text=str(content["text"]))

    def _names(self) -> Iterator[str]:
        for name in self._files.names():
            if self._files.has(f"{DONE}/{name}"):  # a kill came between its result and its removal
                self.withdraw(name)
            else:
                yield name

    def _read(self, name: str) -> Pending:
        try:
            content = self._files.read(name)
            values = json.loads(content) if len(content) <= MAX_BYTES else None
            if not isinstance(values, dict):
                return Pending(name, None, "it is not a request")
            return Pending(name, parse(Request, values, where=f"request '{name}'"))
        except (UserError, OSError, ValueError, RecursionError) as error:
            return Pending(name, None, cut(" ".join(str(error).split()), MAX_REASON))
