"""An S3 server on this machine, with one bucket; it keeps its objects in memory."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AWS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE")
"""Environment variables that a test of the server sets."""


def environment_of(server: str) -> dict[str, str]:
    """Return the variables with which the server is used."""
    return dict(zip(AWS, (server, "key", "secret", "us-east-1", "default"), strict=True))


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Yield the address of a server with the bucket ``photos``; it ends with the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
            url = f"http://127.0.0.1:{port}"
            urllib.request.urlopen(urllib.request.Request(f"{url}/photos", method="PUT")).close()
            yield url
        finally:
            server.kill()
