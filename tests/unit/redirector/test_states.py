"""The core's enumerations have the numbers of the wire contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protos.packhorse.v1 import redirector_pb2 as wire
from protos.packhorse.v1 import types_pb2 as types
from redirector.core import states

if TYPE_CHECKING:
    from enum import IntEnum


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (states.FileState, types.FileState, "FILE_STATE_"),
        (states.FileEventKind, wire.FileEvent.Kind, "KIND_"),
        (states.ErrorClass, types.ErrorClass, "ERROR_CLASS_"),
        (states.RequestState, wire.RequestState, "REQUEST_STATE_"),
        (states.NodeState, wire.NodeState, "NODE_STATE_"),
    ],
)
def test_numbers_are_those_of_the_contract(
    ours: type[IntEnum], theirs: object, prefix: str
) -> None:
    contract = {
        name.removeprefix(prefix): number
        for name, number in theirs.items()  # type: ignore[attr-defined]
        if number
    }
    assert {one.name: int(one) for one in ours} == contract
