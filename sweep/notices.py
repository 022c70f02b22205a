"""Notices of a running sweep to a webhook, as JSON that Slack understands.

A thread sends them, so that a slow webhook does not delay the sweep.
The URL is a secret: it comes from the environment or from a file, and no message and no record contains it.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from trainables.errors import UserError

URL = "CUTMIX_SWEEP_NOTIFY_URL"
"""Environment variable with the URL of a webhook."""

URL_FILE = "CUTMIX_SWEEP_NOTIFY_URL_FILE"
"""Environment variable with the path of a file that contains the URL."""

TIMEOUT_S = 5.0
"""Time that a webhook has to answer."""

TRIES = 2

_PAUSE_S = 1.0
_MAX_WAITING = 100


class Notices:
    """Sender of notices; without a URL it sends nothing."""

    def __init__(
        self, url: str | None = None, *, sweep: str = "", warn: Callable[[str], None] = lambda text: None
    ) -> None:
        """Send notices of ``sweep`` to ``url``; ``warn`` shows the first failure."""
        self._url = url
        self._sweep = sweep
        self._warn = warn
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MAX_WAITING)
        self._failure = ""
        self._thread = threading.Thread(target=self._send_all, name="notices", daemon=True)
        if url is not None:
            self._thread.start()

    def send(self, event: str, text: str, **facts: str | int) -> None:
        """Send one notice later; ``text`` is what a chat shows after the name of the sweep."""
        if self._url is None:
            return
        shown = f"cutmix-sweep {self._sweep}: {text}"
        for sign, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # <!channel> is a mention in Slack
            shown = shown.replace(sign, escape)
        notice = {"text": shown, "event": event, "sweep": self._sweep, **facts}
        try:
            self._waiting.put_nowait(json.dumps(notice).encode())
        except queue.Full:
            self._failure = self._failure or "too many notices are waiting"
        self.show_failure()

    def show_failure(self) -> None:
        """Warn if a notice could not be sent; the warning is shown once, by the thread that calls this method."""
        if self._failure:
            self._warn(f"a notice could not be sent to the webhook of {URL}: {self._failure}; the sweep continues")
            self._failure, self._warn = "", lambda text: None

    def close(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait at most ``timeout_s`` until the waiting notices are sent."""
        if self._url is None:
            return
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            pass
        else:
            self._thread.join(timeout_s)
        self.show_failure()

    def _send_all(self) -> None:
        while (body := self._waiting.get()) is not None:
            for attempt in range(TRIES):
                failure = _post(str(self._url), body)
                if not failure:
                    break
                if attempt + 1 < TRIES:
                    time.sleep(_PAUSE_S)
            else:
                self._failure = self._failure or failure


def notify_url() -> str | None:
    """Return the URL of the webhook; None if neither variable is set.

    Raises:
        UserError: the file cannot be read, or its content is no URL; the message does not contain it.

    Examples:
        >>> notify_url() is None
        True
    """
    url, path = os.environ.get(URL, "").strip(), os.environ.get(URL_FILE, "")
    if url and path:
        raise UserError(f"{URL} and {URL_FILE} are both set: set one of them")
    where = URL
    if path:
        where = f"{URL_FILE}='{path}'"
        try:
            url = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise UserError(f"{where}: cannot read the URL of the webhook: {reason}") from None
    elif not url:
        return None
    if not _is_url(url):
        raise UserError(f"{where}: the value (not shown: it is a secret) must be one http:// or https:// URL")
    return url


def _is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isascii() and len(text.split()) == 1


def _post(url: str, body: bytes) -> str:
    """Post a notice and return why it failed, "" if it did not; errors of the library may contain the URL."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except OSError as error:  # a URLError wraps the error of the connection
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return f"no answer within {TIMEOUT_S:g} s"
        return getattr(reason, "strerror", None) or type(reason).__name__
    except Exception as error:
        return type(error).__name__
