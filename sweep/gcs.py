"""Questions to the head of a Ray cluster (its GCS) before Ray is started: it answers within seconds or not at all.

Ray's own client tries for 46 s where nothing listens. The services and their messages are private to Ray. So this file
alone knows them, and :class:`UnknownAnswer` says that a version of Ray answers in another way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_GET_VALUE = "/ray.rpc.InternalKVGcsService/InternalKVGet"
_KEY, _NAMESPACE = b"CLUSTER_METADATA", b"cluster"


class NoAnswer(Exception):
    """Something listens, but does not answer in time."""


class NotRay(Exception):
    """Something else than the head of a Ray cluster listens."""


class Unauthenticated(Exception):
    """The cluster does not accept the token, or asks for one."""


class UnknownAnswer(Exception):
    """This version of Ray answers in a way that is not known here: only Ray itself can tell."""


@dataclass(frozen=True)
class Versions:
    """Versions of a cluster.

    Attributes:
        ray: version of Ray.
        python: version of Python.
    """

    ray: str
    python: str


def ask_cluster_id(target: str, token: str | None, *, timeout_s: float) -> str:
    """Return the id of the cluster whose head listens at ``target``, as hexadecimal digits.

    Args:
        target: ``HOST:PORT``.
        token: token of the cluster; None: none is sent.
        timeout_s: longest wait for the answer.

    Raises:
        NoAnswer: the time is over.
        NotRay: another program listens there.
        Unauthenticated: the cluster asks for another token.
        UnknownAnswer: the answer cannot be read.
    """
    fields = dict(_fields(_call(target, _CLUSTER_ID, b"", token, timeout_s=timeout_s)))
    return fields.get(2, b"").hex()


def ask_versions(target: str, token: str | None, cluster_id: str, *, timeout_s: float) -> Versions:
    """Return the versions with which a cluster was started.

    Raises:
        NoAnswer: the time is over.
        UnknownAnswer: the answer cannot be read.
    """
    request = _field(1, _KEY) + _field(2, _NAMESPACE)
    try:
        answer = _call(target, _GET_VALUE, request, token, cluster_id=cluster_id, timeout_s=timeout_s)
        metadata = json.loads(dict(_fields(answer)).get(2, b""))
        return Versions(str(metadata["ray_version"]), str(metadata["python_version"]))
    except (NotRay, Unauthenticated, ValueError, KeyError, TypeError) as error:
        raise UnknownAnswer(str(error)) from None


def _call(
    target: str, method: str, request: bytes, token: str | None, *, timeout_s: float, cluster_id: str = ""
) -> bytes:
    """Send a request and return the serialized answer."""
    try:
        import grpc
    except ImportError as error:
        raise UnknownAnswer(str(error)) from None
    metadata = [("authorization", f"Bearer {token}")] if token else []
    if cluster_id:
        metadata.append(("ray_cluster_id", cluster_id))
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            answer: bytes = ask(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            code, details = error.code(), str(error.details())
        else:
            return answer
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        raise Unauthenticated(details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        raise NoAnswer(details)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED):
        raise NotRay(details)
    raise UnknownAnswer(f"{code.name}: {details}")


def _field(number: int, value: bytes) -> bytes:
    """Return a field of a protobuf message: text or bytes of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field of a protobuf message that holds text, bytes or another message.

    Raises:
        UnknownAnswer: it is no such message.

    Examples:
        >>> dict(_fields(_field(1, b"key") + bytes([3 << 3, 150, 1]) + _field(2, b"name")))
        {1: b'key', 2: b'name'}
    """
    position = 0

    def varint() -> int:
        nonlocal position
        number, shift = 0, 0
        while True:
            byte = message[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return number

    try:
        while position < len(message):
            key = varint()
            size = {1: 8, 5: 4}.get(key & 7)
            if key & 7 == 0:
                varint()
                continue
            length = varint() if size is None else size
            if key & 7 == 2:
                yield key >> 3, message[position : position + length]
            position += length
    except IndexError:
        raise UnknownAnswer("the answer is cut off") from None
