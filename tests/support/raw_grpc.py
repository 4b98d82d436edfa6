"""Speaking gRPC without our client's good manners: any bytes to any method of a server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from common.grpc_options import CODE_KEY
from protos.packhorse.v1 import dataserver_pb2, packetizer_pb2, redirector_pb2

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

#: How long a stream that goes on without end is listened to.
LISTEN_S = 0.5
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. `code` is the stable code of an error of ours, "" if it is none."""

    status: grpc.StatusCode
    details: str
    code: str
    replies: int

    @property
    def is_clear(self) -> bool:
        """Whether it was served, or refused in words of ours."""
        if self.status in {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return True
        return self.code not in {"", "error"} and "\n" not in self.details


def methods(*services: str) -> dict[str, MethodDescriptor]:
    """Every method of these services, by `Service.Method`."""
    found = {
        name: service
        for file in (redirector_pb2, dataserver_pb2, packetizer_pb2)
        for name, service in file.DESCRIPTOR.services_by_name.items()
    }
    return {
        f"{service}.{name}": method
        for service in services
        for name, method in found[service].methods_by_name.items()
    }


class RawClient:
    """A connection to one server. Enter it; nothing it sends is looked at before."""

    def __init__(self, address: str) -> None:
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(address, options=unlimited)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def send(
        self, method: MethodDescriptor, *messages: bytes, timeout_s: float = TIMEOUT_S
    ) -> Outcome:
        """Sends messages (one, if the method takes no stream) and takes in what comes back."""
        service = method.containing_service
        assert service is not None
        path = f"/{service.full_name}/{method.name}"
        endless = method.server_streaming
        call = self._call(path, method, messages, LISTEN_S if endless else timeout_s)
        replies = 0
        try:
            for _ in call:
                replies += 1
        except grpc.RpcError as error:
            return _outcome(error, replies)
        return Outcome(grpc.StatusCode.OK, "", "", replies)

    def _call(
        self, path: str, method: MethodDescriptor, messages: Sequence[bytes], timeout_s: float
    ) -> Any:
        """The replies of a call, whatever kind of method it is."""
        # Without serializers it takes bytes, which the stubs of its types do not know of.
        channel: Any = self._channel
        if method.client_streaming and method.server_streaming:
            return channel.stream_stream(path)(iter(messages), timeout=timeout_s)
        if method.client_streaming:
            return _one(channel.stream_unary(path), iter(messages), timeout_s)
        if method.server_streaming:
            return channel.unary_stream(path)(messages[0], timeout=timeout_s)
        return _one(channel.unary_unary(path), messages[0], timeout_s)


def _one(call: Any, request: Any, timeout_s: float) -> Iterator[bytes]:
    yield call(request, timeout=timeout_s)


def _outcome(error: Any, replies: int) -> Outcome:
    metadata = dict(error.trailing_metadata() or ())
    return Outcome(error.code(), error.details() or "", str(metadata.get(CODE_KEY, "")), replies)


# --- messages full of nonsense ------------------------------------------------------------

_TEXTS = (
    "",
    "x",
    "/",
    "/store/nonsense.root",
    "/store//./nonsense.root/",
    "/store/../../etc/passwd",
    "/store/" + "n" * 5000,
    "/store/a\nb",
    "/store/a\0b",
    "\x1b[31m",
    "'; DROP TABLE requests; --",
    "☃" * 300,
    "127.0.0.1:70000",
)
_NUMBERS = (0, 1, 2, 255, 10_000, 2**31 - 1, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**64 - 1)
_FLOATS = (0.0, -0.0, -1.0, 1e-300, 0.5, 3600.0, 1e300, math.inf, -math.inf, math.nan)


def empty(descriptor: Descriptor) -> Any:
    """A message of a type, with nothing in it."""
    return GetMessageClass(descriptor)()


def nonsense(descriptor: Descriptor, chance: random.Random, depth: int = 0) -> Any:
    """A message of a type, its fields filled by chance with what no client would send."""
    message = empty(descriptor)
    for field in descriptor.fields:
        if chance.random() < 0.3:
            continue
        if field.is_repeated:
            values = [_value(field, chance, depth) for _ in range(chance.choice((0, 1, 3)))]
            if field.message_type is not None:
                for value in values:
                    getattr(message, field.name).add().CopyFrom(value)
            else:
                getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_value(field, chance, depth))
        else:
            setattr(message, field.name, _value(field, chance, depth))
    return message


def _value(field: FieldDescriptor, chance: random.Random, depth: int) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        nested = field.message_type
        assert nested is not None
        return empty(nested) if depth > 3 else nonsense(nested, chance, depth + 1)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(_TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return chance.choice(_FLOATS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice((0, 1, 2, 77))
    most = {
        FieldDescriptor.CPPTYPE_INT32: 2**31 - 1,
        FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
        FieldDescriptor.CPPTYPE_INT64: 2**63 - 1,
    }.get(kind, 2**64 - 1)
    return min(chance.choice(_NUMBERS), most)
