"""From messages to values: fields of the same name are the same thing."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Hashable

    from google.protobuf.message import Message

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def copied(kind: type[T], message: Message, /, **given: Any) -> T:
    """A value of the dataclass `kind`: what is given, and the message's fields for the rest."""
    for name in _field_names(cast("Hashable", kind)):
        if name not in given:
            given[name] = getattr(message, name)
    return kind(**given)


def state_of(kind: type[E], number: int) -> E:
    """The member for a number of the wire: members stand in the order of their numbers.

    A number that a newer server made up is the first member, "unknown".
    """
    members: tuple[E, ...] = _members(kind)
    return members[number] if 0 <= number < len(members) else members[0]


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _members(kind: type[StrEnum]) -> tuple[Any, ...]:
    return tuple(kind)
